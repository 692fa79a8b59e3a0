"""A place is held by one buyer at a time, and is theirs once it is paid for."""

from __future__ import annotations

import pytest

from domain.kernel import Fact
from domain.ticket import Ticket, TicketStatus
from domain.ticket_refusals import NotPaidError, SeatTakenError
from tests.domain.event_facts import seat
from tests.domain.happening import BUYER, FRIEND, HOLD_ENDS, NOW, numbered
from tests.domain.ticket_facts import (
    CANCELLED,
    CHECKED_IN,
    CLAIMED,
    HELD,
    OFFERED,
    PAID,
    RELEASED,
    held,
    released,
    transferred,
)
from tests.given import folded, given

SOLD = [(PAID,), (PAID, CLAIMED), (PAID, OFFERED), (PAID, transferred()), (PAID, CHECKED_IN), (PAID, CANCELLED)]


def test_a_free_place_can_be_held() -> None:
    given(Ticket).when(lambda ticket: ticket.hold(held())).then(HELD)


def test_a_numbered_seat_is_held_like_any_place() -> None:
    fact = held(serial=None, seat=seat(12))
    given(Ticket).when(lambda ticket: ticket.hold(fact)).then(fact)


def test_a_place_that_was_given_back_can_be_held_by_somebody_else() -> None:
    theirs = held(buyer_id=FRIEND, order_id=numbered(99), at=HOLD_ENDS)
    given(Ticket, HELD, RELEASED).when(lambda ticket: ticket.hold(theirs)).then(theirs)


def test_a_place_that_is_held_cannot_be_held_again() -> None:
    given(Ticket, HELD).when(lambda ticket: ticket.hold(held(buyer_id=FRIEND))).then_refused(SeatTakenError)


def test_not_even_by_the_same_buyer() -> None:
    given(Ticket, HELD).when(lambda ticket: ticket.hold(held())).then_refused(SeatTakenError)


@pytest.mark.parametrize("since", SOLD)
def test_a_place_that_was_sold_is_never_held_again(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, *since).when(lambda ticket: ticket.hold(held(buyer_id=FRIEND))).then_refused(SeatTakenError)


@pytest.mark.parametrize("cause", ["expired", "cancelled"])
def test_a_hold_ends_when_its_time_has_run_out_or_the_order_is_cancelled(cause: str) -> None:
    given(Ticket, HELD).when(lambda ticket: ticket.release(cause=cause, at=NOW)).then(released(cause, at=NOW))


def test_a_place_that_was_given_back_is_nobodys() -> None:
    ticket = folded(Ticket, HELD, RELEASED)
    assert (ticket.status, ticket.holder_id, ticket.order_id, ticket.held_until) == ("available", None, None, None)


def test_ending_a_hold_again_adds_nothing() -> None:
    given(Ticket, HELD, RELEASED).when(lambda ticket: ticket.release(cause="expired", at=NOW)).then_nothing()
    given(Ticket).when(lambda ticket: ticket.release(cause="expired", at=NOW)).then_nothing()


@pytest.mark.parametrize("since", SOLD)
def test_an_expiry_that_comes_after_the_payment_takes_nothing_away(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, *since).when(lambda ticket: ticket.release(cause="expired", at=NOW)).then_nothing()


def test_a_held_ticket_can_be_paid_for() -> None:
    given(Ticket, HELD).when(lambda ticket: ticket.pay(at=NOW)).then(PAID)


def test_a_paid_ticket_is_the_buyers_without_a_deadline() -> None:
    ticket = folded(Ticket, HELD, PAID)
    assert (ticket.status, ticket.holder_id, ticket.held_until) == (TicketStatus.PAID, BUYER, None)


@pytest.mark.parametrize("history", [(), (HELD, RELEASED), *((HELD, *since) for since in SOLD)])
def test_only_a_held_ticket_can_be_paid_for(history: tuple[Fact, ...]) -> None:
    given(Ticket, *history).when(lambda ticket: ticket.pay(at=NOW)).then_refused(NotPaidError)
