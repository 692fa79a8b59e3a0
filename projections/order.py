"""Whose orders there are, what became of them, which of them still wait for payment. Async."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, NamedTuple
from uuid import UUID

from domain.event import Event
from domain.kernel import Fact
from domain.order import Order
from projections.kernel import Projection, Recorded, Table, Views, before_or_all, when
from projections.rows import Rows

REFUNDED = "case when refunded_tickets >= ticket_count then 'refunded' else 'partly_refunded' end"

ORDERS = Table(
    "orders",
    key=("order_id",),
    columns={
        "order_id": "uuid",
        "buyer_id": "uuid",
        "event_id": "uuid",
        "stage": "text",
        "total_amount": "int8",
        "currency": "text",
        "ticket_count": "int4",
        "placed_at": "timestamptz",
        "expires_at": "timestamptz",
        "payment_id": "uuid null",
        "refunded_amount": "int8",
        "refunded_tickets": "int4",
        "version": "int4",
        "placed_position": "int8",
    },
    derived={"status": ("text", f"case when refunded_tickets > 0 then {REFUNDED} else stage end")},
    indexes=(
        "(buyer_id, placed_position)",
        "(event_id, placed_position)",
        "(expires_at) where stage = 'pending'",
    ),
)
"""``stage`` is how far the order got before any refund; ``status`` counts refunds in, and ENDED what became of it."""

ENTRIES = Table(
    "entries",
    key=("order_id", "position"),
    columns={
        "order_id": "uuid",
        "position": "int8",
        "entry_id": "uuid",
        "tickets": "int4 null",
        "amount": "int8",
        "recorded_at": "timestamptz",
    },
    append_only=True,
)
"""Money that came, and money that went back: that is below zero. ``tickets`` null: all of the order's."""

DATINGS = Table(
    "datings",
    key=("entry_id", "position"),
    columns={"entry_id": "uuid", "position": "int8", "effective_at": "timestamptz"},
    append_only=True,
)
"""When an entry counts, according to each correction; without one, when it was recorded."""

ENDED = Table("ended", key=("event_id",), columns={"event_id": "uuid"})
"""Events that took place: what was paid for is fulfilled by one row, however many orders there are."""


class Orders(Projection):
    name: ClassVar[str] = "orders"
    version: ClassVar[int] = 2
    tables: ClassVar[tuple[Table, ...]] = (ORDERS, ENTRIES, DATINGS, ENDED)

    @when(Order.Placed)
    def placed(self, recorded: Recorded, order: Order.Placed, rows: Rows) -> None:
        rows.insert(
            ORDERS,
            recorded.stream_id,
            buyer_id=order.buyer_id,
            event_id=order.event_id,
            stage="pending",
            total_amount=order.total.amount,
            currency=order.total.currency,
            ticket_count=len(order.lines),
            placed_at=order.at,
            expires_at=order.expires_at,
            payment_id=None,
            refunded_amount=0,
            refunded_tickets=0,
            version=recorded.version,
            placed_position=recorded.position,
        )

    @when(Order.Paid)
    def paid(self, recorded: Recorded, payment: Order.Paid, rows: Rows) -> None:
        version, payment_id = recorded.version, payment.payment_id
        rows.patch(ORDERS, recorded.stream_id, stage="paid", payment_id=payment_id, version=version)
        _enter(recorded, rows, payment_id, None, payment.amount.amount)

    @when(Order.Cancelled)
    def cancelled(self, recorded: Recorded, _: Order.Cancelled, rows: Rows) -> None:
        rows.patch(ORDERS, recorded.stream_id, stage="cancelled", version=recorded.version)

    @when(Order.Expired)
    def expired(self, recorded: Recorded, _: Order.Expired, rows: Rows) -> None:
        rows.patch(ORDERS, recorded.stream_id, stage="expired", version=recorded.version)

    @when(Order.Refunded)
    def refunded(self, recorded: Recorded, refund: Order.Refunded, rows: Rows) -> None:
        amount, tickets = refund.amount.amount, len(refund.ticket_ids)
        rows.add(ORDERS, recorded.stream_id, refunded_amount=amount, refunded_tickets=tickets)
        rows.patch(ORDERS, recorded.stream_id, version=recorded.version)
        _enter(recorded, rows, refund.refund_id, -tickets, -amount)

    @when(Order.EntryDated)
    def entry_dated(self, recorded: Recorded, dating: Order.EntryDated, rows: Rows) -> None:
        rows.patch(ORDERS, recorded.stream_id, version=recorded.version)
        rows.append(DATINGS, entry_id=dating.entry_id, position=recorded.position, effective_at=dating.effective_at)

    @when(Order.PaymentDeclined, Order.LatePaymentRefunded)
    def noted(self, recorded: Recorded, _: Fact, rows: Rows) -> None:
        rows.patch(ORDERS, recorded.stream_id, version=recorded.version)

    @when(Event.Ended)
    def event_ended(self, recorded: Recorded, _: Event.Ended, rows: Rows) -> None:
        rows.put(ENDED, recorded.stream_id)


