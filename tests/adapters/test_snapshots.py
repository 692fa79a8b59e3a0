"""Snapshots of long streams: a head start, never another truth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.ledger import PostgresLedger
from adapters.snapshots import SNAPSHOT_EVERY
from commands.kernel import NewFact, Request
from domain.event import Event
from domain.event_details import Details, Display, Release, Venue
from domain.seat import Seat
from tests.adapters.ledger_parts import DOORS, METADATA, scalar

pytestmark = pytest.mark.anyio

DETAILS = Details(
    title="Aida",
    description=None,
    venue=Venue(name="Teatro Real", city="Madrid", latitude=40.418, longitude=-3.71),
    starts_at=DOORS,
    ends_at=DOORS + timedelta(hours=3),
    doors_open_at=DOORS - timedelta(hours=1),
    timezone="Europe/Madrid",
    tags=("opera",),
    max_tickets_per_order=6,
    max_tickets_per_buyer=None,
    buyer_window_seconds=None,
    hold_seconds=600,
    display=Display(),
)


def long_event(event_id: UUID, releases: int) -> Event:
    """An event of one seated and one counted tier, with a release after the other."""
    at = DOORS - timedelta(days=90)
    event = Event(id=event_id)
    event.draft(organizer_id=uuid4(), currency="EUR", details=DETAILS, at=at)
    seated, counted = uuid4(), uuid4()
    event.add_tier(Event.TierAdded(tier_id=seated, name="Stalls", price=9000, seated=True, at=at))
    event.add_tier(Event.TierAdded(tier_id=counted, name="Gallery", price=2500, seated=False, sale_opens_at=at, at=at))
    for n in range(releases):
        seats = (Seat(section="A", row=str(n), number="1"), Seat(section="A", row=str(n), number="2"))
        opens = at + timedelta(days=n % 7) if n % 2 else None
        event.release(seated, Release(release_id=uuid4(), quantity=2, seats=seats, on_sale_at=opens), at=at)
        event.release(counted, Release(release_id=uuid4(), quantity=10, seats=None, on_sale_at=opens), at=at)
    event.staff_gates((uuid4(), uuid4()), at=at)
    event.publish(at=at)
    return event


async def append(ledger: PostgresLedger, event: Event) -> None:
    first = event.stored_version + 1
    facts: Sequence[NewFact] = [NewFact(event.id, version, fact) for version, fact in enumerate(event.pending, first)]
    await ledger.append(Request(facts, METADATA))
    event.pending.clear()


async def reload(ledger: PostgresLedger, event_id: UUID) -> Event:
    (event,) = await ledger.load(Event, [event_id])
    return event


def snapshot_version(database: str) -> int | None:
    version: int | None = scalar(database, "select max(version) from ledger.snapshots")
    return version


async def test_a_long_stream_is_the_same_with_and_without_its_snapshot(ledger: PostgresLedger, database: str) -> None:
    event = long_event(uuid4(), SNAPSHOT_EVERY)
    await append(ledger, event)
    folded = await reload(ledger, event.id)
    assert snapshot_version(database) == folded.version
    from_snapshot = await reload(ledger, event.id)
    assert from_snapshot == folded == event

    event.cancel(reason="the tenor is ill", at=DOORS)
    await append(ledger, event)
    assert await reload(ledger, event.id) == event
    assert snapshot_version(database) == event.version - 1, "one fact more is not worth a snapshot"


async def test_a_short_stream_gets_no_snapshot(ledger: PostgresLedger, database: str) -> None:
    event = long_event(uuid4(), 2)
    await append(ledger, event)
    assert await reload(ledger, event.id) == event
    assert snapshot_version(database) is None


@pytest.mark.parametrize(
    "spoilt",
    [
        "schema = 'of an older release', state = '{}'",
        'state = \'{"status": "nonsense"}\'',
        "state = 'not even JSON'",
    ],
)
async def test_a_snapshot_that_is_not_of_todays_shape_is_ignored(
    ledger: PostgresLedger, database: str, spoilt: str
) -> None:
    event = long_event(uuid4(), SNAPSHOT_EVERY)
    await append(ledger, event)
    await reload(ledger, event.id)
    with psycopg.connect(database) as conn:
        conn.execute(f"update ledger.snapshots set {spoilt}".encode())
    assert await reload(ledger, event.id) == event


async def test_a_snapshot_of_an_older_shape_is_replaced(ledger: PostgresLedger, database: str) -> None:
    event = long_event(uuid4(), SNAPSHOT_EVERY)
    await append(ledger, event)
    await reload(ledger, event.id)
    with psycopg.connect(database) as conn:
        conn.execute("update ledger.snapshots set schema = 'of an older release', version = version + 1000")
    await reload(ledger, event.id)
    assert snapshot_version(database) == event.version


async def test_as_of_a_position_no_snapshot_gets_in_the_way(ledger: PostgresLedger) -> None:
    event = long_event(uuid4(), SNAPSHOT_EVERY)
    await append(ledger, event)
    await reload(ledger, event.id)
    (then,) = await ledger.loader.load_as_of(Event, [event.id], position=3)
    assert (then.version, then.status, len(then.tiers), then.seats) == (3, "draft", 2, {})
