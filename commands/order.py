"""Buying: hold, pay, cancel, refund, and the holds nobody paid for.

Nothing here appends to a stream that other buyers append to. The tickets of an order, the order itself and, where the
organiser limits it, the buyer's allowance are appended together, resting on the event as it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID, uuid5

from commands.kernel import RETRIES_MAX, Clock, Command, ConflictError, Ledger, OverloadedError
from domain.allowance import Allowance, LimitExceededError, allowance_id
from domain.event import Event, EventOverError, Tier
from domain.kernel import InvalidError, NotFoundError, new_id
from domain.money import Money
from domain.order import (
    ORDER_TICKETS_MAX,
    HoldExpiredError,
    Line,
    Order,
    OrderNotPendingError,
    OrderStatus,
    PaymentDeclinedError,
)
from domain.seat import Seat, ticket_id
from domain.ticket import Ticket, TicketStatus
from domain.ticket_refusals import SeatTakenError


class Pick(NamedTuple):
    """A free place, and the version of its ticket's stream when it was seen to be free."""

    place: int | Seat
    ticket_id: UUID
    version: int


class Inventory(Protocol):
    """Which places are free, as far as this process knows. A hint: the append decides.

    A place that was picked is not offered again by this process until it is put back or seen to be free again.
    """

    async def pick(self, event: Event, tier: Tier, quantity: int, *, adjacent: bool, at: datetime) -> list[Pick]:
        """Any places, or in a seated tier the best. Raises SoldOutError."""

    def put_back(self, event_id: UUID, tier_id: UUID, picks: Sequence[Pick]) -> None:
        """The picks were not used; whether they are still free is to be looked up again."""


class Capture(NamedTuple):
    """What a payment provider said."""

    captured: bool
    reason: str = ""


class PaymentProvider(Protocol):
    name: str

    async def capture(self, payment_id: UUID, amount: Money, token: str) -> Capture:
        """Take the money. Repeating it with the same payment id takes it once. Raises InvalidError for a bad token."""

    async def refund(self, payment_id: UUID, amount: Money) -> None:
        """Send (a part of) the money back."""


class Item(Command):
    tier_id: UUID
    quantity: int | None = None
    seats: tuple[Seat, ...] | None = None
    adjacent: bool = False

    @property
    def count(self) -> int:
        return len(self.seats) if self.seats is not None else self.quantity or 0


class PlaceOrder(Command):
    buyer_id: UUID
    event_id: UUID
    items: tuple[Item, ...]


class PayOrder(Command):
    order_id: UUID
    buyer_id: UUID
    provider: str
    token: str


class CancelOrder(Command):
    order_id: UUID
    buyer_id: UUID


class ExpireOrder(Command):
    order_id: UUID


class RefundOrder(Command):
    order_id: UUID
    organizer_id: UUID | None
    """None: the system, because the event was cancelled."""
    ticket_ids: frozenset[UUID] | None
    reason: str


class CorrectOrder(Command):
    """The organiser's books: a payment or refund belongs to another day, month or year."""

    order_id: UUID
    organizer_id: UUID
    entry_id: UUID
    """A payment's id or a refund's."""
    effective_at: datetime
    reason: str


NewId = Callable[[], UUID]


async def place_order(
    command: PlaceOrder, *, ledger: Ledger, inventory: Inventory, clock: Clock, make_id: NewId = new_id
) -> Order:
    """Hold the tickets: all of them or none.

    Raises NotOnSaleError, LimitExceededError, SoldOutError, SeatTakenError, InvalidError.
    """
    now = clock()
    event = await ledger.peek(Event, command.event_id)
    if event.details is None:
        raise NotFoundError
    _refuse_ambiguous(command.items)
    _refuse_over_limits(event, command.items, at=now)
    order = Order(id=make_id())
    picked: list[tuple[UUID, list[Pick]]] = []
    try:
        tickets = await _hold(command, event, order.id, picked, ledger=ledger, inventory=inventory, at=now)
        order.place(_placed(command, event, tickets, at=now))
        allowances = await _take_allowance(event, order, ledger=ledger, at=now)
        return await ledger.append(order, *tickets, *allowances, rests_on=(event,))
    except BaseException:
        for tier_id, picks in picked:
            inventory.put_back(event.id, tier_id, picks)
        raise


