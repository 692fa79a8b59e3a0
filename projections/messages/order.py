"""Public messages about orders. The key is the order's id; people are their account's id."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.order import Order
from projections.messages.kernel import Message, Part
from projections.messages.parts import Money, Seat


class Line(Part):
    """One ticket of the order, its price in minor units of the order's currency."""

    ticket_id: UUID
    tier_id: UUID
    serial: int | None
    seat: Seat | None
    price: int


class OrderPlaced(Message, of=Order.Placed):
    """A buyer has taken tickets, which are held until ``expires_at``."""

    buyer_id: UUID
    event_id: UUID
    lines: tuple[Line, ...]
    total: Money
    expires_at: datetime


class OrderPaid(Message, of=Order.Paid):
    """The money came."""

    payment_id: UUID
    provider: str
    amount: Money


class OrderPaymentDeclined(Message, of=Order.PaymentDeclined):
    """A payment was refused; the hold stands, and the buyer may try another."""

    payment_id: UUID
    provider: str


class OrderLatePaymentRefunded(Message, of=Order.LatePaymentRefunded):
    """Money came for an order that no longer held tickets, and was sent back."""

    payment_id: UUID
    provider: str
    amount: Money


class OrderCancelled(Message, of=Order.Cancelled):
    """Given up before it was paid for."""


class OrderExpired(Message, of=Order.Expired):
    """The hold ran out."""


class OrderRefunded(Message, of=Order.Refunded):
    """Money was given back for some or all of the tickets."""

    refund_id: UUID
    ticket_ids: tuple[UUID, ...]
    amount: Money
