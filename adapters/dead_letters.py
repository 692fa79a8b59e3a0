"""Facts that a view could not take. They stop the view of their own stream, are reported, and stop nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
import structlog
from psycopg import Connection
from pydantic import ValidationError

from adapters.fact_reader import Broken
from projections.kernel import POSITION_MAX, Projection, Recorded
from projections.rows import Rows

ERROR_CHARACTERS_MAX = 1_000

SAVE = b"""
    insert into projections.dead_letters (name, stream_id, position, error, set_aside)
    values (%s, %s, %s, %s, 0) on conflict (name, stream_id) do nothing"""
COUNT = b"update projections.dead_letters set set_aside = set_aside + %s where name = %s and stream_id = %s"

log = structlog.get_logger()


class DeadLetters:
    """Of one view. Facts are set aside in memory and saved with the batch they were met in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.first_bad: dict[UUID, int] = {}
        """Of each stream that was set aside: the position from which on."""
        self._new: dict[UUID, tuple[int, str]] = {}
        self._set_aside: defaultdict[UUID, set[int]] = defaultdict(set)
        """The positions met in this batch: sets, because a batch may be tried more than once."""

    def load(self, connection: Connection[Any]) -> None:
        """What was saved, forgetting what was not."""
        query = "select stream_id, position from projections.dead_letters where name = %s"
        self.first_bad = dict(connection.execute(query, (self.name,)))
        self.saved()

    def __len__(self) -> int:
        return len(self.first_bad)

    def admit(self, facts: list[Recorded], broken: Sequence[Broken] = ()) -> list[Recorded]:
        """The facts of streams that nothing is wrong with; ``broken`` are those that could not even be decoded."""
        for stream_id, position, error in broken:
            self.add(stream_id, position, error)
        first_bad = self.first_bad
        if not first_bad:
            return facts
        admitted = []
        for fact in facts:
            if fact.position < first_bad.get(fact.stream_id, POSITION_MAX):
                admitted.append(fact)
            else:
                self._set_aside[fact.stream_id].add(fact.position)
        return admitted

    def add(self, stream_id: UUID, position: int, error: Exception) -> None:
        """Set a fact aside, and with it those of its stream that follow."""
        self._set_aside[stream_id].add(position)
        if stream_id in self.first_bad:
            return
        self.first_bad[stream_id] = position
        text = described(error)
        self._new[stream_id] = (position, text)
        log.error("fact_set_aside", view=self.name, stream_id=str(stream_id), position=position, error=text)

    def save(self, connection: Connection[Any]) -> None:
        """Within the batch's transaction."""
        for stream_id, (position, error) in self._new.items():
            connection.execute(SAVE, (self.name, stream_id, position, error))
        for stream_id, positions in self._set_aside.items():
            connection.execute(COUNT, (len(positions), self.name, stream_id))

    def saved(self) -> None:
        """The transaction has been committed."""
        self._new.clear()
        self._set_aside.clear()

    def replace(self, connection: Connection[Any]) -> None:
        """In the place of whatever was saved before: a rebuilt view has tried every fact again."""
        connection.execute("delete from projections.dead_letters where name = %s", (self.name,))
        self.save(connection)


def described(error: Exception) -> str:
    """What went wrong, and where, without the data that it went wrong with: that may be about people."""
    if isinstance(error, psycopg.Error):
        text = error.diag.message_primary or str(error)
    elif isinstance(error, ValidationError):
        errors = error.errors(include_input=False, include_url=False, include_context=False)
        text = ", ".join(f"{'/'.join(map(str, e['loc']))} {e['type']}" for e in errors)
    else:
        text = str(error)
    return f"{type(error).__name__}: {text}"[:ERROR_CHARACTERS_MAX].replace("\0", "�")


def fold(
    projection: Projection, facts: list[Recorded], letters: DeadLetters, rows: Rows, *, careful: bool = False
) -> None:
    """Gather what the facts do to the view. What the projection raises leaves ``rows`` of no use: begin anew, careful.

    ``careful`` sets aside the facts that the projection fails on. Each is tried on rows of its own first, so that it
    leaves no half of a change behind: projecting is a pure function and can be done twice.
    """
    if not careful:
        projection.project_all(facts, rows)
        return
    for recorded in facts:
        if not letters.admit([recorded]):
            continue
        try:
            projection.project(recorded, Rows())
        except Exception as error:  # noqa: BLE001 - whatever a bug raises, it is the view of one stream that stops
            letters.add(recorded.stream_id, recorded.position, error)
        else:
            projection.project(recorded, rows)


def fold_safely(projection: Projection, facts: list[Recorded], letters: DeadLetters) -> Rows:
    rows = Rows()
    try:
        fold(projection, facts, letters, rows)
    except Exception:  # noqa: BLE001 - as above
        rows = Rows()
        fold(projection, facts, letters, rows, careful=True)
    return rows
