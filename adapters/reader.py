"""Reading the ledger as it lies: pages by position, one stream's history, the head, the position of an instant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from psycopg_pool import AsyncConnectionPool

PAGE_FACTS_MAX = 1_000


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


class LedgerReader:
    def __init__(self, pool: AsyncConnectionPool, reveal: Callable[[Sequence[bytes]], Awaitable[list[bytes]]]) -> None:
        """``reveal`` opens what is sealed in payloads."""
        self._pool = pool
        self._reveal = reveal

    async def page(self, *, after: int, limit: int) -> list[StoredFact]:
        """Facts after a position, in order, without gaps."""
        return await self._facts("where position > %s order by position limit %s", after, min(limit, PAGE_FACTS_MAX))

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

    async def _facts(self, which: str, *parameters: object) -> list[StoredFact]:
        query = f"select position, stream_id, version, topic, recorded_at, metadata, payload from ledger.events {which}"
        async with self._pool.connection() as conn:
            cursor = conn.cursor(binary=True)
            await cursor.execute(query.encode(), parameters)
            rows: Sequence[tuple[Any, ...]] = await cursor.fetchall()
        payloads = await self._reveal([row[-1] for row in rows])
        return [_stored((*row[:-1], payload)) for row, payload in zip(rows, payloads, strict=True)]


def _stored(row: tuple[int, UUID, int, str, datetime, bytes, bytes]) -> StoredFact:
    position, stream_id, version, topic, recorded_at, metadata, payload = row
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
