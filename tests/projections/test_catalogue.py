"""What is on, found by what people know of it, now and as of any position."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.event import Event
from domain.event_details import Release, Venue
from projections.event_search import ListedEvent, Search, running, search, versions
from tests.projections.book import Book
from tests.projections.conftest import Ask
from tests.projections.town import NOW, details

ORGANIZER, OTHER = uuid4(), uuid4()
LIMIT = 100


def drafted(title: str = "A concert", organizer_id: UUID = ORGANIZER, **changes: object) -> Event.Drafted:
    return Event.Drafted(organizer_id=organizer_id, currency="EUR", details=details(title, **changes), at=NOW)


def added(tier_id: UUID, name: str) -> Event.TierAdded:
    return Event.TierAdded(tier_id=tier_id, name=name, price=4500, benefits=("a drink",), seated=False, at=NOW)


def released(tier_id: UUID, quantity: int) -> Event.Released:
    release = Release(release_id=uuid4(), quantity=quantity, seats=None, on_sale_at=None)
    return Event.Released(tier_id=tier_id, release=release, at=NOW)


@pytest.fixture
def put_on(book: Book, caught_up: Callable[[], int]) -> Callable[..., UUID]:
    def put_on(title: str = "A concert", *more: Any, draft: bool = False, **changes: Any) -> UUID:
        event_id = uuid4()
        book.append((event_id, drafted(title, **changes)))
        facts = [*more] if draft else [Event.Published(at=NOW), *more]
        if facts:
            book.append(*((event_id, fact) for fact in facts))
        caught_up()
        return event_id

    return put_on


@pytest.fixture
def found(ask: Ask) -> Callable[..., list[UUID]]:
    def found(**wanted: Any) -> list[UUID]:
        return [event.event_id for event in ask(search, Search(**wanted), limit=LIMIT)]

    return found


def test_words_are_found_wherever_they_stand(put_on: Callable[..., UUID], found: Callable[..., list[UUID]]) -> None:
    concert = put_on("Brandenburg Concertos", description="Six of them, by Bach", tags=("early music",))
    play = put_on("Hamlet", venue=Venue(name="The Globe", city="London"), description=None)
    for words in ("brandenburg", "CONCERTOS", "bach six", '"early music"', "-hamlet", "berlin"):
        assert found(query=words) == [concert], words
    for words in ("hamlet", "globe", "london -bach"):
        assert found(query=words) == [play], words
    assert set(found(query="hamlet or bach")) == {concert, play}
    assert found(query="opera") == []


@pytest.mark.parametrize("query", ["'", '"', "\\", "x & | !", "::", "%s %(query)s", "(((", "-", "", "ł🎫"])
def test_whatever_is_typed_is_a_query(
    put_on: Callable[..., UUID], found: Callable[..., list[UUID]], query: str
) -> None:
    put_on()
    assert found(query=query) == []


def test_by_city_tag_and_organiser(put_on: Callable[..., UUID], found: Callable[..., list[UUID]]) -> None:
    here = put_on(venue=Venue(name="Hall", city="Köln"), tags=("music", "für Kinder"))
    there = put_on(venue=Venue(name="Hall"), tags=("music",), organizer_id=OTHER)
    assert found(city="KÖLN") == [here]
    assert found(city="Berlin") == []
    assert found(tag="für Kinder") == [here]
    assert set(found(tag="music")) == {here, there}
    assert found(organizer_id=OTHER) == [there]
    assert found(organizer_id=OTHER, tag="für Kinder") == []


def test_by_time_with_the_end_left_out(put_on: Callable[..., UUID], found: Callable[..., list[UUID]]) -> None:
    later = [NOW + timedelta(days=day) for day in range(3)]
    ids = [put_on(starts_at=at, ends_at=at + timedelta(hours=1)) for at in later]
    assert found() == ids
    assert found(starts_from=later[1]) == ids[1:]
    assert found(starts_before=later[1]) == ids[:1]
    assert found(starts_from=later[0], starts_before=later[2]) == ids[:2]


def test_drafts_are_their_organisers_only(put_on: Callable[..., UUID], found: Callable[..., list[UUID]]) -> None:
    draft, public = put_on(draft=True), put_on()
    assert found() == [public]
    assert found(status="draft") == []
    assert found(drafts_of=OTHER) == [public]
    assert set(found(drafts_of=ORGANIZER)) == {draft, public}
    assert found(drafts_of=ORGANIZER, status="draft") == [draft]


def test_pages_follow_each_other_without_gap_or_overlap(
    put_on: Callable[..., UUID], ask: Ask, found: Callable[..., list[UUID]]
) -> None:
    starts = [NOW, NOW, NOW, NOW + timedelta(days=1), NOW + timedelta(days=2)]
    for at in starts:
        put_on(starts_at=at, ends_at=at + timedelta(hours=1))
    pages: list[UUID] = []
    after = None
    while page := ask(search, Search(after=after), limit=2):
        pages += [event.event_id for event in page]
        after = (page[-1].details.starts_at, page[-1].event_id)
    assert pages == found()
    assert len(pages) == len(starts)


def test_an_event_is_shown_with_its_details_and_its_tiers_in_order(put_on: Callable[..., UUID], ask: Ask) -> None:
    floor, balcony = uuid4(), uuid4()
    facts = (added(floor, "Floor"), released(floor, 100), added(balcony, "Balcony"), released(floor, 20))
    event_id = put_on("A concert", *facts)
    [event] = ask(search, Search(), limit=LIMIT)
    assert (event.event_id, event.organizer_id, event.status, event.currency, event.version, event.position) == (
        event_id,
        ORGANIZER,
        "published",
        "EUR",
        6,
        6,
    )
    assert event.details == details()
    assert [(tier.tier_id, tier.name, tier.capacity) for tier in event.tiers] == [
        (floor, "Floor", 120),
        (balcony, "Balcony", 0),
    ]
    assert (event.tiers[0].price, event.tiers[0].benefits, event.tiers[0].seated) == (4500, ("a drink",), False)


def test_moved_details_win_over_those_it_was_written_with(put_on: Callable[..., UUID], ask: Ask) -> None:
    moved: dict[str, Any] = {
        "starts_at": NOW + timedelta(days=9),
        "ends_at": NOW + timedelta(days=10),
        "doors_open_at": NOW,
    }
    put_on("A concert", Event.WentLive(at=NOW), Event.Postponed(**moved, at=NOW))
    [event] = ask(search, Search(starts_from=NOW + timedelta(days=8)), limit=LIMIT)
    assert (event.status, event.details) == ("published", details(**moved))


def test_the_past_is_searched_as_it_was(
    put_on: Callable[..., UUID], book: Book, caught_up: Callable[[], int], ask: Ask, found: Callable[..., list[UUID]]
) -> None:
    tier = uuid4()
    event_id = put_on("Hamlet", added(tier, "Floor"), released(tier, 10))
    book.append((event_id, Event.DetailsChanged(details=details("Macbeth"), at=NOW)), (event_id, released(tier, 5)))
    book.append((event_id, Event.Cancelled(reason="rain", at=NOW)))
    caught_up()

    def shown(as_of: int | None) -> list[tuple[str, str, list[int]]]:
        events: list[ListedEvent] = ask(search, Search(as_of=as_of), limit=LIMIT)
        return [(e.details.title, e.status, [tier.capacity for tier in e.tiers]) for e in events]

    expected = {
        0: [],
        1: [],  # a draft
        2: [("Hamlet", "published", [])],
        3: [("Hamlet", "published", [0])],
        4: [("Hamlet", "published", [10])],
        5: [("Macbeth", "published", [10])],
        6: [("Macbeth", "published", [15])],
        7: [("Macbeth", "cancelled", [15])],
        None: [("Macbeth", "cancelled", [15])],
    }
    assert {as_of: shown(as_of) for as_of in expected} == expected
    assert found(query="hamlet", as_of=4) == [event_id]
    assert found(query="hamlet", as_of=5) == found(query="hamlet") == []
    assert found(status="published", as_of=6) == [event_id]


def test_every_version_of_an_event_is_kept(put_on: Callable[..., UUID], ask: Ask) -> None:
    changed = Event.DetailsChanged(details=details("Macbeth"), at=NOW)
    tier = uuid4()
    event_id = put_on("Hamlet", added(tier, "Floor"), released(tier, 3), changed, Event.Ended(at=NOW))
    put_on("Another")
    history = ask(versions, event_id, after=0, limit=LIMIT)
    assert [(e.position, e.version, e.details.title, e.status) for e in history] == [
        (1, 1, "Hamlet", "draft"),
        (2, 2, "Hamlet", "published"),
        (3, 3, "Hamlet", "published"),
        (4, 4, "Hamlet", "published"),
        (5, 5, "Macbeth", "published"),
        (6, 6, "Macbeth", "ended"),
    ]
    assert [[tier.capacity for tier in e.tiers] for e in history] == [[], [], [0], [3], [3], [3]]
    assert ask(versions, event_id, after=2, limit=3) == history[2:5]
    assert ask(versions, uuid4(), after=0, limit=LIMIT) == []


def test_events_on_which_time_has_an_effect_soonest_first(put_on: Callable[..., UUID], ask: Ask) -> None:
    doors, end = NOW + timedelta(hours=1), NOW + timedelta(hours=5)
    later = put_on(doors_open_at=doors, ends_at=end)
    live = put_on("On now", Event.WentLive(at=NOW), ends_at=NOW + timedelta(minutes=30), starts_at=NOW)
    put_on("Over", Event.WentLive(at=NOW), Event.Ended(at=NOW))
    put_on("Not yet", draft=True)
    assert ask(running, limit=9) == [(live, NOW + timedelta(minutes=30)), (later, doors)]
    assert ask(running, limit=1) == [(live, NOW + timedelta(minutes=30))]
