"""A reconciliation: asked for once, over once, and ordering something only if it was asked to repair."""

from __future__ import annotations

from uuid import uuid4

import pytest

from domain.reconciliation import (
    Finding,
    FindingKind,
    NotRunningError,
    Reconciliation,
    Repair,
    TokenState,
)
from tests.domain.happening import NOW
from tests.domain.reconciliation_facts import (
    CHAIN,
    COMPLETED,
    CONTRACT,
    CORRECTION,
    FAILED,
    REPAIRING,
    REQUESTED,
    TELL,
    report,
)
from tests.given import folded, given


def test_it_is_asked_for_one_contract() -> None:
    (
        given(Reconciliation)
        .when(lambda it: it.request(chain_id=31_337, contract=CONTRACT, repair=True, by="an admin", at=NOW))
        .then(REPAIRING)
    )


def test_it_is_completed_with_its_report() -> None:
    given(Reconciliation, REQUESTED).when(lambda it: it.complete(report(), at=NOW)).then(COMPLETED)


def test_it_may_fail() -> None:
    given(Reconciliation, REQUESTED).when(lambda it: it.fail("the node does not answer", at=NOW)).then(FAILED)


@pytest.mark.parametrize("end", [COMPLETED, FAILED], ids=["completed", "failed"])
def test_it_ends_once(end: Reconciliation.Completed | Reconciliation.Failed) -> None:
    over = given(Reconciliation, REPAIRING, end)
    over.when(lambda it: it.complete(report(), at=NOW)).then_refused(NotRunningError)
    over.when(lambda it: it.fail("again", at=NOW)).then_refused(NotRunningError)


def test_what_was_never_asked_for_does_not_end() -> None:
    given(Reconciliation).when(lambda it: it.complete(report(), at=NOW)).then_refused(NotRunningError)
    given(Reconciliation).when(lambda it: it.fail("", at=NOW)).then_refused(NotRunningError)


def test_each_repair_is_a_fact_of_its_own() -> None:
    (
        given(Reconciliation, REPAIRING, COMPLETED)
        .when(lambda it: it.correct([Repair(events=(TELL,)), Repair(tokens=(CORRECTION,))], at=NOW))
        .then(
            Reconciliation.Corrected(**CHAIN, corrections=(), events=(TELL,), at=NOW),
            Reconciliation.Corrected(**CHAIN, corrections=(CORRECTION,), at=NOW),
        )
    )


def test_without_findings_nothing_is_ordered() -> None:
    given(Reconciliation, REPAIRING, COMPLETED).when(lambda it: it.correct((), at=NOW)).then_nothing()


@pytest.mark.parametrize(
    "history", [(REQUESTED, COMPLETED), (REPAIRING,), (REPAIRING, FAILED)], ids=["only asked", "running", "failed"]
)
def test_only_a_completed_repair_orders_anything(history: tuple[Reconciliation.Requested, ...]) -> None:
    (
        given(Reconciliation, *history)
        .when(lambda it: it.correct([Repair(tokens=(CORRECTION,))], at=NOW))
        .then_refused(NotRunningError)
    )


def test_its_state_is_what_happened() -> None:
    ordered = Reconciliation.Corrected(**CHAIN, corrections=(CORRECTION,) * 2, events=(TELL,), at=NOW)
    done = folded(Reconciliation, REPAIRING, COMPLETED, ordered)
    assert (done.status, done.corrections, done.report, done.requested_by) == ("completed", 3, report(), "an admin")
    assert folded(Reconciliation, REQUESTED).status == "requested"
    assert folded(Reconciliation, REQUESTED, FAILED).status == "failed"


def test_a_report_is_clean_only_without_anything_unexplained() -> None:
    assert report().clean
    assert not report(unexplained=1).clean
    assert not report(hash_equal=False).clean


def test_a_report_keeps_what_each_side_says() -> None:
    finding = Finding(
        kind=FindingKind.MISMATCHING,
        token_id=(1 << 32) + 4,
        ticket_id=uuid4(),
        ledger=TokenState(issued=True, wallet="0x" + "1a" * 20, version=3, checked_in=True),
        chain=TokenState(issued=True, voided=True),
        reason="owner, version",
        settled=False,
    )
    stored = folded(Reconciliation, REQUESTED, Reconciliation.Completed(report=report(finding, unexplained=1), at=NOW))
    assert stored.report is not None
    assert stored.report.findings == (finding,)
