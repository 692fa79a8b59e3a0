"""Group commit: many commands share one transaction and one fsync, each with its own result.

Callers hand in a request and await a future. A lane takes what has queued up and calls ``ledger.append`` once; the head
row it updates orders the batches of all lanes and all processes. A second lane is opened under load only: it prepares
and sends its batch while the first one's is being flushed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg
import structlog
from psycopg import AsyncConnection, AsyncCursor

from adapters.follower import Followed
from adapters.postgres import connect
from adapters.sealing import Sealer
from commands.kernel import (
    AlreadyAnsweredError,
    Answer,
    ConflictError,
    KeyReusedError,
    Metadata,
    OverloadedError,
    Request,
)

QUEUE_MAX = 8_192
"""Requests waiting for a batch. One more is refused: the caller is told to come again."""
BATCH_REQUESTS_MAX = 256
BATCH_FACTS_MAX = 4_096
LANES = 2
SECOND_LANE_AT = 96
"""Requests left waiting behind a batch in flight that are worth a batch of their own meanwhile."""
COMMIT_SECONDS_MAX = 30.0
KNOWN_STREAMS_MAX = 100_000
RECONNECTS_MAX = 9_000
"""A quarter of an hour without a database; until then every request is told to come again."""
RECONNECT_SECONDS = 0.1

STALE = (psycopg.errors.UniqueViolation, psycopg.errors.SerializationFailure)
"""How a batch of one request fails when a stream has moved, or when its key was answered before."""
IMPOSSIBLE = (*STALE, psycopg.DataError, psycopg.ProgrammingError, psycopg.IntegrityError, TypeError, ValueError)
"""What a batch fails with because of what one of its requests says, here or in the database."""

log = structlog.get_logger()

Commits = Callable[[Sequence[Followed]], object]


@dataclass(slots=True)
class Waiting:
    request: Request
    future: asyncio.Future[int]


class Committer:
    """One per process. ``append`` may be called from any number of tasks of one event loop."""

    def __init__(self, url: str, sealer: Sealer) -> None:
        self._url = url
        self._sealer = sealer
        self._queue: deque[Waiting] = deque()
        self._wake = [asyncio.Event() for _ in range(LANES)]
        self._tasks: list[asyncio.Task[None]] = []
        self._known: OrderedDict[UUID, int] = OrderedDict()  # streams with their versions, and keys that were answered
        self._in_flight = 0
        self._closed = False
        self.on_commit: Commits = len  # until somebody follows
        self.on_idle: Callable[[], None] = lambda: None
        self.batches = 0
        self.requests = 0

    @property
    def busy(self) -> bool:
        return self._in_flight > 0

    async def start(self) -> None:
        connections = [await connect(self._url, "counterfoil_app", planner=True) for _ in range(LANES)]
        self._tasks = [
            asyncio.create_task(self._run_lane(index, conn), name=f"committer-{index}")
            for index, conn in enumerate(connections)
        ]

    async def stop(self) -> None:
        """Refuse what comes, finish what was taken."""
        self._closed = True
        while self._queue or self._in_flight:  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(0.005)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def append(self, request: Request) -> int:
        """The position of the request's last fact, durable. Raises what `commands.kernel.Store.append` says."""
        if self._closed or len(self._queue) >= QUEUE_MAX:
            raise OverloadedError("too many commands are waiting to be recorded")
        moved = [new.stream_id for new in request.facts if self._known.get(new.stream_id, 0) >= new.version]
        answered = request.key is not None and request.key.id in self._known
        if moved and not answered:  # who repeats a request is to have its answer, not a conflict with it
            raise ConflictError(moved)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(request, future))
        if self._in_flight == 0:
            self._wake[0].set()
        elif len(self._queue) >= SECOND_LANE_AT:
            for wake in self._wake:
                wake.set()
        return await future

    # -- Lanes -------------------------------------------------------------------

    async def _run_lane(self, index: int, conn: AsyncConnection) -> None:
        cursor = conn.cursor(binary=True)
        try:
            while True:
                await self._wake[index].wait()
                self._wake[index].clear()
                while self._queue and (self._in_flight == 0 or len(self._queue) >= SECOND_LANE_AT):
                    cursor = await self._run_batch(cursor)
                if self._in_flight == 0:
                    self.on_idle()
        finally:
            await cursor.connection.close()

    async def _run_batch(self, cursor: AsyncCursor[Any]) -> AsyncCursor[Any]:
        """Commit what has queued up. The cursor for the next batch: a new one when the connection broke."""
        batch = self._take()
        self._in_flight += 1
        try:
            async with asyncio.timeout(COMMIT_SECONDS_MAX):
                await self._commit(cursor, batch)
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError, TimeoutError) as error:
            self._fail(batch, error)
            return await self._reconnect(cursor)
        except Exception as error:
            log.exception("commit_failed")
            self._fail(batch, error)
        finally:
            self._in_flight -= 1
        return cursor

    def _take(self) -> list[Waiting]:
        """The next batch, in which no request depends on another's outcome.

        A request that writes a stream, or uses a key, that the batch has already waits for the next one.
        """
        batch: list[Waiting] = []
        later: list[Waiting] = []
        written: set[UUID] = set()
        fact_count = 0
        while self._queue and len(batch) < BATCH_REQUESTS_MAX and fact_count < BATCH_FACTS_MAX:
            waiting = self._queue.popleft()
            request = waiting.request
            marks = {new.stream_id for new in request.facts}
            if request.key is not None:
                marks.add(request.key.id)
            if not written.isdisjoint(marks) or any(stream in written for stream, _ in request.rests_on):
                later.append(waiting)
                continue
            written |= marks
            fact_count += len(request.facts)
            batch.append(waiting)
        self._queue.extendleft(reversed(later))
        return batch

    async def _commit(self, cursor: AsyncCursor[Any], batch: list[Waiting]) -> None:
        try:
            arguments = _arguments(batch, self._sealer)
            await cursor.execute(_statement(arguments), arguments, prepare=True)
        except IMPOSSIBLE as error:
            await self._split(cursor, batch, error)
            return
        row = await cursor.fetchone()
        assert row is not None
        first_position, recorded, stale, repeated = row
        refused = {*(stale or ()), *(repeated or ())}
        self.batches += 1
        self._resolve(batch, refused, first_position, recorded)
        for index in repeated or ():
            await self._answer_again(cursor, batch[index])
        for index in set(stale or ()) - set(repeated or ()):
            _reject(batch[index].future, _conflict(batch[index].request))

    def _resolve(self, batch: list[Waiting], refused: set[int], position: int, recorded: datetime) -> None:
        """Give each accepted request its position, and followers its facts."""
        followed: list[Followed] = []
        known = self._known
        for index, waiting in enumerate(batch):
            if index in refused:
                continue
            self.requests += 1
            for new in waiting.request.facts:
                followed.append(Followed(position, new.stream_id, new.version, new.fact, recorded))
                known[new.stream_id] = new.version
                position += 1
            if waiting.request.key is not None:
                known[waiting.request.key.id] = 0
            if not waiting.future.done():
                waiting.future.set_result(position - 1 if waiting.request.facts else 0)
        while len(known) > KNOWN_STREAMS_MAX:
            known.popitem(last=False)
        if followed:
            self.on_commit(followed)

    async def _split(self, cursor: AsyncCursor[Any], batch: list[Waiting], error: Exception) -> None:
        """One request made the whole batch fail: find it by trying each alone, so that no other pays for it."""
        if len(batch) > 1:
            for waiting in batch:
                await self._commit(cursor, [waiting])
        elif not isinstance(error, STALE):
            _reject(batch[0].future, error)
        elif batch[0].request.key is not None:  # the conflict may be with its own first attempt
            await self._answer_again(cursor, batch[0])
        else:
            _reject(batch[0].future, _conflict(batch[0].request))

    async def _answer_again(self, cursor: AsyncCursor[Any], waiting: Waiting) -> None:
        key = waiting.request.key
        assert key is not None
        answer = await self.read_answer(cursor, key)
        if isinstance(answer, Answer):
            _reject(waiting.future, AlreadyAnsweredError(answer))
        else:
            _reject(waiting.future, KeyReusedError() if answer else _conflict(waiting.request))

    async def read_answer(self, cursor: AsyncCursor[Any], key: Any) -> Answer | bool:
        """The stored answer; True when the key was used for another request, False when it is unknown."""
        await cursor.execute(
            "select fingerprint, status, body, position from ledger.answers where id = %b", (key.id,), prepare=True
        )
        row = await cursor.fetchone()
        if row is None:
            return False
        if bytes(row[0]) != key.fingerprint:
            return True
        return Answer(row[1], self._sealer.open(bytes(row[2]), key.id.bytes), row[3])

    def _fail(self, batch: list[Waiting], error: BaseException) -> None:
        """The connection broke: whether these were recorded is not known, which is what a 503 says."""
        log.warning("commit_outcome_unknown", requests=len(batch), error=str(error).strip())
        for waiting in batch:
            _reject(waiting.future, OverloadedError("the database did not answer; the outcome is not known"))

    async def _reconnect(self, cursor: AsyncCursor[Any]) -> AsyncCursor[Any]:
        await cursor.connection.close()
        for _ in range(RECONNECTS_MAX):
            try:
                conn = await connect(self._url, "counterfoil_app", planner=True)
                return conn.cursor(binary=True)
            except (psycopg.Error, OSError):
                self._refuse_queued()
                await asyncio.sleep(RECONNECT_SECONDS)
        log.error("committer_gave_up", attempts=RECONNECTS_MAX)
        self._closed = True
        self._refuse_queued()
        raise OverloadedError("the database is down")

    def _refuse_queued(self) -> None:
        while self._queue:
            _reject(self._queue.popleft().future, OverloadedError("the database is down"))


