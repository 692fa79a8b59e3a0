"""Where an audit gets hashes from: the ledger's rows, the leaves that the tree stored, the subtrees that it stored.

Any of them may have been tampered with. What they say counts only when it folds into a root that somebody signed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from psycopg import Connection

from adapters.ledger_rows import canonical_rows
from projections.canonical import position_of
from projections.merkle import HASH_BYTES, Node, Range, cover, fold, leaf_hash, node_hash, root_of

CHUNK_LEVEL = 8
CHUNK = 1 << CHUNK_LEVEL
"""Facts of which an audit remembers one hash. Below that it reads again what it has to look into."""
CHUNKS_CACHED = 256
NODES_CACHED = 65_536

ROW_OF = b"""
    select first_leaf, last_leaf, hashes from tree.nodes where last_leaf >= %s::bigint order by last_leaf limit 1"""
ROWS_OF = b"""
    select first_leaf, last_leaf, hashes from tree.nodes
     where last_leaf > %s::bigint and last_leaf <= %s::bigint order by last_leaf"""

Leaves = list[bytes | None]


class Source(Protocol):
    def hash_of(self, node: Node) -> bytes | None: ...


class Placed(NamedTuple):
    rows: list[bytes | None]
    """Canonical bytes, one place for each position of the chunk."""
    doubles: list[bytes]
    """Rows whose place was taken."""


class LeafSource:
    """Subtrees made from leaves, a chunk of which is loaded when it is looked into."""

    def __init__(self, load: Callable[[int], Leaves], chunk_roots: dict[int, bytes] | None = None) -> None:
        """``chunk_roots``: those that are known already; without it every chunk is loaded when it is asked for."""
        self._load = lru_cache(CHUNKS_CACHED)(load)
        self._chunk_roots = chunk_roots
        self._known = lru_cache(NODES_CACHED)(self._combine)

    def hash_of(self, node: Node) -> bytes | None:
        """Nothing where a leaf is missing."""
        if node.level > CHUNK_LEVEL:
            return self._known(node)
        if node.level == CHUNK_LEVEL and self._chunk_roots is not None:
            return self._chunk_roots.get(node.number)
        first = node.number << node.level
        leaves = self._load(first >> CHUNK_LEVEL)[first % CHUNK :][: 1 << node.level]
        present = [leaf for leaf in leaves if leaf is not None]
        return root_of(present) if len(present) == 1 << node.level else None

    def _combine(self, node: Node) -> bytes | None:
        left = self.hash_of(Node(node.level - 1, 2 * node.number))
        right = self.hash_of(Node(node.level - 1, 2 * node.number + 1)) if left is not None else None
        return node_hash(left, right) if left is not None and right is not None else None


class StoredNodes:
    """The subtrees as they were stored, each looked up by itself."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def hash_of(self, node: Node) -> bytes | None:
        leaf = node.last_leaf + 1
        row = self._connection.execute(ROW_OF, (leaf,), prepare=True).fetchone()
        if row is None or not row[0] <= leaf or row[2] is None:
            return None
        at = HASH_BYTES * (_before(leaf) - _before(max(1, row[0])) + node.level)
        found = bytes(row[2])[at : at + HASH_BYTES]
        return found if len(found) == HASH_BYTES else None


def table_chunk(connection: Connection[Any], chunk: int) -> Placed:
    """The rows of a chunk's positions, as they are now."""
    pages = canonical_rows(connection, chunk * CHUNK, (chunk + 1) * CHUNK)
    return placed(chunk, [row for page in pages for row in page])


def placed(chunk: int, rows: Sequence[bytes]) -> Placed:
    """Rows of one chunk, each in its place."""
    places: list[bytes | None] = [None] * CHUNK
    doubles = []
    for row in rows:
        at = position_of(row) - chunk * CHUNK - 1
        if places[at] is None:
            places[at] = row
        else:
            doubles.append(row)
    return Placed(places, doubles)


def stored_chunk(connection: Connection[Any], chunk: int) -> Leaves:
    """The hashes that the tree stored of a chunk's leaves; nothing where its rows are not what they should be."""
    leaves: Leaves = [None] * CHUNK
    first = chunk * CHUNK
    for first_leaf, last_leaf, content in connection.execute(ROWS_OF, (first, first + 2 * CHUNK), prepare=True):
        hashes = bytes(content or b"")
        if not 0 <= last_leaf - first_leaf < CHUNK or first_leaf < 1:
            continue
        if len(hashes) != HASH_BYTES * (_before(last_leaf + 1) - _before(first_leaf)):
            continue
        for leaf in range(first_leaf, last_leaf + 1):
            if 0 <= leaf - 1 - first < CHUNK:
                at = HASH_BYTES * (_before(leaf) - _before(first_leaf))
                leaves[leaf - 1 - first] = hashes[at : at + HASH_BYTES]
    return leaves


def hashes_of(rows: Sequence[bytes | None]) -> Leaves:
    return [leaf_hash(row) if row is not None else None for row in rows]


def range_hash(source: Source, leaves: Range) -> bytes | None:
    """The hash of a range as a source has it."""
    found = [source.hash_of(node) for node in cover(leaves)]
    present = [part for part in found if part is not None]
    return fold(present) if len(present) == len(found) else None


def _before(leaf: int) -> int:
    """How many hashes of the post-order come before those of a leaf, counted from 1."""
    return 2 * (leaf - 1) - (leaf - 1).bit_count()
