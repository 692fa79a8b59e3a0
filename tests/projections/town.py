"""People who organise, buy and attend at random: whatever the domain lets them do, the views have to follow."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Protocol
from uuid import UUID

from domain.account import Account, Role
from domain.event import Event, Tier
from domain.event_details import Details, Display, Release, Venue
from domain.kernel import Aggregate, Refusal
from domain.money import Money
from domain.order import Line, Order, OrderStatus
from domain.reconciliation import Reconciliation
from domain.seat import Seat, ticket_id
from domain.ticket import Ticket, TicketStatus
from domain.wallet import Wallet
from tests.projections import town_auditors, town_wallets

NOW = datetime(2031, 5, 17, 20, 0, tzinfo=UTC)
CITIES = ("Berlin", "Lisboa", "東京", None)
TAGS = ("music", "theatre", "für Kinder")
PEOPLE = 6
TICKETS_PER_ORDER = 4


def details(title: str = "A concert", **changes: object) -> Details:
    """Of an event whose doors are open now."""
    given = {
        "title": title,
        "description": "An evening in the old town hall",
        "venue": Venue(name="Town Hall", city="Berlin", country="DE"),
        "starts_at": NOW + timedelta(hours=1),
        "ends_at": NOW + timedelta(hours=4),
        "doors_open_at": NOW - timedelta(hours=1),
        "timezone": "Europe/Berlin",
        "tags": ("music",),
        "max_tickets_per_order": 20,
        "max_tickets_per_buyer": None,
        "buyer_window_seconds": None,
        "hold_seconds": 600,
        "display": Display(),
    }
    return Details.model_validate(given | changes)


class Ledger(Protocol):
    def save(self, *aggregates: Aggregate) -> int: ...


class Town:
    def __init__(self, book: Ledger, random: Random) -> None:
        self.book = book
        self.random = random
        self.people = [self.new_id() for _ in range(PEOPLE)]
        self.accounts: list[Account] = []
        self.events: dict[UUID, Event] = {}
        self.orders: dict[UUID, Order] = {}
        self.tickets: dict[UUID, Ticket] = {}
        self.wallets: dict[str, Wallet] = {}
        self.reconciliations: list[Reconciliation] = []
        self.position = 0
        self._clock = NOW

    def new_id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def now(self) -> datetime:
        self._clock += timedelta(milliseconds=1)
        return self._clock

    def act(self, times: int = 1) -> int:
        """Somebody does something, or is refused. Returns the position that came of it."""
        for _ in range(times):
            with suppress(
                Refusal, IndexError, StopIteration
            ):  # the latter two: there is nobody and nothing to do it with yet
                self.random.choices(ACTIONS, WEIGHTS)[0](self)
        return self.position

    def saved(self, *aggregates: Account | Event | Order | Reconciliation | Ticket | Wallet) -> None:
        self.position = self.book.save(*aggregates) or self.position

    # -- People --------------------------------------------------------------------

    def register(self) -> None:
        account = Account(id=self.new_id())
        roles = frozenset(self.random.sample(list(Role), 2))
        account.register(email=f"{account.id}@example.com", name="Åsa", roles=roles, at=self.now())
        self.saved(account)
        self.accounts.append(account)

    def set_roles(self) -> None:
        account = self.random.choice(self.accounts)
        account.set_roles(frozenset(self.random.sample(list(Role), 2)), by=None, at=self.now())
        self.saved(account)

    def forget(self) -> None:
        account = self.random.choice(self.accounts)
        account.erase(by=None, at=self.now())
        self.saved(account)

    # -- Organisers ------------------------------------------------------------------

    def organise(self) -> None:
        event = Event(id=self.new_id())
        organizer = self.random.choice(self.people)
        event.draft(organizer_id=organizer, currency="EUR", details=self._details(), at=self.now())
        self.saved(event)
        self.events[event.id] = event
        for seated in (False, True):
            self._add_tier(event, seated=seated)
        if self.random.random() < 0.9:
            event.publish(at=self.now())
        self.saved(event)

    def _details(self) -> Details:
        city, number = self.random.choice(CITIES), self.random.randrange(1000)
        tags = tuple(self.random.sample(TAGS, 2))
        return details(f"Concert {number}", venue=Venue(name="Hall", city=city), tags=tags)

    def _add_tier(self, event: Event, *, seated: bool) -> None:
        tier_id, price = self.new_id(), self.random.randrange(10_000)
        event.add_tier(Event.TierAdded(tier_id=tier_id, name="Floor", price=price, seated=seated, at=self.now()))
        self._release(event, event.tiers[tier_id])

    def _release(self, event: Event, tier: Tier) -> None:
        quantity = self.random.randrange(1, 6)
        row = str(len(tier.releases))
        seats = tuple(Seat(section=tier.tier_id.hex[:4], row=row, number=str(n)) for n in range(quantity))
        release = Release(
            release_id=self.new_id(), quantity=quantity, seats=seats if tier.seated else None, on_sale_at=None
        )
        event.release(tier.tier_id, release, at=self.now())

    def release_more(self) -> None:
        event = self.any_event()
        self._release(event, self.random.choice(list(event.tiers.values())))
        self.saved(event)

    def change_details(self) -> None:
        event = self.any_event()
        event.change(self._details(), at=self.now())
        self.saved(event)

    def postpone(self) -> None:
        event = self.any_event()
        starts_at = event.known_details.starts_at + timedelta(minutes=1)
        event.postpone(starts_at=starts_at, ends_at=event.known_details.ends_at + timedelta(hours=1), at=self.now())
        self.saved(event)

    def keep_time(self) -> None:
        event = self.any_event()
        event.keep_time(at=self.random.choice((NOW, event.known_details.ends_at)))
        self.saved(event)

    def cancel_event(self) -> None:
        event = self.any_event()
        event.cancel(reason="rain", at=self.now())
        self.saved(event)

    def archive(self) -> None:
        event = self.any_event()
        event.archive(at=self.now())
        self.saved(event)

    def staff_gates(self) -> None:
        event = self.any_event()
        event.staff_gates((self.random.choice(self.people),), at=self.now())
        self.saved(event)

    def any_event(self) -> Event:
        return self.random.choice(list(self.events.values()))

    # -- Buyers --------------------------------------------------------------------

    def order(self) -> None:
        event = self.any_event()
        tier = event.tier_on_sale(self.random.choice(list(event.tiers)), at=NOW)
        places = _places(event, tier)
        places = self.random.sample(places, min(len(places), self.random.randrange(1, TICKETS_PER_ORDER)))
        order = Order(id=self.new_id())
        buyer_id, at = self.random.choice(self.people), self.now()
        until = at + timedelta(minutes=10)
        lines = tuple(_line(event, tier, place) for place in places)
        total = Money(amount=tier.price * len(lines), currency=event.currency)
        placed = Order.Placed(buyer_id=buyer_id, event_id=event.id, lines=lines, total=total, expires_at=until, at=at)
        tickets = [self.tickets.get(line.ticket_id) or Ticket(id=line.ticket_id) for line in lines]
        if any(ticket.status is not TicketStatus.AVAILABLE for ticket in tickets):
            return
        order.place(placed)
        for ticket, line in zip(tickets, lines, strict=True):
            hold = line.model_dump(exclude={"ticket_id"}) | {"event_id": event.id, "order_id": order.id}
            ticket.hold(Ticket.Held.model_validate(hold | {"buyer_id": buyer_id, "until": until, "at": at}))
            self.tickets[ticket.id] = ticket
        self.orders[order.id] = order
        self.saved(order, *tickets)

    def pay(self) -> None:
        order = self._any_order(OrderStatus.PENDING)
        order.pay(payment_id=self.new_id(), provider="sandbox", at=self._clock)
        tickets = self._tickets_of(order)
        for ticket in tickets:
            ticket.pay(at=self._clock)
        self.saved(order, *tickets)

    def decline_card(self) -> None:
        order = self._any_order(OrderStatus.PENDING)
        order.decline(payment_id=self.new_id(), provider="sandbox", reason="no money", at=self.now())
        self.saved(order)

    def give_up(self) -> None:
        order = self._any_order(OrderStatus.PENDING)
        expired = self.random.random() < 0.5
        if expired:
            order.expire(at=order.known_expires_at)
        else:
            order.cancel(at=self.now())
        tickets = self._tickets_of(order)
        for ticket in tickets:
            ticket.release(cause="expired" if expired else "cancelled", at=self.now())
        self.saved(order, *tickets)

    def pay_late(self) -> None:
        order = self._any_order(OrderStatus.EXPIRED)
        order.refund_late_payment(payment_id=self.new_id(), provider="sandbox", at=self.now())
        self.saved(order)

    def correct(self) -> None:
        order = self.random.choice([order for order in self.orders.values() if order.payment_id is not None])
        entry_id = self.random.choice([entry for entry in (order.payment_id, *order.refund_ids) if entry is not None])
        effective_at = self.now() - timedelta(days=self.random.randrange(60))
        order.date_entry(entry_id=entry_id, effective_at=effective_at, reason="last month's", at=self.now())
        self.saved(order)

    def refund(self) -> None:
        """Part of an order or the whole: the tickets that can still be cancelled."""
        order = self._any_order(OrderStatus.PAID, OrderStatus.PARTLY_REFUNDED)
        due = [
            ticket for ticket in self._tickets_of(order) if ticket.status in (TicketStatus.PAID, TicketStatus.CLAIMED)
        ]
        ticket = self.random.choice(due)
        ticket.cancel(reason="refunded", at=self.now())
        order.refund(refund_id=self.new_id(), ticket_ids=frozenset({ticket.id}), reason="asked", at=self.now())
        self.saved(ticket, order)

    def _any_order(self, *statuses: OrderStatus) -> Order:
        return self.random.choice([order for order in self.orders.values() if order.status in statuses])

    def _tickets_of(self, order: Order) -> list[Ticket]:
        return [self.tickets[line.ticket_id] for line in order.lines]

    # -- Holders -------------------------------------------------------------------

    def hand_on(self) -> None:
        """Claim, transfer, offer, accept or take back, as it comes."""
        ticket, friend, at = self.any_ticket(), self.random.choice(self.people), self.now()
        choice = self.random.randrange(5)
        if choice == 0:
            ticket.claim(attendee_name="O'Brien \\ Łucja", at=at)
        elif choice == 1:
            ticket.transfer(to=friend, at=at)
        elif choice == 2:
            ticket.offer(to=friend, at=at)
        elif choice == 3 and ticket.offered_to is not None:
            ticket.accept(by=ticket.offered_to, at=at)
        elif ticket.holder_id is not None:
            ticket.decline(by=ticket.holder_id, at=at)
        self.saved(ticket)

    def check_in(self) -> None:
        ticket = self.any_ticket()
        event = self.events[ticket.known_event_id]
        ticket.check_in(event=event, custody=ticket.custody, gate="North", at=NOW)
        self.saved(ticket)

    def any_ticket(self) -> Ticket:
        return self.random.choice(list(self.tickets.values()))


def _places(event: Event, tier: Tier) -> list[int | Seat]:
    if not tier.seated:
        return list(range(1, tier.capacity + 1))
    return [seat for release in tier.releases for seat in release.seats or ()]


def _line(event: Event, tier: Tier, place: int | Seat) -> Line:
    serial, seat = (place, None) if isinstance(place, int) else (None, place)
    return Line(
        ticket_id=ticket_id(event.id, tier.tier_id, place),
        tier_id=tier.tier_id,
        serial=serial,
        seat=seat,
        price=tier.price,
    )


LIKELY: dict[Callable[[Town], None], int] = {
    Town.register: 2,
    Town.set_roles: 1,
    Town.forget: 1,
    Town.organise: 4,
    Town.release_more: 4,
    Town.change_details: 2,
    Town.postpone: 2,
    Town.keep_time: 1,
    Town.cancel_event: 1,
    Town.archive: 1,
    Town.staff_gates: 1,
    Town.order: 30,
    Town.pay: 20,
    Town.decline_card: 2,
    Town.give_up: 8,
    Town.pay_late: 2,
    Town.refund: 3,
    Town.correct: 2,
    Town.hand_on: 30,
    Town.check_in: 6,
    town_wallets.link_wallet: 6,
    town_wallets.unlink_wallet: 2,
    town_wallets.deliver: 8,
    town_wallets.take_back: 2,
    town_wallets.resell: 4,
    town_wallets.move_on_chain: 3,
    town_wallets.identify_holder: 6,
    town_wallets.set_resale_rules: 2,
    town_auditors.request_reconciliation: 2,
    town_auditors.reconcile: 2,
}
ACTIONS = list(LIKELY)
WEIGHTS = list(LIKELY.values())
