"""Group reads: the streams that many commands ask for at the same moment are read by one statement."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection, AsyncCursor
from psycopg_pool import AsyncConnectionPool

from adapters.postgres import connect, conninfo
from adapters.snapshots import SNAPSHOT_EVERY, Snapshots
from commands.kernel import OverloadedError
from domain.kernel import Aggregate, decode

QUEUE_MAX = 8_192
BATCH_STREAMS_MAX = 2_000
LANES = 2
POOL_CONNECTIONS_MAX = 4
"""For reads of the past and of long streams, which do not share statements."""
READ_SECONDS_MAX = 15.0
RECONNECTS_MAX = 9_000
"""A quarter of an hour without a database; until then every request is told to come again."""
RECONNECT_SECONDS = 0.1

A = TypeVar("A", bound=Aggregate)
log = structlog.get_logger()

READ = (
    "select stream_id, topic, payload from ledger.events where stream_id = any(%b::uuid[]) order by stream_id, version"
)
READ_AS_OF = (
    "select stream_id, topic, payload from ledger.events"
    " where stream_id = any(%b::uuid[]) and position <= %b::bigint order by stream_id, version"
)
READ_AFTER = (
    "select stream_id, topic, payload from ledger.events"
    " where stream_id = any(%b::uuid[]) and version > %b::int order by stream_id, version"
)

Stored = list[tuple[str, bytes]]


@dataclass(slots=True)
class Wanted:
    ids: Sequence[UUID]
    future: asyncio.Future[dict[UUID, Stored]]


class Loader:
    """Folds streams into aggregates. One per process; a few connections whatever the number of callers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._queue: deque[Wanted] = deque()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._snapshots = Snapshots()
        self._pool = AsyncConnectionPool(
            conninfo(url, "counterfoil_app", planner=True),
            min_size=1,
            max_size=POOL_CONNECTIONS_MAX,
            timeout=READ_SECONDS_MAX,
            max_waiting=QUEUE_MAX,
            kwargs={"autocommit": True, "prepare_threshold": 0},
            open=False,
        )

    async def start(self) -> None:
        await self._pool.open(wait=True, timeout=READ_SECONDS_MAX)
        self._tasks = [asyncio.create_task(self._run_lane(await self._open()), name="loader") for _ in range(LANES)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()

    async def load(self, kind: type[A], ids: Sequence[UUID]) -> list[A]:
        """Fresh aggregates in the order asked for, blank where there is no stream."""
        rows = await self._read(ids)
        return [_fold(kind, stream_id, rows.get(stream_id, ())) for stream_id in ids]

    async def load_as_of(self, kind: type[A], ids: Sequence[UUID], position: int) -> list[A]:
        """The aggregates as the first ``position`` facts of the ledger made them."""
        async with self._pool.connection() as conn:
            rows = await _fetch(conn.cursor(binary=True), READ_AS_OF, ids, position)
        return [_fold(kind, stream_id, rows.get(stream_id, ())) for stream_id in ids]

    async def load_long(self, kind: type[A], stream_id: UUID) -> A:
        """An aggregate whose stream may be long: from its snapshot where there is one, and leaving one where it pays."""
        async with self._pool.connection() as conn:
            cursor = conn.cursor(binary=True)
            aggregate = await self._snapshots.read(cursor, kind, stream_id)
            start = aggregate.version
            rows = await _fetch(cursor, READ_AFTER, (stream_id,), start)
            stored = rows.get(stream_id, ())
            if not _is_of(kind, stored):
                return kind(id=stream_id)
            aggregate.fold(decode(topic, payload) for topic, payload in stored)
            if aggregate.version - start >= SNAPSHOT_EVERY:
                await self._snapshots.write(cursor, aggregate)
        return aggregate

    async def _read(self, ids: Sequence[UUID]) -> dict[UUID, Stored]:
        if len(self._queue) >= QUEUE_MAX:
            raise OverloadedError("too many reads are waiting")
        future: asyncio.Future[dict[UUID, Stored]] = asyncio.get_running_loop().create_future()
        self._queue.append(Wanted(ids, future))
        self._wake.set()
        return await future

    async def _run_lane(self, cursor: AsyncCursor[Any]) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    cursor = await self._read_batch(cursor)
        finally:
            await cursor.connection.close()

    async def _read_batch(self, cursor: AsyncCursor[Any]) -> AsyncCursor[Any]:
        """Answer what has queued up. The cursor for the next batch: a new one when the connection broke."""
        batch = self._take()
        ids = list({stream_id for wanted in batch for stream_id in wanted.ids})
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                rows = await _fetch(cursor, READ, ids)
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError) as error:
            log.warning("read_failed", error=str(error).strip())
            _refuse(batch, "the database did not answer")
            return await self._reopen(cursor)
        for wanted in batch:
            if not wanted.future.done():
                wanted.future.set_result(rows)
        return cursor

    def _take(self) -> list[Wanted]:
        batch: list[Wanted] = []
        count = 0
        while self._queue and count < BATCH_STREAMS_MAX:
            wanted = self._queue.popleft()
            batch.append(wanted)
            count += len(wanted.ids)
        return batch

    async def _open(self) -> AsyncCursor[Any]:
        conn: AsyncConnection = await connect(self._url, "counterfoil_app", planner=True)
        return conn.cursor(binary=True)

    async def _reopen(self, cursor: AsyncCursor[Any]) -> AsyncCursor[Any]:
        await cursor.connection.close()
        for _ in range(RECONNECTS_MAX):
            try:
                return await self._open()
            except (psycopg.Error, OSError):
                _refuse(self._queue, "the database is down")
                self._queue.clear()
                await asyncio.sleep(RECONNECT_SECONDS)
        raise OverloadedError("the database is down")


def _refuse(waiting: Iterable[Wanted], detail: str) -> None:
    for wanted in waiting:
        if not wanted.future.done():
            wanted.future.set_exception(OverloadedError(detail))


async def _fetch(cursor: AsyncCursor[Any], query: str, ids: Sequence[UUID], *more: int) -> dict[UUID, Stored]:
    await cursor.execute(query.encode(), (list(ids), *more), prepare=True)
    rows: dict[UUID, Stored] = {}
    for stream_id, topic, payload in await cursor.fetchall():
        rows.setdefault(stream_id, []).append((topic, payload))
    return rows


def _fold(kind: type[A], stream_id: UUID, stored: Sequence[tuple[str, bytes]]) -> A:
    if not _is_of(kind, stored):
        return kind(id=stream_id)
    return kind(id=stream_id).fold(decode(topic, payload) for topic, payload in stored)


def _is_of(kind: type[Aggregate], stored: Sequence[tuple[str, bytes]]) -> bool:
    """Ids come from clients: a ticket's may be given as an order's, and then there is no such order."""
    return not stored or stored[0][0].startswith(f"{kind.stream_type}.")
