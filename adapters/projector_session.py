"""What a projector does on one connection, for as long as that holds: bring the views forward, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import structlog
from psycopg import Connection

from adapters import view_schema
from adapters.dead_letters import DeadLetters
from adapters.fact_reader import FactReader
from adapters.postgres import conninfo
from adapters.view_updater import ViewUpdater, apply
from projections.kernel import Projection

LEDGER_CHANNEL = "counterfoil_ledger"
VIEWS_CHANNEL = "counterfoil_views"
PAGE_FACTS = 1_000
"""Facts in one batch: large enough for sets to pay, small enough that readers wait little for the next."""
REBUILD_BEHIND_FACTS = 100_000
"""A view further behind than this is rebuilt: loading in bulk overtakes catching up."""

LOCK = b"select name, version, generation, position from projections.cursors where name = any(%s) order by 1 for update"
MOVE = b"update projections.cursors set position = %s, updated_at = now() where name = any(%s)"
ANNOUNCE = b"select pg_notify(%s, min(position)::text) from projections.cursors where name = any(%s)"

log = structlog.get_logger()


def open_connection(url: str) -> Connection[Any]:
    """As the projector. A view's commit need not be flushed: view and position are lost, and made again, together."""
    info = conninfo(url, "counterfoil_projector", planner=True, application="counterfoil projector")
    connection = Connection.connect(info, autocommit=True, prepare_threshold=0)
    connection.prepared_max = None
    connection.execute("set synchronous_commit = off")
    return connection


class Cursor(NamedTuple):
    name: str
    version: int
    generation: int
    position: int


class Session:
    def __init__(self, connection: Connection[Any], projections: Sequence[Projection]) -> None:
        self.connection = connection
        self.projections = {projection.name: projection for projection in projections}
        self.facts_total = 0
        self.last_facts = 0
        """Of the last batch; fewer than a page: there was no more."""
        self._views = {p.name: ViewUpdater(connection, p, p.name) for p in projections}
        self._generations: dict[str, int] = {}
        self._readers: dict[tuple[str, ...], FactReader] = {}
        self._reading = connection.cursor(binary=True)

    def prepare(self) -> None:
        """Make the views that are not there, empty and at position 0."""
        known = {cursor.name for cursor in self.cursors()}
        for projection in self.projections.values():
            if projection.name not in known or not view_schema.exists(self.connection, projection.name):
                with self.connection.transaction():
                    view_schema.create(self.connection, projection, projection.name)
                    view_schema.set_cursor(self.connection, projection, 0)
                    DeadLetters(projection.name).replace(self.connection)

    def outdated(self) -> list[Projection]:
        """The views to rebuild: made by another version of their projection, or hopelessly behind."""
        head = self.head()
        cursors = {cursor.name: cursor for cursor in self.cursors()}
        return [
            projection
            for name, projection in self.projections.items()
            if cursors[name].version != projection.version
            or view_schema.columns_differ(self.connection, projection, name)
            or head - cursors[name].position > REBUILD_BEHIND_FACTS
        ]

    def head(self) -> int:
        row = self.connection.execute("select position from ledger.head").fetchone()
        return int(row[0]) if row else 0

    def cursors(self) -> list[Cursor]:
        query = "select name, version, generation, position from projections.cursors where name = any(%s)"
        return [Cursor(*row) for row in self.connection.execute(query, (list(self.projections),))]

    def step(self, leave: frozenset[str] = frozenset()) -> bool:
        """One batch for the views in front, and one for each group of those behind them; whether any had facts to take.

        ``leave`` names views to be left as they are.
        """
        until = self.head()
        moved = False
        for position, names in _groups(c for c in self.cursors() if self._is_ours(c) and c.name not in leave):
            if position < until:
                until = self._advance(names, position, min(position + PAGE_FACTS, until))
                moved = True
            else:
                until = position
        return moved

    def _is_ours(self, cursor: Cursor) -> bool:
        """Not when another release has rebuilt it meanwhile: its tables are not the ones this release knows."""
        return cursor.version == self.projections[cursor.name].version

    def _advance(self, names: tuple[str, ...], position: int, until: int) -> int:
        """View and position move in one transaction, under the lock that a rebuild takes to swap. Returns the position."""
        with self.connection.transaction():
            locked = [Cursor(*row) for row in self.connection.execute(LOCK, (list(names),), prepare=True)]
            if any(not self._is_ours(c) or c.position != position for c in locked):
                return position  # it was swapped for another between two statements
            self._forget_stale(locked)
            views = [self._views[name] for name in names]
            page = self._reader(names).read(self._reading, position, until)
            apply(self.connection, views, page)
            for view in views:
                view.letters.save(self.connection)
            self.connection.execute(MOVE, (page.last, list(names)), prepare=True)
            self.connection.execute(ANNOUNCE, (VIEWS_CHANNEL, list(self.projections)), prepare=True)
        for view in views:
            view.letters.saved()
        self.facts_total += page.size
        self.last_facts = page.size
        return page.last

    def _forget_stale(self, locked: Sequence[Cursor]) -> None:
        for cursor in locked:
            if self._generations.get(cursor.name) != cursor.generation:
                self._views[cursor.name].letters.load(self.connection)
                self._generations[cursor.name] = cursor.generation

    def _reader(self, names: tuple[str, ...]) -> FactReader:
        if names not in self._readers:
            self._readers[names] = FactReader([self.projections[name] for name in names])
        return self._readers[names]


def _groups(cursors: Iterator[Cursor]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The views at each position, foremost first."""
    ordered = sorted(cursors, key=lambda cursor: (-cursor.position, cursor.name))
    for position, group in groupby(ordered, key=lambda cursor: cursor.position):
        yield position, tuple(cursor.name for cursor in group)
