"""How far each view is behind the ledger."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from projections.kernel import Views

DEAD_LETTERS_SHOWN_MAX = 100

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


class DeadLetter(NamedTuple):
    """A stream whose facts a view no longer takes, since the one at ``position`` could not be projected."""

    name: str
    stream_id: UUID
    position: int
    error: str
    set_aside: int
    """Facts of the stream passed over, the first included."""


async def dead_letters(views: Views) -> list[DeadLetter]:
    """The latest first, DEAD_LETTERS_SHOWN_MAX at most."""
    sql = """
        select name, stream_id, position, error, set_aside from projections.dead_letters
         order by position desc limit %(limit)s"""
    return [DeadLetter(*row) for row in await views.fetch(sql, {"limit": DEAD_LETTERS_SHOWN_MAX})]
