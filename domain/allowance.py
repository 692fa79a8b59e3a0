"""An allowance: how many tickets one buyer has taken of one event, where the organiser limits that."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid5

from domain.kernel import Aggregate, Fact, Refusal


class LimitExceededError(Refusal):
    code = "limit-exceeded"
    title = "This is more than one buyer may have"


def allowance_id(event_id: UUID, buyer_id: UUID) -> UUID:
    """One stream per event and buyer, so that a limit never makes buyers wait for each other."""
    return uuid5(event_id, f"allowance/{buyer_id.hex}")


@dataclass(slots=True, kw_only=True)
class Allowance(Aggregate):
    stream_type: ClassVar[str] = "allowance"

    taken: dict[UUID, tuple[int, datetime]] = field(default_factory=dict)
    """Order → tickets and when."""

    class Taken(Fact, topic="allowance.taken"):
        order_id: UUID
        quantity: int

        def apply(self, allowance: Any) -> None:
            allowance.taken[self.order_id] = (self.quantity, self.at)

    class Returned(Fact, topic="allowance.returned"):
        order_id: UUID

        def apply(self, allowance: Any) -> None:
            allowance.taken.pop(self.order_id, None)

    def take(self, order_id: UUID, quantity: int, *, limit: int, window: timedelta | None, at: datetime) -> None:
        """Raises LimitExceededError when the order would take the buyer above the limit within the window."""
        used = sum(count for count, when in self.taken.values() if window is None or at - when < window)
        if used + quantity > limit:
            raise LimitExceededError(f"one buyer may have {limit} tickets; you have {used}", limit=limit, used=used)
        self.record(self.Taken(order_id=order_id, quantity=quantity, at=at))

    def give_back(self, order_id: UUID, *, at: datetime) -> None:
        if order_id in self.taken:
            self.record(self.Returned(order_id=order_id, at=at))
