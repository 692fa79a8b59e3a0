"""The one pass of an audit over the rows: what every root is made of, and what is out of order.

The positions are swept in parts, which several processes can share: see `adapters.audit_workers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from adapters.audit_tree import CHUNK, CHUNK_LEVEL, placed
from adapters.ledger_rows import leaf_of, position_in, stored_rows
from projections.canonical import TAG, position_of
from projections.merkle import Frontier, Range, leaf_hash, root_of

PART = CHUNK << 8
"""Positions that are swept in one go; a multiple of a chunk."""
STRAYS_MAX = 1_000

Progress = Callable[[int, int], object]
"""Told of facts read, and of how many there are."""
Bounds = tuple[int | None, int | None]
"""Positions after the first, up to the second; None: without bound."""


class Part(NamedTuple):
    """What a part of the positions was found to be."""

    chunk_roots: dict[int, bytes]
    """Of the chunks that are whole."""
    tails: dict[int, bytes]
    """By tree size, of those that end within a chunk: the root of the chunk's leaves up to there."""
    missing: list[Range]
    """Positions from ``start`` up to, not with, ``end``: between two rows."""
    strays: list[tuple[int, bytes]]
    """Rows before the first position, or where there is one already."""
    rows: int = 0
    starts: int = 0
    ends: int = 0
    """The first and the last position; 0: there is none."""


class Swept(NamedTuple):
    """What all of it was found to be."""

    chunk_roots: dict[int, bytes]
    roots: dict[int, bytes]
    """By tree size, of those that were asked for and that there are enough facts for."""
    missing: list[Range]
    strays: list[tuple[int, bytes]]
    rows: int
    ends: int


def parts_of(covered: int) -> list[Bounds]:
    """The first begins with whatever there is, the last one ends so: there may be rows where none should be."""
    inner = range(PART, covered, PART)
    return list(zip((None, *inner), (*inner, None), strict=True))


def sweep_part(connection: Connection[Any], bounds: Bounds, sizes: Sequence[int]) -> Part:
    part = Part({}, {}, [], [])
    wanted = sorted(size for size in sizes if size % CHUNK)
    rows, starts, ends = 0, 0, 0
    for chunk, found in chunks(stored_rows(connection, *bounds)):
        rows += len(found)
        if chunk < 0:
            part.strays.extend((position_in(row), TAG + row) for row in found[:STRAYS_MAX])
            continue
        leaves = _leaves(chunk, found, ends, part)
        starts, ends = starts or position_in(found[0]), position_in(found[-1])
        if len(leaves) == CHUNK:
            part.chunk_roots[chunk] = root_of(leaves)
        for size in wanted:
            if size // CHUNK == chunk and size % CHUNK <= len(leaves):
                part.tails[size] = root_of(leaves[: size % CHUNK])
    return part._replace(rows=rows, starts=starts, ends=ends)


def _leaves(chunk: int, rows: list[bytes], ends: int, part: Part) -> list[bytes]:
    """The hashes of a chunk's rows up to its first gap; gaps are noted."""
    first = chunk * CHUNK + 1
    if position_in(rows[0]) == first == (ends or first - 1) + 1 and position_in(rows[-1]) == first + len(rows) - 1:
        return [leaf_of(row) for row in rows]
    here = placed(chunk, [TAG + row for row in rows])
    part.strays.extend((position_of(row), row) for row in here.doubles)
    for row in here.rows:
        if row is not None:
            position = position_of(row)
            if ends and position != ends + 1:
                part.missing.append(Range(ends + 1, position))
            ends = position
    until = next((at for at, row in enumerate(here.rows) if row is None), CHUNK)
    return [leaf_hash(row) for row in here.rows[:until] if row is not None]


def joined(parts: Iterable[Part], sizes: Sequence[int], on_progress: Progress) -> Swept:
    """``parts``: in the order of positions, as they are swept."""
    chunk_roots: dict[int, bytes] = {}
    tails: dict[int, bytes] = {}
    missing: list[Range] = []
    strays: list[tuple[int, bytes]] = []
    rows, ends = 0, 0
    for part in parts:
        chunk_roots |= part.chunk_roots
        tails |= part.tails
        if part.starts > ends + 1:
            missing.append(Range(ends + 1, part.starts))
        missing += part.missing
        strays += part.strays
        rows, ends = rows + part.rows, part.ends or ends
        on_progress(rows, max(rows, max(sizes, default=0)))
    return Swept(chunk_roots, _roots(chunk_roots, tails, sizes), missing, strays, rows, ends)


def _roots(chunk_roots: dict[int, bytes], tails: dict[int, bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    roots: dict[int, bytes] = {}
    frontier = Frontier()
    for size in sorted(sizes):
        for chunk in range(frontier.size // CHUNK, size // CHUNK):
            if chunk not in chunk_roots:
                return roots  # nothing that begins with what is missing has a root
            frontier.append(chunk_roots[chunk], CHUNK_LEVEL)
        if size == frontier.size:
            roots[size] = frontier.root()
        elif size in tails:
            roots[size] = frontier.root_with(tails[size])
    return roots


# -- Chunks ------------------------------------------------------------------------


def chunks(pages: Iterator[list[bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """Rows that come in order, by chunk. What lies before position 1 comes as chunk -1."""
    pending: list[bytes] = []
    for page in pages:
        pending = pending + page if pending else page
        at = 0
        while at < len(pending) and (size := _size_of_first(pending, at)):
            yield _chunk_of(pending[at]), pending[at : at + size]
            at += size
        pending = pending[at:]
    if pending:  # nothing follows the last chunk
        yield _chunk_of(pending[0]), pending


def _size_of_first(rows: list[bytes], at: int) -> int:
    """How many rows from here on are of one chunk; 0 when there may be more of it to come."""
    chunk = _chunk_of(rows[at])
    whole = at + CHUNK
    if whole < len(rows) and _chunk_of(rows[whole]) != chunk == _chunk_of(rows[whole - 1]):
        return CHUNK  # as it nearly always is
    return next((index - at for index in range(at + 1, len(rows)) if _chunk_of(rows[index]) != chunk), 0)


def _chunk_of(row: bytes) -> int:
    return max(-1, (position_in(row) - 1) // CHUNK)
