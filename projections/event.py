"""What is on: the events and their tiers, to be searched now and as of any position. Async."""

from __future__ import annotations

from typing import Any, ClassVar

from domain.event import NO_RULES, Event
from domain.event_details import Details
from projections.kernel import Projection, Recorded, Table, when
from projections.rows import Rows

CONTENT = {
    "organizer_id": "uuid",
    "currency": "text",
    "title": "text",
    "city": "text null",
    "tags": "jsonb",
    "starts_at": "timestamptz",
    "ends_at": "timestamptz",
    "doors_open_at": "timestamptz",
    "details": "jsonb",
    "resale_rules": "jsonb",
    "published": "bool",
    "phase": "text null",
    "cancel_reason": "text null",
    "version": "int4",
    "at": "timestamptz",
}
"""An event as its latest fact left it. The three times are in columns only: ``details`` keeps those it was written with."""

WORDS = """
    setweight(to_tsvector('simple', title), 'A')
    || setweight(to_tsvector('simple', tags), 'B')
    || setweight(to_tsvector('simple', coalesce(details #>> '{venue,name}', '')), 'B')
    || setweight(to_tsvector('simple', coalesce(city, '')), 'B')
    || setweight(to_tsvector('simple', coalesce(details ->> 'description', '')), 'C')"""

DERIVED = {
    "status": ("text", "coalesce(phase, case when published then 'published' else 'draft' end)"),
    "words": ("tsvector", WORDS),
}
"""``published`` and ``phase`` are what a fact can set without knowing what was before; together they are the status."""

EVENTS = Table(
    "events",
    key=("event_id",),
    columns={"event_id": "uuid", "position": "int8"} | CONTENT,
    derived=DERIVED,
    indexes=(
        "(starts_at, event_id)",
        "(organizer_id, starts_at, event_id)",
        "(lower(city), starts_at, event_id)",
        "(status)",
        "using gin (words)",
        "using gin (tags jsonb_path_ops)",
    ),
)

VERSIONS = Table(
    "versions",
    key=("event_id", "position"),
    columns={"event_id": "uuid", "position": "int8"} | CONTENT,
    derived=DERIVED,
)
"""One row for each fact of an event: what the event was from that position until the next."""

TIERS = Table(
    "tiers",
    key=("tier_id",),
    columns={
        "tier_id": "uuid",
        "event_id": "uuid",
        "added_position": "int8",
        "name": "text",
        "price": "int8",
        "seated": "bool",
        "benefits": "jsonb",
        "sale_opens_at": "timestamptz null",
        "sale_closes_at": "timestamptz null",
        "max_tickets_per_order": "int4 null",
    },
    indexes=("(event_id, added_position)",),
)

CAPACITIES = Table(
    "capacities",
    key=("tier_id", "position"),
    columns={"tier_id": "uuid", "position": "int8", "capacity": "int4"},
    append_only=True,
)


class Catalogue(Projection):
    name: ClassVar[str] = "catalogue"
    version: ClassVar[int] = 2
    tables: ClassVar[tuple[Table, ...]] = (EVENTS, VERSIONS, TIERS, CAPACITIES)

    @when(Event.Drafted)
    def drafted(self, recorded: Recorded, draft: Event.Drafted, rows: Rows) -> None:
        content: dict[str, Any] = {
            **_columns(draft.details),
            "organizer_id": draft.organizer_id,
            "currency": draft.currency,
            "resale_rules": NO_RULES.model_dump(),
            "published": False,
            "phase": None,
            "cancel_reason": None,
            "version": recorded.version,
            "at": draft.at,
        }
        position, event_id = recorded.position, recorded.stream_id
        rows.insert(EVENTS, event_id, position=position, **content)
        rows.revise(VERSIONS, event_id, position, **content)

    @when(Event.DetailsChanged)
    def details_changed(self, recorded: Recorded, change: Event.DetailsChanged, rows: Rows) -> None:
        _change(recorded, rows, **_columns(change.details))

    @when(Event.Postponed)
    def postponed(self, recorded: Recorded, fact: Event.Postponed, rows: Rows) -> None:
        starts_at, ends_at, doors_open_at = fact.starts_at, fact.ends_at, fact.doors_open_at
        _change(recorded, rows, phase=None, starts_at=starts_at, ends_at=ends_at, doors_open_at=doors_open_at)

    @when(Event.Published)
    def published(self, recorded: Recorded, _: Event.Published, rows: Rows) -> None:
        _change(recorded, rows, published=True)

    @when(Event.WentLive)
    def went_live(self, recorded: Recorded, _: Event.WentLive, rows: Rows) -> None:
        _change(recorded, rows, phase="live")

    @when(Event.Ended)
    def ended(self, recorded: Recorded, _: Event.Ended, rows: Rows) -> None:
        _change(recorded, rows, phase="ended")

    @when(Event.Cancelled)
    def cancelled(self, recorded: Recorded, end: Event.Cancelled, rows: Rows) -> None:
        _change(recorded, rows, phase="cancelled", cancel_reason=end.reason)

    @when(Event.Archived)
    def archived(self, recorded: Recorded, _: Event.Archived, rows: Rows) -> None:
        _change(recorded, rows, phase="archived")

    @when(Event.TierAdded)
    def tier_added(self, recorded: Recorded, tier: Event.TierAdded, rows: Rows) -> None:
        rows.insert(
            TIERS,
            tier.tier_id,
            event_id=recorded.stream_id,
            added_position=recorded.position,
            name=tier.name,
            price=tier.price,
            seated=tier.seated,
            benefits=list(tier.benefits),
            sale_opens_at=tier.sale_opens_at,
            sale_closes_at=tier.sale_closes_at,
            max_tickets_per_order=tier.max_tickets_per_order,
        )
        rows.tally(CAPACITIES, tier.tier_id, recorded.position)
        _change(recorded, rows)

    @when(Event.Released)
    def released(self, recorded: Recorded, fact: Event.Released, rows: Rows) -> None:
        rows.tally(CAPACITIES, fact.tier_id, recorded.position, capacity=fact.release.quantity)
        _change(recorded, rows)

    @when(Event.GateStaffed)
    def gate_staffed(self, recorded: Recorded, _: Event.GateStaffed, rows: Rows) -> None:
        _change(recorded, rows)

    @when(Event.ResaleRulesSet)
    def resale_rules_set(self, recorded: Recorded, change: Event.ResaleRulesSet, rows: Rows) -> None:
        _change(recorded, rows, resale_rules=change.rules.model_dump())


def _change(recorded: Recorded, rows: Rows, **columns: Any) -> None:
    columns |= {"version": recorded.version, "at": recorded.fact.at}
    rows.revise(VERSIONS, recorded.stream_id, recorded.position, **columns)
    rows.patch(EVENTS, recorded.stream_id, position=recorded.position, **columns)


def _columns(details: Details) -> dict[str, Any]:
    content = details.model_dump(mode="json")
    return {
        "title": details.title,
        "city": details.venue.city,
        "tags": content["tags"],
        "starts_at": details.starts_at,
        "ends_at": details.ends_at,
        "doors_open_at": details.doors_open_at,
        "details": content,
    }
