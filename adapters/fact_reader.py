"""The ledger read in pages, each fact decoded once and handed to the projections that have a use for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from psycopg import Cursor

from domain.kernel import UnknownTopicError, decode, type_of_fact
from projections.kernel import Projection, Recorded

READ = b"""
    select position, stream_id, version, topic, payload, recorded_at from ledger.events
     where position > %b::bigint and position <= %b::bigint order by position"""

log = structlog.get_logger()

Stored = tuple[int, UUID, int, str, bytes, datetime]


class LedgerGapError(RuntimeError):
    """A position is missing. The ledger promises that this cannot be; no view may be built on it."""


class Broken(NamedTuple):
    """A fact of a known topic whose bytes are not one."""

    stream_id: UUID
    position: int
    error: Exception


class Page(NamedTuple):
    last: int
    """The position of the last fact read."""
    size: int
    facts: tuple[list[Recorded], ...]
    """For each projection of the reader those it handles, in order."""
    broken: tuple[list[Broken], ...]
    """For each projection those that it would have handled."""


class FactReader:
    """For projections that are at one position."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        self.projections = tuple(projections)
        self.unknown: Counter[str] = Counter()
        """How many facts were passed over because this release does not know their topic."""
        self._takers: dict[str, tuple[int, ...]] = {}

    def read(self, cursor: Cursor[Any], after: int, until: int) -> Page:
        """The facts with positions ``after`` < p ≤ ``until``, which the ledger's head has passed. Raises LedgerGapError."""
        cursor.execute(READ, (after, until), prepare=True)
        stored: list[Stored] = cursor.fetchall()
        if len(stored) != until - after:
            raise LedgerGapError(f"{len(stored)} facts between the positions {after} and {until}")
        return self.sort(stored)

    def sort(self, stored: list[Stored]) -> Page:
        """Facts in the order of their positions, from wherever they come."""
        facts, broken = self._decode(stored)
        return Page(stored[-1][0], len(stored), facts, broken)

    def _decode(self, stored: list[Stored]) -> tuple[tuple[list[Recorded], ...], tuple[list[Broken], ...]]:
        facts: tuple[list[Recorded], ...] = tuple([] for _ in self.projections)
        broken: tuple[list[Broken], ...] = tuple([] for _ in self.projections)
        takers_of = self._takers
        for position, stream_id, version, topic, payload, recorded_at in stored:
            takers = takers_of.get(topic)
            if takers is None:
                takers = self._find_takers(topic)
            if not takers:
                continue
            try:
                recorded = Recorded(position, stream_id, version, decode(topic, payload), recorded_at)
            except UnknownTopicError:
                self._pass_over(topic, position)
                continue
            except ValueError as error:  # pydantic's, and upcasters'
                for index in takers:
                    broken[index].append(Broken(stream_id, position, error))
                continue
            for index in takers:
                facts[index].append(recorded)
        return facts, broken

    def _find_takers(self, topic: str) -> tuple[int, ...]:
        kind = type_of_fact.get(topic.partition("@")[0])
        if kind is None:
            return tuple(range(len(self.projections)))  # for `decode` to say that it does not know it
        takers = tuple(index for index, p in enumerate(self.projections) if kind in p.handlers)
        self._takers[topic] = takers
        return takers

    def _pass_over(self, topic: str, position: int) -> None:
        self.unknown[topic] += 1
        if self.unknown[topic] == 1:
            log.warning("topic_not_known", topic=topic, position=position)
