"""What a reconciliation orders, and what such an order means for the contract."""

from __future__ import annotations

from copy import deepcopy
from uuid import uuid4

import pytest

from adapters.chain.gas import Meter
from adapters.chain.packing import GAS_MAX
from domain.event import Event
from domain.reconciliation import (
    CORRECTIONS_MAX,
    ISSUES_MAX,
    Correction,
    EventCorrection,
    EventFinding,
    EventOrder,
    EventRules,
    Finding,
    FindingKind,
    TokenState,
)
from domain.resale import ResaleRules
from projections.chain_book import PlannedToken
from projections.chain_operations import (
    CANCELLED,
    DIRECT_TRANSFERS,
    NO_PRICE_CAP,
    CheckIn,
    Configure,
    Issue,
    Move,
    Operation,
    UndoCheckIn,
    Unvoid,
    Void,
)
from projections.chain_repairs import NO_END, repairs
from tests.chain.parts import NOW, delivered, wallet
from tests.domain.reconciliation_facts import report
from tests.projections.chain_story import CALLED_OFF, ELSEWHERE, ENDS_AT, FIRST, Story, cancelled, checked_in


@pytest.fixture
def story() -> Story:
    return Story()


# -- Repairs of tokens. ----------------------------------------------------------------

THIEF = wallet(66)
STOLEN = TokenState(issued=True, wallet=THIEF, version=4)


def test_a_token_goes_back_to_whom_the_ledger_says(story: Story) -> None:
    event = story.event()
    ticket = story.ticket(event)
    story.tell(ticket, delivered(1))
    assert story.correct(story.seen(ticket, STOLEN)) == [Move(FIRST, 4, wallet(1))]
    assert story.plan.tokens[ticket] == PlannedToken(FIRST, ticket, wallet(1), 5)


@pytest.mark.parametrize(
    ("history", "chain", "operations"),
    [
        ("", TokenState(issued=True, version=3), []),
        ("", STOLEN, [Move(FIRST, 4, None)]),
        ("", TokenState(issued=True, checked_in=True), [UndoCheckIn(FIRST)]),
        ("", TokenState(issued=True, voided=True), [Unvoid(FIRST)]),
        ("", STOLEN.model_copy(update={"voided": True}), [Unvoid(FIRST), Move(FIRST, 4, None)]),
        ("used", TokenState(issued=True), [CheckIn(FIRST, in_custody=False)]),
        ("used", TokenState(issued=True, voided=True), [Unvoid(FIRST), CheckIn(FIRST, in_custody=False)]),
        ("void", TokenState(issued=True), [Void(FIRST, in_custody=False)]),
        ("void", TokenState(issued=True, checked_in=True), [UndoCheckIn(FIRST), Void(FIRST, in_custody=False)]),
        (
            "void",
            STOLEN.model_copy(update={"voided": True}),
            [Unvoid(FIRST), Move(FIRST, 4, None), Void(FIRST, in_custody=False)],
        ),
        ("void", TokenState(issued=False), [Void(FIRST, in_custody=False)]),
    ],
)
def test_a_token_is_brought_to_what_the_ledger_says(
    story: Story, history: str, chain: TokenState, operations: list[Operation]
) -> None:
    event = story.event()
    ticket = story.ticket(event)
    if history:
        story.tell(ticket, checked_in(event) if history == "used" else cancelled(event))
    assert story.correct(story.seen(ticket, chain)) == operations
    token = story.plan.tokens[ticket]
    assert (token.wallet, token.checked_in, token.voided) == (None, history == "used", history == "void")
    assert token.version == chain.version + any(isinstance(operation, Move) for operation in operations)


def test_a_repair_is_for_one_contract(story: Story) -> None:
    ticket = story.ticket(story.event())
    before = deepcopy(story.plan.tokens)
    assert story.correct(story.seen(ticket, STOLEN), chain=ELSEWHERE) == []
    assert story.plan.tokens == before


