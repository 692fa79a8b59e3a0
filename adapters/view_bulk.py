"""Writes to a shadow that nobody reads yet: new rows by COPY, totals kept in memory, the rest set by set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from psycopg import Cursor
from psycopg.types.json import Jsonb

from adapters.view_writer import ViewWriter
from projections.kernel import Projection, Table
from projections.rows import Row, Tallied

Values = Sequence[Any]


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
    values: Callable[[Row], Values] = itemgetter(*table.columns)
    if len(table.columns) == 1:
        only = values
        values = lambda row: (only(row),)  # noqa: E731 - itemgetter of one name gives no tuple
    if "jsonb" not in table.types.values():
        return values
    kinds = tuple(table.types.values())
    plain = values
    return lambda row: [Jsonb(v) if k == "jsonb" else v for v, k in zip(plain(row), kinds, strict=True)]
