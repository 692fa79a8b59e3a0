"""What the tests of the tree are made of: a ledger with a history, grown and signed; and somebody who tampers with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import Connection

from adapters import audit_sweep
from adapters.audit import Audit, audit_snapshot
from adapters.audit_tree import CHUNK
from adapters.heads import latest_heads, read_keys
from adapters.ledger_rows import canonical_rows
from adapters.tree import TreeBuilder
from projections.ledger_head import HeadKey, SignedHead
from projections.merkle import leaf_hash
from tests.adapters.ledger_parts import SECRET
from tests.api.house import fresh_database

SIGNED = (3, 100, 256, 400, 601)
"""Facts at which heads were signed: within, at and beyond the chunks that an audit remembers."""
FACTS = 607
COVERED = SIGNED[-1]
STREAMS = 9
TOPICS = ("ticket.held", "ticket.paid", "ticket.checked_in")
APPEND = (
    "select ledger.append(stream_ids => %s::uuid[], versions => %s::int[], topics => %s::text[],"
    " payloads => %s::bytea[], metadatas => %s::bytea[])"
)


class Writer:
    """Appends facts of a few streams, each with its own content, as the application does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._streams = [uuid4() for _ in range(STREAMS)]
        self._numbers = count()

    def append(self, facts: int, batch: int = 7) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while facts > 0:
                rows = [self._fact() for _ in range(min(batch, facts))]
                connection.execute(APPEND, [list(column) for column in zip(*rows, strict=True)])
                facts -= len(rows)

    def _fact(self) -> tuple[UUID, int, str, bytes, bytes]:
        number = next(self._numbers)
        stream, version = self._streams[number % STREAMS], number // STREAMS + 1
        payload = f'{{"number":{number},"gate":"North"}}'.encode()
        return stream, version, TOPICS[number % 3], payload, f'{{"actor":"user-{number % 4}"}}'.encode()


def grow(url: str, secret: bytes = SECRET) -> SignedHead:
    """Bring the tree to the ledger's end; the latest head."""
    TreeBuilder(url, secret).catch_up()
    return heads_of(url)[0]


def heads_of(url: str) -> list[SignedHead]:
    """Latest first."""
    with psycopg.connect(url) as connection:
        return latest_heads(connection, 1_000)


def keys_of(url: str) -> list[HeadKey]:
    with psycopg.connect(url) as connection:
        return read_keys(connection)


def leaves_of(url: str) -> list[bytes]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [leaf_hash(row) for page in canonical_rows(connection) for row in page]


def stored_tree(url: str) -> bytes:
    """The tree's hashes in the order of their rows: the same however they were cut into rows."""
    with psycopg.connect(url) as connection:
        return b"".join(row[0] for row in connection.execute("select hashes from tree.nodes order by last_leaf"))


class Ledger(NamedTuple):
    url: str
    kept: list[SignedHead]
    """By an auditor, smallest first."""


@contextmanager
def signed_ledger(server_url: str) -> Iterator[Ledger]:
    """In a database of its own; what an audit of it sweeps in one go ends where a chunk does, as often as can be."""
    with pytest.MonkeyPatch.context() as patch, fresh_database(server_url) as url:
        patch.setattr(audit_sweep, "PART", CHUNK)
        writer = Writer(url)
        kept: list[SignedHead] = []
        for size in SIGNED:
            writer.append(size - (kept[-1].tree_size if kept else 0))
            kept.append(grow(url))
        writer.append(FACTS - COVERED)
        yield Ledger(url, kept)


class Tamperer:
    """A superuser in a transaction, with nothing in the way. Nothing of it is kept."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection

    def do(self, statement: str, *parameters: object) -> int:
        """How many rows it concerned."""
        return self.connection.execute(statement.encode(), parameters).rowcount

    def audit(self, kept: list[SignedHead], keys: list[HeadKey] | None = None) -> Audit:
        return audit_snapshot(self.connection, kept, keys or [])

    def findings(self, kept: list[SignedHead]) -> list[tuple[str, int, int]]:
        """Kind, first and last position of each."""
        return [(finding.kind.value, finding.first, finding.last) for finding in self.audit(kept).findings]


DISARM = (
    "alter table ledger.events disable trigger all",
    "alter table ledger.events drop constraint events_stream_version",
    "alter table ledger.events drop constraint events_pkey",
    "create index on ledger.events (position)",
    "alter table tree.nodes disable trigger all",
    "alter table tree.heads disable trigger all",
    "alter table tree.keys disable trigger all",
)


SWAP = "update ledger.events set position = case position when %s then %s else %s end where position in (%s, %s)"
FORGE = "insert into ledger.events values (%s, gen_random_uuid(), 1, 'ticket.held', '{}', '{}', now())"


@contextmanager
def tampering(url: str) -> Iterator[Tamperer]:
    with psycopg.connect(url) as connection:
        try:
            for statement in DISARM:
                connection.execute(statement.encode())
            yield Tamperer(connection)
        finally:
            connection.rollback()
