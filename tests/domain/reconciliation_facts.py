"""What happens to a reconciliation: the facts, and a report, that tests begin with."""

from __future__ import annotations

from uuid import uuid4

from domain.reconciliation import (
    Correction,
    Count,
    EventCorrection,
    EventOrder,
    Finding,
    FindingKind,
    Reconciliation,
    Report,
    TokenState,
)
from tests.domain.happening import NOW

CONTRACT = "0x" + "c0" * 20
CHAIN = {"chain_id": 31_337, "contract": CONTRACT}
CUSTODY = TokenState(issued=True)
CORRECTION = Correction(token_id=1 << 32, ticket_id=uuid4(), chain=CUSTODY, ledger=CUSTODY)
TELL = EventCorrection(order=EventOrder.TELL, number=1)


def report(*findings: Finding, unexplained: int = 0, hash_equal: bool = True) -> Report:
    return Report(
        **CHAIN,
        block_number=7,
        block_hash="0x" + "ab" * 32,
        position=90,
        synced_through=80,
        tickets=3,
        equal=3 - len(findings),
        counts=(Count(of=FindingKind.MISMATCHING, count=len(findings)),),
        skipped=(),
        hash_equal=hash_equal,
        unexplained=unexplained,
        findings=findings,
        seconds=0.1,
    )


REQUESTED = Reconciliation.Requested(**CHAIN, repair=False, by="an auditor", at=NOW)
REPAIRING = Reconciliation.Requested(**CHAIN, repair=True, by="an admin", at=NOW)
COMPLETED = Reconciliation.Completed(report=report(), at=NOW)
FAILED = Reconciliation.Failed(reason="the node does not answer", at=NOW)
