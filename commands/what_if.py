"""A history decided again, under other rules: everything that was asked for, in the order in which it was answered.

What people asked is known from the facts that came of it. Each such intention is put once more to the handlers that
answered it in reality, by the clock of then, against a ledger in memory; the organisers' facts have the other rules in
them. What nobody asks for (holds that end, refunds of what was cancelled) follows from the new course of things.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from uuid import UUID, uuid5

from commands.kernel import Clock, Ledger, Metadata
from commands.order import (
    CancelOrder,
    ExpireOrder,
    Item,
    PlaceOrder,
    RefundOrder,
    cancel_order,
    expire_order,
    place_order,
    refund_order,
    settle,
)
from commands.what_if_intentions import FOLLOWING, Facts, Intention, Outcome
from commands.what_if_ledger import MemoryLedger, Till, at_once
from commands.what_if_rules import Changes, Rules
from commands.what_if_tickets import act
from domain.event import Event
from domain.kernel import Fact, Refusal
from domain.order import Line, Order, OrderStatus
from domain.ticket import Ticket

SYSTEM = Metadata("system:what-if", "WhatIf", UUID(int=0), "")


class NeverAskedError(Refusal):
    code = "never-asked"
    title = "What this is about did not come to be, so nobody would have asked"


class Redecision:
    """The new course of things, so far. Keeps what can still be acted on: sold tickets, open and paid orders."""

    def __init__(self, rules: Rules) -> None:
        self.changes = Changes(rules)
        self._store = MemoryLedger()
        self._ledger = Ledger(self._store, SYSTEM)
        self._event_of: dict[UUID, UUID] = {}
        """Order → event, of all orders in reality that the rules concern."""
        self._order_of: dict[UUID, UUID] = {}
        """Ticket → the order that had it in reality."""
        self._moved: dict[UUID, dict[UUID, UUID]] = {}
        """Order → ticket in reality → the one it has now, where that is another."""
        self._deadlines: list[tuple[datetime, UUID]] = []
        """Holds that end at another time than they did. The others end when the ledger says that they were ended."""
        self._paid_only_here: defaultdict[UUID, list[UUID]] = defaultdict(list)
        """Event → orders that nobody refunded in reality, for want of a payment."""

    @property
    def size(self) -> int:
        """Streams in memory."""
        return len(self._store)

    def take(self, intention: Intention) -> Iterator[Outcome]:
        """Decide it again, and before it what was due by then. Raises RulesError."""
        yield from self.pass_time(intention.asked.at)
        event_id = self._concerned(intention)
        if event_id is None:
            return
        yield self._decide(intention, event_id)
        if isinstance(intention.asked, Event.Cancelled):
            yield from self._refund_all(event_id, intention.asked)

    def pass_time(self, until: datetime) -> Iterator[Outcome]:
        """End the holds whose time has come."""
        while self._deadlines and self._deadlines[0][0] <= until:
            due, order_id = heapq.heappop(self._deadlines)
            self._expire(order_id, lambda due=due: due)  # type: ignore[misc]
            if decided := self._take_appended():
                yield Outcome(0, order_id, self._event_of[order_id], Order.Expired.topic, (), decided)

    def _concerned(self, intention: Intention) -> UUID | None:
        """The event it is about, when the rules are about that."""
        match intention.asked:
            case Order.Placed() as placed:
                event_id: UUID | None = placed.event_id
            case asked if asked.stream_type == Event.stream_type:
                event_id = intention.stream_id
            case asked if asked.stream_type == Order.stream_type:
                event_id = self._event_of.get(intention.stream_id)
            case _:
                order_id = self._order_of.get(intention.stream_id)
                event_id = self._event_of.get(order_id) if order_id is not None else None
        return event_id if event_id is not None and self.changes.concerns(event_id) else None

    def _decide(self, intention: Intention, event_id: UUID) -> Outcome:
        refusal = None
        try:
            self._again(intention, event_id)
        except Refusal as refused:
            refusal = refused
        decided = self._take_appended()
        return Outcome(
            intention.position,
            intention.stream_id,
            event_id,
            intention.asked.topic,
            intention.facts,
            decided,
            refusal,
        )

    def _take_appended(self) -> list[tuple[UUID, Fact]]:
        appended, self._store.appended = self._store.appended, []
        return appended

    # -- One intention. ------------------------------------------------------------------

    def _again(self, intention: Intention, event_id: UUID) -> None:
        asked = intention.asked
        if isinstance(asked, Order.Placed):
            self._place(asked, intention.stream_id)
        elif asked.stream_type == Event.stream_type:
            self._store.fold(event_id, self.changes.change(event_id, asked))
        elif asked.stream_type == Order.stream_type:
            self._order(intention, asked)
        else:
            self._ticket(intention.stream_id, asked)

    def _place(self, placed: Order.Placed, order_id: UUID) -> None:
        self._event_of[order_id] = placed.event_id
        self._order_of.update((line.ticket_id, order_id) for line in placed.lines)
        self._store.places.want(_serials(placed.lines))
        command = PlaceOrder(buyer_id=placed.buyer_id, event_id=placed.event_id, items=_items(placed.lines))
        order = at_once(
            place_order(
                command,
                ledger=self._ledger,
                inventory=self._store.places,
                clock=lambda: placed.at,
                make_id=lambda: order_id,
            )
        )
        pairs = zip(placed.lines, order.lines, strict=True)
        moved = {was.ticket_id: line.ticket_id for was, line in pairs if was.ticket_id != line.ticket_id}
        if moved:
            self._moved[order_id] = moved
        if order.known_expires_at != placed.expires_at:
            heapq.heappush(self._deadlines, (order.known_expires_at, order_id))

    def _order(self, intention: Intention, asked: Fact) -> None:
        order = self._store.find(Order, intention.stream_id)
        self._forget_places(intention)
        if not order.exists:
            raise NeverAskedError("the order was refused")
        clock = _clock(intention.facts)
        match asked:
            case Order.Paid():
                order.refuse_unless_payable(at=asked.at)  # the provider would not have been asked
                self._settle(order.id, asked.payment_id, asked.provider, clock)
            case Order.LatePaymentRefunded():
                self._settle_late(order.id, asked, clock)
                if self._store.find(Order, order.id).payment_id == asked.payment_id:
                    self._paid_only_here[order.known_event_id].append(order.id)
            case Order.Cancelled():
                assert order.buyer_id is not None
                at_once(
                    cancel_order(
                        CancelOrder(order_id=order.id, buyer_id=order.buyer_id), ledger=self._ledger, clock=clock
                    )
                )
                self._give_up(order.id)
            case Order.Expired():
                self._expire(order.id, clock)
            case Order.Refunded():
                self._refund(order, asked, clock)
            case _:
                self._write_down(order.id, asked)

    def _forget_places(self, intention: Intention) -> None:
        """In reality they were given back."""
        for stream_id, fact in intention.facts:
            if isinstance(fact, Ticket.Released):
                self._order_of.pop(stream_id, None)

    def _settle(self, order_id: UUID, payment_id: UUID, provider: str, clock: Clock) -> None:
        (order,) = at_once(self._store.load(Order, (order_id,)))
        at_once(settle(order, payment_id, Till(provider), ledger=self._ledger, clock=clock))

    def _settle_late(self, order_id: UUID, asked: Order.LatePaymentRefunded, clock: Clock) -> None:
        try:
            self._settle(order_id, asked.payment_id, asked.provider, clock)
        except Refusal:
            if not self._store.appended:  # else it was sent back, as it was then
                raise

    def _expire(self, order_id: UUID, clock: Clock) -> None:
        at_once(expire_order(ExpireOrder(order_id=order_id), ledger=self._ledger, clock=clock))
        self._give_up(order_id)

    def _give_up(self, order_id: UUID) -> None:
        self._store.give_up(order_id)
        if not self._store.find(Order, order_id).lines:
            self._moved.pop(order_id, None)

    def _refund(self, order: Order, asked: Order.Refunded, clock: Clock) -> None:
        moved = self._moved.get(order.id, {})
        ids = frozenset(moved.get(ticket_id, ticket_id) for ticket_id in asked.ticket_ids)
        command = RefundOrder(order_id=order.id, organizer_id=None, ticket_ids=ids, reason=asked.reason)
        till = Till(order.provider or "")
        at_once(
            refund_order(
                command,
                ledger=self._ledger,
                providers={till.name: till},
                clock=clock,
                make_id=lambda: asked.refund_id,
            )
        )

    def _refund_all(self, event_id: UUID, cancelled: Event.Cancelled) -> Iterator[Outcome]:
        """The timekeeper refunds whoever paid; whoever paid in reality has a fact that says so."""
        for order_id in self._paid_only_here.pop(event_id, ()):
            order = self._store.find(Order, order_id)
            if order.status not in (OrderStatus.PAID, OrderStatus.PARTLY_REFUNDED):
                continue
            command = RefundOrder(order_id=order_id, organizer_id=None, ticket_ids=None, reason=cancelled.reason)
            till = Till(order.provider or "")
            at_once(
                refund_order(
                    command,
                    ledger=self._ledger,
                    providers={till.name: till},
                    clock=lambda: cancelled.at,
                    make_id=lambda order_id=order_id: uuid5(order_id, "what-if"),  # type: ignore[misc]
                )
            )
            yield Outcome(0, order_id, event_id, Order.Refunded.topic, (), self._take_appended())

    def _write_down(self, order_id: UUID, asked: Fact) -> None:
        """What a provider or an organiser said of an order."""
        (order,) = at_once(self._store.load(Order, (order_id,)))
        match asked:
            case Order.PaymentDeclined():
                if order.status is not OrderStatus.PENDING:
                    raise NeverAskedError(f"the order is {order.status}")
                order.decline(payment_id=asked.payment_id, provider=asked.provider, reason=asked.reason, at=asked.at)
            case Order.EntryDated():
                order.date_entry(
                    entry_id=asked.entry_id, effective_at=asked.effective_at, reason=asked.reason, at=asked.at
                )
            case _:
                raise TypeError(f"nobody has said how {asked.topic} is decided again")
        at_once(self._ledger.append(order))

    # -- What holders, organisers and gates did with tickets. ------------------------------

    def _ticket(self, ticket_id: UUID, asked: Fact) -> None:
        order_id = self._order_of[ticket_id]
        (ticket,) = at_once(self._store.load(Ticket, (self._moved.get(order_id, {}).get(ticket_id, ticket_id),)))
        if ticket.order_id != order_id:
            raise NeverAskedError("the order does not have this ticket")
        if isinstance(asked, FOLLOWING):
            raise NeverAskedError("no order says what this followed from")
        act(ticket, asked, self._store.find(Event, ticket.known_event_id))
        at_once(self._ledger.append(ticket))


def _items(lines: Sequence[Line]) -> tuple[Item, ...]:
    """What was ordered: seats by name, for which seat it was is known; whatever is not a seat, by quantity."""
    items = []
    for (tier_id, seated), group in groupby(lines, lambda line: (line.tier_id, line.seat is not None)):
        found = list(group)
        seats = tuple(line.seat for line in found if line.seat is not None)
        items.append(Item(tier_id=tier_id, seats=seats) if seated else Item(tier_id=tier_id, quantity=len(found)))
    return tuple(items)


def _serials(lines: Sequence[Line]) -> dict[UUID, list[int]]:
    serials: defaultdict[UUID, list[int]] = defaultdict(list)
    for line in lines:
        if line.serial is not None:
            serials[line.tier_id].append(line.serial)
    return serials


def _clock(facts: Facts) -> Clock:
    """Says what it said then: a handler that looks twice sees two times."""
    times = list(dict.fromkeys(fact.at for _, fact in facts))
    return lambda: times.pop(0) if len(times) > 1 else times[0]
