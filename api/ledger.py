"""The ledger itself, for analysts and auditors."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Response
from pydantic import Field

from api.bootstrap import Wanted
from api.call import AsOf, Call
from api.ledger_lines import LINES, LinesResponse, Search, wants_lines
from api.policy import ANYONE, LEDGER_READER
from api.proofs import latest_head
from api.routing import ContractRouter
from api.types import PAGE_DEFAULT, Answer, Cursor, Instant, Limit, Page, WholeNumber, from_cursor, to_cursor, to_json
from projections.ledger_head import UNSIGNED

router = ContractRouter("ledger")

POSITION_MAX = 2**62
TYPES_MAX = 50
MICROSECOND = timedelta(microseconds=1)


class FactAnswer(Answer):
    position: int
    stream_id: UUID
    stream_type: str
    version: int
    type: str
    at: datetime
    actor: str | None
    command_id: UUID | None
    correlation_id: str | None
    causation_id: str | None
    data: dict[str, Any]


class HeadAnswer(Answer):
    """The ledger's last position, and the latest signed head of its tree, which follows by a moment."""

    ledger_id: UUID | None
    """Null, like `at`, `key_id` and `signature`: no head has been signed yet."""
    position: int
    recorded_at: datetime | None
    """Of the last position."""
    tree_size: int
    root: str
    at: datetime | None
    """When the head was signed."""
    key_id: str | None
    signature: str | None


class FactPage(Page[FactAnswer]):
    """``reached``: all that was asked for up to this position has been shown; `after` it the next question goes on.

    A page that looks for few facts among many may have none, and still say by `next_cursor` that there may be more.
    """

    reached: int


TypeName = Annotated[str, Field(pattern=r"^[a-z_]{1,50}\.[a-z_]{1,50}$")]


def wanted_facts(
    type: Annotated[  # noqa: A002 - what it is called in the query
        list[TypeName], Query(max_length=TYPES_MAX, description="Such as `ticket.paid`; may be repeated.")
    ] = [],  # noqa: B006 - it is only read
    stream: Annotated[UUID | None, Query(description="Facts of one aggregate.")] = None,
    event_id: Annotated[UUID | None, Query(description="Facts of an event, its orders and its tickets.")] = None,
) -> Wanted:
    return Wanted(tuple(type), stream, event_id)


async def first_and_last(
    call: Call,
    as_of: AsOf,
    since: Annotated[Instant | None, Query(alias="from", description="Recorded then or later.")] = None,
    before: Annotated[Instant | None, Query(alias="to", description="Recorded before then.")] = None,
) -> tuple[int, int]:
    """The position after which facts may be shown, and the last that may."""
    app = call.app
    last = await app.head() if as_of is None else as_of
    if before is not None:
        last = min(last, await app.position_at(before - MICROSECOND))
    return (0 if since is None else await app.position_at(since - MICROSECOND)), last


@router.on("GET", "/v1/ledger/events", policy=LEDGER_READER, returns=FactPage, lines=LINES)
async def ledger_events(
    call: Call,
    wanted: Annotated[Wanted, Depends(wanted_facts)],
    between: Annotated[tuple[int, int], Depends(first_and_last)],
    after: Annotated[WholeNumber, Query(ge=0, le=POSITION_MAX)] = 0,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """What was recorded after a position, in order and without gaps, or what is looked for of it.

    With `Accept: application/x-ndjson` all of it, up to the end that the ledger has now, as lines; `limit` is for pages.
    """
    resumed = from_cursor(cursor, int)
    search = Search(call.app, wanted, max(between[0], resumed[0] if resumed else after), between[1])
    if wants_lines(call.fields.get("accept", "")):
        return LinesResponse(search)
    found = await search.page(limit)
    following = to_cursor(found.reached) if found.reached < search.until else None
    items = [fact._asdict() for fact in found.facts]
    return _json(to_json({"items": items, "next_cursor": following, "reached": found.reached}))


@router.on("GET", "/v1/ledger/head", policy=ANYONE, returns=HeadAnswer)
async def ledger_head(call: Call, as_of: AsOf) -> Response:
    """With `Ledger-Position`: one whose tree covers it, which takes a second or so after it was recorded.

    With `as_of`: the last position by then, and the latest signed head of a tree that has nothing after it.
    """
    head = await latest_head(call, as_of)
    position, recorded_at = await call.app.ledger_head(as_of)
    signed = head.document() if head is not None else UNSIGNED
    answer = to_json({**signed, "position": position, "recorded_at": recorded_at})
    return _json(answer + b"\n")  # a file of heads has a line for each


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
