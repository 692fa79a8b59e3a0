"""A fact of megabytes goes through topic and feed as any other does."""

from __future__ import annotations

import pytest

from adapters import projector_session
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.facts import FACTS
from domain.event import Event
from domain.event_details import Release
from domain.seat import Seat
from tests.kafka.feeding import SECRET, check_views, feed, feeding, projecting, until_level
from tests.kafka.parts import administering, head, received, relaying
from tests.projections.book import Book
from tests.projections.town import NOW, Town, details

SEATS = 30_000
BROKERS_TAKE = 1_048_588
"""In one go, unless they are told otherwise."""
NEVER = 1e9


@pytest.mark.parametrize("there", [False, True], ids=["made", "widened"])
def test_a_release_of_many_seats_is_told_and_taken(
    database: str, kafka: KafkaSettings, book: Book, town: Town, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """In a topic that the relay makes, and in one that was there and takes as little as brokers let it."""
    monkeypatch.setattr(projector_session, "FEED_SECONDS_MAX", NEVER)
    if there:
        with administering(kafka) as admin:
            admin.create_topics({FACTS: {"num_partitions": kafka.partitions}}, wait_for_metadata=True)
    release_many(book, town)
    one = feed(database, kafka)
    with relaying(database, kafka, SECRET), projecting(database), feeding(one):
        town.act(20)
        until_level(database)
        assert one.facts_total == head(database), "the table has not helped"
    told = received(kafka, [FACTS])
    assert len(told) == head(database)
    assert max(len(message.value) for message in told) > 2 * BROKERS_TAKE
    check_views(database)


def release_many(book: Book, town: Town) -> None:
    event, tier_id = Event(id=town.new_id()), town.new_id()
    event.draft(organizer_id=town.people[0], currency="EUR", details=details(), at=NOW)
    event.add_tier(Event.TierAdded(tier_id=tier_id, name="Hall", price=4500, seated=True, at=NOW))
    seats = tuple(
        Seat(section="Parterre, left of the aisle", row=f"Row {n // 100}", number=f"Seat {n % 100}")
        for n in range(SEATS)
    )
    release = Release(release_id=town.new_id(), quantity=SEATS, seats=seats, on_sale_at=None)
    event.release(tier_id, release, at=NOW)
    book.save(event)
