"""Orders: holding tickets, paying for them, giving them back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import Query, Response
from pydantic import Field, model_validator

from api.call import AsOf, AsOfInViews, Call
from api.policy import ORGANIZER, SIGNED_IN
from api.routing import ContractRouter
from api.types import PAGE_DEFAULT, Answer, Body, Cursor, Distinct, Limit, Page, Text, from_cursor, to_cursor, to_json
from commands.order import CancelOrder, Item, PayOrder, PlaceOrder, RefundOrder
from domain.event import TIERS_MAX, Event
from domain.kernel import InvalidError, NotFoundError
from domain.money import Money
from domain.order import ORDER_TICKETS_MAX, Order, OrderStatus
from domain.seat import Seat
from domain.ticket import Ticket, TicketStatus
from projections import order as orders

router = ContractRouter("orders")


class ItemRequest(Body):
    tier_id: UUID
    quantity: Annotated[int | None, Field(ge=1, le=ORDER_TICKETS_MAX, strict=True)] = None
    seats: Annotated[tuple[Seat, ...] | None, Field(min_length=1, max_length=ORDER_TICKETS_MAX)] = None
    adjacent: Annotated[bool, Field(strict=True)] = False
    """With ``quantity`` in a tier of numbered seats: only seats side by side."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.quantity is None) == (self.seats is None):
            raise ValueError("either quantity or seats")
        return self


class OrderRequest(Body):
    event_id: UUID
    items: Annotated[tuple[ItemRequest, ...], Field(min_length=1, max_length=TIERS_MAX)]


class PaymentRequest(Body):
    provider: Text
    token: Text


class RefundRequest(Body):
    ticket_ids: Annotated[frozenset[UUID], Field(min_length=1, max_length=ORDER_TICKETS_MAX), Distinct] | None = None
    reason: Text


class OrderTicket(Answer):
    ticket_id: UUID
    tier_id: UUID
    serial: int | None
    seat: Seat | None
    price: int
    status: TicketStatus


class OrderAnswer(Answer):
    order_id: UUID
    event_id: UUID
    buyer_id: UUID
    status: OrderStatus
    placed_at: datetime
    expires_at: datetime
    total: Money
    refunded: Money
    payment_id: UUID | None
    refund_ids: list[UUID]
    tickets: list[OrderTicket]
    version: int


class PaymentAnswer(Answer):
    payment_id: UUID
    status: str
    order_id: UUID
    amount: Money


def placed_json(order: Order) -> bytes:
    return to_json(document(order, order.status, dict.fromkeys((line.ticket_id for line in order.lines), "held")))


def let_go_json(order: Order) -> bytes:
    return to_json(document(order, order.status, dict.fromkeys((line.ticket_id for line in order.lines), "available")))


def payment_json(order: Order) -> bytes:
    return to_json(
        {
            "payment_id": order.payment_id,
            "status": "captured",
            "order_id": order.id,
            "amount": _money(order.known_total.amount, order),
        }
    )


def refunded_json(order: Order) -> bytes:
    states = {
        line.ticket_id: TicketStatus.CANCELLED if line.ticket_id in order.refunded_tickets else TicketStatus.PAID
        for line in order.lines
    }
    return to_json(document(order, order.status, states))


def document(order: Order, status: str, ticket_status: Mapping[UUID, str]) -> dict[str, object]:
    return {
        "order_id": order.id,
        "event_id": order.event_id,
        "buyer_id": order.buyer_id,
        "status": status,
        "placed_at": order.placed_at,
        "expires_at": order.expires_at,
        "total": _money(order.known_total.amount, order),
        "refunded": _money(order.refunded_amount, order),
        "payment_id": order.payment_id,
        "refund_ids": order.refund_ids,
        "tickets": [
            {
                "ticket_id": line.ticket_id,
                "tier_id": line.tier_id,
                "serial": line.serial,
                "seat": _seat(line.seat),
                "price": line.price,
                "status": ticket_status[line.ticket_id],
            }
            for line in order.lines
        ],
        "version": order.version,
    }


def _seat(seat: Seat | None) -> dict[str, str] | None:
    return {"section": seat.section, "row": seat.row, "number": seat.number} if seat is not None else None


def _money(amount: int, order: Order) -> dict[str, object]:
    return {"amount": amount, "currency": order.known_total.currency}


