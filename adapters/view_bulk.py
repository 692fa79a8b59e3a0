"""Fills shadows that nobody reads yet, from the beginning of the ledger to its head, as fast as the machine can.

New rows go out by COPY, which PostgreSQL takes in while the next are being made. Changes to rows that are there
already, which it has to look up, are left to a thread that waits for it.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from psycopg import Connection, Cursor
from psycopg.types.json import Jsonb

from adapters.dead_letters import fold
from adapters.fact_reader import FactReader
from adapters.view_updater import ViewUpdater
from adapters.view_writer import ViewWriter
from projections.kernel import Projection, Table
from projections.rows import Row, Rows, Tallied

PAGE_FACTS = 1_000
"""Decoded at once. Small: what fits the processor's cache is folded and forgotten before it has left it."""
WINDOW_FACTS = 10_000
"""Folded before they are written: the changes of one row that fall into one window cost nothing."""
GARBAGE_THRESHOLD = 200_000
"""Rows are many and hold no cycles: looking for some after every 700 objects takes a fifth of the time."""

Progress = Callable[[int, int], None]
Values = Sequence[Any]


class RebuildStoppedError(RuntimeError):
    """A rebuild was told to stop. The views are as they were."""


class BulkLoad:
    """From position 0 into empty tables."""

    def __init__(
        self,
        reading: Connection[Any],
        writing: Connection[Any],
        views: Sequence[ViewUpdater],
        stop: threading.Event,
        on_progress: Progress,
    ) -> None:
        self._projections = [view.projection for view in views]
        self._letters = [view.letters for view in views]
        self._reader = FactReader(self._projections)
        self._reading = reading.cursor(binary=True)
        self._writers = [BulkWriter(writing.cursor(), view.projection, view.writer.schema) for view in views]
        self._stop = stop
        self._on_progress = on_progress
        self.position = 0

    def run(self, goal: Callable[[], int]) -> None:
        """Raises RebuildStoppedError, and DATA_ERRORS: the tables are then of no use."""
        changes: Future[None] | None = None
        with _rare_garbage_collection(), ThreadPoolExecutor(1, "bulk-load") as beside:
            while self.position < (until := goal()):
                window = self._fold_window(min(self.position + WINDOW_FACTS, until))
                if changes is not None:
                    changes.result()
                for writer, rows in zip(self._writers, window, strict=True):
                    writer.write_new(rows)
                changes = beside.submit(self._write_changes, window)
                self._on_progress(self.position, until)
                self.check()
            if changes is not None:
                changes.result()

    def check(self) -> None:
        if self._stop.is_set():
            raise RebuildStoppedError

    def _fold_window(self, until: int) -> list[Rows]:
        """What a window does to the views. When a projection fails, it is folded again with the care that takes."""
        began = self.position
        try:
            return self._fold(until)
        except Exception:  # noqa: BLE001 - a projection's bug, or the database's trouble, which is then met again
            self.position = began
            return self._fold(until, careful=True)

    def _fold(self, until: int, *, careful: bool = False) -> list[Rows]:
        window = [Rows() for _ in self._projections]
        while self.position < until:
            page = self._reader.read(self._reading, self.position, min(self.position + PAGE_FACTS, until))
            for index, projection in enumerate(self._projections):
                letters = self._letters[index]
                facts = letters.admit(page.facts[index], page.broken[index])
                fold(projection, facts, letters, window[index], careful=careful)
            self.position = page.last
        return window

    def _write_changes(self, window: Sequence[Rows]) -> None:
        for writer, rows in zip(self._writers, window, strict=True):
            writer.write_changes(rows)


class BulkWriter(ViewWriter):
    """Begins with empty tables and is their only writer: that is why it knows the totals."""

    def __init__(self, cursor: Cursor[Any], projection: Projection, schema: str) -> None:
        super().__init__(cursor, projection, schema)
        self._totals: dict[Table, dict[Any, list[int]]] = {}
        self._values = {table: _values_of(table) for table in projection.tables}

    def _insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._copy(table, map(self._values[table], rows))

    def _tally(self, table: Table, tallied: Sequence[Tallied]) -> None:
        self._copy(table, self._run_totals(table, tallied))

    def _copy(self, table: Table, rows: Iterable[Values]) -> None:
        names = ", ".join(table.columns)
        statement = f"copy {self.schema}.{table.name} ({names}) from stdin (format binary)"
        with self.cursor.copy(statement.encode()) as copy:
            copy.set_types(list(table.types.values()))
            write_row = copy.write_row
            for row in rows:
                write_row(row)

    def _run_totals(self, table: Table, tallied: Sequence[Tallied]) -> Iterator[Values]:
        all_totals = self._totals.setdefault(table, {})
        places = {name: place for place, name in enumerate(name for name in table.columns if name not in table.key)}
        identity = table.identity
        for key, position, deltas in tallied:
            totals = all_totals.get(identity(key))
            if totals is None:
                totals = all_totals[identity(key)] = [0] * len(places)
            for name, delta in deltas.items():
                totals[places[name]] += delta
            yield (key, position, *totals)


def _values_of(table: Table) -> Callable[[Row], Values]:
    """What gives the values of a row in the order of the columns."""
    names = tuple(table.columns)
    if "jsonb" in table.types.values():
        return lambda row: [_wrapped(table.types[name], row[name]) for name in names]
    if len(names) == 1:
        return lambda row: (row[names[0]],)  # `itemgetter` of one name gives no tuple
    return itemgetter(*names)


def _wrapped(kind: str, value: Any) -> Any:
    return Jsonb(value) if kind == "jsonb" and value is not None else value


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.set_threshold(GARBAGE_THRESHOLD, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
