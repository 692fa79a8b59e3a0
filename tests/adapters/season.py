"""A small season in which everybody does something: two plays, sold, handed on, refunded, attended; the same every time.

What happens is decided by the domain; when it was recorded is the season's own clock, so that whatever is reckoned from it
comes out the same on every day.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import NamedTuple
from uuid import UUID, uuid5

import psycopg

from domain.event import Event
from domain.event_details import Details, Display, Release, Venue
from domain.kernel import Aggregate, Fact
from domain.money import Money
from domain.order import Line, Order, OrderStatus
from domain.seat import Seat, ticket_id
from domain.ticket import ADMITTING, Ticket, TicketStatus

SEED = 1611
WORLD = UUID("5ea50e00-1611-4111-8111-000000000000")
ORGANIZER = uuid5(WORLD, "organiser")
TOUT = uuid5(WORLD, "tout")
PEOPLE = [uuid5(WORLD, f"person {number}") for number in range(40)]
ON_SALE = datetime(2025, 8, 28, 8, 0, tzinfo=UTC)
ATTEMPTS = 70
TOUT_ATTEMPTS = 6
HOLD = timedelta(minutes=10)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
REASONS = ("ill", "wrong date", "bought twice")
INSERT = b"insert into ledger.events values (%s, %s, %s, %s, %s, %s, %s)"


class Play(NamedTuple):
    title: str
    starts_at: datetime
    seats: int
    standing: int


PLAYS = (
    Play("The Winter's Tale", datetime(2025, 9, 20, 17, 30, tzinfo=UTC), seats=24, standing=20),
    Play("The Tempest", datetime(2025, 9, 27, 17, 30, tzinfo=UTC), seats=96, standing=60),
)


class Written(NamedTuple):
    stream_id: UUID
    version: int
    fact: Fact
    recorded_at: datetime


def store(url: str, written: Sequence[Written]) -> None:
    """Into an empty ledger, by who may."""
    rows = [
        (position, one.stream_id, one.version, one.fact.stored_topic, one.fact.encode(), b"{}", one.recorded_at)
        for position, one in enumerate(written, 1)
    ]
    with psycopg.connect(url) as connection:
        connection.cursor().executemany(INSERT, rows)
        head = (len(rows), written[-1].recorded_at)
        connection.execute("update ledger.head set position = %s, recorded_at = %s", head)


class Season:
    def __init__(self, seed: int = SEED) -> None:
        self.random = Random(seed)
        self.written: list[Written] = []
        self.events: list[Event] = []
        self.tickets: dict[UUID, Ticket] = {}
        self.now = ON_SALE
        self._numbers = count()
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        for play in PLAYS:
            self._plan(play)
        while self._agenda:
            self.now, _, happen = heapq.heappop(self._agenda)
            happen()

    def later(self, after: timedelta, happen: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + after, next(self._numbers), happen))

    def at(self, moment: datetime, happen: Callable[[], None]) -> None:
        self.later(moment - self.now, happen)

    def save(self, *aggregates: Aggregate) -> None:
        """Recorded a little after they were decided, as it is."""
        self.now += timedelta(milliseconds=3)
        for aggregate in aggregates:
            first = aggregate.stored_version + 1
            for version, fact in enumerate(aggregate.pending, first):
                self.written.append(Written(aggregate.id, version, fact, self.now))
            aggregate.pending.clear()

    def new_id(self) -> UUID:
        return uuid5(WORLD, str(next(self._numbers)))

    # -- What the organiser does ---------------------------------------------------------

    def _plan(self, play: Play) -> None:
        event = Event(id=uuid5(WORLD, play.title))
        event.draft(organizer_id=ORGANIZER, currency="EUR", details=_details(play), at=self.now)
        for name, price, seated in (("Stalls", 6_000, True), ("Standing", 2_500, False)):
            tier_id = uuid5(event.id, name)
            event.add_tier(Event.TierAdded(tier_id=tier_id, name=name, price=price, seated=seated, at=self.now))
            event.release(tier_id, _release(tier_id, play.seats if seated else play.standing, seated), at=self.now)
        event.publish(at=self.now)
        self.save(event)
        self.events.append(event)
        for _ in range(ATTEMPTS):
            self.later(self.random.expovariate(1 / 3) * DAY, lambda: self._order(event, self.random.choice(PEOPLE)))
        for number in range(TOUT_ATTEMPTS):
            self.later((number + 1) * MINUTE, lambda: self._order(event, TOUT))
        details = event.known_details
        for moment in (details.doors_open_at, details.ends_at):
            self.at(moment, lambda: self._keep_time(event))

    def _keep_time(self, event: Event) -> None:
        event.keep_time(at=self.now)
        self.save(event)

    # -- What buyers do -------------------------------------------------------------------

    def _order(self, event: Event, buyer: UUID) -> None:
        tier = event.tiers[uuid5(event.id, self.random.choice(("Stalls", "Standing")))]
        places = [
            place for place in _places(tier.releases[0]) if self._is_free(ticket_id(event.id, tier.tier_id, place))
        ]
        wanted = places[: 4 if buyer == TOUT else self.random.randint(1, 4)]
        if not wanted:
            return
        order, until = Order(id=self.new_id()), self.now + HOLD
        lines = tuple(_line(event, tier.tier_id, place, tier.price) for place in wanted)
        total = Money(amount=tier.price * len(lines), currency="EUR")
        order.place(
            Order.Placed(buyer_id=buyer, event_id=event.id, lines=lines, total=total, expires_at=until, at=self.now)
        )
        tickets = [self.tickets.setdefault(line.ticket_id, Ticket(id=line.ticket_id)) for line in lines]
        for ticket, line in zip(tickets, lines, strict=True):
            hold = {"event_id": event.id, "order_id": order.id, "buyer_id": buyer, "until": until, "at": self.now}
            ticket.hold(Ticket.Held.model_validate(line.model_dump(exclude={"ticket_id"}) | hold))
        self.save(order, *tickets)
        self._decide(event, order, tickets)

    def _is_free(self, ticket: UUID) -> bool:
        return ticket not in self.tickets or self.tickets[ticket].status is TicketStatus.AVAILABLE

    def _decide(self, event: Event, order: Order, tickets: list[Ticket]) -> None:
        chance = self.random.random()
        if order.buyer_id == TOUT or chance < 0.75:
            self.later(timedelta(seconds=self.random.randint(15, 400)), lambda: self._pay(event, order, tickets))
        elif chance < 0.85:
            self.later(self.random.randint(1, 8) * MINUTE, lambda: self._let_go(order, tickets, "cancelled"))
        else:
            self.later(HOLD, lambda: self._let_go(order, tickets, "expired"))

    def _let_go(self, order: Order, tickets: list[Ticket], cause: str) -> None:
        if cause == "expired":
            order.expire(at=self.now)
        else:
            order.cancel(at=self.now)
        for ticket in tickets:
            ticket.release(cause=cause, at=self.now)
        self.save(order, *tickets)

    def _pay(self, event: Event, order: Order, tickets: list[Ticket]) -> None:
        if self.random.random() < 0.1:
            order.decline(payment_id=self.new_id(), provider="sandbox", reason="no money", at=self.now)
            self.save(order)
        order.pay(payment_id=self.new_id(), provider="sandbox", at=self.now)
        for ticket in tickets:
            ticket.pay(at=self.now)
        self.save(order, *tickets)
        if self.random.random() < 0.15:
            self.later(self.random.uniform(1, 6) * DAY, lambda: self._refund(order, tickets))
        for ticket in tickets:
            if self.random.random() < (0.7 if order.buyer_id == TOUT else 0.1):
                self.later(self.random.uniform(1, 7) * DAY, partial(self._hand_on, event, ticket))
            if self.random.random() < 0.85:
                early = min(max(self.random.gauss(28, 14), -30), 59) * MINUTE
                self.at(event.known_details.starts_at - early, partial(self._come, event, ticket))

    def _refund(self, order: Order, tickets: list[Ticket]) -> None:
        due = [ticket for ticket in tickets if ticket.status in ADMITTING and self.random.random() < 0.8]
        if not due or order.status is not OrderStatus.PAID:
            return
        reason = self.random.choice(REASONS)
        for ticket in due:
            ticket.cancel(reason=reason, at=self.now)
        ids = frozenset(ticket.id for ticket in due)
        refund_id = self.new_id()
        order.refund(refund_id=refund_id, ticket_ids=ids, reason=reason, at=self.now)
        self.save(*due, order)
        if self.now.month == 9 and self.now.day <= 5:
            self.later(2 * DAY, lambda: self._correct(order, refund_id))

    def _correct(self, order: Order, refund_id: UUID) -> None:
        """It belongs to the month before."""
        end_of_august = datetime(2025, 8, 31, 12, 0, tzinfo=UTC)
        order.date_entry(entry_id=refund_id, effective_at=end_of_august, reason="August's", at=self.now)
        self.save(order)

    # -- What holders do --------------------------------------------------------------------

    def _hand_on(self, event: Event, ticket: Ticket) -> None:
        if ticket.status not in ADMITTING:
            return
        friend = self.random.choice([person for person in PEOPLE if person != ticket.holder_id])
        if self.random.random() < 0.5:
            ticket.transfer(to=friend, at=self.now)
        else:
            ticket.resell(event=event, to=friend, price=9_000, wallet=None, at=self.now)
        self.save(ticket)
        if self.random.random() < 0.3:
            self.later(self.random.uniform(0.5, 2) * DAY, lambda: self._hand_on(event, ticket))

    def _come(self, event: Event, ticket: Ticket) -> None:
        if ticket.status in ADMITTING:
            gate = self.random.choice(("North", "South"))
            ticket.check_in(event=event, custody=ticket.custody, gate=gate, at=self.now)
            self.save(ticket)


def _details(play: Play) -> Details:
    return Details(
        title=play.title,
        description=None,
        venue=Venue(name="The Theatre", city="Berlin", country="DE"),
        starts_at=play.starts_at,
        ends_at=play.starts_at + timedelta(hours=3),
        doors_open_at=play.starts_at - timedelta(hours=1),
        timezone="Europe/Berlin",
        tags=("theatre",),
        max_tickets_per_order=4,
        max_tickets_per_buyer=None,
        buyer_window_seconds=None,
        hold_seconds=int(HOLD.total_seconds()),
        display=Display(),
    )


def _release(tier_id: UUID, quantity: int, seated: bool) -> Release:
    seats = tuple(Seat(section="Stalls", row=str(1 + n // 12), number=str(1 + n % 12)) for n in range(quantity))
    return Release(
        release_id=uuid5(tier_id, "release"), quantity=quantity, seats=seats if seated else None, on_sale_at=None
    )


def _places(release: Release) -> list[int | Seat]:
    return list(release.seats) if release.seats is not None else list(range(1, release.quantity + 1))


def _line(event: Event, tier_id: UUID, place: int | Seat, price: int) -> Line:
    serial, seat = (place, None) if isinstance(place, int) else (None, place)
    return Line(ticket_id=ticket_id(event.id, tier_id, place), tier_id=tier_id, serial=serial, seat=seat, price=price)