def _reject(future: asyncio.Future[int], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _conflict(request: Request) -> ConflictError:
    return ConflictError([*(new.stream_id for new in request.facts), *(stream for stream, _ in request.rests_on)])


# -- The statement ---------------------------------------------------------------

WRITES = {
    "stream_ids": "uuid[]",
    "versions": "int[]",
    "topics": "text[]",
    "payloads": "bytea[]",
    "metadatas": "bytea[]",
}
SORTING = {"of_request": "int[]"}
CONDITIONS = {"condition_streams": "uuid[]", "condition_versions": "int[]", "condition_requests": "int[]"}
KEYS = {
    "key_ids": "uuid[]",
    "key_fingerprints": "bytea[]",
    "key_statuses": "smallint[]",
    "key_bodies": "bytea[]",
    "key_requests": "int[]",
    "key_facts": "int[]",
}
TYPES = WRITES | SORTING | CONDITIONS | KEYS
_statements: dict[tuple[str, ...], str] = {}


def _statement(arguments: dict[str, list[Any]]) -> str:
    """The call with only the arguments that this batch has: what is not sent costs nothing. At most eight shapes."""
    shape = tuple(arguments)
    if shape not in _statements:
        named = ", ".join(f"{name} => %({name})b::{TYPES[name]}" for name in shape)
        _statements[shape] = f"select * from ledger.append({named})"
    return _statements[shape]


def _arguments(batch: list[Waiting], sealer: Sealer) -> dict[str, list[Any]]:
    arguments: dict[str, list[Any]] = {name: [] for name in WRITES}
    stream_ids, versions, topics, payloads, metadatas = arguments.values()
    of_request: list[int] = []
    conditions: dict[tuple[UUID, int, int], None] = {}
    keys: list[tuple[Any, ...]] = []
    alone = len(batch) == 1
    for index, waiting in enumerate(batch):
        request = waiting.request
        metadata = _encode(request.metadata) if request.facts else b""
        for new in request.facts:
            stream_ids.append(new.stream_id)
            versions.append(new.version)
            topics.append(new.fact.stored_topic)
            payloads.append(new.fact.encode())
            metadatas.append(metadata)
            of_request.append(index)
        for stream_id, version in request.rests_on:
            conditions[(stream_id, version, index)] = None
        if request.key is not None and request.answer is not None:
            key, answer = request.key, request.answer
            body = sealer.seal(answer.body, key.id.bytes)
            facts_until = len(stream_ids) if request.facts else 0
            keys.append((key.id, key.fingerprint, answer.status, body, index, facts_until))
    if not alone:
        arguments["of_request"] = of_request
    if conditions:
        arguments |= zip(CONDITIONS, map(list, zip(*conditions, strict=True)), strict=True)
    if keys:
        arguments |= zip(KEYS, map(list, zip(*keys, strict=True)), strict=True)
    return arguments


def _encode(metadata: Metadata) -> bytes:
    return orjson.dumps(
        {
            "actor": metadata.actor,
            "command": metadata.command,
            "command_id": metadata.command_id,
            "correlation_id": metadata.correlation_id,
            "causation_id": metadata.causation_id,
        }
    )
