"""Holding ledger and chain side by side: asked for by people, carried out by the mirror's worker."""

from __future__ import annotations

from uuid import UUID

from commands.kernel import Clock, Command, Ledger
from domain.kernel import new_id
from domain.reconciliation import Reconciliation, Repair, Report
from domain.wallet import Address


class RequestReconciliation(Command):
    chain_id: int
    contract: Address
    repair: bool
    by: str
    """Who asks: a user's id, or the operator."""


class CompleteReconciliation(Command):
    reconciliation_id: UUID
    report: Report
    repairs: tuple[Repair, ...] = ()
    """What the mirror is ordered to bring in line, if a repair was asked for."""


class FailReconciliation(Command):
    reconciliation_id: UUID
    reason: str


async def request_reconciliation(command: RequestReconciliation, *, ledger: Ledger, clock: Clock) -> Reconciliation:
    reconciliation = Reconciliation(id=new_id())
    reconciliation.request(
        chain_id=command.chain_id, contract=command.contract, repair=command.repair, by=command.by, at=clock()
    )
    return await ledger.append(reconciliation)


async def complete_reconciliation(command: CompleteReconciliation, *, ledger: Ledger, clock: Clock) -> Reconciliation:
    """The report and, with it, what it orders: both are in the ledger, or neither is."""
    now = clock()
    reconciliation = await ledger.load(Reconciliation, command.reconciliation_id)
    reconciliation.complete(command.report, at=now)
    if reconciliation.repair:
        reconciliation.correct(command.repairs, at=now)
    return await ledger.append(reconciliation)


async def fail_reconciliation(command: FailReconciliation, *, ledger: Ledger, clock: Clock) -> Reconciliation:
    reconciliation = await ledger.load(Reconciliation, command.reconciliation_id)
    reconciliation.fail(command.reason, at=clock())
    return await ledger.append(reconciliation)
