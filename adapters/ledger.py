"""The ledger on PostgreSQL: the store behind the commands, and the reads that time travel needs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from adapters.committer import Committer
from adapters.follower import Followed, Follower
from adapters.loader import Loader
from adapters.sealing import Sealer
from adapters.snapshots import SNAPSHOT_EVERY
from commands.kernel import ConflictError, Request
from domain.kernel import Aggregate

PEEKED_MAX = 20_000
"""Aggregates kept in memory for decisions that only read them."""
RELOADS_MAX = 5
LONG_MAX = 100_000
"""Streams remembered as long, which are few: most have a handful of facts for ever."""

A = TypeVar("A", bound=Aggregate)


class PostgresLedger:
    """`commands.kernel.Store`, with its follower. One per process and event loop."""

    def __init__(self, url: str, sealer: Sealer) -> None:
        self.committer = Committer(url, sealer)
        self.loader = Loader(url)
        self.follower = Follower(url)
        self._peeked: OrderedDict[UUID, Aggregate] = OrderedDict()
        self._loading: dict[UUID, asyncio.Task[Any]] = {}
        self._moved_while_loading: set[UUID] = set()
        self._long: set[UUID] = set()
        self.committer.on_commit = self.follower.own
        self.committer.on_idle = self.follower.settle
        self.follower.own_batches_in_flight = lambda: self.committer.busy
        self.follower.listen(self._refresh)

    async def start(self) -> None:
        await self.follower.start()
        await self.loader.start()
        await self.committer.start()

    async def stop(self) -> None:
        await self.committer.stop()
        await self.loader.stop()
        await self.follower.stop()

    # -- commands.kernel.Store -----------------------------------------------------

    async def load(self, kind: type[A], ids: Sequence[UUID]) -> list[A]:
        if not self._long.isdisjoint(ids):
            return [await self._load_one(kind, stream_id) for stream_id in ids]
        aggregates = await self.loader.load(kind, ids)
        for index, aggregate in enumerate(aggregates):
            if aggregate.version >= SNAPSHOT_EVERY and len(self._long) < LONG_MAX:
                self._long.add(aggregate.id)  # from now on by its snapshot, which this leaves
                aggregates[index] = await self.loader.load_long(kind, aggregate.id)
        return aggregates

    async def _load_one(self, kind: type[A], stream_id: UUID) -> A:
        if stream_id in self._long:
            return await self.loader.load_long(kind, stream_id)
        return (await self.loader.load(kind, (stream_id,)))[0]

    async def peek(self, kind: type[A], stream_id: UUID) -> A:
        known = self._peeked.get(stream_id)
        if known is None:
            known = await self._peek_together(kind, stream_id)
        if isinstance(known, kind):
            return known
        return await self._load_one(kind, stream_id)  # the id is that of something else: there is no such thing

    async def _peek_together(self, kind: type[Aggregate], stream_id: UUID) -> Aggregate:
        loading = self._loading.get(stream_id)
        if loading is None:  # one read, however many are asking at this moment
            loading = asyncio.create_task(self._load_to_peek(kind, stream_id))
            self._loading[stream_id] = loading
        return await asyncio.shield(loading)

    async def _load_to_peek(self, kind: type[A], stream_id: UUID) -> A:
        try:
            for _ in range(RELOADS_MAX):
                self._moved_while_loading.discard(stream_id)
                aggregate = (await self.load(kind, (stream_id,)))[0]
                if stream_id not in self._moved_while_loading:
                    break
        finally:
            del self._loading[stream_id]
            self._moved_while_loading.discard(stream_id)
        if aggregate.exists:
            self._peeked[stream_id] = aggregate
            while len(self._peeked) > PEEKED_MAX:
                self._peeked.popitem(last=False)
        return aggregate

    async def append(self, request: Request) -> int:
        try:
            return await self.committer.append(request)
        except ConflictError as conflict:
            for stream_id in conflict.stream_ids:
                self._peeked.pop(stream_id, None)
            raise

    def _refresh(self, batch: Sequence[Followed]) -> None:
        """Forget what has moved. It is never changed in place: a decision may be resting on it at this moment."""
        for followed in batch:
            if followed.stream_id in self._loading:
                self._moved_while_loading.add(followed.stream_id)
            aggregate = self._peeked.get(followed.stream_id)
            if aggregate is not None and followed.version > aggregate.version:
                del self._peeked[followed.stream_id]
