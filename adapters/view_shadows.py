"""Views made beside those that are read, by a rebuild or a replay: created, filled in bulk, finished, brought forward."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import structlog
from psycopg import Connection, IsolationLevel

from adapters import view_schema
from adapters.fact_reader import FactReader
from adapters.view_bulk import BulkLoad, Progress
from adapters.view_cursors import open_connection
from adapters.view_schema import shadow_of
from adapters.view_updater import DATA_ERRORS, ViewUpdater, apply
from projections.kernel import Projection, Table

PAGE_FACTS = 2_000
STRETCH_FACTS = 20_000
"""Between two looks at whether to stop."""
FINISHERS = 2
"""Connections that build indexes at the same time."""
SORT_MEMORY = b"set maintenance_work_mem = '256MB'"

log = structlog.get_logger()


class Shadows:
    """On one connection; ``position`` is what all of them have reached. Nothing of them survives their process.

    ``schema_of`` says where each is made; several may share a schema.
    """

    def __init__(
        self,
        url: str,
        connection: Connection[Any],
        projections: Sequence[Projection],
        schema_of: Callable[[Projection], str] = shadow_of,
    ) -> None:
        self.position = 0
        self.projections = tuple(projections)
        self.schema_of = schema_of
        self._url = url
        self._connection = connection
        self._reader = FactReader(projections)
        self._reading = connection.cursor(binary=True)
        self._begin(view_schema.create_bare)

    def _begin(self, create: Callable[[Connection[Any], Projection, str], None]) -> None:
        self.drop()
        self.position = 0
        for projection in self.projections:
            create(self._connection, projection, self.schema_of(projection))
        self.updaters = [ViewUpdater(self._connection, p, self.schema_of(p)) for p in self.projections]

    def load(self, goal: Callable[[], int], stop: threading.Event, on_progress: Progress) -> None:
        """Fill them up to the goal, which may move, and finish the tables. Raises RebuildStoppedError."""
        with closing(open_connection(self._url)) as reading:
            bulk = BulkLoad(reading, self._connection, self.updaters, stop, on_progress)
            try:
                bulk.run(goal)
                self._finish()
                self.position = bulk.position
            except DATA_ERRORS as error:
                log.warning(
                    "bulk_load_failed", error=str(error).strip(), then="row by row is slower and finds the fact"
                )
                self._begin(view_schema.create)
        while self.position < (until := goal()):
            bulk.check()
            self.catch_up(min(self.position + STRETCH_FACTS, until))
            on_progress(self.position, until)

    def catch_up(self, goal: int) -> None:
        while self.position < goal:
            with self._connection.transaction():
                page = self._reader.read(self._reading, self.position, min(self.position + PAGE_FACTS, goal))
                apply(self._connection, self.updaters, page)
            self.position = page.last

    def _finish(self) -> None:
        """Tables are independent of each other, and PostgreSQL builds an index on one processor."""
        tables = deque((self.schema_of(p), table) for p in self.projections for table in p.tables)
        with ThreadPoolExecutor(FINISHERS, "finish") as pool:
            for done in [pool.submit(_finish_tables, self._url, tables) for _ in range(FINISHERS)]:
                done.result()

    @contextmanager
    def snapshot(self) -> Iterator[Connection[Any]]:
        """The connection, seeing the moment of entry until the exit."""
        self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
        try:
            with self._connection.transaction():
                self._connection.execute("select from projections.cursors")  # it is the first statement that takes it
                yield self._connection
        finally:
            self._connection.isolation_level = None

    def drop(self) -> None:
        for schema in {self.schema_of(projection) for projection in self.projections}:
            view_schema.drop(self._connection, schema)


def _finish_tables(url: str, tables: deque[tuple[str, Table]]) -> None:
    with closing(open_connection(url)) as connection:
        connection.execute(SORT_MEMORY)
        while True:
            try:
                schema, table = tables.popleft()
            except IndexError:
                return
            view_schema.finish(connection, schema, table)