def _refuse_ambiguous(items: Sequence[Item]) -> None:
    """Raises InvalidError for an order that would compete with itself for a seat: no append could ever satisfy it."""
    named = [seat.key for item in items for seat in item.seats or ()]
    if len(set(named)) != len(named):
        raise InvalidError("a seat is named twice", pointer="/items")
    by_seat = {item.tier_id for item in items if item.seats is not None}
    if any(item.seats is None and item.tier_id in by_seat for item in items):
        raise InvalidError("a tier is ordered by seat or by quantity, not by both", pointer="/items")


def _refuse_over_limits(event: Event, items: Sequence[Item], *, at: datetime) -> None:
    """Raises NotOnSaleError and LimitExceededError before anything is looked for."""
    most = min(event.known_details.max_tickets_per_order, ORDER_TICKETS_MAX)
    count = sum(item.count for item in items)
    for item in items:
        tier = event.tier_on_sale(item.tier_id, at=at)
        of_tier = sum(other.count for other in items if other.tier_id == item.tier_id)
        if tier.max_tickets_per_order is not None and of_tier > tier.max_tickets_per_order:
            raise LimitExceededError(f"at most {tier.max_tickets_per_order} of {tier.name!r} in one order")
    if count > most:
        raise LimitExceededError(f"at most {most} tickets in one order", limit=most)


async def _hold(
    command: PlaceOrder,
    event: Event,
    order_id: UUID,
    picked: list[tuple[UUID, list[Pick]]],
    *,
    ledger: Ledger,
    inventory: Inventory,
    at: datetime,
) -> list[Ticket]:
    tickets: list[Ticket] = []
    until = at + timedelta(seconds=event.known_details.hold_seconds)
    for item in command.items:
        tier = event.tiers[item.tier_id]
        if item.seats is not None:
            found = await _chosen(event, tier, item.seats, ledger=ledger, at=at)
        else:
            picks = await inventory.pick(event, tier, item.count, adjacent=item.adjacent, at=at)
            picked.append((tier.tier_id, picks))
            found = [(pick.place, Ticket(id=pick.ticket_id, version=pick.version)) for pick in picks]
        for place, ticket in found:
            serial, seat = (place, None) if isinstance(place, int) else (None, place)
            ticket.hold(
                Ticket.Held(
                    event_id=event.id,
                    tier_id=tier.tier_id,
                    serial=serial,
                    seat=seat,
                    price=tier.price,
                    order_id=order_id,
                    buyer_id=command.buyer_id,
                    until=until,
                    at=at,
                )
            )
            tickets.append(ticket)
    return tickets


async def _chosen(
    event: Event, tier: Tier, seats: Sequence[Seat], *, ledger: Ledger, at: datetime
) -> list[tuple[int | Seat, Ticket]]:
    if not tier.seated:
        raise InvalidError("this tier is sold by quantity, not by seat", pointer="/items")
    for seat in seats:
        tier_id, on_sale_at = event.seats.get(seat.key, (None, None))
        if tier_id != tier.tier_id:
            raise InvalidError(f"the tier has no seat {seat}", pointer="/items")
        if on_sale_at is not None and on_sale_at > at:
            raise SeatTakenError(f"{seat} is not on sale yet")
    tickets = await ledger.load_all(Ticket, [ticket_id(event.id, tier.tier_id, seat) for seat in seats])
    return list(zip(seats, tickets, strict=True))


