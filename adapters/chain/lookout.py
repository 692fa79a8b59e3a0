"""What the chain has made of the batches: which are mined, which are final, which have gone again.

A block is known by its hash. What was seen in a block that is no longer part of the chain is on its way again, even when
the chain had called it final.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from psycopg import AsyncConnection

from adapters.chain import batches, contract, deployments
from adapters.chain.batches import Attempt, OpenBatch
from adapters.chain.deployments import Deployment
from adapters.chain.node import (
    FINALIZED,
    LATEST,
    Block,
    ChainError,
    Node,
    NodeBehindError,
    Receipt,
    WrongChainError,
)

UNSEEN_LOOKS_MAX = 3
"""Looks after which it is believed that a nonce was used by another transaction, or that one before it is missing: nodes
behind one address do not all know the same at the same time."""
FINAL_CHECK_EVERY = 32
"""Looks after which what was final is held against the chain again, although the cursor shows nothing."""
PAIRS_MAX = 3

log = structlog.get_logger()

Probe = Callable[[str], None]
"""Hears of every step: `planned`, `stored`, `sent`, `seen`. For those who want to know what happens in between."""


def unheard(_step: str) -> None:
    """Nobody listens."""


class DivergedError(ChainError):
    """The contract has been told things that did not come from here. Only a reconciliation with repair goes on from there."""


class PausedError(ChainError):
    """The contract's pauser has stopped it."""


