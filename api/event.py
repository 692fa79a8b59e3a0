"""Events: what organisers offer and everybody may look at."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Header, Query, Response

from api.call import AsOf, AsOfInViews, Call
from api.event_documents import (
    AvailabilityAnswer,
    CancelRequest,
    EventAnswer,
    EventPatch,
    EventRequest,
    PostponeRequest,
    ReleaseRequest,
    ResaleRulesRequest,
    SeatAnswer,
    StaffAnswer,
    StaffRequest,
    TierRequest,
    VersionAnswer,
    event_json,
    listed,
    staff_json,
)
from api.policy import ANYONE, ORGANIZER
from api.routing import ContractRouter
from api.types import PAGE_DEFAULT, Cursor, Instant, Limit, Page, Text, from_cursor, to_cursor, to_json
from commands.event import (
    AddTier,
    ArchiveEvent,
    CancelEvent,
    ChangeEvent,
    CreateEvent,
    PostponeEvent,
    PublishEvent,
    ReleaseTickets,
    SetResaleRules,
    StaffGates,
)
from domain.event import Event, EventStatus
from domain.kernel import NotFoundError
from domain.seat import ticket_id
from domain.ticket import Ticket
from projections import inventory
from projections.event_search import Search, search, versions

router = ContractRouter("events")

IfMatch = Annotated[
    str | None, Header(pattern=r'^(\*|"[0-9]{1,9}")$', description="The ETag of the version that is to be changed.")
]


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
    return _json(to_json({"items": [listed(event) for event in found[:limit]], "next_cursor": following}))


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
    items = [{"position": row.position, "at": row.at, "event": listed(row)} for row in shown]
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


@router.on("PUT", "/v1/events/{event_id}/resale-rules", policy=ORGANIZER, returns=EventAnswer)
async def set_resale_rules(event_id: UUID, body: ResaleRulesRequest, call: Call) -> Response:
    """At which price tickets may change hands, and whether without asking us. The chain's contract holds to it, too."""
    command = SetResaleRules(event_id=event_id, organizer_id=call.user_id, rules=body.rules())
    return await call.send(command, answer=event_json)


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
