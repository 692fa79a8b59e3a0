"""How far each view is behind the ledger."""

from __future__ import annotations

from typing import NamedTuple

from projections.kernel import Views

LAG = """
    select c.name, c.position, h.position - c.position,
           coalesce(extract(epoch from clock_timestamp() - e.recorded_at), 0)::float8,
           (select count(*) from projections.dead_letters d where d.name = c.name)
      from projections.cursors c
     cross join ledger.head h
      left join ledger.events e on e.position = c.position + 1
     order by c.name"""


class Lag(NamedTuple):
    name: str
    position: int
    facts: int
    """Recorded, but not in the view yet."""
    seconds: float
    """Since the first of them was recorded; 0 when there is none."""
    dead_streams: int
    """Streams that the view has set aside."""


async def lag(views: Views) -> list[Lag]:
    return [Lag(*row) for row in await views.fetch(LAG, {})]
