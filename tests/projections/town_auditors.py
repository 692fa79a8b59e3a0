"""What auditors at random do: they have ledger and chain compared, which finds something, nothing, or no chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.reconciliation import Reconciliation, Report
from tests.projections.town_wallets import ADDRESSES

if TYPE_CHECKING:
    from tests.projections.town import Town

CHAIN_ID, CONTRACT = 31337, ADDRESSES[0]


def request_reconciliation(town: Town) -> None:
    reconciliation = Reconciliation(id=town.new_id())
    repair, by = town.random.random() < 0.5, str(town.random.choice(town.people))
    reconciliation.request(chain_id=CHAIN_ID, contract=CONTRACT, repair=repair, by=by, at=town.now())
    town.saved(reconciliation)
    town.reconciliations.append(reconciliation)


def reconcile(town: Town) -> None:
    """The oldest that waits."""
    reconciliation = next(each for each in town.reconciliations if each.status == "requested")
    if town.random.random() < 0.3:
        reconciliation.fail("the chain does not answer", at=town.now())
    else:
        reconciliation.complete(_report(town), at=town.now())
    town.saved(reconciliation)


def _report(town: Town) -> Report:
    return Report(
        chain_id=CHAIN_ID,
        contract=CONTRACT,
        block_number=1,
        block_hash=f"0x{1:064x}",
        position=town.position,
        synced_through=town.position,
        tickets=len(town.tickets),
        equal=len(town.tickets),
        counts=(),
        skipped=(),
        hash_equal=True,
        unexplained=town.random.randrange(2),
        findings=(),
        seconds=0.1,
    )
