"""What facts mean for a contract: operations, token ids and versions."""

from __future__ import annotations

from copy import deepcopy
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.event import Event
from domain.reconciliation import (
    TokenState,
)
from domain.resale import ResaleRules
from domain.ticket import Ticket, TicketStatus
from projections.chain_book import PlannedToken
from projections.chain_operations import (
    CANCELLED,
    DIRECT_TRANSFERS,
    NO_PRICE_CAP,
    CheckIn,
    Configure,
    Deliver,
    Issue,
    Move,
    Resale,
    Void,
)
from projections.chain_plan import Plan
from tests.chain.parts import NOW, RETURNED, delivered, details, resold, transferred, wallet
from tests.domain.happening import BUYER
from tests.projections.chain_story import (
    CALLED_OFF,
    ELSEWHERE,
    ENDS_AT,
    FIRST,
    HERE,
    Story,
    cancelled,
    checked_in,
    paid,
)


@pytest.fixture
def story() -> Story:
    return Story()


# -- Events. -------------------------------------------------------------------------


def test_an_event_is_told_when_it_is_published(story: Story) -> None:
    event = uuid4()
    rules = ResaleRules(price_max=9000, royalty_basis_points=500, direct_transfers=True)
    assert story.tell(event, Event.Drafted(organizer_id=BUYER, currency="EUR", details=details(), at=NOW)) == []
    assert story.tell(event, Event.ResaleRulesSet(rules=rules, at=NOW)) == []
    assert story.tell(event, Event.Published(at=NOW)) == [Configure(1, ENDS_AT, 9000, 500, DIRECT_TRANSFERS)]


def test_numbers_are_given_in_the_order_of_publication(story: Story) -> None:
    assert [story.plan.events[story.event()].number for _ in range(3)] == [1, 2, 3]


def test_a_change_that_the_contract_need_not_know_is_not_told(story: Story) -> None:
    event = story.event()
    assert story.tell(event, Event.DetailsChanged(details=details(title="Another"), at=NOW)) == []
    assert story.tell(event, Event.ResaleRulesSet(rules=ResaleRules(), at=NOW)) == []


def test_a_cancellation_is_one_flag(story: Story) -> None:
    event = story.event()
    ticket = story.ticket(event)
    assert story.tell(event, CALLED_OFF) == [Configure(1, ENDS_AT, NO_PRICE_CAP, 0, CANCELLED)]
    assert story.tell(ticket, cancelled(event)) == [], "its refund"
    assert story.plan.state_of(story.plan.tokens[ticket]).voided


# -- Tickets. ------------------------------------------------------------------------


def test_a_tickets_life(story: Story) -> None:
    event = story.event()
    ticket = uuid4()
    told = [
        story.tell(ticket, fact)
        for fact in (paid(event), delivered(1), resold(2), transferred(), transferred(), resold(None), delivered(3))
    ]
    assert told == [
        [Issue(FIRST)],
        [Deliver(FIRST, 0, wallet(1))],
        [Resale(FIRST, 1, wallet(2), 5000)],
        [Move(FIRST, 2, None)],
        [Move(FIRST, 3, None)],
        [Resale(FIRST, 3, None, 5000)],
        [Deliver(FIRST, 3, wallet(3))],
    ]
    assert story.tell(ticket, RETURNED) == [Move(FIRST, 4, None)]
    assert story.plan.tokens[ticket] == PlannedToken(FIRST, ticket, None, 5)


def test_entries_and_cancellations_say_where_the_ticket_is(story: Story) -> None:
    event = story.event()
    kept, taken = story.ticket(event), story.ticket(event)
    story.tell(taken, delivered(1))
    assert story.tell(kept, checked_in(event)) == [CheckIn(FIRST, in_custody=True)]
    assert story.tell(taken, cancelled(event)) == [Void(FIRST + 1, in_custody=False)]


def test_what_is_not_sold_is_not_on_the_chain(story: Story) -> None:
    event = story.event()
    assert story.tell(uuid4(), cancelled(event)) == []
    assert story.tell(uuid4(), delivered(1)) == []
    assert story.plan.tokens == {}


