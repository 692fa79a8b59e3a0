"""Ledger and chain put out of step on purpose, and brought together again as the worker does it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from adapters.chain import contract, deployments
from adapters.chain.mending import adopt, replan
from adapters.chain.reconciler import Reconciled, reconcile
from adapters.chain.signer import GWEI, Fees
from commands.kernel import Ledger
from commands.reconciliation import (
    CompleteReconciliation,
    RequestReconciliation,
    complete_reconciliation,
    request_reconciliation,
)
from commands.ticket import RecordChainTransfer, record_chain_transfer
from domain.reconciliation import Report
from domain.resale import ResaleRules
from projections.chain_repairs import repairs
from tests.chain.parts import METADATA, NOW, Stand, delivered

GAS = 8_000_000
FEES = Fees(20 * GWEI, GWEI)
MINED_SECONDS_MAX = 30.0


async def nothing() -> None:
    """Happens."""


@dataclass
class Bench:
    """A stand whose both sides are compared and repaired."""

    stand: Stand

    async def rogue(self, operations: bytes, *, seqs: int = 1) -> None:
        """A batch that did not come from the ledger, signed with the syncer's key, moving the cursor by so many."""
        stand = self.stand
        cursor = contract.number_in(await stand.node.call(stand.deployment.contract, contract.SYNCED_THROUGH))
        data = contract.apply_batch(cursor + 1, cursor + seqs, operations)
        nonce = await stand.node.nonce(stand.signer.address)
        transaction, raw = stand.signer.sign(
            chain_id=stand.deployment.chain_id,
            nonce=nonce,
            to=stand.deployment.contract,
            data=data,
            gas=GAS,
            fees=FEES,
        )
        await stand.node.send(raw)
        async with asyncio.timeout(MINED_SECONDS_MAX):
            while (receipt := (await stand.node.receipts([transaction]))[0]) is None:  # noqa: ASYNC110 - a node has no signal
                await asyncio.sleep(0.01)
        assert receipt.succeeded

    async def compare(self) -> Reconciled:
        stand = self.stand
        stand.deployment = await deployments.by_id(stand.conn, stand.deployment.id)
        return await reconcile(stand.conn, stand.node, stand.deployment, confirmations=stand.confirmations)

    async def report(self) -> Report:
        return (await self.compare()).report

    async def repair(self, *, meanwhile: Callable[[], Awaitable[None]] = nothing, level: bool = True) -> Report:
        """What was found. Afterwards it has been mended, as far as one reconciliation can."""
        stand = self.stand
        found = await self.compare()
        await meanwhile()
        await replan(stand.conn, stand.deployment)
        await adopt(stand.conn, stand.node, stand.deployment, confirmations=stand.confirmations)
        for transfer in found.transfers:
            ticket = await record_chain_transfer(
                RecordChainTransfer(**transfer._asdict()), ledger=self._ledger(), clock=lambda: NOW
            )
            stand.box.versions[ticket.id] = ticket.version
        await self._order(found.report)
        if level:
            await stand.level()
        return found.report

    async def _order(self, report: Report) -> None:
        deployment = self.stand.deployment
        asked = await request_reconciliation(
            RequestReconciliation(
                chain_id=deployment.chain_id, contract=deployment.contract, repair=True, by="operator"
            ),
            ledger=self._ledger(),
            clock=lambda: NOW,
        )
        await complete_reconciliation(
            CompleteReconciliation(reconciliation_id=asked.id, report=report, repairs=repairs(report)),
            ledger=self._ledger(),
            clock=lambda: NOW,
        )

    def _ledger(self) -> Ledger:
        return Ledger(self.stand.box.ledger, METADATA)

    async def clean(self, *, strangers: bool = False) -> Report:
        """Both sides say the same, the stored plan does too, and nothing needs an explanation.

        ``strangers``: the contract has events that are none of ours, whose tokens no plan names.
        """
        report = await self.report()
        assert report.clean, report
        assert report.equal == report.tickets, report
        assert report.findings == ()
        assert report.event_findings == ()
        if not strangers:
            await self.stand.agree()
        return report

    async def tamper(self, statement: str, *parameters: object) -> None:
        """Change what the mirror has written down."""
        cursor = await self.stand.conn.execute(statement.encode(), parameters)
        assert cursor.rowcount > 0

    async def token(self, ticket: UUID) -> int:
        cursor = await self.stand.conn.execute(
            "select token from chain.tokens where deployment = %s and ticket_id = %s",
            (self.stand.deployment.id, ticket),
        )
        row = await cursor.fetchone()
        assert row is not None
        token: int = row[0]
        return token


def counts(report: Report) -> dict[str, int]:
    """Tickets by kind of finding, without those of which there are none."""
    return {str(count.of): count.count for count in report.counts if count.count}


def event_counts(report: Report) -> dict[str, int]:
    return {str(count.of): count.count for count in report.event_counts if count.count}


def skipped(report: Report) -> dict[str, int]:
    return {count.of: count.count for count in report.skipped}


# -- Scenes. -------------------------------------------------------------------------


class Town(NamedTuple):
    """One event with a ticket in custody, one in a wallet, one checked in and one void, on both sides."""

    event: UUID
    free: UUID
    owned: UUID
    used: UUID
    void: UUID


async def town(bench: Bench, rules: ResaleRules | None = None) -> Town:
    box = bench.stand.box
    event = await box.event(rules=rules)
    free, owned, used, void = await box.sell(event, 4)
    await box.tell((owned, delivered(1)), (used, box.checked_in(event)), (void, box.cancelled(event)))
    await bench.stand.level()
    return Town(event, free, owned, used, void)


async def lose(bench: Bench) -> None:
    """As if the mirror had read the ledger to its end and forgotten what it has read."""
    await bench.tamper("update chain.deployments set planned_position = (select position from ledger.head)")
