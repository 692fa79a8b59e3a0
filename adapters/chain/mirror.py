"""The mirror: one contract on one chain, kept level with the ledger.

It plans batches from the ledger, stores each with its signed bytes before it is sent, and follows it until it is final.
Everything it needs to go on after a crash is in the database; the contract's cursor makes a batch that arrives twice
change nothing. Exactly one mirror runs for a contract (see `leader`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic

import structlog
from psycopg import AsyncConnection

from adapters.chain import batches, contract, deployments
from adapters.chain.batches import Attempt, NewBatch, OpenBatch
from adapters.chain.deployments import Deployment
from adapters.chain.feed import Feed, Filled
from adapters.chain.lookout import Lookout, Probe, unheard
from adapters.chain.node import (
    LATEST,
    BalanceTooLowError,
    Block,
    ChainError,
    Node,
    NonceUsedError,
    UnderpricedError,
)
from adapters.chain.packing import GAS_LIMIT_MAX, encode
from adapters.chain.signer import ETHER, GWEI, Fees, Offer, Signer
from projections.chain_plan import Plan

IN_FLIGHT_MAX = 16
"""Batches that are sent and not mined."""
STUCK_BLOCKS = 3
"""After so many blocks without it, a transaction is sent again; the first in line with more to pay."""
LOOK_SECONDS = 3.0
"""While something is on its way, the chain is looked at this often, although there is no new block."""
REFUSALS_FREE = 3
"""A batch that was refused is sent again at once so often, then after ever longer pauses: each refusal costs gas."""
REFUSAL_SECONDS, REFUSAL_SECONDS_MAX = 30.0, 3_600.0
FENCE = 0x0C0F_0006
"""Advisory lock on the connection that writes: whoever has lost the lead unawares can write nothing either."""

log = structlog.get_logger()


class FencedError(ChainError):
    """Another mirror writes for this contract."""


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
        self._signer = signer
        self._offer = offer
        self._probe = probe
        self._lookout = Lookout(conn, node, deployment, confirmations, probe)
        self._head: Block | None = None
        self._looked_at = 0.0
        self._sent_at: dict[int, int] = {}
        """Batch → the block at which it was last sent from here."""
        self._front = (0, 0)
        """The first batch in line, and the block at which it became that."""
        self._concern: str | None = None
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
        sent = await self._send(head)
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
        for lost in await self._lookout.look(head):
            self._sent_at.pop(lost, None)
        self._head, self._looked_at = head, now
        await self._reload()
        return not same

    async def _reload(self) -> None:
        self._open = await batches.open_batches(self._conn, self.deployment.id)

    async def _concerned(self, concern: str | None) -> None:
        """What does not stop the mirror and should be known all the same."""
        if concern != self._concern:
            await deployments.set_problem(self._conn, self.deployment.id, concern)
            self._concern = concern

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
            await self._sign_again(batch, nonce, min(batch.gas_limit * 5 // 4, GAS_LIMIT_MAX), fees)
            nonce += 1
        await self._reload()
        return True

    async def _hold_back(self, batch: OpenBatch) -> None:
        """Raises RefusedError while a batch that was refused again and again has to wait."""
        tried = await batches.tried(self._conn, self.deployment.id, batch.number)
        more = tried.nonces - REFUSALS_FREE
        wait = min(REFUSAL_SECONDS * 2 ** min(more, 16), REFUSAL_SECONDS_MAX) - tried.seconds_ago if more > 0 else 0
        if wait > 0:
            raise RefusedError(
                f"the contract {self.deployment.contract} on {self._node.name} has refused batch {batch.number}"
                f" {tried.nonces} times; it is tried again in {wait:.0f} s"
            )

    async def _sign_again(self, batch: OpenBatch, nonce: int, gas: int, fees: Fees) -> Attempt:
        from_seq, to_seq, operations = await batches.operations_of(self._conn, self.deployment.id, batch.number)
        attempt = self._sign(batch.number, nonce, contract.apply_batch(from_seq, to_seq, operations), gas, fees)
        await batches.add_attempt(self._conn, self.deployment.id, attempt, gas)
        self._sent_at.pop(batch.number, None)
        return attempt

    def _sign(self, number: int, nonce: int, data: bytes, gas: int, fees: Fees) -> Attempt:
        to = self.deployment.contract
        chain_id = self.deployment.chain_id
        transaction, raw = self._signer.sign(chain_id=chain_id, nonce=nonce, to=to, data=data, gas=gas, fees=fees)
        return Attempt(transaction, number, nonce, raw, fees.most, fees.tip)

    # -- Sending. --------------------------------------------------------------------

    async def _send(self, head: Block) -> bool:
        """Hand in what has not been, and again what has waited for too long."""
        waiting = [batch for batch in self._open if batch.state in ("signed", "sent")]
        front = waiting[0].number if waiting else 0
        if front != self._front[0]:
            self._front = (front, head.number)
            await self._concerned(None)
        due = [b for b in waiting if head.number - self._sent_at.get(b.number, -STUCK_BLOCKS) >= STUCK_BLOCKS]
        if not due:
            return False
        tried = await batches.attempts(self._conn, self.deployment.id, [batch.number for batch in due])
        for batch in due:
            attempt = batches.current(batch, tried[batch.number])
            if batch.number in self._sent_at and self._pays_too_little(attempt, head):
                attempt = await self._offer_more(batch, attempt, head)
            await self._hand_in(attempt, head)
        return True

    def _pays_too_little(self, attempt: Attempt, head: Block) -> bool:
        """Those behind the first in line cannot be mined before it, whatever they pay."""
        front, since = self._front
        return attempt.max_fee < head.base_fee or (attempt.batch == front and head.number - since >= STUCK_BLOCKS)

    async def _offer_more(self, batch: OpenBatch, attempt: Attempt, head: Block) -> Attempt:
        """The same again where the limit has been reached: the base fee may fall."""
        fees = self._offer.more(Fees(attempt.max_fee, attempt.priority_fee), head.base_fee, await self._node.tip())
        if fees is None:
            log.error(
                "fee_limit_reached",
                chain=self._node.name,
                batch=batch.number,
                offered=attempt.max_fee,
                base_fee=head.base_fee,
            )
            await self._concerned(
                f"batch {batch.number} is stuck: it offers {attempt.max_fee / GWEI:.2f} gwei and may not offer more,"
                f" the base fee is {head.base_fee / GWEI:.2f} gwei"
            )
            return attempt
        return await self._sign_again(batch, attempt.nonce, batch.gas_limit, fees)

    async def _hand_in(self, attempt: Attempt, head: Block) -> None:
        try:
            await self._node.send(attempt.raw)
        except NonceUsedError:  # the lookout finds out by what
            log.info("nonce_used", chain=self._node.name, batch=attempt.batch, nonce=attempt.nonce)
        except UnderpricedError as error:
            log.warning("underpriced", chain=self._node.name, batch=attempt.batch, error=str(error))
        except BalanceTooLowError as error:
            raise await self._too_poor(attempt) from error
        self._probe("sent")
        await batches.mark_sent(self._conn, self.deployment.id, attempt)
        self._sent_at[attempt.batch] = head.number

    async def _too_poor(self, attempt: Attempt) -> BalanceTooLowError:
        balance = await self._node.balance(self._signer.address) / ETHER
        return BalanceTooLowError(
            f"{self._signer.address} has {balance:.6f} ether on {self._node.name},"
            f" which does not pay for batch {attempt.batch} at {attempt.max_fee / GWEI:.2f} gwei: send it more"
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
            feed = self.feed = self.feed or await self._begin()
            filled = await feed.next(datetime.now(UTC))
            if filled is None:
                break
            tip = await self._node.tip() if tip is None else tip
            await self._hand_in(await self._store(feed, filled, self._offer.first(head.base_fee, tip)), head)
            flying, done = flying + 1, True
        return done

    async def _begin(self) -> Feed:
        """From what was stored."""
        self.deployment = await deployments.by_id(self._conn, self.deployment.id)
        plan = Plan(self.deployment.chain, self.deployment.event_count)
        await batches.load_plan(self._conn, self.deployment.id, plan)
        return Feed(self._conn, self.deployment.id, plan, self.deployment.planned_position)

    async def _store(self, feed: Feed, filled: Filled, fees: Fees) -> Attempt:
        """Sign a batch and store it with its signed bytes. What fails here leaves a feed that is of no more use."""
        before = self.deployment
        self.feed = None
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
        attempt = self._sign(
            batch.number, nonce, contract.apply_batch(from_seq, to_seq, operations), batch.gas_limit, fees
        )
        await batches.store(self._conn, before.id, batch, attempt, feed.plan, filled.touched)
        self._probe("stored")
        self.deployment = await deployments.by_id(self._conn, before.id)
        self.feed = feed
        return attempt