@router.on("POST", "/v1/orders", policy=SIGNED_IN, returns=OrderAnswer, status=201, answers=(404,))
async def place_order(body: OrderRequest, call: Call) -> Response:
    items = tuple(
        Item(tier_id=item.tier_id, quantity=item.quantity, seats=item.seats, adjacent=item.adjacent)
        for item in body.items
    )
    command = PlaceOrder(buyer_id=call.user_id, event_id=body.event_id, items=items)
    return await call.send(command, answer=placed_json, status=201)


@router.on("GET", "/v1/orders/{order_id}", policy=SIGNED_IN, returns=OrderAnswer)
async def get_order(order_id: UUID, call: Call, as_of: AsOf) -> Response:
    order = await call.fold(Order, order_id, as_of)
    event = (await call.fold_all(Event, (order.known_event_id,), as_of))[0]
    if call.user_id not in (order.buyer_id, event.organizer_id) and not call.oversees:
        raise NotFoundError
    return _json(to_json((await order_documents(call, [order], as_of))[0]))


@router.on("GET", "/v1/orders", policy=SIGNED_IN, returns=Page[OrderAnswer], answers=(404,))
async def list_orders(
    call: Call,
    as_of: AsOfInViews,
    event_id: Annotated[UUID | None, Query(description="All orders for this event: for its organiser.")] = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The caller's own orders, newest first; or everybody's for an event of the caller's."""
    if event_id is not None:
        event = await call.fold(Event, event_id)
        if event.organizer_id != call.user_id and not call.oversees:
            raise NotFoundError
    start = from_cursor(cursor, int)
    page: dict[str, Any] = {"as_of": as_of, "before": start[0] if start else None, "limit": limit + 1}
    if event_id is not None:
        rows = await orders.of_event(call.app.views, event_id, **page)
    else:
        rows = await orders.of_buyer(call.app.views, call.user_id, **page)
    found = await call.fold_all(Order, [row.order_id for row in rows[:limit]], as_of)
    following = to_cursor(rows[limit - 1].placed_position) if len(rows) > limit else None
    items = await order_documents(call, [order for order in found if order.exists], as_of)
    return _json(to_json({"items": items, "next_cursor": following}))


@router.on(
    "POST",
    "/v1/orders/{order_id}/payments",
    policy=SIGNED_IN,
    returns=PaymentAnswer,
    status=201,
    answers=(402,),
    acts_outside=True,
)
async def pay_order(order_id: UUID, body: PaymentRequest, call: Call) -> Response:
    command = PayOrder(order_id=order_id, buyer_id=call.user_id, provider=body.provider, token=body.token)
    return await call.send(command, answer=payment_json, status=201)


@router.on("POST", "/v1/orders/{order_id}/cancel", policy=SIGNED_IN, returns=OrderAnswer)
async def cancel_order(order_id: UUID, call: Call) -> Response:
    return await call.send(CancelOrder(order_id=order_id, buyer_id=call.user_id), answer=let_go_json)


@router.on("POST", "/v1/orders/{order_id}/refunds", policy=ORGANIZER, returns=OrderAnswer, status=201)
async def refund_order(order_id: UUID, body: RefundRequest, call: Call) -> Response:
    """Give back what all of the order's tickets, or these, cost. They no longer admit."""
    command = RefundOrder(order_id=order_id, organizer_id=call.user_id, ticket_ids=body.ticket_ids, reason=body.reason)
    return await call.send(command, answer=refunded_json, status=201)


async def order_documents(call: Call, found: list[Order], as_of: int | None) -> list[dict[str, object]]:
    """Orders with their tickets' states, read together."""
    event_ids = list({order.event_id for order in found if order.event_id is not None})
    events = {event.id: event for event in await call.fold_all(Event, event_ids, as_of)}
    ticket_ids = list({line.ticket_id for order in found for line in order.lines})
    tickets = {ticket.id: ticket for ticket in await call.fold_all(Ticket, ticket_ids, as_of)}
    documents = []
    for order in found:
        if order.event_id is None:
            raise InvalidError("an order without an event")
        event = events[order.event_id]
        states = {line.ticket_id: _status(tickets[line.ticket_id], order, event) for line in order.lines}
        documents.append(document(order, order.status_during(event), states))
    return documents


def _status(ticket: Ticket, order: Order, event: Event) -> str:
    """A place that this order let go may be somebody else's by now, which is no business of this order's."""
    if ticket.order_id != order.id:
        return TicketStatus.AVAILABLE
    return ticket.status_during(event)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