def _enter(recorded: Recorded, rows: Rows, entry_id: UUID, tickets: int | None, amount: int) -> None:
    rows.append(
        ENTRIES,
        order_id=recorded.stream_id,
        position=recorded.position,
        entry_id=entry_id,
        tickets=tickets,
        amount=amount,
        recorded_at=recorded.recorded_at,
    )


# -- Questions. ----------------------------------------------------------------------

STATUS = "case when o.status = 'paid' and e.event_id is not null then 'fulfilled' else o.status end"
"""`Order.status_during`, in SQL."""

ROW = f"""
    select o.order_id, o.buyer_id, o.event_id, {STATUS}, o.total_amount, o.currency, o.ticket_count, o.placed_at,
           o.expires_at, o.payment_id, o.refunded_amount, o.refunded_tickets, o.version, o.placed_position
      from orders.orders o left join orders.ended e using (event_id)"""


class OrderRow(NamedTuple):
    order_id: UUID
    buyer_id: UUID
    event_id: UUID
    status: str
    """As people see it: the event's end counts."""
    total_amount: int
    currency: str
    ticket_count: int
    placed_at: datetime
    expires_at: datetime
    payment_id: UUID | None
    refunded_amount: int
    refunded_tickets: int
    version: int
    placed_position: int
    """The order and the cursor of lists; an order had been placed as of a position when this is not above it."""


async def of_buyer(
    views: Views, buyer_id: UUID, *, as_of: int | None = None, before: int | None = None, limit: int
) -> list[OrderRow]:
    """Latest placed first. With ``as_of`` those that had been placed by then, though as they are *now*: fold them.

    ``before`` is the `placed_position` that the last page ended with.
    """
    return await _list(views, "o.buyer_id", buyer_id, as_of, before, limit)


async def of_event(
    views: Views, event_id: UUID, *, as_of: int | None = None, before: int | None = None, limit: int
) -> list[OrderRow]:
    """As `of_buyer`, for everybody's orders of one event."""
    return await _list(views, "o.event_id", event_id, as_of, before, limit)


async def _list(
    views: Views, owner: str, owner_id: UUID, as_of: int | None, before: int | None, limit: int
) -> list[OrderRow]:
    below = min(before_or_all(before), before_or_all(None if as_of is None else as_of + 1))
    sql = (
        f"{ROW} where {owner} = %(owner)s and o.placed_position < %(below)s"
        " order by o.placed_position desc limit %(limit)s"
    )
    rows = await views.fetch(sql, {"owner": owner_id, "below": below, "limit": limit})
    return [OrderRow(*row) for row in rows]


async def pending(views: Views, *, limit: int) -> list[tuple[UUID, datetime]]:
    """Orders that wait for payment, and until when; soonest first."""
    sql = "select order_id, expires_at from orders.orders where stage = 'pending' order by expires_at limit %(limit)s"
    return [(row[0], row[1]) for row in await views.fetch(sql, {"limit": limit})]


async def paid_of_event(views: Views, event_id: UUID, *, limit: int) -> list[UUID]:
    """The orders of an event that have money left to give back."""
    sql = """
        select order_id from orders.orders
         where event_id = %(event)s and status in ('paid', 'partly_refunded') order by placed_position limit %(limit)s"""
    return [row[0] for row in await views.fetch(sql, {"event": event_id, "limit": limit})]


async def events_to_refund(views: Views, *, limit: int) -> list[UUID]:
    """Cancelled events for which somebody has money to come back."""
    sql = """
        select e.event_id from catalogue.events e
         where e.status = 'cancelled' and exists (
               select from orders.orders o
                where o.event_id = e.event_id and o.status in ('paid', 'partly_refunded'))
         limit %(limit)s"""
    return [row[0] for row in await views.fetch(sql, {"limit": limit})]
