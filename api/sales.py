"""What events have earned, by day, as recorded or as effective; and the corrections that make the difference."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from api.call import AsOfInViews, Call
from api.policy import ORGANIZER, SIGNED_IN
from api.routing import ContractRouter
from api.types import Answer, Body, Instant, Text, to_json
from commands.order import CorrectOrder
from domain.event import Event
from domain.kernel import InvalidError, NotFoundError
from domain.order import Order
from projections.sales import DAYS_MAX, Basis, Day, Sales, by_day

router = ContractRouter("sales")


class CorrectionRequest(Body):
    """Of the books: nothing that happened is changed."""

    entry_id: UUID
    """A payment's id or a refund's."""
    effective_at: Instant
    """When it counts."""
    reason: Text


class CorrectionAnswer(Answer):
    entry_id: UUID
    effective_at: datetime


class CorrectionsAnswer(Answer):
    order_id: UUID
    version: int
    corrections: list[CorrectionAnswer]
    """When payments and refunds of the order count, where that is not when they were recorded."""


class FiguresAnswer(Answer):
    tickets: int
    """Paid for, those that were refunded later included."""
    revenue: int
    refunded_tickets: int
    refunds: int


class DayAnswer(FiguresAnswer):
    day: date
    """In the event's time zone."""


class SalesAnswer(Answer):
    event_id: UUID
    basis: Basis
    currency: str
    total: FiguresAnswer
    """Of these days; amounts in minor units of the currency."""
    days: list[DayAnswer]


@router.on("GET", "/v1/events/{event_id}/sales", policy=SIGNED_IN, returns=SalesAnswer)
async def event_sales(
    event_id: UUID,
    call: Call,
    as_of: AsOfInViews,
    basis: Annotated[Basis, Query()] = Basis.RECORDED,
    from_: Annotated[Instant | None, Query(alias="from")] = None,
    to: Annotated[Instant | None, Query()] = None,
) -> Response:
    """By day, for who organises it and who oversees: when it was recorded, or when it counts after corrections."""
    event = await call.fold(Event, event_id, as_of)
    if event.organizer_id != call.user_id and not call.oversees:
        raise NotFoundError
    zone = event.known_details.timezone
    wanted = Sales(event_id=event_id, basis=basis, zone=zone, since=from_, until=to, as_of=as_of)
    days = await by_day(call.app.views, wanted, limit=DAYS_MAX + 1)
    if len(days) > DAYS_MAX:
        raise InvalidError(f"these are more than {DAYS_MAX} days", pointer="/query/from")
    answer = {
        "event_id": event_id,
        "basis": basis,
        "currency": event.currency,
        "total": {name: sum(getattr(day, name) for day in days) for name in FiguresAnswer.model_fields},
        "days": [Day._asdict(day) for day in days],
    }
    return Response(to_json(answer), media_type="application/json")


@router.on("POST", "/v1/orders/{order_id}/corrections", policy=ORGANIZER, returns=CorrectionsAnswer, status=201)
async def correct_order(order_id: UUID, body: CorrectionRequest, call: Call) -> Response:
    """Have a payment or a refund count at another instant. `basis=effective` heeds it, `basis=recorded` never does."""
    command = CorrectOrder(
        order_id=order_id,
        organizer_id=call.user_id,
        entry_id=body.entry_id,
        effective_at=body.effective_at,
        reason=body.reason,
    )
    return await call.send(command, answer=corrections_json, status=201)


def corrections_json(order: Order) -> bytes:
    entries = [{"entry_id": entry_id, "effective_at": at} for entry_id, at in order.effective.items()]
    return to_json({"order_id": order.id, "version": order.version, "corrections": entries})
