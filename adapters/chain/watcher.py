"""The watcher: what holders do with their tokens on a chain comes back to the ledger.

It follows one contract's logs, block by block near the head and by ranges far behind it, and shows a transfer as
provisional until its block is final; then the ledger hears of it, at least once, in the chain's order. Everything it
needs to go on after a crash is in the database. Exactly one watcher runs for a contract.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from adapters.chain import deployments, transfers
from adapters.chain.deployments import Deployment
from adapters.chain.forks import Forks, Found
from adapters.chain.log_reader import LogReader, Seen
from adapters.chain.lookout import Probe, unheard
from adapters.chain.mirror import FencedError, RetiredError
from adapters.chain.node import FINALIZED, LATEST, Block, ChainError, Node, NodeBehindError
from adapters.chain.transfers import Checkpoint, Due, Place
from domain.kernel import Refusal

FOLLOWED_MAX = 64
"""Blocks followed one by one in a step. Final ones that are further behind are read by ranges."""
SETTLED_MAX = 512
"""Blocks that are read once more in a step, because they are final now."""
HANDED_MAX = 100
"""Transfers in a step that the ledger hears of. After a crash it may hear of so many again."""
FENCE = 0x0C0F_0007
"""Advisory lock on the connection that writes: whoever has lost the lead unawares can write nothing either."""
RECORDED, REFUSED = "recorded", "refused"

log = structlog.get_logger()


class Transfer(NamedTuple):
    """A holder's own transfer that is final. Hashes and addresses are hexadecimal; ``version`` is the token's after it."""

    ticket_id: UUID
    chain_id: int
    contract: str
    token_id: int
    version: int
    from_wallet: str
    to_wallet: str
    block_number: int
    block_hash: str
    transaction_hash: str
    log_index: int


Record = Callable[[Transfer], Awaitable[None]]
"""Tells the ledger, which may have heard of the transfer before. Raises Refusal for one that it does not take; after
anything else the transfer is handed over again, and those after it wait."""


class Watcher:
    """For one deployment. The connection is its own, and commits by itself."""

    def __init__(
        self,
        conn: AsyncConnection,
        node: Node,
        deployment: Deployment,
        record: Record,
        *,
        confirmations: int | None = None,
        probe: Probe = unheard,
    ) -> None:
        """``confirmations`` None: what the chain calls finalized. ``probe`` hears of every step, for those who test it."""
        self.deployment = deployment
        self._conn = conn
        self._node = node
        self._record = record
        self._confirmations = confirmations
        self._probe = probe
        self._reader = LogReader(node, deployment.contract)
        self._forks = Forks(conn, node, deployment)
        self._fenced = False
        self._level_at: bytes | None = None
        """The head at which there was nothing more to do."""

    # -- One round. ------------------------------------------------------------------

    async def step(self) -> bool:
        """Follow the chain a bit further and tell the ledger what has become final. Whether anything was done.

        Raises ChainError for what an operator has to put right; calling it again later goes on.
        """
        await self._fence()
        head = await self._node.block(LATEST)
        if head is None:
            raise ChainError(f"{self._node.name} has no blocks")
        if head.hash == self._level_at:
            return False
        if await deployments.is_retired(self._conn, self.deployment.id):
            raise RetiredError(f"another contract has taken the place of {self.deployment.contract}")
        final = await self._final(head)
        before = await self._checkpoint(final)
        found = await self._forks.look(before, head, final)
        if found is not Found.STANDING:
            return found is Found.TAKEN_BACK
        await self._settle(before, final)
        await self._follow(await self._checkpoint(final), head, final)
        after = await self._checkpoint(final)
        handed = await self._hand_over(through=after.settled.number)
        level = after.last.hash == head.hash and after.settled.number >= final and handed < HANDED_MAX
        self._level_at = head.hash if level else None
        return after != before or handed > 0

    async def _fence(self) -> None:
        if not self._fenced:
            cursor = await self._conn.execute("select pg_try_advisory_lock(%s, %s)", (FENCE, self.deployment.id))
            if await cursor.fetchone() != (True,):
                raise FencedError(f"another watcher follows the contract {self.deployment.contract}")
            self._fenced = True

    async def _final(self, head: Block) -> int:
        if self._confirmations is not None:
            return max(0, head.number - self._confirmations)
        block = await self._node.block(FINALIZED)
        return min(block.number, head.number) if block is not None else 0

    async def _checkpoint(self, final: int) -> Checkpoint:
        found = await transfers.checkpoint(self._conn, self.deployment.id)
        if found is not None:
            return found
        start = await self._forks.start(final)
        await transfers.follow(self._conn, self.deployment.id, start, ())
        return Checkpoint(start, start)

    # -- Following. ------------------------------------------------------------------

    async def _follow(self, at: Checkpoint, head: Block, final: int) -> None:
        if at.settled.number < min(final, at.last.number):
            return  # there is more to settle first, so that the blocks that may go stay without a gap
        if final - at.last.number > FOLLOWED_MAX:
            await self._follow_range(at.last, final)
        else:
            await self._follow_blocks(at.last, head, final)

    async def _follow_range(self, last: Place, final: int) -> None:
        seen, until = await self._reader.of_range(last.number + 1, final)
        end = await self._node.block(until)
        if end is None:
            raise NodeBehindError(f"{self._node.name} does not know block {until}, though {final} is said to be final")
        self._probe("read")
        await transfers.follow(self._conn, self.deployment.id, Place(end.number, end.hash), seen)
        self._probe("followed")

    async def _follow_blocks(self, last: Place, head: Block, final: int) -> None:
        """Each block by its hash, and only those that continue the chain as it was followed."""
        until = min(last.number + FOLLOWED_MAX, head.number)
        for block in await self._node.blocks(range(last.number + 1, until + 1)):
            if block is None or block.parent != last.hash:
                return  # reorganised, or answered by a node that is behind: the next step finds out
            seen = await self._read_block(block)
            if seen is None:
                return
            self._probe("read")
            last = Place(block.number, block.hash)
            unsettled = block if block.number > final else None
            await transfers.follow(self._conn, self.deployment.id, last, seen, unsettled=unsettled)
            self._probe("followed")

    async def _read_block(self, block: Block) -> list[Seen] | None:
        """None: look again. That a node refuses to speak of a block that has just gone is no error."""
        try:
            return await self._reader.of_block(block)
        except ChainError:
            if await self._forks.stands(Place(block.number, block.hash)):
                raise
            return None

    # -- Settling. -------------------------------------------------------------------

    async def _settle(self, at: Checkpoint, final: int) -> None:
        """Read blocks a second time once they are final: what a node left out near the head, it has by then."""
        through = min(final, at.last.number)
        if through <= at.settled.number:
            return
        blocks = await transfers.unsettled(self._conn, self.deployment.id, through=through, limit=SETTLED_MAX)
        seen, until = await self._reader.of_range(blocks[0].number, blocks[-1].number)
        followed = dict(blocks)
        if any(transfer.block_hash != followed[transfer.block_number] for transfer in seen):
            raise ChainError(f"{self._node.name} gives final logs of blocks that are not part of its chain")
        late = await transfers.settle(self._conn, self.deployment.id, until, seen)
        if late:
            log.warning("transfers_left_out_at_first", chain=self._node.name, transfers=late, through=until)
        self._probe("settled")

    # -- Handing over. ---------------------------------------------------------------

    async def _hand_over(self, *, through: int) -> int:
        """How many transfers were handed over. Those that the ledger has no place for are marked, and hold up none."""
        due = await transfers.due(self._conn, self.deployment.id, through=through, limit=HANDED_MAX)
        outcomes: dict[str, list[Due]] = {RECORDED: [], REFUSED: []}
        for transfer in due:
            outcomes[await self._hand(transfer)].append(transfer)
        for state, those in outcomes.items():
            await transfers.mark(self._conn, self.deployment.id, those, state)
        return len(due)

    async def _hand(self, due: Due) -> str:
        told = {"chain": self._node.name, "token": due.token, "transaction": due.transaction.hex()}
        if due.ticket_id is None:
            log.error("transfer_of_unknown_token", **told)
            return REFUSED
        try:
            await self._record(self._transfer(due, due.ticket_id))
        except Refusal as refusal:
            log.error("transfer_refused", ticket=str(due.ticket_id), why=refusal.detail, **told)  # noqa: TRY400 - a decision
            return REFUSED
        self._probe("recorded")
        return RECORDED

    def _transfer(self, due: Due, ticket_id: UUID) -> Transfer:
        return Transfer(
            ticket_id=ticket_id,
            chain_id=self.deployment.chain_id,
            contract=self.deployment.contract,
            token_id=due.token,
            version=due.version,
            from_wallet=due.from_wallet,
            to_wallet=due.to_wallet,
            block_number=due.block_number,
            block_hash="0x" + due.block_hash.hex(),
            transaction_hash="0x" + due.transaction.hex(),
            log_index=due.log_index,
        )
