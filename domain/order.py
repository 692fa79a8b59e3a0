"""An order: the tickets one buyer took together, and the money that came for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.event import Event, EventStatus
from domain.kernel import Aggregate, Fact, NotFoundError, Refusal
from domain.money import Money
from domain.seat import Seat

ORDER_TICKETS_MAX = 100
"""What one append may reasonably carry; an organiser's own limit is lower."""


class OrderStatus(StrEnum):
    PENDING = "pending"
    PAID = "paid"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PARTLY_REFUNDED = "partly_refunded"
    REFUNDED = "refunded"


class OrderNotPendingError(Refusal):
    code = "order-not-pending"
    title = "This order is not waiting for payment"


class OrderNotPaidError(Refusal):
    code = "order-not-paid"
    title = "This order has nothing to refund"


class HoldExpiredError(Refusal):
    code = "hold-expired"
    title = "The hold on these tickets has run out"


class PaymentDeclinedError(Refusal):
    code = "payment-declined"
    title = "The payment was declined"


class SoldOutError(Refusal):
    code = "sold-out"
    title = "There are not enough tickets left"


class Line(BaseModel):
    """One ticket of an order, at the price it was offered for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ticket_id: UUID
    tier_id: UUID
    serial: int | None = None
    seat: Seat | None = None
    price: int


@dataclass(slots=True, kw_only=True)
class Order(Aggregate):
    stream_type: ClassVar[str] = "order"

    status: OrderStatus = OrderStatus.PENDING
    buyer_id: UUID | None = None
    event_id: UUID | None = None
    lines: tuple[Line, ...] = ()
    total: Money | None = None
    expires_at: datetime | None = None
    placed_at: datetime | None = None
    payment_id: UUID | None = None
    provider: str | None = None
    refunded_amount: int = 0
    refunded_tickets: frozenset[UUID] = frozenset()
    late_payments: frozenset[UUID] = field(default_factory=frozenset)
    refund_ids: tuple[UUID, ...] = ()
    """In the order in which they were made."""
    effective: dict[UUID, datetime] = field(default_factory=dict)
    """When payments and refunds count, where that was corrected."""

    # -- Facts: what is stored, and what each does to the state. --------------

    class Placed(Fact, topic="order.placed"):
        buyer_id: UUID
        event_id: UUID
        lines: tuple[Line, ...]
        total: Money
        expires_at: datetime

        def apply(self, order: Any) -> None:
            order.buyer_id, order.event_id, order.lines = self.buyer_id, self.event_id, self.lines
            order.total, order.expires_at, order.placed_at = self.total, self.expires_at, self.at

    class Paid(Fact, topic="order.paid"):
        payment_id: UUID
        provider: str
        amount: Money

        def apply(self, order: Any) -> None:
            order.status, order.payment_id, order.provider = OrderStatus.PAID, self.payment_id, self.provider

    class PaymentDeclined(Fact, topic="order.payment_declined"):
        payment_id: UUID
        provider: str
        reason: str

        def apply(self, order: Any) -> None:
            """A refused card leaves the hold as it is: the buyer may try another."""

    class LatePaymentRefunded(Fact, topic="order.late_payment_refunded"):
        """Money came for an order that no longer holds tickets, and was sent back."""

        payment_id: UUID
        provider: str
        amount: Money

        def apply(self, order: Any) -> None:
            order.late_payments |= {self.payment_id}

    class Cancelled(Fact, topic="order.cancelled"):
        def apply(self, order: Any) -> None:
            order.status = OrderStatus.CANCELLED

    class Expired(Fact, topic="order.expired"):
        def apply(self, order: Any) -> None:
            order.status = OrderStatus.EXPIRED

    class Refunded(Fact, topic="order.refunded"):
        refund_id: UUID
        ticket_ids: tuple[UUID, ...]
        amount: Money
        reason: str

        def apply(self, order: Any) -> None:
            order.refund_ids = (*order.refund_ids, self.refund_id)
            order.refunded_amount += self.amount.amount
            order.refunded_tickets |= set(self.ticket_ids)
            whole = len(order.refunded_tickets) == len(order.lines)
            order.status = OrderStatus.REFUNDED if whole else OrderStatus.PARTLY_REFUNDED

    class EntryDated(Fact, topic="order.entry_dated"):
        """A correction of the books: this payment or refund counts at another instant than it was recorded at."""

        entry_id: UUID
        effective_at: datetime
        reason: str

        def apply(self, order: Any) -> None:
            order.effective = order.effective | {self.entry_id: self.effective_at}

    # -- Decisions: what may happen now. ---------------------------------------

    def place(self, fact: Order.Placed) -> None:
        self.record(fact)

    def refuse_unless_payable(self, *, at: datetime) -> None:
        """Raises HoldExpiredError, also before the expiry is recorded, and OrderNotPendingError."""
        if self.status is OrderStatus.EXPIRED or (self.status is OrderStatus.PENDING and at >= self.known_expires_at):
            raise HoldExpiredError
        if self.status is not OrderStatus.PENDING:
            raise OrderNotPendingError(f"the order is {self.status}")

    def pay(self, *, payment_id: UUID, provider: str, at: datetime) -> None:
        self.refuse_unless_payable(at=at)
        self.record(self.Paid(payment_id=payment_id, provider=provider, amount=self.known_total, at=at))

    def decline(self, *, payment_id: UUID, provider: str, reason: str, at: datetime) -> None:
        self.record(self.PaymentDeclined(payment_id=payment_id, provider=provider, reason=reason, at=at))

    def refund_late_payment(self, *, payment_id: UUID, provider: str, at: datetime) -> None:
        if payment_id not in self.late_payments:
            amount = self.known_total
            self.record(self.LatePaymentRefunded(payment_id=payment_id, provider=provider, amount=amount, at=at))

    def cancel(self, *, at: datetime) -> None:
        if self.status is not OrderStatus.PENDING:
            raise OrderNotPendingError(f"the order is {self.status}")
        self.record(self.Cancelled(at=at))

    def expire(self, *, at: datetime) -> None:
        """End the hold when its time has come. Repeating it, or coming after a payment, adds nothing."""
        if self.status is OrderStatus.PENDING and at >= self.known_expires_at:
            self.record(self.Expired(at=at))

    def refund(self, *, refund_id: UUID, ticket_ids: frozenset[UUID] | None, reason: str, at: datetime) -> Money:
        """Give back what these tickets (None: all that are left) cost. Raises OrderNotPaidError when nothing is."""
        if self.status not in (OrderStatus.PAID, OrderStatus.PARTLY_REFUNDED):
            raise OrderNotPaidError(f"the order is {self.status}")
        wanted = ticket_ids if ticket_ids is not None else frozenset(line.ticket_id for line in self.lines)
        if not wanted <= {line.ticket_id for line in self.lines}:
            raise NotFoundError("the order has no such ticket")
        due = tuple(line for line in self.lines if line.ticket_id in wanted - self.refunded_tickets)
        if not due:
            raise OrderNotPaidError("these tickets have been refunded already")
        amount = Money(amount=sum(line.price for line in due), currency=self.known_total.currency)
        ids = tuple(line.ticket_id for line in due)
        self.record(self.Refunded(refund_id=refund_id, ticket_ids=ids, amount=amount, reason=reason, at=at))
        return amount

    def date_entry(self, *, entry_id: UUID, effective_at: datetime, reason: str, at: datetime) -> None:
        """Have a payment or refund count at another instant; the latest word counts. Repeating it adds nothing."""
        if entry_id not in {self.payment_id, *self.refund_ids}:
            raise NotFoundError("the order has no such payment or refund")
        if self.effective.get(entry_id) != effective_at:
            self.record(self.EntryDated(entry_id=entry_id, effective_at=effective_at, reason=reason, at=at))

    # -- Questions. ----------------------------------------------------------------

    def status_during(self, event: Event) -> OrderStatus:
        """The status as people see it: what was paid for is fulfilled once the event has been."""
        over = event.status in (EventStatus.ENDED, EventStatus.ARCHIVED) and event.cancel_reason is None
        return OrderStatus.FULFILLED if over and self.status is OrderStatus.PAID else self.status

    @property
    def known_event_id(self) -> UUID:
        if self.event_id is None:
            raise NotFoundError
        return self.event_id

    @property
    def known_total(self) -> Money:
        if self.total is None:
            raise NotFoundError
        return self.total

    @property
    def known_expires_at(self) -> datetime:
        if self.expires_at is None:
            raise NotFoundError
        return self.expires_at