class ReceiptsMissingError(ChainError):
    """The node has applied a batch and does not say in which block."""


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
        self._odd: dict[int, int] = {}
        """Batch → how many looks in a row its nonce did not fit."""
        self._lost: set[int] = set()
        self._open: list[OpenBatch] = []

    async def look(self, head: Block) -> set[int]:
        """Bring what is stored in line with the chain. Answers with the batches that have to be sent again."""
        self._looks += 1
        self._open = await self._reload()
        last = await batches.last_finalized(self._conn, self._deployment.id)
        self._refuse_when_behind(head, last)
        finalized = await self._finalized(head)
        cursor = await self._cursor()
        await self._find_gone(finalized, shrunk=last is not None and cursor < last.to_seq)
        await self._find_mined()
        await self._finalize(finalized)
        await self._observe(head, finalized, cursor)
        await self._hold_against_contract()
        lost, self._lost = self._lost, set()
        return lost

    async def next_nonce(self, open_batches: Sequence[OpenBatch]) -> int:
        """After those on their way, and without any after those that were mined. Never what a node calls pending."""
        flying = [b.nonce for b in open_batches if b.state in ("signed", "sent") and b.nonce is not None]
        return max(flying) + 1 if flying else await self._unused(open_batches)

    async def _unused(self, open_batches: Sequence[OpenBatch]) -> int:
        """The least that is not used, as the node says; a node that lags behind does not say what we saw mined."""
        last = await batches.last_finalized(self._conn, self._deployment.id)
        seen = [b for b in open_batches if b.state == "mined"] + ([last] if last is not None else [])
        mined = [batch.nonce + 1 for batch in seen if batch.nonce is not None]
        return max(await self._node.nonce(self._deployment.syncer), *mined, 0)

    # -- Before anything is believed. --------------------------------------------------

    async def _finalized(self, head: Block) -> int:
        if self._confirmations is not None:
            return max(0, head.number - self._confirmations)
        block = await self._node.block(FINALIZED)
        return block.number if block is not None else 0

    def _refuse_when_behind(self, head: Block, last: OpenBatch | None) -> None:
        known = max(self._deployment.deployed_block, (last.block_number or 0) if last is not None else 0)
        if head.number < known:
            raise NodeBehindError(f"{self._node.name} is at block {head.number}; block {known} is known to be final")

    async def _cursor(self) -> int:
        return contract.number_in(await self._ask(contract.SYNCED_THROUGH))

    async def _ask(self, question: bytes) -> bytes:
        """Of the contract, as it is now: some nodes keep no earlier state.

        Where there is no contract every call succeeds, and answers nothing.
        """
        answer = await self._node.call(self._deployment.contract, question, LATEST)
        if len(answer) < contract.WORD:
            raise WrongChainError(
                f"there is no contract at {self._deployment.contract} on {self._node.name} any more:"
                " the chain has lost it, or it is another chain"
            )
        return answer

    # -- What has gone. ----------------------------------------------------------------

    async def _find_gone(self, finalized: int, *, shrunk: bool) -> None:
        """Batches whose block is no longer part of the chain are on their way again."""
        mined = [batch for batch in self._open if batch.state == "mined"]
        latest = max(mined, key=lambda batch: batch.block_number or 0, default=None)
        reorganised = latest is not None and not await self._stand([latest])
        if reorganised:
            await self._take_back(await self._fallen(mined), "reorganised")
        if shrunk or reorganised or self._looks % FINAL_CHECK_EVERY == 0:
            await self._check_final(finalized)

    async def _check_final(self, finalized: int) -> None:
        """What was final should stay. If the chain has taken it back all the same, so do we, and say so loudly."""
        last = await batches.last_finalized(self._conn, self._deployment.id)
        gone: list[OpenBatch] = []
        while last is not None and not await self._stand([last]):
            gone.append(last)
            last = await batches.last_finalized(self._conn, self._deployment.id, before=last.number)
        if gone:
            log.error("finality_violated", chain=self._node.name, batches=len(gone), finalized=finalized)
            await self._take_back(gone, "finality_violated")

    async def _stand(self, those: Sequence[OpenBatch]) -> bool:
        return not await self._fallen(those)

    async def _fallen(self, those: Sequence[OpenBatch]) -> list[OpenBatch]:
        """Those that were seen in a block that is not part of the chain."""
        blocks = await self._node.blocks([batch.block_number or 0 for batch in those])
        return [
            batch for batch, block in zip(those, blocks, strict=True) if block is None or block.hash != batch.block_hash
        ]

    async def _take_back(self, gone: Sequence[OpenBatch], why: str) -> None:
        numbers = [batch.number for batch in gone]
        log.warning("batches_taken_back", chain=self._node.name, batches=numbers, why=why)
        await batches.mark_gone(self._conn, self._deployment.id, numbers)
        self._lost.update(numbers)
        self._open = await self._reload()

    # -- What has come. ----------------------------------------------------------------

    async def _find_mined(self) -> None:
        waiting = [batch for batch in self._open if batch.state in ("signed", "sent")]
        if not waiting:
            self._odd.clear()
            return
        tried = await batches.attempts(self._conn, self._deployment.id, [batch.number for batch in waiting])
        receipts = await self._receipts([attempt for batch in waiting for attempt in tried[batch.number]])
        unmined: list[OpenBatch] = []
        undone = [batch.number for batch in self._open if batch.state == "built"]
        for batch in waiting:
            found = [(a, receipts[a.transaction]) for a in tried[batch.number] if a.transaction in receipts]
            succeeded = next((receipt for _, receipt in found if receipt.succeeded), None)
            refused = next((receipt for attempt, receipt in found if attempt.nonce == batch.nonce), None)
            if succeeded is not None:
                await self._mined(batch, succeeded)
                continue
            if refused is not None:
                await self._refused(batch, refused, in_turn=min(undone, default=batch.number) >= batch.number)
            else:
                unmined.append(batch)
            undone.append(batch.number)
        self._open = await self._reload()
        await self._find_odd_nonces(unmined)

    async def _receipts(self, attempts: Sequence[Attempt]) -> dict[bytes, Receipt]:
        transactions = [attempt.transaction for attempt in attempts]
        found = await self._node.receipts(transactions)
        return {transaction: receipt for transaction, receipt in zip(transactions, found, strict=True) if receipt}

    async def _mined(self, batch: OpenBatch, receipt: Receipt) -> None:
        """A transaction to an address without a contract succeeds as well: only the contract's own word counts."""
        applied = [contract.applied_in(log) for log in receipt.logs if log.topics[:1] == (contract.BATCH_APPLIED,)]
        if (batch.from_seq, batch.to_seq, batch.running_hash) not in applied:
            raise WrongChainError(
                f"{self._node.name} has mined batch {batch.number}, and the contract {self._deployment.contract} has not"
                " applied it as it is stored here: it is another chain, or another contract"
            )
        self._probe("seen")
        skipped = contract.skipped_in([log for log in receipt.logs if log.topics])
        await batches.mark_mined(self._conn, self._deployment.id, batch.number, receipt, skipped)

    async def _refused(self, batch: OpenBatch, receipt: Receipt, *, in_turn: bool) -> None:
        """Its nonce is used and nothing has happened: a pause, a role that was taken away, too little gas.

        When it was not its turn, the contract only waits for one before it.
        """
        log.warning("batch_refused", chain=self._node.name, batch=batch.number, gas_used=receipt.gas_used)
        if in_turn:
            await batches.mark_refused(self._conn, self._deployment.id, receipt.transaction)
        await batches.mark_gone(self._conn, self._deployment.id, [batch.number], state="built")

    async def _find_odd_nonces(self, unmined: Sequence[OpenBatch]) -> None:
        """Nonces that were used without any receipt of ours, and nonces that wait for one before them that nobody sent.

        The first happens when something else was sent with our key, the second when that was reorganised away again.
        """
        unused = await self._unused(self._open) if unmined else 0
        odd = [batch for batch in unmined if (batch.nonce or 0) < unused]
        gap = bool(unmined) and (unmined[0].nonce or 0) > unused
        self._odd = {batch.number: self._odd.get(batch.number, 0) + 1 for batch in (unmined if gap else odd)}
        certain = [batch for batch in unmined if self._odd.get(batch.number, 0) >= UNSEEN_LOOKS_MAX]
        if not certain:
            return
        if not gap and await self._cursor() >= certain[0].from_seq:
            raise ReceiptsMissingError(
                f"{self._node.name} has applied batch {certain[0].number} and gives no receipt for it"
            )
        event = "nonce_missing" if gap else "nonce_used_by_another"
        log.warning(event, chain=self._node.name, batch=certain[0].number, nonce=certain[0].nonce, unused=unused)
        await batches.mark_gone(self._conn, self._deployment.id, [b.number for b in certain], state="built")

    async def _finalize(self, finalized: int) -> None:
        self._open = await self._reload()
        due = [
            b for b in self._open if b.state == "mined" and b.block_number is not None and b.block_number <= finalized
        ]
        if not due:
            return
        fallen = await self._fallen(due)
        standing = [batch.number for batch in due if batch not in fallen]
        await batches.mark_finalized(self._conn, self._deployment.id, standing)
        if fallen:
            await self._take_back(fallen, "reorganised")

    # -- What the contract says. -------------------------------------------------------

    async def _observe(self, head: Block, finalized: int, cursor: int) -> None:
        balance = await self._node.balance(self._deployment.syncer)
        await deployments.observe(
            self._conn, self._deployment.id, head=head.number, finalized=finalized, cursor=cursor, balance=balance
        )

    async def _hold_against_contract(self) -> None:
        """The contract's cursor and hash must be those of one of our batches."""
        address = self._deployment.contract
        if not await self._is_ours():
            raise DivergedError(
                f"the contract {address} has been told something up to {await self._cursor()} that did not come from this"
                " ledger: `counterfoil reconcile --repair` goes on from there"
            )
        if contract.number_in(await self._ask(contract.PAUSED)):
            raise PausedError(f"the contract {address} on {self._node.name} is paused: its admin has to unpause it")

    async def _is_ours(self) -> bool:
        """Asked more than once: a block may come between the two answers."""
        for _ in range(PAIRS_MAX):
            cursor, found = await self._cursor(), await self._ask(contract.RUNNING_HASH)
            if await batches.is_ours(self._conn, self._deployment.id, cursor, found):
                return True
        return False

    async def _reload(self) -> list[OpenBatch]:
        return await batches.open_batches(self._conn, self._deployment.id)
