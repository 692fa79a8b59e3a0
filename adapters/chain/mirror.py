"""The mirror: one contract on one chain, kept level with the ledger.

It plans batches from the ledger, stores each with its signed bytes before it is sent, and follows it until it is final.
Everything it needs to go on after a crash is in the database; the contract's cursor makes a batch that arrives twice
change nothing. Exactly one mirror runs for a contract (see `leader`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic

from psycopg import AsyncConnection

from adapters.chain import batches, contract, deployments, plans
from adapters.chain.batches import Attempt, NewBatch, OpenBatch
from adapters.chain.deployments import Deployment
from adapters.chain.feed import Feed, Filled
from adapters.chain.lookout import Lookout, Probe, unheard
from adapters.chain.node import LATEST, Block, ChainError, Node
from adapters.chain.packing import GAS_LIMIT_MAX, encode
from adapters.chain.sender import Sender
from adapters.chain.signer import Fees, Offer, Signer
from projections.chain_plan import Plan

IN_FLIGHT_MAX = 16
"""Batches that are sent and not mined."""
LOOK_SECONDS = 3.0
"""While something is on its way, the chain is looked at this often, although there is no new block."""
REFUSALS_FREE = 3
"""A batch that was refused is sent again at once so often, then after ever longer pauses: each refusal costs gas."""
REFUSAL_SECONDS, REFUSAL_SECONDS_MAX = 30.0, 3_600.0
DOUBLINGS_MAX = 16
FENCE = 0x0C0F_0006
"""Advisory lock on the connection that writes: whoever has lost the lead unawares can write nothing either."""


class FencedError(ChainError):
    """Another mirror writes for this contract."""


class RetiredError(ChainError):
    """Another contract has taken this one's place on its chain."""


class RefusedError(ChainError):
    """The contract refuses a batch again and again."""


