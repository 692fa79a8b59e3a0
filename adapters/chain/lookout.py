"""What the chain has made of the batches: which are mined, which are final, which have gone again.

A block is known by its hash. What was seen in a block that is no longer part of the chain is on its way again, even when
the chain had called it final.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from psycopg import AsyncConnection

from adapters.chain import batches, contract, deployments
from adapters.chain.batches import OpenBatch
from adapters.chain.deployments import Deployment
from adapters.chain.node import FINALIZED, LATEST, Block, ChainError, Node, NodeBehindError, Receipt

UNSEEN_LOOKS_MAX = 3
"""Looks at new blocks after which a transaction whose nonce is used and that has no receipt is taken for replaced."""
FINAL_CHECK_EVERY = 32
"""Looks after which what was final is held against the chain again."""

log = structlog.get_logger()

Probe = Callable[[str], None]
"""Hears of every step: `planned`, `stored`, `sent`, `seen`. For those who want to know what happens in between."""


def unheard(_step: str) -> None:
    """Nobody listens."""


class DivergedError(ChainError):
    """The contract has been told things that did not come from here. Only a reconciliation with repair goes on from there."""


class PausedError(ChainError):
    """The contract's pauser has stopped it."""


class Lookout:
    """For one deployment."""

    def __init__(
        self, conn: AsyncConnection, node: Node, deployment: Deployment, confirmations: int | None, probe: Probe
    ) -> None:
        self._conn = conn
        self._node = node
        self._deployment = deployment
        self._confirmations = confirmations
        self._probe = probe
        self._looks = 0
        self._unseen: dict[int, int] = {}
        """Batch → how often its nonce was found used without a receipt."""
        self._lost: set[int] = set()
        self._open: list[OpenBatch] = []

    async def look(self, head: Block) -> set[int]:
        """Bring what is stored in line with the chain. Answers with the batches that have to be sent again."""
        self._lost = set()
        self._open = await self._reload()
        finalized = await self._finalized(head)
        self._looks += 1
        await self._refuse_when_behind(head)
        await self._find_gone(finalized)
        await self._find_mined()
        await self._finalize(finalized)
        await self._hold_against_cursor(head, finalized)
        return self._lost

    async def _finalized(self, head: Block) -> int:
        if self._confirmations is not None:
            return max(0, head.number - self._confirmations)
        block = await self._node.block(FINALIZED)
        return block.number if block is not None else 0

    async def _refuse_when_behind(self, head: Block) -> None:
        last = await batches.last_finalized(self._conn, self._deployment.id)
        if last is not None and last.block_number is not None and head.number < last.block_number:
            raise NodeBehindError(
                f"{self._node.name} is at block {head.number}; block {last.block_number} is known to be final"
            )

    async def _find_gone(self, finalized: int) -> None:
        """Batches whose block is no longer part of the chain are on their way again."""
        mined = [batch for batch in self._open if batch.state == "mined"]
        latest = max(mined, key=lambda batch: batch.block_number or 0, default=None)
        reorganised = latest is not None and not await self._stands([latest])
        if reorganised:
            await self._take_back([batch for batch in mined if not await self._stands([batch])], "reorganised")
        if reorganised or self._looks % FINAL_CHECK_EVERY == 1:
            await self._check_final(finalized)

    async def _check_final(self, finalized: int) -> None:
        """What was final should stay. If the chain has taken it back all the same, so do we, and say so loudly."""
        last = await batches.last_finalized(self._conn, self._deployment.id)
        gone: list[OpenBatch] = []
        while last is not None and not await self._stands([last]):
            gone.append(last)
            last = await batches.last_finalized(self._conn, self._deployment.id, before=last.number)
        if gone:
            log.error("finality_violated", chain=self._node.name, batches=len(gone), finalized=finalized)
            await self._take_back(gone, "finality_violated")

    async def _stands(self, those: Sequence[OpenBatch]) -> bool:
        """Whether the blocks in which they were seen are part of the chain."""
        blocks = await self._node.blocks([batch.block_number or 0 for batch in those])
        return all(
            block is not None and block.hash == batch.block_hash for block, batch in zip(blocks, those, strict=True)
        )

    async def _take_back(self, gone: Sequence[OpenBatch], why: str) -> None:
        numbers = [batch.number for batch in gone]
        log.warning("batches_taken_back", chain=self._node.name, batches=numbers, why=why)
        await batches.mark_gone(self._conn, self._deployment.id, numbers)
        self._lost.update(numbers)
        self._open = await self._reload()

    async def _find_mined(self) -> None:
        waiting = [batch for batch in self._open if batch.state in ("signed", "sent")]
        if not waiting:
            return
        tried = await batches.attempts(self._conn, self._deployment.id, [batch.number for batch in waiting])
        flat = [attempt for batch in waiting for attempt in tried[batch.number]]
        receipts = dict(
            zip(
                (attempt.transaction for attempt in flat),
                await self._node.receipts([attempt.transaction for attempt in flat]),
                strict=True,
            )
        )
        unmined: list[OpenBatch] = []
        for batch in waiting:
            found = [receipt for attempt in tried[batch.number] if (receipt := receipts[attempt.transaction])]
            if any(receipt.succeeded for receipt in found):
                await self._mined(batch, next(receipt for receipt in found if receipt.succeeded))
            elif any(receipts[a.transaction] for a in tried[batch.number] if a.nonce == batch.nonce):
                await self._refused(batch, found[-1])
            else:
                unmined.append(batch)
        await self._find_replaced(unmined)

    async def _mined(self, batch: OpenBatch, receipt: Receipt) -> None:
        self._probe("seen")
        ours = [log for log in receipt.logs if log.topics]
        await batches.mark_mined(self._conn, self._deployment.id, batch.number, receipt, contract.skipped_in(ours))
        self._unseen.pop(batch.number, None)

    async def _refused(self, batch: OpenBatch, receipt: Receipt) -> None:
        """Its nonce is used and nothing has happened: a pause, too little gas, or a batch before it that was refused."""
        log.warning("batch_refused", chain=self._node.name, batch=batch.number, gas_used=receipt.gas_used)
        await batches.mark_gone(self._conn, self._deployment.id, [batch.number], state="built")

    async def _find_replaced(self, unmined: Sequence[OpenBatch]) -> None:
        """A nonce that is used without any receipt of ours: something else was sent with our key, or a node hides it."""
        if not unmined or all(batch.nonce is None for batch in unmined):
            return
        used = await self._node.nonce(self._deployment.syncer)
        replaced = [batch for batch in unmined if batch.nonce is not None and batch.nonce < used]
        for batch in replaced:
            self._unseen[batch.number] = self._unseen.get(batch.number, 0) + 1
        certain = [batch for batch in replaced if self._unseen[batch.number] >= UNSEEN_LOOKS_MAX]
        if not certain:
            return
        cursor = await self._cursor()
        if cursor < certain[0].from_seq:
            log.warning("nonce_used_by_another", chain=self._node.name, batch=certain[0].number, nonce=certain[0].nonce)
            later = [batch.number for batch in unmined if batch.number >= certain[0].number]
            await batches.mark_gone(self._conn, self._deployment.id, later, state="built")

    async def _finalize(self, finalized: int) -> None:
        self._open = await self._reload()
        due = [
            b for b in self._open if b.state == "mined" and b.block_number is not None and b.block_number <= finalized
        ]
        standing = [batch for batch in due if await self._stands([batch])]
        await batches.mark_finalized(self._conn, self._deployment.id, [batch.number for batch in standing])
        if len(standing) < len(due):
            await self._take_back([batch for batch in due if batch not in standing], "reorganised")

    async def _hold_against_cursor(self, head: Block, finalized: int) -> None:
        """The contract's cursor and hash must be those of one of our batches."""
        address = self._deployment.contract
        cursor = await self._cursor(head.number)
        found = await self._node.call(address, contract.RUNNING_HASH, head.number)
        balance = await self._node.balance(self._deployment.syncer)
        await deployments.observe(
            self._conn, self._deployment.id, head=head.number, finalized=finalized, cursor=cursor, balance=balance
        )
        if not await batches.is_ours(self._conn, self._deployment.id, cursor, found):
            raise DivergedError(
                f"the contract {address} has been told something up to {cursor} that did not come from this ledger:"
                " `counterfoil reconcile --repair` goes on from there"
            )
        if contract.number_in(await self._node.call(address, contract.PAUSED, head.number)):
            raise PausedError(f"the contract {address} is paused")

    async def _cursor(self, block: int | str = LATEST) -> int:
        answer = await self._node.call(self._deployment.contract, contract.SYNCED_THROUGH, block)
        return contract.number_in(answer)

    async def _reload(self) -> list[OpenBatch]:
        return await batches.open_batches(self._conn, self._deployment.id)