def test_a_repair_that_the_ledger_has_overtaken_does_nothing(story: Story) -> None:
    ticket = story.ticket(story.event())
    late = story.seen(ticket, STOLEN)
    story.tell(ticket, delivered(1))
    before = deepcopy(story.plan.tokens)
    assert story.correct(late) == []
    assert story.correct(late.model_copy(update={"token_id": FIRST + 9})) == []
    assert story.correct(late.model_copy(update={"ticket_id": uuid4()})) == []
    assert story.plan.tokens == before


def test_in_a_cancelled_event_nothing_is_done_that_its_flag_does(story: Story) -> None:
    event = story.event()
    ticket = story.ticket(event)
    story.tell(event, CALLED_OFF)
    assert story.correct(story.seen(ticket, TokenState(issued=True, version=2, voided=True))) == []
    stolen = STOLEN.model_copy(update={"voided": True})
    assert story.correct(story.seen(ticket, stolen)) == [Unvoid(FIRST), Move(FIRST, 4, None)]


def test_a_token_that_was_never_issued_is_disowned(story: Story) -> None:
    event = story.event()
    story.ticket(event)
    orphan = Correction(token_id=FIRST + 3, ticket_id=None, chain=STOLEN.model_copy(update={"checked_in": True}))
    assert story.correct(orphan) == [UndoCheckIn(FIRST + 3), Void(FIRST + 3, in_custody=False)]
    assert story.plan.disowned[FIRST + 3] == PlannedToken(FIRST + 3, None, THIEF, 4, voided=True)
    assert story.plan.tokens[story.ticket(event)].token == FIRST + 4, "its serial is not given again"


def test_an_orphan_that_has_been_sold_since_is_a_ticket(story: Story) -> None:
    event = story.event()
    orphan = Correction(token_id=FIRST, ticket_id=None, chain=TokenState(issued=True))
    story.ticket(event)
    assert story.correct(orphan) == []
    assert story.plan.disowned == {}


def test_what_was_disowned_before_is_disowned_again(story: Story) -> None:
    story.event()
    orphan = Correction(token_id=FIRST, ticket_id=None, chain=TokenState(issued=True))
    story.correct(orphan)
    again = orphan.model_copy(update={"ledger": TokenState(issued=True, voided=True)})
    assert story.correct(again) == [Void(FIRST, in_custody=False)]


# -- Repairs of events. ----------------------------------------------------------------


def told(number: int, issue_from: int | None = None) -> EventCorrection:
    return EventCorrection(order=EventOrder.TELL, number=number, issue_from=issue_from)


def test_an_event_is_told_again_as_it_is_now(story: Story) -> None:
    event = story.event()
    story.tell(event, Event.ResaleRulesSet(rules=ResaleRules(price_max=1), at=NOW))
    assert story.correct_event(told(1)) == [Configure(1, ENDS_AT, 1, 0, 0)]
    assert story.correct_event(told(2)) == [], "there is no such event"


def test_a_gap_is_issued_again_with_everything_behind_it(story: Story) -> None:
    event = story.event()
    for _ in range(6):
        story.ticket(event)
    rules = Configure(1, ENDS_AT, NO_PRICE_CAP, 0, 0)
    assert story.correct_event(told(1, issue_from=2)) == [rules, *(Issue(FIRST + serial) for serial in range(2, 6))]
    assert story.correct_event(told(1, issue_from=6)) == [rules]


def test_a_lifted_cancellation_opens_nothing_to_holders(story: Story) -> None:
    event = story.event(ResaleRules(direct_transfers=True))
    lift = EventCorrection(order=EventOrder.LIFT, number=1)
    assert story.correct_event(lift) == []
    story.tell(event, CALLED_OFF)
    assert story.correct_event(lift) == [Configure(1, NO_END, NO_PRICE_CAP, 0, 0)]
    assert story.correct_event(told(1)) == [Configure(1, ENDS_AT, NO_PRICE_CAP, 0, CANCELLED | DIRECT_TRANSFERS)]


