"""The gate: one entry for each ticket, and of several reasons to refuse the gravest is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from domain.event import Event
from domain.kernel import Fact, Refusal
from domain.ticket import Ticket
from domain.ticket_refusals import (
    AlreadyCheckedInError,
    BadCodeError,
    CancelledError,
    DoorsClosedError,
    NotPaidError,
    NotYetOpenError,
)
from tests.domain.event_facts import ARCHIVED, ENDED, ON_SALE, WENT_LIVE
from tests.domain.event_facts import cancelled as event_cancelled
from tests.domain.happening import DOORS, ENDS, MOMENT, NOW
from tests.domain.ticket_facts import CANCELLED, CHECKED_IN, CLAIMED, HELD, PAID, RELEASED, checked_in, transferred
from tests.given import folded, given

OPEN = folded(Event, *ON_SALE, WENT_LIVE)
CALLED_OFF = folded(Event, *ON_SALE, event_cancelled("the soloist is ill"))
CODE = 1
"""What the code of a ticket says that has only been in its buyer's hands."""


def entering(
    *, event: Event = OPEN, custody: int = CODE, gate: str = "North", at: datetime = DOORS
) -> Callable[[Ticket], None]:
    return lambda ticket: ticket.check_in(event=event, custody=custody, gate=gate, at=at)


# -- Done. -------------------------------------------------------------------------


@pytest.mark.parametrize("since", [(PAID,), (PAID, CLAIMED)])
def test_a_paid_ticket_admits(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, *since).when(entering()).then(CHECKED_IN)


def test_the_doors_are_open_from_their_time_until_the_end() -> None:
    for at in (DOORS, ENDS - MOMENT):
        given(Ticket, HELD, PAID).when(entering(at=at)).then(checked_in(at=at))


def test_nobody_has_to_record_that_the_doors_are_open() -> None:
    given(Ticket, HELD, PAID).when(entering(event=folded(Event, *ON_SALE))).then(CHECKED_IN)


def test_after_changing_hands_the_new_code_admits() -> None:
    given(Ticket, HELD, PAID, transferred()).when(entering(custody=2)).then(CHECKED_IN)


def test_the_state_says_when_and_where() -> None:
    ticket = folded(Ticket, HELD, PAID, CHECKED_IN)
    assert (ticket.status, ticket.checked_in_at, ticket.gate) == ("checked_in", DOORS, "North")


# -- Repeated. -----------------------------------------------------------------------


def test_a_ticket_admits_only_once() -> None:
    (
        given(Ticket, HELD, PAID, CHECKED_IN)
        .when(entering(gate="South"))
        .then_refused(AlreadyCheckedInError, checked_in_at=DOORS, gate="North")
    )


def test_not_even_at_the_same_gate() -> None:
    given(Ticket, HELD, PAID, CHECKED_IN).when(entering()).then_refused(AlreadyCheckedInError)


# -- Refused. ------------------------------------------------------------------------


def test_a_ticket_that_was_not_paid_for_does_not_admit() -> None:
    for history in ((HELD,), (HELD, RELEASED)):
        given(Ticket, *history).when(entering()).then_refused(NotPaidError)


def test_a_cancelled_ticket_does_not_admit() -> None:
    given(Ticket, HELD, PAID, CANCELLED).when(entering(custody=2)).then_refused(CancelledError)


@pytest.mark.parametrize("since", [(event_cancelled(),), (WENT_LIVE, event_cancelled()), (event_cancelled(), ARCHIVED)])
def test_an_event_that_was_called_off_admits_nobody(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, PAID).when(entering(event=folded(Event, *ON_SALE, *since))).then_refused(CancelledError)


def test_before_the_doors_open_nobody_is_admitted() -> None:
    (
        given(Ticket, HELD, PAID)
        .when(entering(event=folded(Event, *ON_SALE), at=DOORS - MOMENT))
        .then_refused(NotYetOpenError, opens_at=DOORS)
    )


@pytest.mark.parametrize("since", [(), (WENT_LIVE,), (WENT_LIVE, ENDED), (WENT_LIVE, ENDED, ARCHIVED)])
def test_after_the_end_nobody_is_admitted(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, PAID).when(entering(event=folded(Event, *ON_SALE, *since), at=ENDS)).then_refused(
        DoorsClosedError
    )


def test_an_old_code_does_not_admit() -> None:
    given(Ticket, HELD, PAID, transferred()).when(entering(custody=1)).then_refused(BadCodeError)


def test_the_code_of_a_hold_that_ended_does_not_admit_the_next_buyers_guest() -> None:
    given(Ticket, HELD, RELEASED, HELD, PAID).when(entering(custody=1)).then_refused(BadCodeError)


# -- Of several reasons, the gravest. ----------------------------------------------------

OLD = 0
GRAVER_FIRST: list[tuple[type[Refusal], tuple[Fact, ...], Event, int, datetime]] = [
    (CancelledError, (PAID, CANCELLED), CALLED_OFF, OLD, NOW),
    (CancelledError, (PAID, CHECKED_IN), CALLED_OFF, OLD, ENDS),
    (CancelledError, (), CALLED_OFF, CODE, NOW),
    (CancelledError, (PAID, CANCELLED), OPEN, OLD, NOW),
    (BadCodeError, (PAID, CHECKED_IN), OPEN, OLD, ENDS),
    (BadCodeError, (), OPEN, OLD, NOW),
    (BadCodeError, (PAID,), OPEN, OLD, NOW),
    (AlreadyCheckedInError, (PAID, CHECKED_IN), OPEN, CODE, ENDS),
    (AlreadyCheckedInError, (PAID, CHECKED_IN), OPEN, CODE, NOW),
    (NotPaidError, (), OPEN, CODE, NOW),
    (NotPaidError, (), OPEN, CODE, ENDS),
    (NotYetOpenError, (PAID,), OPEN, CODE, NOW),
    (DoorsClosedError, (PAID,), OPEN, CODE, ENDS),
]


@pytest.mark.parametrize(("error", "since", "event", "custody", "at"), GRAVER_FIRST)
def test_the_gravest_reason_is_told(
    error: type[Refusal], since: tuple[Fact, ...], event: Event, custody: int, at: datetime
) -> None:
    given(Ticket, HELD, *since).when(entering(event=event, custody=custody, at=at)).then_refused(error)
