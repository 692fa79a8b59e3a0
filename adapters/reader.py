"""Reading the ledger as it lies: pages by position, what is looked for among them, one stream's history, the head."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from psycopg_pool import AsyncConnectionPool

PAGE_FACTS_MAX = 1_000
SCAN_POSITIONS_MAX = 10_000
"""The ledger has an index by position and one by stream. What neither finds is looked for in so many facts at a time."""

OF_TYPE = "split_part(e.topic, '@', 1) = any(%s)"
OF_EVENT = """
    (e.stream_id = %s or {in_it} or coalesce((
        select {in_first} from ledger.events first where first.stream_id = e.stream_id and first.version = 1
    ), false))"""
NAMES = """
    case when position(%s::bytea in {fact}.payload) > 0
         then coalesce(ledger.as_json({fact}.payload) ->> 'event_id' = %s, false) else false end"""
"""Bytes are searched before they are parsed. The event is named in a ticket's and an order's first fact, not in each."""


class StoredFact(NamedTuple):
    position: int
    stream_id: UUID
    stream_type: str
    version: int
    type: str
    at: datetime
    actor: str | None
    command_id: str | None
    correlation_id: str | None
    causation_id: str | None
    data: dict[str, Any]


class Wanted(NamedTuple):
    """Which facts are looked for; by default all of them."""

    types: tuple[str, ...] = ()
    """Without the `@2` of a later shape."""
    stream_id: UUID | None = None
    event_id: UUID | None = None
    """Facts of this event, its orders and its tickets: its own stream, and those whose first fact names it."""

    @property
    def has_to_scan(self) -> bool:
        return self.stream_id is None and (bool(self.types) or self.event_id is not None)


class Found(NamedTuple):
    facts: list[StoredFact]
    reached: int
    """All that is wanted up to this position has been found: what follows it comes next."""


class LedgerReader:
    def __init__(self, pool: AsyncConnectionPool, reveal: Callable[[Sequence[bytes]], Awaitable[list[bytes]]]) -> None:
        """``reveal`` opens what is sealed in payloads."""
        self._pool = pool
        self._reveal = reveal

    async def page(self, *, after: int, limit: int) -> list[StoredFact]:
        """Facts after a position, in order, without gaps."""
        return await self._facts("where position > %s order by position limit %s", after, min(limit, PAGE_FACTS_MAX))

    async def find(self, wanted: Wanted, *, after: int, until: int, limit: int) -> Found:
        """What is wanted of ``after`` < position ≤ ``until``, in order; no more than a bounded search finds of it.

        ``until`` must have been reached by the ledger.
        """
        last = min(until, after + SCAN_POSITIONS_MAX) if wanted.has_to_scan else until
        if last <= after:
            return Found([], after)
        limit = min(limit, PAGE_FACTS_MAX)
        condition, parameters = _condition(wanted)
        order = "version" if wanted.stream_id is not None else "position"  # which of the indexes to go by
        facts = await self._facts(
            f"e where position > %s and position <= %s{condition} order by {order} limit %s",
            after,
            last,
            *parameters,
            limit,
            prepare=False,  # a plan for these values, not for any
        )
        return Found(facts, facts[-1].position if len(facts) == limit else last)

    async def history(self, stream_id: UUID, *, after: int, limit: int) -> list[StoredFact]:
        """One stream's facts after a version, in order."""
        return await self._facts(
            "where stream_id = %s and version > %s order by version limit %s",
            stream_id,
            after,
            min(limit, PAGE_FACTS_MAX),
        )

    async def head(self) -> tuple[int, datetime | None]:
        async with self._pool.connection() as conn:
            cursor = await conn.execute("select position, case when position > 0 then recorded_at end from ledger.head")
            row = await cursor.fetchone()
        return (row[0], row[1]) if row is not None else (0, None)

    async def position_at(self, instant: datetime) -> int:
        async with self._pool.connection() as conn:
            cursor = await conn.execute("select ledger.position_at(%s)", (instant,))
            row = await cursor.fetchone()
        return int(row[0]) if row is not None else 0

    async def _facts(self, which: str, *parameters: object, prepare: bool | None = None) -> list[StoredFact]:
        query = f"select position, stream_id, version, topic, recorded_at, payload, metadata from ledger.events {which}"
        async with self._pool.connection() as conn:
            cursor = conn.cursor(binary=True)
            await cursor.execute(query.encode(), parameters, prepare=prepare)
            rows: Sequence[tuple[Any, ...]] = await cursor.fetchall()
        payloads = await self._reveal([row[-2] for row in rows])
        return [stored_fact(*(*row[:-2], payload, row[-1])) for row, payload in zip(rows, payloads, strict=True)]


def _condition(wanted: Wanted) -> tuple[str, list[object]]:
    parts, parameters = [""], list[object]()
    if wanted.stream_id is not None:
        parts.append("e.stream_id = %s")
        parameters.append(wanted.stream_id)
    if wanted.types:
        parts.append(OF_TYPE)
        parameters.append(list(wanted.types))
    if wanted.event_id is not None:
        parts.append(OF_EVENT.format(in_it=NAMES.format(fact="e"), in_first=NAMES.format(fact="first")))
        text = str(wanted.event_id)
        parameters += [wanted.event_id, *(text.encode(), text) * 2]
    return " and ".join(parts), parameters


def stored_fact(
    position: int, stream_id: UUID, version: int, topic: str, recorded_at: datetime, payload: bytes, metadata: bytes
) -> StoredFact:
    """What a row says. Whatever shows the data of facts has it from here."""
    who = _object(metadata)
    kind = topic.partition("@")[0]
    return StoredFact(
        position,
        stream_id,
        kind.partition(".")[0],
        version,
        kind,
        recorded_at,
        who.get("actor"),
        who.get("command_id"),
        who.get("correlation_id"),
        who.get("causation_id"),
        _object(payload),
    )


def _object(content: bytes) -> dict[str, Any]:
    """Other programs may append through the recorder; what is no JSON object is shown as it is not understood."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
