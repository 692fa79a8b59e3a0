"""When an event sells, and how many places of a tier are on sale at a moment."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from domain.event import Event, NotOnSaleError, Tier
from domain.event_details import Release
from domain.kernel import Fact, InvalidError
from tests.domain.event_facts import (
    ARCHIVED,
    DRAFT,
    ENDED,
    ON_SALE,
    PUBLISHED,
    WENT_LIVE,
    cancelled,
    drafted,
    release,
    released,
    tier_added,
)
from tests.domain.happening import DOORS, ENDS, MOMENT, NOW, OTHER_TIER, TIER
from tests.given import folded, given

DAY = timedelta(days=1)


def test_a_published_event_sells_until_its_end() -> None:
    for since, at in (((), NOW), ((WENT_LIVE,), DOORS), ((WENT_LIVE,), ENDS - MOMENT)):
        event = folded(Event, *ON_SALE, *since)
        assert event.tier_on_sale(TIER, at=at) is event.tiers[TIER]


@pytest.mark.parametrize("history", [(), DRAFT, (*ON_SALE, cancelled()), (*ON_SALE, WENT_LIVE, ENDED, ARCHIVED)])
def test_neither_a_draft_nor_what_is_over_sells(history: tuple[Fact, ...]) -> None:
    given(Event, *history).when(lambda event: event.tier_on_sale(TIER, at=NOW)).then_refused(NotOnSaleError)


@pytest.mark.parametrize("since", [(), (WENT_LIVE,)])
def test_after_the_end_nothing_is_sold_whether_or_not_it_was_recorded(since: tuple[Fact, ...]) -> None:
    given(Event, *ON_SALE, *since).when(lambda event: event.tier_on_sale(TIER, at=ENDS)).then_refused(NotOnSaleError)


def test_an_event_sells_only_its_own_tiers() -> None:
    given(Event, *ON_SALE).when(lambda event: event.tier_on_sale(OTHER_TIER, at=NOW)).then_refused(InvalidError)


@pytest.mark.parametrize(
    ("at", "sells"),
    [(NOW - MOMENT, False), (NOW, True), (NOW + DAY - MOMENT, True), (NOW + DAY, False)],
)
def test_a_tier_sells_within_its_window(at: datetime, *, sells: bool) -> None:
    windowed = tier_added(sale_opens_at=NOW, sale_closes_at=NOW + DAY)
    outcome = given(Event, drafted(), windowed, PUBLISHED).when(lambda event: event.tier_on_sale(TIER, at=at))
    if sells:
        outcome.then_nothing()
    else:
        outcome.then_refused(NotOnSaleError)


def test_a_release_goes_on_sale_at_its_time() -> None:
    tier = folded(Event, drafted(), tier_added(), released(5), released(3, on_sale_at=NOW)).tiers[TIER]
    assert [tier.on_sale_count(at) for at in (NOW - MOMENT, NOW)] == [5, 8]


def test_releases_go_on_sale_in_the_order_in_which_they_were_made() -> None:
    waiting = released(3, on_sale_at=NOW + DAY)
    tier = folded(Event, drafted(), tier_added(), released(5), waiting, released(2)).tiers[TIER]
    assert [tier.on_sale_count(at) for at in (NOW, NOW + DAY)] == [5, 10]


INSTANTS = st.integers(-5, 5).map(lambda days: NOW + days * DAY)
RELEASES = st.lists(
    st.builds(release, st.integers(1, 50), on_sale_at=st.none() | INSTANTS),
    max_size=8,
)


def selling(releases: list[Release]) -> Tier:
    facts = [Event.Released(tier_id=TIER, release=each, at=NOW) for each in releases]
    return folded(Event, drafted(), tier_added(), *facts).tiers[TIER]


@for_all(RELEASES, INSTANTS, INSTANTS)
def test_what_is_on_sale_only_ever_grows_with_time(releases: list[Release], one: datetime, other: datetime) -> None:
    tier = selling(releases)
    earlier, later = sorted((one, other))
    assert 0 <= tier.on_sale_count(earlier) <= tier.on_sale_count(later) <= tier.capacity


@for_all(RELEASES, RELEASES, INSTANTS)
def test_what_is_on_sale_only_ever_grows_with_releases(first: list[Release], more: list[Release], at: datetime) -> None:
    assert selling(first).on_sale_count(at) <= selling([*first, *more]).on_sale_count(at)


@for_all(RELEASES)
def test_in_the_end_all_of_the_capacity_is_on_sale(releases: list[Release]) -> None:
    assert selling(releases).on_sale_count(NOW + 6 * DAY) == sum(each.quantity for each in releases)