def test_a_holders_transfer_is_not_echoed_to_its_own_chain() -> None:
    fact = Ticket.TransferredOnChain(
        chain_id=HERE.chain_id,
        contract=HERE.contract,
        token_id=FIRST,
        version=7,
        from_wallet=wallet(1),
        to_wallet=wallet(2),
        from_id=None,
        to=None,
        block_number=1,
        block_hash="0x" + "ab" * 32,
        transaction_hash="0x" + "cd" * 32,
        log_index=0,
        at=NOW,
    )
    here, elsewhere = Story(HERE), Story(ELSEWHERE)
    for story in (here, elsewhere):
        ticket = story.ticket(story.event())
        story.tell(ticket, delivered(1))
        told = story.tell(ticket, fact)
        assert told == ([] if story is here else [Move(FIRST, 1, wallet(2))])
        assert story.plan.tokens[ticket].version == (7 if story is here else 2)


def test_versions_begin_again_after_sixteen_bits(story: Story) -> None:
    ticket = story.ticket(story.event())
    story.plan.tokens[ticket].version = 0xFFFF
    assert story.tell(ticket, delivered(1)) == [Deliver(FIRST, 0xFFFF, wallet(1))]
    assert story.plan.tokens[ticket].version == 0


# -- For every history. ----------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> Story:
    """Of two events and a few tickets, repairs included. What may not happen may happen here: the plan never refuses."""
    story = Story()
    events = [story.event(), story.event()]
    tickets: list[UUID] = []
    for _ in range(draw(st.integers(0, 25))):
        event = draw(st.sampled_from(events))
        if not tickets or draw(st.booleans()):
            tickets.append(story.ticket(event))
            continue
        ticket = draw(st.sampled_from(tickets))
        facts = (delivered(1), RETURNED, transferred(), resold(2), resold(None), checked_in(event), cancelled(event))
        kind = draw(st.integers(0, len(facts) + 1))
        if kind < len(facts):
            story.tell(ticket, facts[kind])
        elif kind == len(facts):
            story.tell(event, CALLED_OFF)
        else:
            states = st.builds(TokenState, issued=st.booleans(), version=st.integers(0, 9), voided=st.booleans())
            story.correct(story.seen(ticket, draw(states)))
    return story


@settings(deadline=None)
@given(histories())
def test_the_same_ledger_always_comes_to_the_same_plan(story: Story) -> None:
    again = Plan(HERE)
    told = [again.follow(recorded) for recorded in story.facts]
    once_more = Plan(HERE)
    assert told == [once_more.follow(recorded) for recorded in story.facts]
    assert (again.tokens, again.events, again.disowned) == (story.plan.tokens, story.plan.events, story.plan.disowned)


@settings(deadline=None)
@given(histories())
def test_a_fact_that_is_taken_back_leaves_no_trace(story: Story) -> None:
    plan = Plan(HERE)
    for recorded in story.facts:
        before = deepcopy((plan.event_count, plan.events, plan.tokens, plan.disowned, plan.disowned_events))
        first = plan.follow(recorded)
        plan.take_back()
        assert (plan.event_count, plan.events, plan.tokens, plan.disowned, plan.disowned_events) == before
        assert plan.follow(recorded) == first


@settings(deadline=None)
@given(histories())
def test_the_plan_and_the_tickets_own_rules_agree(story: Story) -> None:
    """Two ways of saying what a fact does to a ticket."""
    for ticket, token in story.plan.tokens.items():
        folded = Ticket(id=ticket)
        facts = [r.fact for r in story.facts if r.stream_id == ticket]
        folded.fold(facts)
        assert token.wallet == folded.wallet
        assert token.checked_in == any(isinstance(fact, Ticket.CheckedIn) for fact in facts)
        assert token.voided == any(isinstance(fact, Ticket.Cancelled) for fact in facts)
        assert folded.status is not TicketStatus.AVAILABLE
