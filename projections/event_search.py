"""Questions to the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.event_details import Details
from domain.resale import ResaleRules
from projections.kernel import POSITION_MAX, Views


class ListedTier(BaseModel):
    model_config = ConfigDict(frozen=True)

    tier_id: UUID
    name: str
    price: int
    seated: bool
    benefits: tuple[str, ...]
    sale_opens_at: datetime | None
    sale_closes_at: datetime | None
    max_tickets_per_order: int | None
    capacity: int


class ListedEvent(NamedTuple):
    event_id: UUID
    position: int
    """Of the fact that made it so."""
    version: int
    at: datetime
    organizer_id: UUID
    status: str
    currency: str
    cancel_reason: str | None
    resale_rules: ResaleRules
    details: Details
    tiers: tuple[ListedTier, ...]
    """In the order in which they were added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which events are wanted; None: any."""

    query: str | None = None
    """As people type it: words, "quoted phrases", -without."""
    city: str | None = None
    tag: str | None = None
    starts_from: datetime | None = None
    starts_before: datetime | None = None
    status: str | None = None
    organizer_id: UUID | None = None
    drafts_of: UUID | None = None
    """Whose drafts may be shown; None: nobody's."""
    after: tuple[datetime, UUID] | None = None
    """The start and id of the last event of the page before."""
    as_of: int | None = None

    def conditions(self) -> list[str]:
        drafts = "e.status <> 'draft'"
        if self.drafts_of is not None:
            drafts = f"({drafts} or e.organizer_id = %(drafts_of)s)"
        given = {
            "e.words @@ websearch_to_tsquery('simple', %(query)s)": self.query,
            "lower(e.city) = lower(%(city)s)": self.city,
            "e.tags @> jsonb_build_array(%(tag)s::text)": self.tag,
            "e.starts_at >= %(starts_from)s": self.starts_from,
            "e.starts_at < %(starts_before)s": self.starts_before,
            "e.status = %(status)s": self.status,
            "e.organizer_id = %(organizer_id)s": self.organizer_id,
            "(e.starts_at, e.event_id) > (%(after_start)s, %(after_id)s)": self.after,
        }
        return [drafts, *(condition for condition, value in given.items() if value is not None)]

    def params(self) -> dict[str, Any]:
        after_start, after_id = self.after or (None, None)
        return {
            "query": self.query,
            "city": self.city,
            "tag": self.tag,
            "starts_from": self.starts_from,
            "starts_before": self.starts_before,
            "status": self.status,
            "organizer_id": self.organizer_id,
            "drafts_of": self.drafts_of,
            "after_start": after_start,
            "after_id": after_id,
            "as_of": POSITION_MAX if self.as_of is None else self.as_of,
        }


AS_OF = """(
    select distinct on (event_id) * from catalogue.versions
     where position <= %(as_of)s order by event_id, position desc
) e"""


def _listed(source: str, until: str) -> str:
    """The columns of a `ListedEvent`, for the events of ``source`` with the tiers they had at the position ``until``."""
    return f"""
    select e.event_id, e.position, e.version, e.at, e.organizer_id, e.status, e.currency, e.cancel_reason,
           e.resale_rules, e.details, e.starts_at, e.ends_at, e.doors_open_at,
           (select coalesce(jsonb_agg(to_jsonb(t) || to_jsonb(c) order by t.added_position), '[]')
              from catalogue.tiers t
             cross join lateral (
                 select c.capacity from catalogue.capacities c
                  where c.tier_id = t.tier_id and c.position <= {until} order by c.position desc limit 1
             ) c
             where t.event_id = e.event_id and t.added_position <= {until})
      from {source}"""


async def search(views: Views, wanted: Search, *, limit: int) -> list[ListedEvent]:
    """By start, soonest first."""
    source = "catalogue.events e" if wanted.as_of is None else AS_OF
    page = (
        f"(select * from {source} where {' and '.join(wanted.conditions())}"
        " order by e.starts_at, e.event_id limit %(limit)s) e"
    )
    sql = f"{_listed(page, '%(as_of)s')} order by e.starts_at, e.event_id"
    return [_event(row) for row in await views.fetch(sql, {**wanted.params(), "limit": limit})]


async def versions(views: Views, event_id: UUID, *, after: int, limit: int) -> list[ListedEvent]:
    """What an event has been since a position, oldest first."""
    sql = (
        f"{_listed('catalogue.versions e', 'e.position')} where e.event_id = %(event)s and e.position > %(after)s"
        " order by e.position limit %(limit)s"
    )
    return [_event(row) for row in await views.fetch(sql, {"event": event_id, "after": after, "limit": limit})]


async def running(views: Views, *, limit: int) -> list[tuple[UUID, datetime]]:
    """Events on which time will have an effect, and when it next has; soonest first."""
    sql = """
        select event_id, case status when 'published' then doors_open_at else ends_at end as due
          from catalogue.events where status in ('published', 'live') order by due limit %(limit)s"""
    return [(row[0], row[1]) for row in await views.fetch(sql, {"limit": limit})]


def _event(row: tuple[Any, ...]) -> ListedEvent:
    *head, rules, details, starts_at, ends_at, doors_open_at, tiers = row
    times = {"starts_at": starts_at, "ends_at": ends_at, "doors_open_at": doors_open_at}
    shown = tuple(ListedTier.model_validate(tier) for tier in tiers)
    return ListedEvent._make((*head, ResaleRules.model_validate(rules), Details.model_validate(details | times), shown))
