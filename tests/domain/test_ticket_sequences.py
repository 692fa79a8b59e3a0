"""Whatever is asked of a ticket, in whatever order, allowed or not: it is never in an impossible state."""

from __future__ import annotations

import operator
from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain.event import Event
from domain.kernel import Fact, Refusal
from domain.ticket import Ticket, TicketStatus
from tests.domain.event_facts import ON_SALE, WENT_LIVE, cancelled
from tests.domain.happening import BUYER, DOORS, ENDS, FRIEND, NOW, ORDER, STRANGER, numbered
from tests.domain.ticket_facts import OTHER_WALLET, WALLET, held, transferred_on_chain
from tests.given import STREAM, folded, stored

Decision = Callable[[Ticket], None]

PEOPLE = st.sampled_from([BUYER, FRIEND, STRANGER])
TIMES = st.sampled_from([NOW, DOORS, ENDS])
LIVE = folded(Event, *ON_SALE, WENT_LIVE)
EVENTS = st.sampled_from([LIVE, folded(Event, *ON_SALE), folded(Event, *ON_SALE, cancelled())])
NAMES = st.sampled_from(["Ada", "Grace"])


def hold(buyer: UUID, order: UUID) -> Decision:
    return lambda ticket: ticket.hold(held(buyer_id=buyer, order_id=order))


def enter(event: Event, code_age: int, at: datetime) -> Decision:
    """With the code of now, or one that was replaced so many changes of hands ago."""
    return lambda ticket: ticket.check_in(event=event, custody=ticket.custody - code_age, gate="North", at=at)


def sell_on(event: Event, to: UUID, price: int, wallet: str | None) -> Decision:
    return lambda ticket: ticket.resell(event=event, to=to, price=price, wallet=wallet, at=NOW)


WALLETS = st.sampled_from([WALLET, OTHER_WALLET])

DECISIONS: st.SearchStrategy[Decision] = st.one_of(
    st.builds(hold, PEOPLE, st.sampled_from([ORDER, numbered(99)])),
    st.builds(lambda cause: lambda t: t.release(cause=cause, at=NOW), st.sampled_from(["expired", "cancelled"])),
    st.just(lambda t: t.pay(at=NOW)),
    st.builds(lambda name: lambda t: t.claim(attendee_name=name, at=NOW), NAMES),
    st.builds(lambda to: lambda t: t.transfer(to=to, at=NOW), PEOPLE),
    st.builds(lambda to: lambda t: t.offer(to=to, at=NOW), PEOPLE),
    st.builds(lambda by: lambda t: t.accept(by=by, at=NOW), PEOPLE),
    st.builds(lambda by: lambda t: t.decline(by=by, at=NOW), PEOPLE),
    st.builds(enter, EVENTS, st.integers(0, 1), TIMES),
    st.just(enter(LIVE, 0, DOORS)),
    st.just(lambda t: t.cancel(reason="sold to a tout", at=NOW)),
    st.builds(sell_on, EVENTS, PEOPLE, st.sampled_from([0, 5000]), st.none() | WALLETS),
    st.builds(lambda wallet: lambda t: t.deliver(wallet=wallet, at=NOW), WALLETS),
    st.just(lambda t: t.return_to_custody(at=NOW)),
    st.builds(
        lambda wallet, to, block: lambda t: t.follow_chain(transferred_on_chain(wallet, to=to, block=block)),
        WALLETS,
        st.none() | PEOPLE,
        st.integers(1, 3),
    ),
    st.builds(lambda wallet, who: lambda t: t.identify_holder(holder_id=who, wallet=wallet, at=NOW), WALLETS, PEOPLE),
)
BOUGHT: list[Decision] = [hold(BUYER, ORDER), lambda t: t.pay(at=NOW)]
SEQUENCES = st.builds(
    operator.add, st.sampled_from([BOUGHT, BOUGHT[:1], []]), st.lists(DECISIONS, min_size=8, max_size=40)
)

AVAILABLE, HELD, PAID = TicketStatus.AVAILABLE, TicketStatus.HELD, TicketStatus.PAID
CLAIMED, CHECKED_IN, CANCELLED = TicketStatus.CLAIMED, TicketStatus.CHECKED_IN, TicketStatus.CANCELLED

STEPS = {
    AVAILABLE: {HELD},
    HELD: {AVAILABLE, PAID},
    PAID: {PAID, CLAIMED, CHECKED_IN, CANCELLED},
    CLAIMED: {PAID, CLAIMED, CHECKED_IN, CANCELLED},
    CHECKED_IN: {CHECKED_IN},
    CANCELLED: {CANCELLED},
}
"""What one fact can make of a ticket. Nothing leads back from an entry or from a cancellation."""


def lives(sequence: list[Decision]) -> list[Ticket]:
    """The ticket after each fact, and a check that refusals changed nothing."""
    ticket = Ticket(id=STREAM)
    states = [deepcopy(ticket)]
    for decide in sequence:
        before = deepcopy(ticket)
        try:
            decide(ticket)
        except Refusal:
            assert ticket == before
            assert ticket.pending == before.pending
        if ticket.version > before.version:
            assert ticket.version == before.version + 1, "a decision is one fact"
            states.append(deepcopy(ticket))
    return states


@settings(max_examples=200)
@for_all(SEQUENCES)
def test_a_ticket_is_never_in_an_impossible_state(sequence: list[Decision]) -> None:
    for ticket in lives(sequence):
        assert (ticket.status is AVAILABLE) == (ticket.order_id is None)
        assert ticket.holder_id is not None or ticket.status is AVAILABLE or ticket.wallet is not None
        assert ticket.wallet is None or ticket.status not in (AVAILABLE, HELD)
        assert (ticket.status is HELD) == (ticket.held_until is not None)
        assert (ticket.checked_in_at is not None) == (ticket.gate is not None) == (ticket.status is CHECKED_IN)
        assert (ticket.cancel_reason is not None) == (ticket.status is CANCELLED)
        assert ticket.status is not CLAIMED or ticket.attendee_name
        assert ticket.offered_to is None or ticket.offered_to != ticket.holder_id
        assert ticket.offered_to is None or ticket.status in (PAID, CLAIMED, CHECKED_IN)


@settings(max_examples=200)
@for_all(SEQUENCES)
def test_a_ticket_moves_only_forward(sequence: list[Decision]) -> None:
    for before, after in pairwise(lives(sequence)):
        assert after.status in STEPS[before.status]
        changed_hands = before.holder_id != after.holder_id and after.status is not AVAILABLE
        assert after.custody >= before.custody + changed_hands


@settings(max_examples=200)
@for_all(SEQUENCES)
def test_a_ticket_admits_once_in_its_life(sequence: list[Decision]) -> None:
    facts: list[Fact] = lives(sequence)[-1].pending
    assert sum(isinstance(fact, Ticket.CheckedIn) for fact in facts) <= 1


@settings(max_examples=200)
@for_all(SEQUENCES, st.integers(0, 40))
def test_any_part_of_a_history_folds_into_the_state_of_that_moment(sequence: list[Decision], length: int) -> None:
    states = lives(sequence)
    moment = min(length, len(states) - 1)
    assert Ticket(id=STREAM).fold(stored(states[-1].pending[:moment])) == states[moment]
