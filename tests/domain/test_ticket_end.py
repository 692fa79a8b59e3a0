"""How the right to enter ends: revoked or refunded by itself, or with the event."""

from __future__ import annotations

import pytest

from domain.event import Event
from domain.kernel import Fact, NotFoundError
from domain.ticket import Ticket
from domain.ticket_refusals import AlreadyCheckedInError, CancelledError, NotPaidError
from tests.domain.event_facts import ARCHIVED, ENDED, ON_SALE, WENT_LIVE
from tests.domain.event_facts import cancelled as event_cancelled
from tests.domain.happening import DOORS, EVENT, NOW
from tests.domain.ticket_facts import CANCELLED, CHECKED_IN, CLAIMED, HELD, OFFERED, PAID, RELEASED, cancelled
from tests.given import folded, given


@pytest.mark.parametrize("since", [(PAID,), (PAID, CLAIMED), (PAID, OFFERED)])
def test_a_sold_ticket_can_be_cancelled(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, *since).when(lambda ticket: ticket.cancel(reason="sold to a tout", at=NOW)).then(cancelled())


def test_cancelling_ends_the_offer_and_the_codes() -> None:
    before, after = folded(Ticket, HELD, PAID, OFFERED), folded(Ticket, HELD, PAID, OFFERED, CANCELLED)
    assert (after.status, after.cancel_reason, after.offered_to) == ("cancelled", "sold to a tout", None)
    assert after.custody > before.custody


def test_a_ticket_is_cancelled_once() -> None:
    given(Ticket, HELD, PAID, CANCELLED).when(lambda ticket: ticket.cancel(reason="again", at=NOW)).then_refused(
        CancelledError
    )


def test_a_used_ticket_cannot_be_cancelled() -> None:
    (
        given(Ticket, HELD, PAID, CHECKED_IN)
        .when(lambda ticket: ticket.cancel(reason="too late", at=DOORS))
        .then_refused(AlreadyCheckedInError, checked_in_at=DOORS, gate="North")
    )


@pytest.mark.parametrize("history", [(), (HELD,), (HELD, RELEASED)])
def test_a_ticket_that_was_not_sold_cannot_be_cancelled(history: tuple[Fact, ...]) -> None:
    given(Ticket, *history).when(lambda ticket: ticket.cancel(reason="no such thing", at=NOW)).then_refused(
        NotPaidError
    )


# -- What the event makes of its tickets. ------------------------------------------------

SEEN = [
    ((), "paid", "checked_in"),
    ((WENT_LIVE,), "paid", "checked_in"),
    ((WENT_LIVE, ENDED), "expired", "checked_in"),
    ((WENT_LIVE, ENDED, ARCHIVED), "expired", "checked_in"),
    ((event_cancelled(),), "cancelled", "checked_in"),
    ((event_cancelled(), ARCHIVED), "cancelled", "checked_in"),
]


@pytest.mark.parametrize(("since", "unused", "used"), SEEN)
def test_the_events_end_expires_what_was_not_used_and_its_cancellation_cancels_it(
    since: tuple[Fact, ...], unused: str, used: str
) -> None:
    event = folded(Event, *ON_SALE, *since)
    assert folded(Ticket, HELD, PAID).status_during(event) == unused
    assert folded(Ticket, HELD, PAID, CHECKED_IN).status_during(event) == used


@pytest.mark.parametrize("history", [(), (HELD,), (HELD, RELEASED), (HELD, PAID, CANCELLED)])
def test_what_was_not_sold_or_was_cancelled_before_stays_so(history: tuple[Fact, ...]) -> None:
    ticket = folded(Ticket, *history)
    assert ticket.status_during(folded(Event, *ON_SALE, event_cancelled())) is ticket.status


def test_a_claimed_ticket_shares_the_fate_of_paid_ones() -> None:
    event = folded(Event, *ON_SALE, WENT_LIVE, ENDED)
    assert folded(Ticket, HELD, PAID, CLAIMED).status_during(event) == "expired"
    assert folded(Ticket, HELD, PAID, CLAIMED).status_during(folded(Event, *ON_SALE)) == "claimed"


def test_a_place_that_was_never_held_belongs_to_no_event_yet() -> None:
    assert folded(Ticket, HELD, RELEASED).known_event_id == EVENT
    with pytest.raises(NotFoundError):
        _ = folded(Ticket).known_event_id