def test_an_event_that_the_ledger_does_not_know_is_cancelled_and_its_number_not_given(story: Story) -> None:
    story.event()
    disown = EventCorrection(order=EventOrder.DISOWN, number=2)
    assert story.correct_event(disown) == [Configure(2, 0, 0, 0, CANCELLED)]
    assert story.plan.events[story.event()].number == 3
    assert story.correct_event(disown) == [], "its number is given"
    again = disown.model_copy(update={"known": True})
    assert story.correct_event(again) == [Configure(2, 0, 0, 0, CANCELLED)]


def test_the_dearest_repair_fits_into_one_batch(story: Story) -> None:
    """Every token in a word of its own, with everything wrong about it; an event with all that is issued again."""
    event = story.event()
    tickets = [story.ticket(event) for _ in range(CORRECTIONS_MAX * 256)][::256]
    for ticket in tickets:
        story.tell(ticket, delivered(1))
        story.tell(ticket, cancelled(event))
    wrong = TokenState(issued=True, wallet=None, version=0, checked_in=True, voided=True)
    gas_of(story.correct(*(story.seen(ticket, wrong) for ticket in tickets)), operations=4 * CORRECTIONS_MAX)
    gas_of(story.correct_event(told(1, issue_from=0)), operations=1 + ISSUES_MAX)


def gas_of(told: list[Operation], *, operations: int) -> None:
    assert len(told) == operations
    meter = Meter()
    for operation in told:
        meter.add(operation)
    assert meter.gas <= GAS_MAX


# -- What a report orders. -------------------------------------------------------------


def finding(kind: FindingKind, serial: int, *, chain: TokenState | None = STOLEN, **more: object) -> Finding:
    base = Finding(kind=kind, token_id=FIRST + serial, ticket_id=uuid4(), ledger=TokenState(issued=True), chain=chain)
    return base.model_copy(update=more)


@pytest.mark.parametrize("kind", [FindingKind.PENDING, FindingKind.EXTERNAL])
def test_what_mends_itself_is_not_repaired(kind: FindingKind) -> None:
    assert repairs(report(finding(kind, 0))) == ()


def test_what_is_not_settled_is_left_to_the_next_reconciliation() -> None:
    assert repairs(report(finding(FindingKind.MISMATCHING, 0, settled=False))) == ()


def test_missing_tickets_are_ordered_by_event_and_only_the_moved_ones_by_token() -> None:
    moved = TokenState(issued=True, wallet=wallet(1), version=1)
    plain = [finding(FindingKind.MISSING_ON_CHAIN, serial, chain=None) for serial in range(3, ISSUES_MAX + 5)]
    (first, second, tokens) = repairs(report(*plain, finding(FindingKind.SKIPPED, 2, chain=None, ledger=moved)))
    assert first.events == (told(1, issue_from=2),)
    assert second.events == (told(1, issue_from=2 + ISSUES_MAX),)
    assert [correction.chain for correction in tokens.tokens] == [TokenState(issued=False)]


def test_events_are_repaired_before_tokens_and_lifted_around_them() -> None:
    rules = EventRules(ends_at=1, price_max=None, royalty=0, direct_transfers=False, cancelled=False)
    wrong = EventFinding(kind=FindingKind.MISMATCHING, number=2, event_id=uuid4(), ledger=rules, chain=None)
    orphan = EventFinding(kind=FindingKind.ORPHAN_ON_CHAIN, number=3, event_id=None, ledger=None, chain=rules)
    off = finding(FindingKind.MISMATCHING, 0, event_cancelled=True)
    found = report(off).model_copy(update={"event_findings": (wrong, orphan)})
    disown = EventCorrection(order=EventOrder.DISOWN, number=3)
    lift = EventCorrection(order=EventOrder.LIFT, number=1)
    assert [repair.events for repair in repairs(found)] == [(told(2), disown), (lift,), (), (told(1),)]
    assert [len(repair.tokens) for repair in repairs(found)] == [0, 0, 1, 0]


def test_a_long_list_is_ordered_in_parts() -> None:
    found = report(*(finding(FindingKind.MISMATCHING, serial) for serial in range(CORRECTIONS_MAX + 1)))
    assert [len(repair.tokens) for repair in repairs(found)] == [CORRECTIONS_MAX, 1]
