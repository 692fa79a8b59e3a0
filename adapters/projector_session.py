"""What a projector does on one connection, for as long as that holds: bring the views forward, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from psycopg import Connection

from adapters import view_cursors, view_marks, view_schema
from adapters.dead_letters import DeadLetters
from adapters.fact_reader import FactReader
from adapters.view_cursors import Cursor
from adapters.view_updater import ViewUpdater, apply
from projections.kernel import Projection
from projections.progress import LAG, Lag

PAGE_FACTS = 1_000
"""Facts in one batch: large enough for sets to pay, small enough that readers wait little for the next."""
FEED_SECONDS_MAX = 1.0
"""So long a fact may wait for a topic to bring it to a view: readers of what they have just written wait for five."""
REBUILD_BEHIND_FACTS = 100_000
"""A view further behind than this is rebuilt: loading in bulk overtakes catching up."""


class Session:
    def __init__(self, connection: Connection[Any], projections: Sequence[Projection], fed: Iterable[str] = ()) -> None:
        """``fed`` names the views that others feed from a topic."""
        self.connection = connection
        self.fed = frozenset(fed)
        self.facts_total = 0
        self.last_size = 0
        """How many facts the last batch had."""
        self._projections = {projection.name: projection for projection in projections}
        self._views = {p.name: ViewUpdater(connection, p, p.name) for p in projections}
        self._generations: dict[str, int] = {}
        self._readers: dict[tuple[str, ...], FactReader] = {}
        self._reading = connection.cursor(binary=True)

    def prepare(self) -> None:
        """Make the views that are not there, empty and at position 0."""
        known = {cursor.name for cursor in self.cursors()}
        for projection in self._projections.values():
            if projection.name not in known or not view_schema.exists(self.connection, projection.name):
                with self.connection.transaction():
                    view_schema.create(self.connection, projection, projection.name)
                    view_cursors.renew(self.connection, projection, 0)
                    DeadLetters(projection.name).replace(self.connection)

    def cursors(self) -> list[Cursor]:
        return view_cursors.read(self.connection, list(self._projections))

    def outdated(self) -> list[Projection]:
        """The views to rebuild: made by another version of their projection, or hopelessly behind."""
        head = view_cursors.head(self.connection)
        behind = [c.name for c in self.cursors() if not self._is_ours(c) or head - c.position > REBUILD_BEHIND_FACTS]
        return [
            projection
            for name, projection in self._projections.items()
            if name in behind or view_schema.differs(self.connection, projection)
        ]

    def kept_up(self) -> set[str]:
        """The fed views whose feed keeps them up. The others are brought forward from the table until it does."""
        lags = self.connection.execute(LAG.encode(), prepare=True).fetchall()
        behind = {lag.name for lag in map(Lag._make, lags) if lag.seconds > FEED_SECONDS_MAX}
        return set(self.fed - behind)

    def step(self, leave: Iterable[str] = ()) -> bool:
        """One batch for the views in front, and one for each group of those behind; whether there was any to take.

        ``leave`` names views to be left as they are.
        """
        until = view_cursors.head(self.connection)
        moved = False
        for position, names in _groups(c for c in self.cursors() if self._is_ours(c) and c.name not in leave):
            if position < until:
                until = self._advance(names, position, min(position + PAGE_FACTS, until))
                moved = True
            else:
                until = position
        return moved

    def announce(self) -> None:
        view_cursors.announce(self.connection, list(self._projections))

    def _is_ours(self, cursor: Cursor) -> bool:
        """Not when another release has rebuilt it meanwhile: its tables are not the ones this release knows."""
        return cursor.version == self._projections[cursor.name].version

    def _advance(self, names: tuple[str, ...], position: int, until: int) -> int:
        """View and position move in one transaction, under the lock that a swap takes too. Returns the position."""
        with self.connection.transaction():
            locked = view_cursors.lock(self.connection, names)
            if any(not self._is_ours(c) or c.position != position for c in locked):
                return position  # swapped since we looked
            self._forget_stale(locked)
            views = [self._views[name] for name in names]
            there = view_marks.beyond(self.connection, names)
            page = view_marks.without(self._reader(names).read(self._reading, position, until), names, there)
            apply(self.connection, views, page)
            for view in views:
                view.letters.save(self.connection)
            view_cursors.move(self.connection, names, page.last)
            self.announce()
        for view in views:
            view.letters.saved()
        self.facts_total += page.size
        self.last_size = page.size
        return page.last

    def _forget_stale(self, locked: Sequence[Cursor]) -> None:
        for cursor in locked:
            if cursor.name in self.fed or self._generations.get(cursor.name) != cursor.generation:
                self._views[cursor.name].letters.load(self.connection)
                self._generations[cursor.name] = cursor.generation

    def _reader(self, names: tuple[str, ...]) -> FactReader:
        if names not in self._readers:
            self._readers[names] = FactReader([self._projections[name] for name in names])
        return self._readers[names]


def _groups(cursors: Iterable[Cursor]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The views at each position, foremost first."""
    ordered = sorted(cursors, key=lambda cursor: (-cursor.position, cursor.name))
    for position, group in groupby(ordered, key=lambda cursor: cursor.position):
        yield position, tuple(cursor.name for cursor in group)
