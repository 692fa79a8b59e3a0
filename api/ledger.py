"""The ledger itself, for analysts and auditors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response

from api.call import AsOf, Call
from api.policy import ANYONE, LEDGER_READER
from api.proofs import latest_head
from api.routing import ContractRouter
from api.types import PAGE_DEFAULT, Answer, Cursor, Limit, Page, WholeNumber, from_cursor, to_cursor, to_json
from projections.ledger_head import UNSIGNED

router = ContractRouter("ledger")

POSITION_MAX = 2**62


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


@router.on("GET", "/v1/ledger/events", policy=LEDGER_READER, returns=Page[FactAnswer])
async def ledger_events(
    call: Call,
    as_of: AsOf,
    after: Annotated[WholeNumber, Query(ge=0, le=POSITION_MAX)] = 0,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """What was recorded after a position, in order and without gaps."""
    resumed = from_cursor(cursor, int)
    found = await call.app.ledger_page(after=resumed[0] if resumed else after, limit=limit)
    stored = [fact for fact in found if as_of is None or fact.position <= as_of]
    following = to_cursor(stored[-1].position) if len(stored) == limit else None
    return _json(to_json({"items": [fact._asdict() for fact in stored], "next_cursor": following}))


@router.on("GET", "/v1/ledger/head", policy=ANYONE, returns=HeadAnswer)
async def ledger_head(call: Call, as_of: AsOf) -> Response:
    """With `Ledger-Position`: one whose tree covers it, which takes a second or so after it was recorded.

    With `as_of`: the last position by then, and the latest signed head of a tree that has nothing after it.
    """
    head = await latest_head(call, as_of)
    position, recorded_at = await call.app.ledger_head(as_of)
    signed = head.document() if head is not None else UNSIGNED
    return _json(to_json({**signed, "position": position, "recorded_at": recorded_at}))


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