class Mirror:
    """For one deployment. After an error other than ChainError a new one has to be made: it reads what was stored."""

    def __init__(
        self,
        conn: AsyncConnection,
        node: Node,
        deployment: Deployment,
        signer: Signer,
        offer: Offer,
        *,
        confirmations: int | None = None,
        probe: Probe = unheard,
    ) -> None:
        """``confirmations`` None: what the chain calls finalized. ``probe`` hears of every step, for those who test it."""
        self.deployment = deployment
        self.feed: Feed | None = None
        self._conn = conn
        self._node = node
        self._offer = offer
        self._probe = probe
        self._sender = Sender(conn, node, deployment, signer, offer, probe)
        self._lookout = Lookout(conn, node, deployment, confirmations, probe)
        self._head: Block | None = None
        self._looked_at = 0.0
        self._fenced = False
        self._open: list[OpenBatch] = []

    # -- One round. ------------------------------------------------------------------

    async def step(self) -> bool:
        """Look at the chain, mend what is not as it should be, send what is due. Whether anything was done.

        Raises ChainError for what an operator has to put right; calling it again later goes on.
        """
        await self._fence()
        head = await self._node.block(LATEST)
        if head is None:
            raise ChainError(f"{self._node.name} has no blocks")
        await self._reload()
        looked = await self._look(head)
        mended = await self._mend(head)
        sent = await self._sender.send(self._open, head)
        filled = await self._fill(head)
        return looked or mended or sent or filled

    @property
    def busy(self) -> bool:
        """Whether something is on its way."""
        return any(batch.state != "mined" for batch in self._open)

    async def _fence(self) -> None:
        if not self._fenced:
            cursor = await self._conn.execute("select pg_try_advisory_lock(%s, %s)", (FENCE, self.deployment.id))
            if await cursor.fetchone() != (True,):
                raise FencedError(f"another mirror writes for the contract {self.deployment.contract}")
            self._fenced = True

    async def _look(self, head: Block) -> bool:
        now = monotonic()
        same = self._head is not None and head.hash == self._head.hash
        if same and not (self.busy and now - self._looked_at >= LOOK_SECONDS):
            return False
        if await deployments.is_retired(self._conn, self.deployment.id):
            raise RetiredError(f"another contract has taken the place of {self.deployment.contract}")
        for lost in await self._lookout.look(head):
            self._sender.forget(lost)
        self._head, self._looked_at = head, now
        await self._reload()
        return not same

    async def _reload(self) -> None:
        self._open = await batches.open_batches(self._conn, self.deployment.id)

    # -- Mending. --------------------------------------------------------------------

    async def _mend(self, head: Block) -> bool:
        """Give batches that lost their nonce another one, in order, once none behind them is on its way."""
        built = [batch for batch in self._open if batch.state == "built"]
        if not built or any(b.state in ("signed", "sent") and b.number > built[0].number for b in self._open):
            return False
        await self._hold_back(built[0])
        nonce = await self._lookout.next_nonce(self._open)
        tip = await self._node.tip()
        for batch in built:
            fees = self._offer.first(head.base_fee, tip)
            await self._sender.sign_again(batch, nonce, min(batch.gas_limit * 5 // 4, GAS_LIMIT_MAX), fees)
            nonce += 1
        await self._reload()
        return True

    async def _hold_back(self, batch: OpenBatch) -> None:
        """Raises RefusedError while a batch that was refused again and again has to wait."""
        refused = await batches.refusals(self._conn, self.deployment.id, batch.number)
        if refused.times <= REFUSALS_FREE:
            return
        pause = REFUSAL_SECONDS * 2 ** min(refused.times - REFUSALS_FREE - 1, DOUBLINGS_MAX)
        wait = min(pause, REFUSAL_SECONDS_MAX) - refused.seconds_ago
        if wait > 0:
            raise RefusedError(
                f"the contract {self.deployment.contract} on {self._node.name} has refused batch {batch.number}"
                f" {refused.times} times; it is tried again in {wait:.0f} s"
            )

    # -- Filling. --------------------------------------------------------------------------

    async def _fill(self, head: Block) -> bool:
        """Plan, store and send new batches while there is room for them."""
        if any(batch.state == "built" for batch in self._open):
            return False  # those come first
        flying = sum(batch.state in ("signed", "sent") for batch in self._open)
        done = False
        tip: int | None = None
        while flying < IN_FLIGHT_MAX:
            feed, self.feed = self.feed or await self._begin(), None  # no more use if anything fails from here
            filled = await feed.next(datetime.now(UTC))
            if filled is None:
                self.feed = feed
                break
            tip = await self._node.tip() if tip is None else tip
            attempt = await self._store(feed, filled, self._offer.first(head.base_fee, tip))
            self.feed = feed
            await self._sender.hand_in(attempt, head)
            flying, done = flying + 1, True
        return done

    async def _begin(self) -> Feed:
        """From what was stored."""
        self.deployment = await deployments.by_id(self._conn, self.deployment.id)
        plan = Plan(self.deployment.chain, self.deployment.event_count)
        await plans.load_events(self._conn, self.deployment.id, plan)
        return Feed(self._conn, self.deployment.id, plan, self.deployment.planned_position)

    async def _store(self, feed: Feed, filled: Filled, fees: Fees) -> Attempt:
        """Sign a batch and store it with its signed bytes."""
        before = self.deployment
        operations = encode(filled.draft.operations)
        from_seq = before.planned_seq + 1
        to_seq = max(filled.position, from_seq)
        batch = NewBatch(
            number=before.batch_count + 1,
            from_seq=from_seq,
            to_seq=to_seq,
            to_position=filled.position,
            facts=filled.draft.facts,
            operations=operations,
            running_hash=contract.running_hash(before.planned_hash, from_seq, to_seq, operations),
            gas_limit=filled.draft.gas_limit,
        )
        self._probe("planned")
        await self._reload()
        nonce = await self._lookout.next_nonce(self._open)
        attempt = self._sender.sign(
            batch.number, nonce, contract.apply_batch(from_seq, to_seq, operations), batch.gas_limit, fees
        )
        await batches.store(self._conn, before.id, batch, attempt, feed.plan, filled.touched)
        self._probe("stored")
        self.deployment = await deployments.by_id(self._conn, before.id)
        return attempt