def _placed(command: PlaceOrder, event: Event, tickets: Sequence[Ticket], *, at: datetime) -> Order.Placed:
    lines = tuple(Line(ticket_id=t.id, tier_id=t.tier_id, serial=t.serial, seat=t.seat, price=t.price) for t in tickets)
    return Order.Placed(
        buyer_id=command.buyer_id,
        event_id=event.id,
        lines=lines,
        total=Money(amount=sum(line.price for line in lines), currency=event.currency),
        expires_at=at + timedelta(seconds=event.known_details.hold_seconds),
        at=at,
    )


async def _take_allowance(event: Event, order: Order, *, ledger: Ledger, at: datetime) -> list[Allowance]:
    details = event.known_details
    if details.max_tickets_per_buyer is None or order.buyer_id is None:
        return []
    allowance = await ledger.load(Allowance, allowance_id(event.id, order.buyer_id))
    seconds = details.buyer_window_seconds
    window = timedelta(seconds=seconds) if seconds is not None else None
    allowance.take(order.id, len(order.lines), limit=details.max_tickets_per_buyer, window=window, at=at)
    return [allowance]


async def pay_order(command: PayOrder, *, ledger: Ledger, providers: dict[str, PaymentProvider], clock: Clock) -> Order:
    """Capture the payment, and the tickets are the buyer's.

    The payment's id follows from the order and the token, so that a command repeated after an unknown outcome finds
    its own payment instead of taking the money twice.

    Raises HoldExpiredError (also when the hold ran out while the provider worked: the money is sent back),
    OrderNotPendingError, EventOverError, PaymentDeclinedError, InvalidError for an unknown provider or token.
    """
    order = await own_order(command.order_id, command.buyer_id, ledger=ledger)
    provider = providers.get(command.provider)
    if provider is None:
        raise InvalidError(f"the providers here are {', '.join(providers)}", pointer="/provider")
    order.refuse_unless_payable(at=clock())
    _refuse_when_cancelled(await ledger.peek(Event, order.known_event_id))
    payment_id = uuid5(order.id, f"{provider.name}/{command.token}")
    capture = await provider.capture(payment_id, order.known_total, command.token)
    if not capture.captured:
        order.decline(payment_id=payment_id, provider=provider.name, reason=capture.reason, at=clock())
        await ledger.refusing().append(order)
        raise PaymentDeclinedError(capture.reason)
    for _ in range(RETRIES_MAX):
        try:
            return await settle(order, payment_id, provider, ledger=ledger, clock=clock)
        except ConflictError:  # the money is here: look again what has become of the order
            order = await ledger.load(Order, order.id)
    raise OverloadedError("the order keeps changing; try again")


async def settle(order: Order, payment_id: UUID, provider: PaymentProvider, *, ledger: Ledger, clock: Clock) -> Order:
    """The money is here: the tickets are paid for, or it is sent back. Raises what kept them from being paid for."""
    now = clock()
    event = await ledger.peek(Event, order.known_event_id)
    try:
        _refuse_when_cancelled(event)
        order.pay(payment_id=payment_id, provider=provider.name, at=now)
    except (HoldExpiredError, OrderNotPendingError, EventOverError):
        if payment_id != order.payment_id and payment_id not in order.late_payments:
            order.refund_late_payment(payment_id=payment_id, provider=provider.name, at=now)
            await ledger.refusing().append(order)  # recorded first: of several who see it late, one sends it back
            await provider.refund(payment_id, order.known_total)
        raise
    tickets = await ledger.load_all(Ticket, [line.ticket_id for line in order.lines])
    if any(ticket.order_id != order.id or ticket.status is not TicketStatus.HELD for ticket in tickets):
        raise ConflictError([order.id])  # the hold has ended, or another payment came first, since the order was read
    for ticket in tickets:
        ticket.pay(at=now)
    return await ledger.append(order, *tickets, rests_on=(event,))


