"""What an organiser plans: the content of an event, its tiers, and the places that are released in them."""

from __future__ import annotations

from datetime import datetime

import pytest

import domain.event
from domain.event import (
    QUANTITY_MAX,
    TIERS_MAX,
    Event,
    EventOverError,
    SeatExistsError,
    TooManyError,
)
from domain.kernel import Fact, InvalidError, NotFoundError
from domain.seat import Seat
from tests.domain.event_facts import (
    ARCHIVED,
    DRAFT,
    ENDED,
    ON_SALE,
    SEATED,
    WENT_LIVE,
    cancelled,
    details,
    drafted,
    release,
    released,
    seat,
    tier_added,
)
from tests.domain.happening import DOORS, ENDS, MOMENT, NOW, ORGANIZER, OTHER_TIER, STARTS, TIER, numbered
from tests.given import folded, given

OVER = [(WENT_LIVE, ENDED), (WENT_LIVE, ENDED, ARCHIVED), (cancelled(),), (cancelled(), ARCHIVED)]

IMPOSSIBLE_TIMES = [
    ({"ends_at": STARTS}, "/ends_at"),
    ({"ends_at": STARTS - MOMENT}, "/ends_at"),
    ({"doors_open_at": ENDS}, "/doors_open_at"),
    ({"doors_open_at": ENDS + MOMENT}, "/doors_open_at"),
]


# -- Content. ------------------------------------------------------------------------


def test_an_event_begins_as_a_draft() -> None:
    (
        given(Event)
        .when(lambda event: event.draft(organizer_id=ORGANIZER, currency="EUR", details=details(), at=NOW))
        .then(drafted())
    )
    event = folded(Event, drafted())
    assert (event.status, event.organizer_id, event.currency, event.content_version) == ("draft", ORGANIZER, "EUR", 1)


@pytest.mark.parametrize(("times", "pointer"), IMPOSSIBLE_TIMES)
def test_an_event_ends_after_it_starts_and_after_its_doors_open(times: dict[str, object], pointer: str) -> None:
    outcome = given(Event).when(
        lambda event: event.draft(organizer_id=ORGANIZER, currency="EUR", details=details(**times), at=NOW)
    )
    outcome.then_refused(InvalidError)
    assert isinstance(outcome.refusal, InvalidError)
    assert outcome.refusal.pointer == pointer
    given(Event, *DRAFT).when(lambda event: event.change(details(**times), at=NOW)).then_refused(InvalidError)


@pytest.mark.parametrize("since", [(), (WENT_LIVE,)])
def test_the_content_can_be_changed_until_the_event_is_over(since: tuple[Fact, ...]) -> None:
    new = details(title="An evening of string quintets", max_tickets_per_buyer=4)
    given(Event, *ON_SALE, *since).when(lambda event: event.change(new, at=NOW)).then(
        Event.DetailsChanged(details=new, at=NOW)
    )


def test_changing_nothing_adds_nothing() -> None:
    given(Event, *ON_SALE).when(lambda event: event.change(details(), at=NOW)).then_nothing()


def test_every_change_is_a_new_version_of_the_content() -> None:
    changed = Event.DetailsChanged(details=details(title="Quintets"), at=NOW)
    assert folded(Event, *ON_SALE, changed, changed).content_version == 3


@pytest.mark.parametrize("since", OVER)
def test_what_is_over_is_not_changed_any_more(since: tuple[Fact, ...]) -> None:
    over = given(Event, *ON_SALE, *since)
    over.when(lambda event: event.change(details(title="Quintets"), at=NOW)).then_refused(EventOverError)
    over.when(lambda event: event.add_tier(tier_added(OTHER_TIER))).then_refused(EventOverError)
    over.when(lambda event: event.release(TIER, release(), at=NOW)).then_refused(EventOverError)


# -- Tiers. ----------------------------------------------------------------------------


@pytest.mark.parametrize("history", [(drafted(),), ON_SALE, (*ON_SALE, WENT_LIVE)])
def test_a_tier_can_be_added_until_the_event_is_over(history: tuple[Fact, ...]) -> None:
    fact = tier_added(OTHER_TIER, price=9900, sale_opens_at=NOW, sale_closes_at=DOORS, benefits=("a drink",))
    given(Event, *history).when(lambda event: event.add_tier(fact)).then(fact)


def test_a_new_tier_has_nothing_to_sell_yet() -> None:
    tier = folded(Event, drafted(), tier_added()).tiers[TIER]
    assert (tier.price, tier.seated, tier.capacity, tier.on_sale_count(NOW)) == (4500, False, 0, 0)


