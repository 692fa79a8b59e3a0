"""Facts as a season leaves them, in any number: events, orders, payments, entries; the same for the same number."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple
from uuid import UUID, uuid5

from adapters.ledger import PostgresLedger
from adapters.sealing import Sealer
from commands.kernel import NewFact, Request, new_metadata
from domain.event import Event
from domain.event_details import Details, Display, Release, Venue
from domain.kernel import Fact, utc_now
from domain.money import Money
from domain.order import Line, Order
from domain.seat import ticket_id
from domain.ticket import Ticket

SEED = 20260101
EVENT_TICKETS = 250
ORDER_TICKETS_MAX = 4
PAID_SHARE = 0.95
ADMITTED_SHARE = 0.8
BUYERS = 100_000
PRICE = 4500
SOLD_BEFORE = timedelta(hours=3)
APPENDS_AT_ONCE = 16
WORLD = UUID("3f0d6a52-0d0f-4d0e-8f57-9b6c1f7a9e11")

New = list[NewFact]


class World(NamedTuple):
    """What was written, in the order in which it was."""

    facts: int
    events: list[UUID]
    tickets: list[UUID]


async def fill(url: str, secret: bytes, facts: int) -> World:
    """Append at least so many facts, an event and all that became of it at a time."""
    ledger = PostgresLedger(url, Sealer(secret))
    await ledger.start()
    metadata = new_metadata("system:bench", "Fill")
    seasons = _events(facts, utc_now() - SOLD_BEFORE)
    world = World(0, [], [])
    count = 0

    async def append() -> None:
        nonlocal count
        for event_id, new in seasons:
            await ledger.append(Request(new, metadata))
            count += len(new)
            world.events.append(event_id)
            world.tickets.extend(one.stream_id for one in new if isinstance(one.fact, Ticket.Held))

    try:
        await asyncio.gather(*(append() for _ in range(APPENDS_AT_ONCE)))
    finally:
        await ledger.stop()
    return world._replace(facts=count)


def _events(facts: int, now: datetime) -> Iterator[tuple[UUID, New]]:
    rng = Random(SEED)
    count = number = 0
    while count < facts:
        number += 1
        event_id = uuid5(WORLD, f"event {number}")
        new = [*_offer(event_id, now), *_sales(event_id, rng, now)]
        count += len(new)
        yield event_id, new


def _offer(event_id: UUID, now: datetime) -> New:
    details = Details(
        title=f"Evening {event_id.hex[:6]}",
        description="Written by the bench.",
        venue=Venue(name="The Bench", city="Berlin", country="DE"),
        starts_at=now + timedelta(days=1),
        ends_at=now + timedelta(days=2),
        doors_open_at=now - timedelta(days=1),
        timezone="Europe/Berlin",
        tags=("bench",),
        max_tickets_per_order=20,
        max_tickets_per_buyer=None,
        buyer_window_seconds=None,
        hold_seconds=600,
        display=Display(),
    )
    tier_id = _tier_of(event_id)
    release = Release(release_id=uuid5(tier_id, "release"), quantity=2 * EVENT_TICKETS, seats=None, on_sale_at=None)
    facts: list[Fact] = [
        Event.Drafted(organizer_id=uuid5(WORLD, "organiser"), currency="EUR", details=details, at=now),
        Event.TierAdded(tier_id=tier_id, name="Stalls", price=PRICE, seated=False, at=now),
        Event.Released(tier_id=tier_id, release=release, at=now),
        Event.Published(at=now),
    ]
    return [NewFact(event_id, version, fact) for version, fact in enumerate(facts, 1)]


def _sales(event_id: UUID, rng: Random, now: datetime) -> Iterator[NewFact]:
    """Orders one after another; most are paid for, and most of those who paid come."""
    first = 1
    while first <= EVENT_TICKETS:
        count = rng.randint(1, ORDER_TICKETS_MAX)
        yield from _order(event_id, range(first, first + count), rng, now)
        first += count


def _order(event_id: UUID, serials: range, rng: Random, now: datetime) -> Iterator[NewFact]:
    tier_id = _tier_of(event_id)
    order_id = uuid5(event_id, f"order {serials.start}")
    buyer_id = uuid5(WORLD, f"buyer {rng.randrange(BUYERS)}")
    until = now + timedelta(minutes=10)
    tickets = {serial: ticket_id(event_id, tier_id, serial) for serial in serials}
    lines = tuple(Line(ticket_id=t, tier_id=tier_id, serial=serial, price=PRICE) for serial, t in tickets.items())
    total = Money(amount=PRICE * len(lines), currency="EUR")
    placed = Order.Placed(buyer_id=buyer_id, event_id=event_id, lines=lines, total=total, expires_at=until, at=now)
    yield NewFact(order_id, 1, placed)
    for serial, ticket in tickets.items():
        held = Ticket.Held(
            event_id=event_id,
            tier_id=tier_id,
            serial=serial,
            price=PRICE,
            order_id=order_id,
            buyer_id=buyer_id,
            until=until,
            at=now,
        )
        yield NewFact(ticket, 1, held)
    if rng.random() < PAID_SHARE:
        yield NewFact(
            order_id, 2, Order.Paid(payment_id=uuid5(order_id, "payment"), provider="sandbox", amount=total, at=now)
        )
        yield from _visits(event_id, tickets.values(), rng, now)
    else:
        yield NewFact(order_id, 2, Order.Expired(at=until))
        for ticket in tickets.values():
            yield NewFact(ticket, 2, Ticket.Released(cause="expired", event_id=event_id, tier_id=tier_id, at=until))


def _visits(event_id: UUID, tickets: Iterable[UUID], rng: Random, now: datetime) -> Iterator[NewFact]:
    tier_id = _tier_of(event_id)
    for ticket in tickets:
        yield NewFact(ticket, 2, Ticket.Paid(event_id=event_id, tier_id=tier_id, at=now))
        if rng.random() < ADMITTED_SHARE:
            yield NewFact(ticket, 3, Ticket.CheckedIn(event_id=event_id, tier_id=tier_id, gate="North", at=now))


def _tier_of(event_id: UUID) -> UUID:
    return uuid5(event_id, "tier")
