"""Seats, the ticket ids that follow from places, and money."""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.money import AMOUNT_MAX, Money
from domain.seat import Seat, ticket_id
from tests.domain.event_facts import seat
from tests.domain.happening import EVENT, OTHER_TIER, TIER, numbered

LABELS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
SEATS = st.builds(Seat, section=LABELS, row=LABELS, number=LABELS)


@for_all(SEATS, SEATS)
def test_two_seats_have_one_key_only_when_they_are_one_seat(one: Seat, other: Seat) -> None:
    assert (one.key == other.key) == (one == other)


def test_labels_that_run_together_are_different_seats() -> None:
    assert seat(1, row="A1").key != seat(11, row="A").key


@pytest.mark.parametrize("label", ["", "A\x1fB", "A\x00", "A\n", "\x7f", "A" * 33])
def test_a_label_is_short_and_printable(label: str) -> None:
    with pytest.raises(ValidationError):
        seat(label)


def test_a_seat_reads_as_printed_on_the_ticket() -> None:
    assert str(seat(12)) == "Stalls, row A, seat 12"


@for_all(st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_serial_has_one_ticket_in_each_tier_and_event(one: int, other: int) -> None:
    assert (ticket_id(EVENT, TIER, one) == ticket_id(EVENT, TIER, other)) == (one == other)
    assert len({ticket_id(EVENT, TIER, one), ticket_id(EVENT, OTHER_TIER, one), ticket_id(numbered(9), TIER, one)}) == 3


def test_a_seat_has_one_ticket_in_its_event_whatever_the_tier() -> None:
    assert ticket_id(EVENT, TIER, seat(1)) == ticket_id(EVENT, OTHER_TIER, seat(1))
    assert ticket_id(EVENT, TIER, seat(1)) != ticket_id(numbered(9), TIER, seat(1))


def test_the_ids_of_places_never_change() -> None:
    """They are in every ledger there is: another way to derive them would sell every place again."""
    assert str(ticket_id(EVENT, TIER, 7)) == "c6078218-2c4c-52d8-a964-52221941b204"
    assert str(ticket_id(EVENT, TIER, seat(7))) == "98bad3f6-890c-57ff-ad29-33063516e775"


@pytest.mark.parametrize(
    "bad",
    [
        {"amount": 45.0, "currency": "EUR"},
        {"amount": "4500", "currency": "EUR"},
        {"amount": True, "currency": "EUR"},
        {"amount": -1, "currency": "EUR"},
        {"amount": AMOUNT_MAX + 1, "currency": "EUR"},
        {"amount": 4500, "currency": "eur"},
        {"amount": 4500, "currency": "EURO"},
        {"amount": 4500, "currency": "EUR\n"},
        {"amount": 4500, "currency": "EUR", "cents": 4500},
    ],
)
def test_money_is_a_whole_number_of_minor_units_of_a_known_kind(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Money.model_validate(bad)


def test_money_costs_from_nothing_to_the_maximum() -> None:
    assert [Money(amount=amount, currency="EUR").amount for amount in (0, AMOUNT_MAX)] == [0, AMOUNT_MAX]
