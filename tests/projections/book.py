"""A ledger for views to follow, written through the ledger's own function."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from adapters.postgres import conninfo
from domain.kernel import Aggregate, Fact

APPEND = b"""
    select first_position + cardinality(%(ids)s::uuid[]) - 1 from ledger.append(
        stream_ids => %(ids)s::uuid[], versions => %(versions)s::int[], topics => %(topics)s::text[],
        payloads => %(payloads)s::bytea[], metadatas => %(metadatas)s::bytea[])"""


class Book:
    """The only writer of its ledger, so it knows every stream's version."""

    def __init__(self, url: str) -> None:
        self.connection: Connection[Any] = psycopg.connect(conninfo(url, "counterfoil_app"), autocommit=True)
        self._versions: defaultdict[UUID, int] = defaultdict(int)

    def append(self, *facts: tuple[UUID, Fact]) -> int:
        """All of them at once. Returns the position of the last."""
        return self.append_stored(*((stream_id, fact.stored_topic, fact.encode()) for stream_id, fact in facts))

    def append_stored(self, *stored: tuple[UUID, str, bytes]) -> int:
        """Stream, topic and bytes, whatever they are."""
        versions = []
        for stream_id, _, _ in stored:
            self._versions[stream_id] += 1
            versions.append(self._versions[stream_id])
        ids, topics, payloads = map(list, zip(*stored, strict=True))
        params = {"ids": ids, "versions": versions, "topics": topics, "payloads": payloads}
        row = self.connection.execute(APPEND, params | {"metadatas": [b"{}"] * len(stored)}).fetchone()
        assert row is not None
        return int(row[0])

    def save(self, *aggregates: Aggregate) -> int:
        """What the aggregates have decided, at once. Returns the position of the last fact; 0 if there was none."""
        facts = [(aggregate.id, fact) for aggregate in aggregates for fact in aggregate.pending]
        for aggregate in aggregates:
            aggregate.pending.clear()
        return self.append(*facts) if facts else 0
