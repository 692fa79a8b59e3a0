"""Proofs for everybody who would rather check than trust: of a fact, of the ledger's growth, of a ticket's history."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Query, Response
from pydantic import Field

from api.bootstrap import NotInTreeError
from api.call import POSITION_HEADER, AsOf, Call
from api.policy import ANYONE, LEDGER_READER, SIGNED_IN
from api.routing import ContractRouter
from api.types import PAGE_DEFAULT, Answer, Cursor, Limit, Page, WholeNumber, from_cursor, to_cursor, to_json
from domain.kernel import InvalidError, NotFoundError
from projections.canonical import to_line
from projections.ledger_head import SignedHead
from projections.merkle import BadProofError

router = ContractRouter("ledger")

SIZE_MAX = 2**62
Size = Annotated[WholeNumber | None, Query(ge=1, le=SIZE_MAX, description="Default: that of the latest signed head.")]

T = TypeVar("T")


class SignedHeadAnswer(Answer):
    ledger_id: UUID
    tree_size: int
    root: str
    at: datetime
    key_id: str
    signature: str
    """Ed25519, over the text that docs/proofs.md specifies."""


class KeyAnswer(Answer):
    key_id: str
    public_key: str
    valid_from: datetime
    retired_at: datetime | None


class KeysAnswer(Answer):
    items: list[KeyAnswer]


class InclusionAnswer(Answer):
    position: int
    leaf_index: int
    tree_size: int
    leaf_hash: str
    hashes: list[str]
    head: SignedHeadAnswer | None
    """Of this tree size; none was signed: ask for a consistency proof to one that was."""


class ConsistencyAnswer(Answer):
    from_: Annotated[int, Field(alias="from")]
    to: int
    hashes: list[str]


class FactProof(Answer):
    """A fact as a line of an export, and its proof."""

    position: int
    stream_id: UUID
    version: int
    topic: str
    payload: str | None = None
    payload_base64: str | None = None
    """Instead of `payload`, when that is no UTF-8."""
    metadata: str | None = None
    metadata_base64: str | None = None
    recorded_at: datetime
    leaf_index: int
    leaf_hash: str
    hashes: list[str]


class TicketProof(Answer):
    ticket_id: UUID
    head: SignedHeadAnswer
    facts: list[FactProof]
    next_cursor: str | None


@router.on("GET", "/v1/ledger/keys", policy=ANYONE, returns=KeysAnswer)
async def ledger_keys(call: Call) -> Response:
    """Every key that heads were ever signed with, oldest first. The last one signs now."""
    return _json({"items": [key.document() for key in await call.app.tree.keys()]})


@router.on("GET", "/v1/ledger/heads", policy=ANYONE, returns=Page[SignedHeadAnswer])
async def ledger_heads(
    call: Call,
    as_of: AsOf,
    after: Annotated[WholeNumber, Query(ge=0, le=SIZE_MAX)] = 0,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The heads that were signed of trees larger than `after`, smallest first, then oldest; with `as_of` those of trees up to then."""
    size, signed_at = from_cursor(cursor, int, datetime) or (after, None)
    found = await call.app.tree.heads(after=size, later_than=signed_at, limit=limit)
    heads = [head for head in found if as_of is None or head.tree_size <= as_of]
    following = to_cursor(heads[-1].tree_size, heads[-1].at) if len(heads) == limit else None
    return _json({"items": [head.document() for head in heads], "next_cursor": following})


@router.on("GET", "/v1/ledger/proofs/inclusion", policy=LEDGER_READER, returns=InclusionAnswer)
async def inclusion_proof(
    call: Call, position: Annotated[WholeNumber, Query(ge=1, le=SIZE_MAX)], tree_size: Size = None
) -> Response:
    """That the tree of that size has the fact of this position (RFC 9162, 2.1.3)."""
    size = await _size(call, tree_size)
    (found,) = await _proof(call.app.tree.inclusions([position], size), "/query/position")
    head = await call.app.tree.of_size(size)
    answer = {
        "position": position,
        "leaf_index": position - 1,
        "tree_size": size,
        "leaf_hash": _base64(found.leaf_hash),
        "hashes": _all_base64(found.hashes),
        "head": head.document() if head is not None else None,
    }
    return _json(answer)


@router.on("GET", "/v1/ledger/proofs/consistency", policy=LEDGER_READER, returns=ConsistencyAnswer)
async def consistency_proof(
    call: Call, from_: Annotated[WholeNumber, Query(alias="from", ge=1, le=SIZE_MAX)], to: Size = None
) -> Response:
    """That the tree of `from` facts begins the one of `to` facts (RFC 9162, 2.1.4)."""
    size = await _size(call, to)
    hashes = await _proof(call.app.tree.consistency(from_, size), "/query/from")
    return _json({"from": from_, "to": size, "hashes": _all_base64(hashes)})


@router.on("GET", "/v1/tickets/{ticket_id}/proof", policy=SIGNED_IN, returns=TicketProof)
async def ticket_proof(
    ticket_id: UUID, call: Call, as_of: AsOf, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Response:
    """Everything that happened to the ticket, oldest first, each fact with the proof that the signed head covers it.

    Waits until a head covers the ticket's last fact. With `as_of`: what had happened by then, proved by today's head.
    """
    await call.ticket_seen_by_caller(ticket_id, as_of)
    tree = call.app.tree
    await call.app.tree_sizes.wait_for(await tree.last_position(ticket_id))
    head = await tree.latest()
    if head is None:  # cannot be: one was waited for, and heads stay
        raise NotFoundError
    after = from_cursor(cursor, int)
    until = head.tree_size if as_of is None else min(as_of, head.tree_size)
    stored = await tree.facts(ticket_id, after=after[0] if after else 0, until=until, limit=limit + 1)
    proofs = await tree.inclusions([fact.position for fact in stored[:limit]], head.tree_size)
    facts = [
        {
            **to_line(fact.content),
            "leaf_index": fact.position - 1,
            "leaf_hash": _base64(proof.leaf_hash),
            "hashes": _all_base64(proof.hashes),
        }
        for fact, proof in zip(stored, proofs, strict=False)
    ]
    following = to_cursor(stored[limit - 1].version) if len(stored) > limit else None
    return _json({"ticket_id": ticket_id, "head": head.document(), "facts": facts, "next_cursor": following})


async def latest_head(call: Call, as_of: int | None = None) -> SignedHead | None:
    """With a `Ledger-Position`, one that covers it. Raises OverloadedError when none does in time.

    ``as_of``: the latest of those whose tree has nothing after this position.
    """
    if POSITION_HEADER in call.fields:
        await call.app.tree_sizes.wait_for(int(call.fields[POSITION_HEADER]))
    return await call.app.tree.latest(as_of)


async def _size(call: Call, asked: int | None) -> int:
    if asked is not None:
        return asked
    head = await latest_head(call)
    return head.tree_size if head is not None else 0


async def _proof(asked: Awaitable[T], pointer: str) -> T:
    try:
        return await asked
    except (BadProofError, NotInTreeError) as error:
        raise InvalidError(str(error), pointer=pointer) from error


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


def _all_base64(hashes: Sequence[bytes]) -> list[str]:
    return [_base64(part) for part in hashes]


def _json(answer: dict[str, Any]) -> Response:
    return Response(to_json(answer), media_type="application/json")
