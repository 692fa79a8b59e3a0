"""The holder says who comes, and may hand the ticket on, at once or when the other one accepts."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from domain.kernel import Fact, Refusal
from domain.ticket import Ticket
from domain.ticket_refusals import (
    AlreadyCheckedInError,
    CancelledError,
    NotPaidError,
    NoTransferError,
    SameHolderError,
    TransferPendingError,
)
from tests.domain.happening import BUYER, DOORS, FRIEND, NOW, STRANGER
from tests.domain.ticket_facts import (
    CANCELLED,
    CHECKED_IN,
    CLAIMED,
    HELD,
    OFFERED,
    PAID,
    RELEASED,
    claimed,
    declined,
    offered,
    transferred,
)
from tests.given import folded, given

Decision = Callable[[Ticket], None]

HANDLING: dict[str, Decision] = {
    "claim": lambda ticket: ticket.claim(attendee_name="Ada", at=NOW),
    "transfer": lambda ticket: ticket.transfer(to=FRIEND, at=NOW),
    "offer": lambda ticket: ticket.offer(to=FRIEND, at=NOW),
    "accept": lambda ticket: ticket.accept(by=FRIEND, at=NOW),
}
UNFIT: dict[type[Refusal], list[tuple[Fact, ...]]] = {
    NotPaidError: [(), (HELD,), (HELD, RELEASED)],
    CancelledError: [(HELD, PAID, CANCELLED), (HELD, PAID, OFFERED, CANCELLED)],
    AlreadyCheckedInError: [(HELD, PAID, CHECKED_IN), (HELD, PAID, OFFERED, CHECKED_IN)],
}


@pytest.mark.parametrize("decide", HANDLING.values(), ids=HANDLING)
@pytest.mark.parametrize("error", UNFIT)
def test_only_a_ticket_that_still_admits_can_be_claimed_or_handed_on(decide: Decision, error: type[Refusal]) -> None:
    for history in UNFIT[error]:
        given(Ticket, *history).when(decide).then_refused(error)


def test_a_used_ticket_says_when_and_where_it_was_used() -> None:
    (
        given(Ticket, HELD, PAID, CHECKED_IN)
        .when(lambda ticket: ticket.transfer(to=FRIEND, at=NOW))
        .then_refused(AlreadyCheckedInError, checked_in_at=DOORS, gate="North")
    )


# -- Naming who comes. -----------------------------------------------------------


def test_the_holder_names_who_will_come() -> None:
    given(Ticket, HELD, PAID).when(lambda ticket: ticket.claim(attendee_name="Ada", at=NOW)).then(CLAIMED)


def test_naming_the_same_person_again_adds_nothing() -> None:
    given(Ticket, HELD, PAID, CLAIMED).when(lambda ticket: ticket.claim(attendee_name="Ada", at=NOW)).then_nothing()


def test_another_person_can_be_named_later() -> None:
    (
        given(Ticket, HELD, PAID, CLAIMED)
        .when(lambda ticket: ticket.claim(attendee_name="Grace", at=NOW))
        .then(claimed("Grace"))
    )


# -- Handing on. -------------------------------------------------------------------


@pytest.mark.parametrize("since", [(PAID,), (PAID, CLAIMED), (PAID, offered(STRANGER)), (PAID, OFFERED, declined())])
def test_a_ticket_can_be_handed_on(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, *since).when(lambda ticket: ticket.transfer(to=FRIEND, at=NOW)).then(transferred())


def test_a_ticket_can_be_handed_on_further() -> None:
    (
        given(Ticket, HELD, PAID, transferred())
        .when(lambda ticket: ticket.transfer(to=STRANGER, at=NOW))
        .then(transferred(STRANGER, from_id=FRIEND))
    )


def test_a_ticket_cannot_be_handed_to_its_holder() -> None:
    given(Ticket, HELD, PAID).when(lambda ticket: ticket.transfer(to=BUYER, at=NOW)).then_refused(SameHolderError)


def test_handing_it_on_twice_to_the_same_person_is_refused() -> None:
    (
        given(Ticket, HELD, PAID, transferred())
        .when(lambda ticket: ticket.transfer(to=FRIEND, at=NOW))
        .then_refused(SameHolderError)
    )


def test_the_new_holder_starts_afresh() -> None:
    before, after = (
        folded(Ticket, HELD, PAID, CLAIMED, OFFERED),
        folded(Ticket, HELD, PAID, CLAIMED, OFFERED, transferred()),
    )
    assert (after.holder_id, after.status, after.attendee_name, after.offered_to) == (FRIEND, "paid", None, None)
    assert after.custody == before.custody + 1


# -- Offers. -----------------------------------------------------------------------


@pytest.mark.parametrize("since", [(PAID,), (PAID, CLAIMED), (PAID, OFFERED, declined())])
def test_a_ticket_can_be_offered(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, *since).when(lambda ticket: ticket.offer(to=FRIEND, at=NOW)).then(OFFERED)


def test_an_offered_ticket_remains_the_holders() -> None:
    before, after = folded(Ticket, HELD, PAID), folded(Ticket, HELD, PAID, OFFERED)
    assert (after.holder_id, after.status, after.custody) == (before.holder_id, before.status, before.custody)


@pytest.mark.parametrize("to", [FRIEND, STRANGER])
def test_a_ticket_is_offered_to_one_person_at_a_time(to: UUID) -> None:
    (
        given(Ticket, HELD, PAID, OFFERED)
        .when(lambda ticket: ticket.offer(to=to, at=NOW))
        .then_refused(TransferPendingError)
    )


def test_a_ticket_cannot_be_offered_to_its_holder() -> None:
    given(Ticket, HELD, PAID).when(lambda ticket: ticket.offer(to=BUYER, at=NOW)).then_refused(SameHolderError)


@pytest.mark.parametrize("since", [(OFFERED,), (CLAIMED, OFFERED), (OFFERED, CLAIMED)])
def test_who_accepts_an_offer_becomes_the_holder(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, PAID, *since).when(lambda ticket: ticket.accept(by=FRIEND, at=NOW)).then(transferred())


@pytest.mark.parametrize("by", [STRANGER, BUYER])
def test_nobody_else_can_accept(by: UUID) -> None:
    (given(Ticket, HELD, PAID, OFFERED).when(lambda ticket: ticket.accept(by=by, at=NOW)).then_refused(NoTransferError))


@pytest.mark.parametrize("since", [(), (OFFERED, declined()), (OFFERED, transferred())])
def test_without_an_offer_there_is_nothing_to_accept(since: tuple[Fact, ...]) -> None:
    given(Ticket, HELD, PAID, *since).when(lambda ticket: ticket.accept(by=FRIEND, at=NOW)).then_refused(
        NoTransferError
    )


@pytest.mark.parametrize("by", [FRIEND, BUYER])
def test_an_offer_can_be_declined_and_taken_back(by: UUID) -> None:
    (given(Ticket, HELD, PAID, OFFERED).when(lambda ticket: ticket.decline(by=by, at=NOW)).then(declined(by)))


def test_strangers_decline_nothing() -> None:
    (
        given(Ticket, HELD, PAID, OFFERED)
        .when(lambda ticket: ticket.decline(by=STRANGER, at=NOW))
        .then_refused(NoTransferError)
    )


@pytest.mark.parametrize("since", [(), (OFFERED, declined()), (OFFERED, transferred()), (OFFERED, CANCELLED)])
def test_without_an_offer_there_is_nothing_to_decline(since: tuple[Fact, ...]) -> None:
    (
        given(Ticket, HELD, PAID, *since)
        .when(lambda ticket: ticket.decline(by=BUYER, at=NOW))
        .then_refused(NoTransferError)
    )