@pytest.mark.parametrize("closes_at", [NOW, NOW - MOMENT])
def test_a_sale_closes_after_it_opens(closes_at: datetime) -> None:
    fact = tier_added(sale_opens_at=NOW, sale_closes_at=closes_at)
    given(Event, drafted()).when(lambda event: event.add_tier(fact)).then_refused(InvalidError)


@pytest.mark.parametrize("fact", [tier_added(sale_opens_at=NOW), tier_added(sale_closes_at=NOW)])
def test_a_sale_may_have_one_end_only(fact: Event.TierAdded) -> None:
    given(Event, drafted()).when(lambda event: event.add_tier(fact)).then(fact)


def test_an_event_has_a_bounded_number_of_tiers() -> None:
    full = [tier_added(numbered(1000 + number)) for number in range(TIERS_MAX)]
    given(Event, drafted(), *full[1:]).when(lambda event: event.add_tier(full[0])).then(full[0])
    given(Event, drafted(), *full).when(lambda event: event.add_tier(tier_added())).then_refused(TooManyError)


# -- Releases. -------------------------------------------------------------------------


def test_places_are_released_by_number() -> None:
    given(Event, *ON_SALE).when(lambda event: event.release(TIER, release(10), at=NOW)).then(released(10))
    assert folded(Event, *ON_SALE, released(10)).tiers[TIER].capacity == 12


def test_places_are_released_by_seat() -> None:
    new = (seat(3), seat(1, row="B"))
    given(Event, *SEATED).when(lambda event: event.release(TIER, release(seats=new), at=NOW)).then(released(seats=new))
    event = folded(Event, *SEATED, released(seats=new, on_sale_at=DOORS))
    assert (event.tiers[TIER].capacity, event.seats[seat(3).key], event.seats[seat(1).key]) == (
        4,
        (TIER, DOORS),
        (TIER, None),
    )


def test_an_event_releases_only_in_its_own_tiers() -> None:
    given(Event, *ON_SALE).when(lambda event: event.release(OTHER_TIER, release(), at=NOW)).then_refused(NotFoundError)


def test_a_tier_is_released_by_number_or_by_seat() -> None:
    given(Event, *ON_SALE).when(lambda event: event.release(TIER, release(seats=(seat(1),)), at=NOW)).then_refused(
        InvalidError
    )
    given(Event, *SEATED).when(lambda event: event.release(TIER, release(1), at=NOW)).then_refused(InvalidError)


@pytest.mark.parametrize("seats", [(seat(2),), (seat(3), seat(1)), (seat(3), seat(3))])
def test_a_seat_is_released_once(seats: tuple[Seat, ...]) -> None:
    (
        given(Event, *SEATED)
        .when(lambda event: event.release(TIER, release(seats=seats), at=NOW))
        .then_refused(SeatExistsError)
    )


def test_a_seat_is_released_once_in_the_whole_event() -> None:
    (
        given(Event, *SEATED, tier_added(OTHER_TIER, seated=True))
        .when(lambda event: event.release(OTHER_TIER, release(seats=(seat(1),)), at=NOW))
        .then_refused(SeatExistsError)
    )


def test_a_tier_has_a_bounded_number_of_places() -> None:
    (
        given(Event, *ON_SALE)
        .when(lambda event: event.release(TIER, release(QUANTITY_MAX - 2), at=NOW))
        .then(released(QUANTITY_MAX - 2))
    )
    (
        given(Event, *ON_SALE)
        .when(lambda event: event.release(TIER, release(QUANTITY_MAX - 1), at=NOW))
        .then_refused(TooManyError)
    )


def test_a_tier_has_a_bounded_number_of_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain.event, "RELEASES_PER_TIER_MAX", 3)
    full = (*ON_SALE, released(1), released(1))
    given(Event, *full).when(lambda event: event.release(TIER, release(1), at=NOW)).then_refused(TooManyError)


def test_an_event_has_a_bounded_number_of_seats_over_all_tiers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain.event, "SEATS_MAX", 3)
    other = (*SEATED, tier_added(OTHER_TIER, seated=True))
    one, two = (seat(1, row="B"),), (seat(1, row="B"), seat(2, row="B"))
    given(Event, *other).when(lambda event: event.release(OTHER_TIER, release(seats=one), at=NOW)).then(
        released(tier_id=OTHER_TIER, seats=one)
    )
    given(Event, *other).when(lambda event: event.release(OTHER_TIER, release(seats=two), at=NOW)).then_refused(
        TooManyError
    )
