"""Proofs and signed heads for those who ask: one statement of O(log n) index look-ups each, and no hashing of facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from adapters.heads import HEADS, KEYS, LATEST
from projections.canonical import canonical
from projections.ledger_head import HeadKey, SignedHead
from projections.merkle import Node, Range, consistency_ranges, cover, inclusion_ranges, prove

HASHES = b"select tree.hashes_of(%s::bigint[], %s::int[])"
OF_SIZE = f"{HEADS} where h.tree_size = %s order by h.generation desc limit 1"
UP_TO = f"{HEADS} where h.tree_size <= %s order by h.tree_size desc, h.generation desc limit 1"
PAGE = f"""{HEADS} where h.tree_size >= %s and (h.tree_size > %s or h.signed_at > %s::timestamptz)
     order by h.tree_size, h.generation limit %s"""
"""A new key signs the size that the old one has signed, later."""
FACTS = b"""
    select position, stream_id, version, topic, payload, metadata, recorded_at from ledger.events
     where stream_id = %s and version > %s and position <= %s order by version limit %s"""
LAST = b"select position from ledger.events where stream_id = %s order by version desc limit 1"


class NotInTreeError(LookupError):
    """The tree has not got there."""


class Inclusion(NamedTuple):
    position: int
    leaf_hash: bytes
    hashes: list[bytes]


class ProvenFact(NamedTuple):
    position: int
    version: int
    content: bytes
    """Its canonical bytes."""


class TreeReader:
    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def inclusions(self, positions: Sequence[int], tree_size: int) -> list[Inclusion]:
        """Proofs that the tree of that size has these facts. Raises BadProofError, NotInTreeError."""
        ranges = {position: inclusion_ranges(position - 1, tree_size) for position in positions}
        leaves = [Node(0, position - 1) for position in positions]
        nodes = await self._nodes((part for parts in ranges.values() for part in parts), leaves)
        return [
            Inclusion(position, nodes[leaf], prove(ranges[position], nodes.__getitem__))
            for position, leaf in zip(positions, leaves, strict=True)
        ]

    async def consistency(self, old: int, new: int) -> list[bytes]:
        """A proof that the old tree begins the new one. Raises BadProofError, NotInTreeError."""
        ranges = consistency_ranges(old, new)
        nodes = await self._nodes(ranges)
        return prove(ranges, nodes.__getitem__)

    async def _nodes(self, ranges: Iterable[Range], more: Iterable[Node] = ()) -> dict[Node, bytes]:
        nodes = list({*more, *(node for part in ranges for node in cover(part))})
        if not nodes:
            return {}
        places = [node.last_leaf + 1 for node in nodes], [node.level for node in nodes]
        ((found,),) = await self._fetch(HASHES, *places)
        if None in found:
            raise NotInTreeError("the tree has not got there")
        return {node: bytes(content) for node, content in zip(nodes, found, strict=True)}

    # -- Heads ---------------------------------------------------------------------

    async def latest(self, size_max: int | None = None) -> SignedHead | None:
        """Of those of at most ``size_max`` facts, when that is given."""
        query, parameters = (LATEST, (1,)) if size_max is None else (UP_TO, (size_max,))
        rows = await self._fetch(query.encode(), *parameters)
        return SignedHead(*rows[0]) if rows else None

    async def of_size(self, tree_size: int) -> SignedHead | None:
        """The head of exactly this size, if one was signed."""
        rows = await self._fetch(OF_SIZE.encode(), tree_size)
        return SignedHead(*rows[0]) if rows else None

    async def heads(self, *, after: int, later_than: datetime | None = None, limit: int) -> list[SignedHead]:
        """Those of more than ``after`` facts, or of as many and signed ``later_than``; smallest first, then oldest."""
        return [SignedHead(*row) for row in await self._fetch(PAGE.encode(), after, after, later_than, limit)]

    async def keys(self) -> list[HeadKey]:
        return [HeadKey(*row) for row in await self._fetch(KEYS)]

    # -- One stream ----------------------------------------------------------------

    async def last_position(self, stream_id: UUID) -> int:
        rows = await self._fetch(LAST, stream_id)
        return int(rows[0][0]) if rows else 0

    async def facts(self, stream_id: UUID, *, after: int, until: int, limit: int) -> list[ProvenFact]:
        """A stream's facts after a version that the tree of ``until`` leaves has, in order."""
        rows = await self._fetch(FACTS, stream_id, after, until, limit)
        return [ProvenFact(row[0], row[2], canonical(*row)) for row in rows]

    async def _fetch(self, query: bytes, *parameters: object) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = connection.cursor(binary=True)
            await cursor.execute(query, parameters, prepare=True)
            return await cursor.fetchall()
