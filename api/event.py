"""Events: what organisers offer and everybody may look at."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID
from zoneinfo import available_timezones

from fastapi import Header, Query, Response
from pydantic import AfterValidator, Field, model_validator

from api.call import AsOf, AsOfInViews, Call
from api.policy import ANYONE, ORGANIZER
from api.routing import ContractRouter
from api.types import (
    NO_CONTROLS,
    PAGE_DEFAULT,
    Answer,
    Body,
    Cursor,
    Instant,
    Limit,
    LongText,
    Page,
    ShortText,
    Text,
    from_cursor,
    to_cursor,
    to_json,
)
from commands.event import (
    AddTier,
    ArchiveEvent,
    CancelEvent,
    ChangeEvent,
    CreateEvent,
    NewRelease,
    NewTier,
    PostponeEvent,
    PublishEvent,
    ReleaseTickets,
    StaffGates,
    doors_before,
)
from domain.event import (
    GATE_STAFF_MAX,
    HOLD_SECONDS_DEFAULT,
    ORDER_TICKETS_DEFAULT,
    QUANTITY_MAX,
    SEATS_MAX,
    TIERS_MAX,
    Details,
    Display,
    Event,
    EventStatus,
    Tier,
    Venue,
)
from domain.kernel import NotFoundError
from domain.money import Currency, Price
from domain.order import ORDER_TICKETS_MAX
from domain.seat import Label, Seat, ticket_id
from domain.ticket import Ticket, TicketStatus
from projections import inventory
from projections.event_search import ListedEvent, ListedTier, Search, search, versions

router = ContractRouter("events")

HOLD_SECONDS_MAX = 86_400
TAGS_MAX = 30
BENEFITS_MAX = 30
BUYER_WINDOW_SECONDS_MAX = 10 * 365 * 86_400
ZONES = available_timezones()


def _known_zone(name: str) -> str:
    if name not in ZONES:
        raise ValueError("not a name in the IANA time zone database")
    return name


Timezone = Annotated[str, Field(max_length=64), AfterValidator(_known_zone)]
Tags = Annotated[tuple[Text, ...], Field(max_length=TAGS_MAX)]
Seats = Annotated[tuple[Seat, ...], Field(min_length=1, max_length=SEATS_MAX)]
Quantity = Annotated[int, Field(ge=1, le=QUANTITY_MAX, strict=True)]
OrderTickets = Annotated[int, Field(ge=1, le=ORDER_TICKETS_MAX, strict=True)]


IfMatch = Annotated[
    str | None, Header(pattern=r'^(\*|"[0-9]{1,9}")$', description="The ETag of the version that is to be changed.")
]


class ReleaseRequest(Body):
    quantity: Quantity | None = None
    seats: Seats | None = None
    on_sale_at: Instant | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.quantity is None) == (self.seats is None):
            raise ValueError("either quantity or seats")
        return self

    def new_release(self) -> NewRelease:
        return NewRelease(quantity=self.quantity, seats=self.seats, on_sale_at=self.on_sale_at)


class TierRequest(ReleaseRequest):
    name: Text
    price: Price
    benefits: Annotated[tuple[Text, ...], Field(max_length=BENEFITS_MAX)] = ()
    sale_opens_at: Instant | None = None
    sale_closes_at: Instant | None = None
    max_tickets_per_order: OrderTickets | None = None

    def new_tier(self) -> NewTier:
        return NewTier(
            name=self.name,
            price=self.price,
            benefits=self.benefits,
            sale_opens_at=self.sale_opens_at,
            sale_closes_at=self.sale_closes_at,
            max_tickets_per_order=self.max_tickets_per_order,
            release=self.new_release(),
        )


class VenueRequest(Body):
    name: Text
    city: ShortText | None = None
    country: ShortText | None = None
    latitude: Annotated[float | None, Field(ge=-90, le=90, allow_inf_nan=False, strict=True)] = None
    longitude: Annotated[float | None, Field(ge=-180, le=180, allow_inf_nan=False, strict=True)] = None


class DisplayRequest(Body):
    show_remaining: Annotated[bool, Field(strict=True)] = True
    waitlist: Annotated[bool, Field(strict=True)] = False
    sharing: Annotated[bool, Field(strict=True)] = True
    seo_title: Text | None = None
    seo_description: Annotated[str | None, Field(max_length=500, pattern=NO_CONTROLS)] = None

    def display(self) -> Display:
        return Display(**self.model_dump())


class EventRequest(Body):
    title: Text
    description: LongText | None = None
    venue: VenueRequest
    starts_at: Instant
    ends_at: Instant
    timezone: Timezone
    currency: Currency
    tags: Tags = ()
    tiers: Annotated[tuple[TierRequest, ...], Field(min_length=1, max_length=TIERS_MAX)]
    max_tickets_per_order: OrderTickets = ORDER_TICKETS_DEFAULT
    max_tickets_per_buyer: Quantity | None = None
    buyer_window_seconds: Annotated[int | None, Field(ge=1, le=BUYER_WINDOW_SECONDS_MAX, strict=True)] = None
    hold_seconds: Annotated[int, Field(ge=1, le=HOLD_SECONDS_MAX, strict=True)] = HOLD_SECONDS_DEFAULT
    doors_open_at: Instant | None = None
    display: DisplayRequest = DisplayRequest()

    def details(self) -> Details:
        return Details(
            title=self.title,
            description=self.description,
            venue=Venue(**self.venue.model_dump()),
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            doors_open_at=self.doors_open_at or doors_before(self.starts_at),
            timezone=self.timezone,
            tags=self.tags,
            max_tickets_per_order=self.max_tickets_per_order,
            max_tickets_per_buyer=self.max_tickets_per_buyer,
            buyer_window_seconds=self.buyer_window_seconds,
            hold_seconds=self.hold_seconds,
            display=self.display.display(),
        )


class EventPatch(Body):
    """Only what is named is changed. Naming ``null`` clears what may be empty."""

    title: Text = ""
    description: LongText | None = None
    venue: VenueRequest | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    doors_open_at: Instant | None = None
    timezone: Timezone = ""
    tags: Tags = ()
    max_tickets_per_order: OrderTickets = ORDER_TICKETS_DEFAULT
    max_tickets_per_buyer: Quantity | None = None
    buyer_window_seconds: Annotated[int | None, Field(ge=1, le=BUYER_WINDOW_SECONDS_MAX, strict=True)] = None
    hold_seconds: Annotated[int, Field(ge=1, le=HOLD_SECONDS_MAX, strict=True)] = HOLD_SECONDS_DEFAULT
    display: DisplayRequest = DisplayRequest()

    @model_validator(mode="after")
    def _no_null_where_a_value_is_needed(self) -> Self:
        for name in ("venue", "starts_at", "ends_at", "doors_open_at"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self

    def changes(self) -> dict[str, object]:
        named = {name: getattr(self, name) for name in self.model_fields_set}
        if self.venue is not None:
            named["venue"] = Venue(**self.venue.model_dump())
        if "display" in named:
            named["display"] = self.display.display()
        return named


class CancelRequest(Body):
    reason: Text


class PostponeRequest(Body):
    starts_at: Instant
    ends_at: Instant


class StaffRequest(Body):
    user_ids: Annotated[tuple[UUID, ...], Field(max_length=GATE_STAFF_MAX)]


class TierAnswer(Answer):
    tier_id: UUID
    name: str
    price: int
    capacity: int
    seated: bool
    benefits: list[str]
    sale_opens_at: datetime | None
    sale_closes_at: datetime | None
    max_tickets_per_order: int | None


class EventAnswer(Answer):
    event_id: UUID
    organizer_id: UUID
    status: EventStatus
    title: str
    description: str | None
    venue: Venue
    starts_at: datetime
    ends_at: datetime
    doors_open_at: datetime
    timezone: str
    currency: str
    tags: list[str]
    max_tickets_per_order: int
    max_tickets_per_buyer: int | None
    buyer_window_seconds: int | None
    hold_seconds: int
    display: Display
    cancel_reason: str | None
    version: int
    tiers: list[TierAnswer]


class AvailabilityTier(Answer):
    tier_id: UUID
    name: str
    price: int
    capacity: int
    available: int
    held: int
    sold: int
    checked_in: int


class AvailabilityAnswer(Answer):
    event_id: UUID
    position: int
    tiers: list[AvailabilityTier]


class SeatAnswer(Answer):
    tier_id: UUID
    section: Label
    row: Label
    number: Label
    status: TicketStatus


class VersionAnswer(Answer):
    position: int
    at: datetime
    event: EventAnswer


def event_json(event: Event) -> bytes:
    return to_json(_document(event, event.id, event.known_details, event.tiers.values()))


def _listed(event: ListedEvent) -> dict[str, object]:
    return _document(event, event.event_id, event.details, event.tiers)


def _document(
    event: Event | ListedEvent, event_id: UUID, details: Details, tiers: Iterable[Tier | ListedTier]
) -> dict[str, object]:
    """An event as clients see it, whether it was folded or found in the catalogue."""
    return {
        "event_id": event_id,
        "organizer_id": event.organizer_id,
        "status": event.status,
        **{name: getattr(details, name) for name in DETAILS},
        "venue": details.venue.model_dump(),
        "display": details.display.model_dump(),
        "currency": event.currency,
        "cancel_reason": event.cancel_reason,
        "version": event.version,
        "tiers": [{name: getattr(tier, name) for name in TierAnswer.model_fields} for tier in tiers],
    }


DETAILS = tuple(name for name in Details.model_fields if name not in ("venue", "display"))


def staff_json(event: Event) -> bytes:
    return to_json({"event_id": event.id, "user_ids": sorted(event.gate_staff)})


class StaffAnswer(Answer):
    event_id: UUID
    user_ids: list[UUID]


@router.on("POST", "/v1/events", policy=ORGANIZER, returns=EventAnswer, status=201)
async def create_event(body: EventRequest, call: Call) -> Response:
    command = CreateEvent(
        organizer_id=call.user_id,
        currency=body.currency,
        details=body.details(),
        tiers=tuple(tier.new_tier() for tier in body.tiers),
    )
    return await call.send(command, answer=event_json, status=201)


@router.on("GET", "/v1/events", policy=ANYONE, returns=Page[EventAnswer])
async def list_events(
    call: Call,
    as_of: AsOfInViews,
    query: Annotated[Text | None, Query()] = None,
    city: Annotated[Text | None, Query()] = None,
    tag: Annotated[Text | None, Query()] = None,
    from_: Annotated[Instant | None, Query(alias="from")] = None,
    to: Annotated[Instant | None, Query()] = None,
    status: Annotated[EventStatus | None, Query()] = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    wanted = Search(
        query=query,
        city=city,
        tag=tag,
        starts_from=from_,
        starts_before=to,
        status=status,
        drafts_of=call.account.id if call.account is not None else None,
        after=from_cursor(cursor, datetime, UUID),
        as_of=as_of,
    )
    found = await search(call.app.views, wanted, limit=limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    following = to_cursor(last.details.starts_at, last.event_id) if last is not None else None
    return _json(to_json({"items": [_listed(event) for event in found[:limit]], "next_cursor": following}))


@router.on("GET", "/v1/events/{event_id}", policy=ANYONE, returns=EventAnswer)
async def get_event(event_id: UUID, call: Call, as_of: AsOf) -> Response:
    event = await call.event_seen_by_caller(event_id, as_of)
    response = _json(event_json(event))
    response.headers["ETag"] = f'"{event.version}"'
    return response


@router.on("GET", "/v1/events/{event_id}/history", policy=ANYONE, returns=Page[VersionAnswer])
async def event_history(
    event_id: UUID, call: Call, as_of: AsOfInViews, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Response:
    """Every version of what the event offered, oldest first; what it was as a draft only for who may see drafts."""
    event = await call.event_seen_by_caller(event_id, as_of)
    after = from_cursor(cursor, int)
    found = await versions(call.app.views, event_id, after=after[0] if after else 0, limit=limit + 1)
    rows = [row for row in found if as_of is None or row.position <= as_of]
    shown = [row for row in rows[:limit] if row.status != EventStatus.DRAFT or call.sees_drafts_of(event)]
    items = [{"position": row.position, "at": row.at, "event": _listed(row)} for row in shown]
    following = to_cursor(rows[limit - 1].position) if len(rows) > limit else None
    return _json(to_json({"items": items, "next_cursor": following}))


@router.on("PATCH", "/v1/events/{event_id}", policy=ORGANIZER, returns=EventAnswer, answers=(412,))
async def change_event(event_id: UUID, body: EventPatch, call: Call, if_match: IfMatch = None) -> Response:
    version = int(if_match.strip('"')) if if_match is not None and if_match != "*" else None
    command = ChangeEvent(
        event_id=event_id, organizer_id=call.user_id, changes=body.changes(), expected_version=version
    )
    return await call.send(command, answer=event_json)


@router.on("POST", "/v1/events/{event_id}/publish", policy=ORGANIZER, returns=EventAnswer)
async def publish_event(event_id: UUID, call: Call) -> Response:
    return await call.send(PublishEvent(event_id=event_id, organizer_id=call.user_id), answer=event_json)


@router.on("POST", "/v1/events/{event_id}/cancel", policy=ORGANIZER, returns=EventAnswer)
async def cancel_event(event_id: UUID, body: CancelRequest, call: Call) -> Response:
    """The tickets are void at once; the orders are refunded one by one, by the worker."""
    command = CancelEvent(event_id=event_id, organizer_id=call.user_id, reason=body.reason)
    return await call.send(command, answer=event_json)


@router.on("POST", "/v1/events/{event_id}/postpone", policy=ORGANIZER, returns=EventAnswer)
async def postpone_event(event_id: UUID, body: PostponeRequest, call: Call) -> Response:
    command = PostponeEvent(
        event_id=event_id, organizer_id=call.user_id, starts_at=body.starts_at, ends_at=body.ends_at
    )
    return await call.send(command, answer=event_json)


@router.on("POST", "/v1/events/{event_id}/archive", policy=ORGANIZER, returns=EventAnswer)
async def archive_event(event_id: UUID, call: Call) -> Response:
    return await call.send(ArchiveEvent(event_id=event_id, organizer_id=call.user_id), answer=event_json)


@router.on("POST", "/v1/events/{event_id}/tiers", policy=ORGANIZER, returns=EventAnswer, status=201)
async def add_tier(event_id: UUID, body: TierRequest, call: Call) -> Response:
    command = AddTier(event_id=event_id, organizer_id=call.user_id, tier=body.new_tier())
    return await call.send(command, answer=event_json, status=201)


@router.on("POST", "/v1/events/{event_id}/tiers/{tier_id}/releases", policy=ORGANIZER, returns=EventAnswer, status=201)
async def release_tickets(event_id: UUID, tier_id: UUID, body: ReleaseRequest, call: Call) -> Response:
    command = ReleaseTickets(event_id=event_id, organizer_id=call.user_id, tier_id=tier_id, release=body.new_release())
    return await call.send(command, answer=event_json, status=201)


@router.on("PUT", "/v1/events/{event_id}/gate-staff", policy=ORGANIZER, returns=StaffAnswer)
async def staff_gates(event_id: UUID, body: StaffRequest, call: Call) -> Response:
    command = StaffGates(event_id=event_id, organizer_id=call.user_id, user_ids=body.user_ids)
    return await call.send(command, answer=staff_json)


@router.on("GET", "/v1/events/{event_id}/availability", policy=ANYONE, returns=AvailabilityAnswer)
async def availability(event_id: UUID, call: Call, as_of: AsOfInViews) -> Response:
    await _public_event(call, event_id, as_of)
    found = await inventory.availability(call.app.views, event_id, as_of=as_of)
    tiers = [tier._asdict() for tier in found.tiers]
    return _json(to_json({"event_id": event_id, "position": found.position, "tiers": tiers}))


@router.on("GET", "/v1/events/{event_id}/seats", policy=ANYONE, returns=Page[SeatAnswer])
async def seats(
    event_id: UUID, call: Call, as_of: AsOf, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Response:
    """Every numbered seat in the order of release, and whether it is free."""
    event = await call.event_seen_by_caller(event_id, as_of)
    after = from_cursor(cursor, int)
    start = after[0] if after else 0
    page = [
        (tier.tier_id, seat)
        for tier in event.tiers.values()
        for release in tier.releases
        for seat in release.seats or ()
    ][start : start + limit + 1]
    found = await call.fold_all(Ticket, [ticket_id(event.id, tier_id, seat) for tier_id, seat in page[:limit]], as_of)
    items = [
        {"tier_id": tier_id, **seat.model_dump(), "status": ticket.status_during(event)}
        for (tier_id, seat), ticket in zip(page, found, strict=False)
    ]
    return _json(to_json({"items": items, "next_cursor": to_cursor(start + limit) if len(page) > limit else None}))


async def _public_event(call: Call, event_id: UUID, as_of: int | None) -> Event:
    """As `Call.event_seen_by_caller`, from memory when the present is asked for: this is the busiest read of a sale."""
    if as_of is not None:
        return await call.event_seen_by_caller(event_id, as_of)
    event = await call.app.store.peek(Event, event_id)
    if not event.exists or (event.status is EventStatus.DRAFT and not call.sees_drafts_of(event)):
        raise NotFoundError
    return event


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
