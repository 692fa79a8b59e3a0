"""Writes what a batch does to a view, set by set: one statement a table and kind of change, its rows as one parameter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from psycopg import Cursor
from psycopg.types.json import Json

from projections.kernel import Projection, Table
from projections.rows import Row, Rows, Tallied


class ViewWriter:
    """Of one projection, into one schema, on one connection. Transactions are the caller's."""

    def __init__(self, cursor: Cursor[Any], projection: Projection, schema: str) -> None:
        self.cursor = cursor
        self.projection = projection
        self.schema = schema
        self._statements: dict[tuple[str, Table, tuple[str, ...]], bytes] = {}

    def write(self, rows: Rows) -> int:
        """Raises psycopg's errors, and TypeError for values that JSON cannot carry. Returns the number of rows."""
        self.write_new(rows)
        self.write_changes(rows)
        return len(rows)

    def write_new(self, rows: Rows) -> None:
        """The rows that were not there. They come first: later facts of the batch may change them."""
        for table, of_table in rows.of.items():
            if of_table.inserted:
                self._insert(table, list(of_table.inserted.values()))
            if of_table.twice:
                self._insert(table, of_table.twice)
            if of_table.appended:
                self._insert(table, of_table.appended)
            if of_table.tallied:
                self._tally(table, of_table.tallied)

    def write_changes(self, rows: Rows) -> None:
        """What becomes of rows that were there, and of histories that repeat them."""
        for table, of_table in rows.of.items():
            if of_table.put:
                self._run("put", table, tuple(table.columns), list(of_table.put.values()))
            for kind, changed in (
                ("add", of_table.added.values()),
                ("patch", of_table.patched.values()),
                ("revise", of_table.revised),
            ):
                for names, group in _by_columns(changed):
                    self._run(kind, table, names, group)

    def _insert(self, table: Table, rows: Sequence[Row]) -> None:
        self._run("insert", table, tuple(table.columns), rows)

    def _tally(self, table: Table, tallied: Sequence[Tallied]) -> None:
        rows = [{table.key[0]: key, "position": position, **deltas} for key, position, deltas in tallied]
        self._run("tally", table, tuple(table.columns), rows)

    def _run(self, kind: str, table: Table, names: tuple[str, ...], rows: Sequence[Row]) -> None:
        statement = self._statements.get((kind, table, names))
        if statement is None:
            statement = STATEMENTS[kind](f"{self.schema}.{table.name}", table, names).encode()
            self._statements[(kind, table, names)] = statement
        self.cursor.execute(statement, (Json(rows, orjson.dumps),), prepare=True)


def _by_columns(rows: Iterable[Row]) -> Iterable[tuple[tuple[str, ...], list[Row]]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(sorted(row)), []).append(row)
    return groups.items()


# -- Statements. Names come from the declarations of tables, never from input. ---------


def _given(table: Table, names: Sequence[str]) -> str:
    columns = ", ".join(f"{name} {table.types[name]}" for name in names)
    return f"json_to_recordset(%b::json) x({columns})"


def _same_key(table: Table, one: str, other: str, key: Sequence[str] = ()) -> str:
    return " and ".join(f"{one}.{name} = {other}.{name}" for name in key or table.key)


def _insert(target: str, table: Table, names: tuple[str, ...]) -> str:
    return f"insert into {target} ({', '.join(names)}) select {', '.join(names)} from {_given(table, names)}"


def _put(target: str, table: Table, names: tuple[str, ...]) -> str:
    rest = [name for name in names if name not in table.key]
    update = f"update set {', '.join(f'{n} = excluded.{n}' for n in rest)}" if rest else "nothing"
    return f"{_insert(target, table, names)} on conflict ({', '.join(table.key)}) do {update}"


def _patch(target: str, table: Table, names: tuple[str, ...]) -> str:
    changes = ", ".join(f"{name} = x.{name}" for name in names if name not in table.key)
    return f"update {target} t set {changes} from {_given(table, names)} where {_same_key(table, 't', 'x')}"


def _add(target: str, table: Table, names: tuple[str, ...]) -> str:
    """Not an upsert: that would refuse a row that is there, for want of the columns that are not counted."""
    changes = ", ".join(f"{name} = t.{name} + x.{name}" for name in names if name not in table.key)
    return (
        f"with x as (select * from {_given(table, names)}),"
        f" u as (update {target} t set {changes} from x where {_same_key(table, 't', 'x')} returning t.*)"
        f" insert into {target} ({', '.join(names)}) select {', '.join(names)} from x"
        f" where not exists (select from u where {_same_key(table, 'u', 'x')})"
    )


def _latest(target: str, table: Table) -> str:
    key = table.key[0]
    return (
        f"left join lateral (select * from {target} l where l.{key} = x.{key} and l.position < x.position"
        " order by l.position desc limit 1) l on true"
    )


def _tally(target: str, table: Table, names: tuple[str, ...]) -> str:
    """The totals before the batch, which are all that the look-up can see, and what the batch has had so far."""
    key = table.key[0]
    sums = ", ".join(f"coalesce(l.{n}, 0) + sum(coalesce(x.{n}, 0)) over w" for n in names if n not in table.key)
    return (
        f"insert into {target} ({', '.join(names)}) select x.{key}, x.position, {sums}"
        f" from {_given(table, names)} {_latest(target, table)} window w as (partition by x.{key} order by x.position)"
    )


def _revise(target: str, table: Table, names: tuple[str, ...]) -> str:
    values = ", ".join(f"x.{name}" if name in names else f"l.{name}" for name in table.columns)
    return (
        f"insert into {target} ({', '.join(table.columns)}) select {values}"
        f" from {_given(table, names)} {_latest(target, table)}"
    )


STATEMENTS = {"insert": _insert, "put": _put, "patch": _patch, "add": _add, "tally": _tally, "revise": _revise}
