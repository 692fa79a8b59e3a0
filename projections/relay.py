"""How far the relay has told Kafka of the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from projections.kernel import Views

STATUS = """
    select c.position, h.position - c.position,
           coalesce(extract(epoch from clock_timestamp() - e.recorded_at), 0)::float8, c.moved_at, c.problem
      from relay.cursor c
     cross join ledger.head h
      left join ledger.events e on e.position = c.position + 1"""


class RelayStatus(NamedTuple):
    position: int
    """Everything up to it has been acknowledged by the brokers."""
    facts: int
    """Recorded, and not relayed yet."""
    seconds: float
    """Since the first of them was recorded; 0 when there is none."""
    moved_at: datetime
    problem: str | None
    """Why the relay does not go on; None: it does."""


async def status(views: Views) -> RelayStatus | None:
    """Nothing where nobody has ever relayed."""
    rows = await views.fetch(STATUS, {})
    return RelayStatus(*rows[0]) if rows else None