def _refuse_when_cancelled(event: Event) -> None:
    if event.cancel_reason is not None:
        raise EventOverError("the event was cancelled")


async def cancel_order(command: CancelOrder, *, ledger: Ledger, clock: Clock) -> Order:
    order = await own_order(command.order_id, command.buyer_id, ledger=ledger)
    order.cancel(at=clock())
    return await _let_go(order, "cancelled", ledger=ledger, at=clock())


async def expire_order(command: ExpireOrder, *, ledger: Ledger, clock: Clock) -> Order:
    order = await ledger.load(Order, command.order_id)
    if order.status is OrderStatus.PENDING and order.exists:
        order.expire(at=clock())
    if not order.pending:
        return order
    return await _let_go(order, "expired", ledger=ledger, at=clock())


async def _let_go(order: Order, cause: str, *, ledger: Ledger, at: datetime) -> Order:
    """The tickets return, and so does what the buyer's allowance had for them."""
    streams = [line.ticket_id for line in order.lines]
    tickets = await ledger.load_all(Ticket, streams)
    for ticket in tickets:
        if ticket.order_id == order.id:
            ticket.release(cause=cause, at=at)
    changed: list[Ticket | Allowance] = [*tickets]
    if order.event_id is not None and order.buyer_id is not None:
        event = await ledger.peek(Event, order.event_id)
        if event.known_details.max_tickets_per_buyer is not None:
            allowance = await ledger.load(Allowance, allowance_id(order.event_id, order.buyer_id))
            allowance.give_back(order.id, at=at)
            changed.append(allowance)
    return await ledger.append(order, *changed)


async def refund_order(
    command: RefundOrder,
    *,
    ledger: Ledger,
    providers: Mapping[str, PaymentProvider],
    clock: Clock,
    make_id: NewId = new_id,
) -> Order:
    """Give money back and end the tickets' right to enter. A ticket that was used or is gone already stays as it is.

    Raises NotFoundError for somebody else's event, OrderNotPaidError when nothing is left to refund.
    """
    now = clock()
    order = await ledger.load(Order, command.order_id)
    if not order.exists or order.event_id is None:
        raise NotFoundError
    event = await ledger.peek(Event, order.event_id)
    if command.organizer_id is not None and event.organizer_id != command.organizer_id:
        raise NotFoundError
    refund_id = make_id()
    amount = order.refund(refund_id=refund_id, ticket_ids=command.ticket_ids, reason=command.reason, at=now)
    wanted = command.ticket_ids if command.ticket_ids is not None else {line.ticket_id for line in order.lines}
    tickets = await ledger.load_all(Ticket, [line.ticket_id for line in order.lines if line.ticket_id in wanted])
    for ticket in tickets:
        if ticket.status in (TicketStatus.PAID, TicketStatus.CLAIMED):
            ticket.cancel(reason=command.reason, at=now)
    settled = await ledger.append(order, *tickets)
    if order.payment_id is not None and order.provider is not None:
        await providers[order.provider].refund(order.payment_id, amount)
    return settled


async def correct_order(command: CorrectOrder, *, ledger: Ledger, clock: Clock) -> Order:
    """Raises NotFoundError for somebody else's event, and for what is neither a payment nor a refund of this order."""
    order = await ledger.load(Order, command.order_id)
    if not order.exists:
        raise NotFoundError
    event = await ledger.peek(Event, order.known_event_id)
    if event.organizer_id != command.organizer_id:
        raise NotFoundError
    order.date_entry(entry_id=command.entry_id, effective_at=command.effective_at, reason=command.reason, at=clock())
    return await ledger.append(order)


async def own_order(order_id: UUID, buyer_id: UUID, *, ledger: Ledger) -> Order:
    """Raises NotFoundError when there is no such order or it is somebody else's."""
    order = await ledger.load(Order, order_id)
    if order.buyer_id != buyer_id:
        raise NotFoundError
    return order
