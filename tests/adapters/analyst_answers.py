"""What the worked queries of docs/analysts.md must answer, reckoned by folding the facts one after another: no SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate
from statistics import median
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from domain.event import Event, EventStatus
from domain.order import Order
from domain.ticket import Ticket, TicketStatus
from tests.adapters.season import Written

Rows = list[tuple[Any, ...]]
BERLIN = ZoneInfo("Europe/Berlin")
FIVE = timedelta(minutes=5)
VALID = (TicketStatus.PAID, TicketStatus.CLAIMED, TicketStatus.CHECKED_IN)
SOLD = (*VALID, TicketStatus.CANCELLED)
"""A cancelled ticket stays sold: its place is not sold again."""


class Folded:
    """Everything there is after some facts; ``on_fact`` is shown each fact once it has been folded."""

    def __init__(
        self, written: Iterable[Written], on_fact: Callable[[Folded, Written], None] = lambda *_: None
    ) -> None:
        self.events: dict[UUID, Event] = {}
        self.orders: dict[UUID, Order] = {}
        self.tickets: dict[UUID, Ticket] = {}
        kinds = {"event": (Event, self.events), "order": (Order, self.orders), "ticket": (Ticket, self.tickets)}
        for one in written:
            if one.fact.stream_type in kinds:
                kind, there = kinds[one.fact.stream_type]
                there.setdefault(one.stream_id, kind(id=one.stream_id)).fold([one.fact])  # type: ignore[attr-defined]
                on_fact(self, one)

    def title(self, event_id: UUID | None) -> str:
        assert event_id is not None
        return self.events[event_id].known_details.title

    def tier(self, ticket: Ticket) -> tuple[str, UUID, str, UUID]:
        """Title, event, name of the tier, tier: by which rows are told apart, and put into order."""
        event_id, tier_id = ticket.known_event_id, ticket.tier_id
        assert tier_id is not None
        return self.title(event_id), event_id, self.events[event_id].tiers[tier_id].name, tier_id


def rounded(number: Decimal | float) -> Decimal:
    return Decimal(str(number)).quantize(Decimal("0.1"), ROUND_HALF_UP)


def percent(part: int, whole: int) -> Decimal | None:
    """None: of nothing, as where all tickets are free."""
    return rounded(Decimal(100 * part) / whole) if whole else None


def sales_by_day_and_tier(written: Sequence[Written]) -> Rows:
    tickets: Counter[Any] = Counter()
    revenue: Counter[Any] = Counter()

    def look(now: Folded, one: Written) -> None:
        if isinstance(one.fact, Ticket.Paid):
            ticket = now.tickets[one.stream_id]
            key = (one.recorded_at.astimezone(BERLIN).date(), ticket.known_event_id, ticket.tier_id)
            tickets[key] += 1
            revenue[key] += ticket.price

    end = Folded(written, look)
    rows = []
    for day, event_id, tier_id in tickets:
        event, key = end.events[event_id], (day, event_id, tier_id)
        rows.append((day, end.title(event_id), event.tiers[tier_id].name, tier_id, tickets[key], revenue[key]))
    return [(*row[:3], *row[4:]) for row in sorted(rows)]


def sold_out(written: Sequence[Written]) -> Rows:
    places: Counter[UUID] = Counter()
    sold: Counter[UUID] = Counter()
    first: dict[UUID, datetime] = {}
    out: dict[UUID, datetime] = {}
    for one in written:
        match one.fact:
            case Event.Released(release=release):
                places[one.stream_id] += release.quantity
            case Ticket.Paid(event_id=event_id):
                sold[event_id] += 1
                first.setdefault(event_id, one.recorded_at)
                if sold[event_id] == places[event_id]:
                    out.setdefault(event_id, one.recorded_at)
    end = Folded(written)
    return [
        (
            end.title(event),
            places[event],
            sold[event],
            out.get(event),
            out[event] - first[event] if event in out else None,
        )
        for event in sorted(places, key=lambda event: (end.title(event), event))
    ]


def from_hold_to_payment(written: Sequence[Written]) -> Rows:
    placed = {one.stream_id: one for one in written if isinstance(one.fact, Order.Placed)}
    ends: dict[type, dict[UUID, datetime]] = {Order.Paid: {}, Order.Cancelled: {}, Order.Expired: {}}
    for one in written:
        if type(one.fact) in ends:
            ends[type(one.fact)][one.stream_id] = one.recorded_at
    end = Folded(written)
    of_event: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for order_id in placed:
        of_event[end.orders[order_id].known_event_id].append(order_id)
    rows: Rows = []
    for event, orders in sorted(of_event.items(), key=lambda item: (end.title(item[0]), item[0])):
        paid, cancelled, expired = ([order for order in orders if order in there] for there in ends.values())
        seconds = [(ends[Order.Paid][order] - placed[order].recorded_at).total_seconds() for order in paid]
        middle = rounded(median(seconds)) if seconds else None
        share = percent(len(paid), len(orders))
        rows.append((end.title(event), len(orders), len(paid), len(cancelled), len(expired), share, middle))
    return rows


def holds_that_ran_out(written: Sequence[Written]) -> Rows:
    expired: Counter[Any] = Counter()
    later: Counter[Any] = Counter()
    last_paid = {one.stream_id: one.version for one in written if isinstance(one.fact, Ticket.Paid)}
    end = Folded(written)
    for one in written:
        if isinstance(one.fact, Ticket.Released) and one.fact.cause == "expired":
            tier = end.tier(end.tickets[one.stream_id])
            expired[tier] += 1
            later[tier] += last_paid.get(one.stream_id, 0) > one.version
    return [(tier[0], tier[2], expired[tier], later[tier]) for tier in sorted(expired, key=_by_names)]


def refunds_by_reason(written: Sequence[Written]) -> Rows:
    found: defaultdict[tuple[str, str], list[Order.Refunded]] = defaultdict(list)
    for one in written:
        if isinstance(one.fact, Order.Refunded):
            found[one.fact.reason, one.fact.amount.currency].append(one.fact)
    rows = [
        (*key, len(facts), sum(len(fact.ticket_ids) for fact in facts), sum(fact.amount.amount for fact in facts))
        for key, facts in found.items()
    ]
    return sorted(rows, key=lambda row: (-row[4], row[0], row[1]))


def recorded_and_effective(written: Sequence[Written]) -> Rows:
    orders = Folded(written).orders
    recorded: Counter[Any] = Counter()
    effective: Counter[Any] = Counter()
    for one in written:
        match one.fact:
            case Order.Paid(payment_id=entry, amount=money):
                amount = money.amount
            case Order.Refunded(refund_id=entry, amount=money):
                amount = -money.amount
            case _:
                continue
        recorded[_month(one.recorded_at), money.currency] += amount
        counts_at = orders[one.stream_id].effective.get(entry, one.recorded_at)
        effective[_month(counts_at), money.currency] += amount
    return [(*key, recorded[key], effective[key]) for key in sorted({*recorded, *effective})]


def _month(instant: datetime) -> str:
    return instant.astimezone(BERLIN).strftime("%Y-%m")


def hands(written: Sequence[Written]) -> Rows:
    paths: dict[UUID, list[UUID | None]] = {}

    def look(now: Folded, one: Written) -> None:
        match one.fact:
            case Ticket.Held(buyer_id=buyer):
                paths[one.stream_id] = [buyer]
            case Ticket.Transferred() | Ticket.Resold() | Ticket.TransferredOnChain() | Ticket.HolderIdentified():
                paths[one.stream_id].append(now.tickets[one.stream_id].holder_id)

    Folded(written, look)
    shown = [
        (ticket, len(path) - 1, " → ".join(str(holder)[:8] if holder else "null" for holder in path))
        for ticket, path in paths.items()
        if len(path) > 2
    ]
    return sorted(shown, key=lambda row: (-row[1], row[0]))


def no_shows(written: Sequence[Written]) -> Rows:
    end = Folded(written)
    valid: Counter[Any] = Counter()
    absent: Counter[Any] = Counter()
    for ticket in end.tickets.values():
        event = end.events[ticket.known_event_id]
        over = event.status in (EventStatus.ENDED, EventStatus.ARCHIVED) and event.cancel_reason is None
        if over and ticket.status in VALID:
            valid[end.tier(ticket)] += 1
            absent[end.tier(ticket)] += ticket.status_during(event) is TicketStatus.EXPIRED
    return [
        (tier[0], tier[2], valid[tier], absent[tier], percent(absent[tier], valid[tier]))
        for tier in sorted(valid, key=_by_names)
    ]


def arrivals(written: Sequence[Written]) -> Rows:
    end = Folded(written)
    came: defaultdict[UUID, Counter[int]] = defaultdict(Counter)
    for one in written:
        if isinstance(one.fact, Ticket.CheckedIn):
            starts_at = end.events[one.fact.event_id].known_details.starts_at
            came[one.fact.event_id][(one.recorded_at - starts_at) // FIVE * 5] += 1
    rows: Rows = []
    for event, entries in sorted(came.items(), key=lambda item: (end.title(item[0]), item[0])):
        so_far = accumulate(entries[minute] for minute in sorted(entries))
        whole = entries.total()
        rows += [
            (end.title(event), minute, entries[minute], percent(count, whole))
            for minute, count in zip(sorted(entries), so_far, strict=True)
        ]
    return rows


def touts(written: Sequence[Written]) -> Rows:
    end = Folded(written)
    passed_on = {
        (one.stream_id, one.fact.from_id) for one in written if isinstance(one.fact, Ticket.Transferred | Ticket.Resold)
    }
    paid: defaultdict[tuple[UUID, UUID], list[Order]] = defaultdict(list)
    for order in end.orders.values():
        if order.payment_id is not None and order.buyer_id is not None:
            paid[order.known_event_id, order.buyer_id].append(order)
    rows = []
    for (event, buyer), orders in paid.items():
        tickets = [line.ticket_id for order in orders for line in order.lines]
        if len(orders) >= 3:
            count = sum((ticket, buyer) in passed_on for ticket in tickets)
            rows.append((-len(tickets), end.title(event), event, str(buyer), len(orders), count))
    return [(title, buyer[:8], orders, -tickets, count) for tickets, title, _, buyer, orders, count in sorted(rows)]


def left_at(written: Sequence[Written], instant: datetime) -> Rows:
    then = Folded(one for one in written if one.recorded_at <= instant)
    statuses: defaultdict[UUID | None, Counter[TicketStatus]] = defaultdict(Counter)
    for ticket in then.tickets.values():
        statuses[ticket.tier_id][ticket.status] += 1
    titles = Folded(written)
    rows = []
    for event in then.events.values():
        for tier in event.tiers.values():
            of = statuses[tier.tier_id]
            held, sold, came = of[TicketStatus.HELD], sum(of[status] for status in SOLD), of[TicketStatus.CHECKED_IN]
            figures = (tier.capacity, tier.capacity - held - sold, held, sold, came)
            rows.append((titles.title(event.id), tier.name, tier.tier_id, *figures))
    return [(*row[:2], *row[3:]) for row in sorted(rows)]


def shares(written: Sequence[Written]) -> Rows:
    end = Folded(written)
    valid = [ticket for ticket in end.tickets.values() if ticket.status in VALID]
    count = Counter(end.tier(ticket) for ticket in valid)
    in_event = Counter(ticket.event_id for ticket in valid)
    revenue: Counter[Any] = Counter()
    for ticket in valid:
        revenue[end.tier(ticket)] += ticket.price
        revenue[ticket.event_id] += ticket.price
    return [
        (
            tier[0],
            tier[2],
            count[tier],
            percent(count[tier], in_event[tier[1]]),
            percent(revenue[tier], revenue[tier[1]]),
        )
        for tier in sorted(count, key=_by_names)
    ]


def _by_names(tier: tuple[str, UUID, str, UUID]) -> tuple[str, str, UUID]:
    return tier[0], tier[2], tier[3]


ANSWERS: tuple[Callable[[Sequence[Written]], Rows], ...] = (
    sales_by_day_and_tier,
    sold_out,
    from_hold_to_payment,
    holds_that_ran_out,
    refunds_by_reason,
    recorded_and_effective,
    hands,
    no_shows,
    arrivals,
    touts,
    shares,
)
"""In the order of the document, but for the one that needs an instant."""
