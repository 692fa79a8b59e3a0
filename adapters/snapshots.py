"""Snapshots of long streams: a head start for folding, thrown away whenever the shape of the state changes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

import structlog
from psycopg import AsyncCursor
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from domain.kernel import Aggregate

SNAPSHOT_EVERY = 100
"""Facts folded beyond a snapshot that make a new one worth writing."""

A = TypeVar("A", bound=Aggregate)
log = structlog.get_logger()


class Snapshots:
    """Reads and writes snapshots; the schema's digest is stored with each, so that old shapes are never read."""

    def __init__(self) -> None:
        self._adapters: dict[type[Aggregate], tuple[TypeAdapter[Any], str]] = {}

    async def read(self, cursor: AsyncCursor[Any], kind: type[A], stream_id: UUID) -> A:
        """The state of some earlier version, blank when there is no snapshot of today's shape."""
        adapter, schema = self._adapter(kind)
        await cursor.execute(
            "select state from ledger.snapshots where stream_id = %b and schema = %b", (stream_id, schema), prepare=True
        )
        row = await cursor.fetchone()
        if row is None:
            return kind(id=stream_id)
        try:
            snapshot: A = adapter.validate_json(row[0])
        except ValidationError:
            log.warning("snapshot_ignored", stream_id=str(stream_id))
            return kind(id=stream_id)
        return snapshot

    async def write(self, cursor: AsyncCursor[Any], aggregate: Aggregate) -> None:
        adapter, schema = self._adapter(type(aggregate))
        state = adapter.dump_json(aggregate)
        await cursor.execute(
            "insert into ledger.snapshots values (%b, %b, %b, %b) on conflict (stream_id) do update"
            " set version = excluded.version, schema = excluded.schema, state = excluded.state"
            " where snapshots.version < excluded.version or snapshots.schema <> excluded.schema",
            (aggregate.id, aggregate.version, schema, state),
        )

    def _adapter(self, kind: type[Aggregate]) -> tuple[TypeAdapter[Any], str]:
        if kind not in self._adapters:
            adapter = TypeAdapter(kind)
            digest = sha256(to_json(adapter.json_schema())).hexdigest()[:16]
            self._adapters[kind] = (adapter, digest)
        return self._adapters[kind]
