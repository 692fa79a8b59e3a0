"""Facts of orders, with everything that a test does not care about filled in."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.money import Money
from domain.order import Line, Order
from tests.domain.happening import BUYER, EVENT, HOLD_ENDS, NOW, PAYMENT, TIER, numbered

FIRST, SECOND, THIRD = TICKETS = tuple(numbered(number) for number in (21, 22, 23))
PRICES = (4500, 4500, 1250)
REFUND = numbered(31)


def eur(amount: int) -> Money:
    return Money(amount=amount, currency="EUR")


def placed(*prices: int, expires_at: datetime = HOLD_ENDS) -> Order.Placed:
    """An order of three tickets at 45.00, 45.00 and 12.50, unless other prices are given."""
    lines = tuple(
        Line(ticket_id=numbered(21 + index), tier_id=TIER, serial=1 + index, price=price)
        for index, price in enumerate(prices or PRICES)
    )
    total = eur(sum(line.price for line in lines))
    return Order.Placed(buyer_id=BUYER, event_id=EVENT, lines=lines, total=total, expires_at=expires_at, at=NOW)


def paid(*, payment_id: UUID = PAYMENT, amount: int = 10_250) -> Order.Paid:
    return Order.Paid(payment_id=payment_id, provider="sandbox", amount=eur(amount), at=NOW)


def refunded(*ticket_ids: UUID, amount: int) -> Order.Refunded:
    return Order.Refunded(refund_id=REFUND, ticket_ids=ticket_ids, amount=eur(amount), reason="the dates clash", at=NOW)


PLACED = placed()
PAID = paid()
CANCELLED = Order.Cancelled(at=NOW)
EXPIRED = Order.Expired(at=HOLD_ENDS)
DECLINED = Order.PaymentDeclined(payment_id=PAYMENT, provider="sandbox", reason="the card was declined", at=NOW)
LATE = Order.LatePaymentRefunded(payment_id=PAYMENT, provider="sandbox", amount=eur(10_250), at=HOLD_ENDS)
