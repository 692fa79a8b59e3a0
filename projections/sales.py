"""What an event has earned by day, as it was recorded and as it counts: two times of one history. Read from `orders`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from projections.kernel import POSITION_MAX, Views

DAYS_MAX = 1_000
"""In one answer."""


class Basis(StrEnum):
    RECORDED = "recorded"
    """When the ledger came to know of it. Never changes."""
    EFFECTIVE = "effective"
    """When it counts, according to the latest correction; without one, when it was recorded."""


class Day(NamedTuple):
    day: date
    """In the zone that was asked for."""
    tickets: int
    """Paid for, those that were refunded later included."""
    revenue: int
    """For them, in minor units."""
    refunded_tickets: int
    refunds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sales:
    event_id: UUID
    basis: Basis
    zone: str
    """In which days begin and end (IANA)."""
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""
    as_of: int | None = None
    """What was known by this position: corrections that came later do not count either."""


SALES = """
    with entries as (
        select n.amount, coalesce(n.tickets, o.ticket_count) as tickets,
               case when %(effective)s then coalesce(d.effective_at, n.recorded_at) else n.recorded_at end as at
          from orders.orders o
          join orders.entries n on n.order_id = o.order_id and n.position <= %(as_of)s
          left join lateral (
              select d.effective_at from orders.datings d
               where d.entry_id = n.entry_id and d.position <= %(as_of)s order by d.position desc limit 1
          ) d on true
         where o.event_id = %(event)s
    )
    select (at at time zone %(zone)s)::date as day,
           coalesce(sum(tickets) filter (where tickets > 0), 0)::int8,
           coalesce(sum(amount) filter (where tickets > 0), 0)::int8,
           coalesce(-sum(tickets) filter (where tickets < 0), 0)::int8,
           coalesce(-sum(amount) filter (where tickets < 0), 0)::int8
      from entries
     where (%(since)s::timestamptz is null or at >= %(since)s) and (%(until)s::timestamptz is null or at < %(until)s)
     group by 1 order by 1 limit %(limit)s"""


async def by_day(views: Views, wanted: Sales, *, limit: int) -> list[Day]:
    """Days on which something happened, first to last: O(orders of the event)."""
    params = {
        "event": wanted.event_id,
        "effective": wanted.basis is Basis.EFFECTIVE,
        "zone": wanted.zone,
        "since": wanted.since,
        "until": wanted.until,
        "as_of": POSITION_MAX if wanted.as_of is None else wanted.as_of,
        "limit": limit,
    }
    return [Day(*row) for row in await views.fetch(SALES, params)]
