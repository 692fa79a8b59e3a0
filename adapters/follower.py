"""Everything recorded, in order, as it is recorded: what this process appended directly, the rest from the table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection

from adapters.heads import TREE_CHANNEL
from adapters.postgres import connect
from domain.kernel import Fact, decode

LEDGER_CHANNEL = "counterfoil_ledger"
VIEWS_CHANNEL = "counterfoil_views"
PAGE_FACTS = 1_000
POLL_SECONDS = 1.0
"""A fallback: what a lost notification would otherwise delay for ever."""
RECONNECT_SECONDS = 0.2
EARLY_BATCHES_MAX = 1_000

log = structlog.get_logger()


class Followed(NamedTuple):
    """A recorded fact, as followers see it."""

    position: int
    stream_id: UUID
    version: int
    fact: Fact
    recorded_at: datetime


Listener = Callable[[Sequence[Followed]], None]


class Follower:
    """Delivers every fact after its start exactly once and in order to each listener, on the event loop.

    Positions of views and sizes of the tree, announced by who makes them, pass through here too, because they come over
    the same connection.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._listeners: list[Listener] = []
        self._early: dict[int, Sequence[Followed]] = {}
        self._notified = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.position = 0
        self.head = 0
        self.own_batches_in_flight: Callable[[], bool] = lambda: False
        self.on_view_position: Callable[[int], object] = abs  # until somebody waits
        self.on_view_reset: Callable[[int], object] = abs
        self.on_tree_size: Callable[[int], object] = abs

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    async def start(self) -> None:
        self._conn = await connect(self._url, "counterfoil_app", planner=True)
        row = await (await self._conn.execute("select position from ledger.head")).fetchone()
        self.position = self.head = int(row[0]) if row else 0
        self._tasks = [
            asyncio.create_task(self._watch(), name="follower-watch"),
            asyncio.create_task(self._catch_up_when_notified(), name="follower-read"),
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._conn.close()

    def own(self, batch: Sequence[Followed]) -> None:
        """A batch this process has just committed. It may be ahead of others' batches that are still to be read."""
        if batch[0].position > self.position and len(self._early) < EARLY_BATCHES_MAX:
            self._early[batch[0].position] = batch
            self._deliver_early()
            if self._early:  # others' batches lie between, and are there to be read
                self._notified.set()

    def settle(self) -> None:
        """No own batch is in flight any more: what is still missing is somebody else's and has to be read."""
        if self._early or self.head > self.position:
            self._notified.set()

    def _deliver_early(self) -> None:
        while (batch := self._early.pop(self.position + 1, None)) is not None:
            self._deliver(batch, batch[-1].position)

    def _deliver(self, batch: Sequence[Followed], position: int) -> None:
        self.position = position
        self.head = max(self.head, position)
        for listener in self._listeners:
            try:
                listener(batch)
            except Exception:
                log.exception("listener_failed", listener=repr(listener))

    async def _watch(self) -> None:
        """Hear the notifications on a connection of their own; connect again when it breaks."""
        while True:
            try:
                async with await connect(self._url, "counterfoil_app") as conn:
                    await conn.execute(f"listen {LEDGER_CHANNEL}")
                    await conn.execute(f"listen {VIEWS_CHANNEL}")
                    await conn.execute(f"listen {TREE_CHANNEL}")
                    await self._read_marks(conn)
                    async for notify in conn.notifies():
                        self._hear(notify.channel, int(notify.payload))
            except (psycopg.Error, OSError) as error:
                log.warning("follower_disconnected", error=str(error).strip())
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _read_marks(self, conn: AsyncConnection) -> None:
        """What was said while nobody listened."""
        row = await (await conn.execute("select position from ledger.head")).fetchone()
        self._hear(LEDGER_CHANNEL, int(row[0]) if row else 0)
        row = await (await conn.execute("select min(position) from projections.cursors")).fetchone()
        if row and row[0] is not None:
            self.on_view_reset(int(row[0]))
        row = await (await conn.execute("select max(tree_size) from tree.heads")).fetchone()
        self._hear(TREE_CHANNEL, row[0] or 0 if row else 0)

    def _hear(self, channel: str, position: int) -> None:
        if channel == VIEWS_CHANNEL:
            self.on_view_position(position)
        elif channel == TREE_CHANNEL:
            self.on_tree_size(position)
        elif position > self.head:
            self.head = position
            if not self.own_batches_in_flight():
                self._notified.set()

    async def _catch_up_when_notified(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._notified.wait()
            self._notified.clear()
            try:
                while await self._read_page():
                    pass
            except (psycopg.Error, OSError) as error:
                log.warning("follower_read_failed", error=str(error).strip())
                await asyncio.sleep(RECONNECT_SECONDS)
                await self._reconnect()

    async def _read_page(self) -> bool:
        """Deliver what follows; whether there may be more."""
        cursor = self._conn.cursor(binary=True)
        await cursor.execute(
            "select position, stream_id, version, topic, payload, recorded_at from ledger.events"
            " where position > %s order by position limit %s",
            (self.position, PAGE_FACTS),
        )
        page = await cursor.fetchall()
        rows = [row for row in page if row[0] > self.position]  # own batches may have been delivered meanwhile
        if rows:
            self._deliver([fact for row in rows if (fact := _followed(row)) is not None], rows[-1][0])
        self._early = {first: batch for first, batch in self._early.items() if first > self.position}
        self._deliver_early()
        return len(page) == PAGE_FACTS

    async def _reconnect(self) -> None:
        try:
            await self._conn.close()
            self._conn = await connect(self._url, "counterfoil_app", planner=True)
        except (psycopg.Error, OSError) as error:
            log.warning("follower_reconnect_failed", error=str(error).strip())


def _followed(row: tuple[int, UUID, int, str, bytes, datetime]) -> Followed | None:
    """Nothing for facts of releases to come: who follows the ledger must not be stopped by one of its rows."""
    position, stream_id, version, topic, payload, recorded_at = row
    try:
        return Followed(position, stream_id, version, decode(topic, payload), recorded_at)
    except (LookupError, TypeError, ValueError) as error:  # unknown, not valid, or too odd for an upcaster
        log.warning("fact_not_understood", position=position, topic=topic, error=type(error).__name__)
        return None
