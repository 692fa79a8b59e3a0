"""The schemas that views live in: made, finished after a bulk load, compared, and swapped for their successors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from projections.kernel import Projection, Table

FILLFACTOR = 85
"""Room for changed rows beside the old ones, so that a change of status touches no index (HOT)."""

SWAP_WAIT = b"set local statement_timeout = '700ms'"
"""For all the locks together. Less than `deadlock_timeout`, so that it is never a reader who has to give way."""


class Checksum(NamedTuple):
    """Of one table, whatever the order of its rows."""

    rows: int
    digest: int


def shadow_of(projection: Projection) -> str:
    """The schema in which a view is rebuilt."""
    return f"{projection.name}_next"


def create(connection: Connection[Any], projection: Projection, schema: str) -> None:
    """The whole view, empty, if it is not there."""
    create_bare(connection, projection, schema)
    for table in projection.tables:
        finish(connection, schema, table)


def create_bare(connection: Connection[Any], projection: Projection, schema: str) -> None:
    """The tables without what is quicker to build at the end: indexes, and the keys of those that only grow."""
    _run(connection, f"create schema if not exists {schema}")
    for table in projection.tables:
        lines = [f"{name} {_column(kind)}" for name, kind in table.columns.items()]
        lines += [f"{n} {kind} generated always as ({rule}) stored" for n, (kind, rule) in table.derived.items()]
        if not table.append_only:
            lines.append(f"primary key ({', '.join(table.key)})")
        options = "" if table.append_only else f" with (fillfactor = {FILLFACTOR})"
        _run(connection, f"create table if not exists {schema}.{table.name} ({', '.join(lines)}){options}")


def finish(connection: Connection[Any], schema: str, table: Table) -> None:
    """What `create_bare` left out of a table, and the statistics that good plans need."""
    target = f"{schema}.{table.name}"
    if table.append_only and not _has_key(connection, target):
        _run(connection, f"alter table {target} add primary key ({', '.join(table.key)})")
    for number, index in enumerate(table.indexes, 1):
        _run(connection, f"create index if not exists {table.name}_{number} on {target} {index}")
    _run(connection, f"analyze {target}")


def drop(connection: Connection[Any], schema: str) -> None:
    _run(connection, f"drop schema if exists {schema} cascade")


def exists(connection: Connection[Any], schema: str) -> bool:
    return connection.execute("select to_regnamespace(%s)", (schema,)).fetchone() != (None,)


def swap(connection: Connection[Any], projections: Sequence[Projection]) -> None:
    """Put shadows in the places of views, within the caller's transaction.

    Waits until nobody reads the old tables; readers who come meanwhile wait too and then find the new ones, so that
    nobody sees an old table beside a new one, or beside a new position. Raises QueryCanceled after SWAP_WAIT.
    """
    if old := _tables(connection, projections):
        connection.execute(SWAP_WAIT)
        _run(connection, f"lock table {', '.join(old)} in access exclusive mode")
        connection.execute(b"set local statement_timeout = 0")
    for projection in projections:
        drop(connection, projection.name)
        _run(connection, f"alter schema {shadow_of(projection)} rename to {projection.name}")


def keep_vacuum(connection: Connection[Any], projections: Sequence[Projection], *, away: bool) -> None:
    """Send automatic vacuuming away from the tables of views, or let it come again.

    A swap is not patient enough for PostgreSQL to end a vacuum that is in its way; this statement is.
    """
    for table in _tables(connection, projections):
        change = "set (autovacuum_enabled = off)" if away else "reset (autovacuum_enabled)"
        _run(connection, f"alter table {table} {change}")


def _tables(connection: Connection[Any], projections: Sequence[Projection]) -> list[str]:
    names = [projection.name for projection in projections]
    query = "select format('%%I.%%I', schemaname, tablename) from pg_tables where schemaname = any(%s) order by 1"
    return [row[0] for row in connection.execute(query, (names,))]


def checksums(connection: Connection[Any], projection: Projection, schema: str) -> dict[str, Checksum]:
    """Of each table. Derived columns follow from the others and are left out."""
    connection.execute("set local enable_seqscan = on")  # our connections avoid it, but here every row is wanted
    return {table.name: _checksum(connection, f"{schema}.{table.name}", table) for table in projection.tables}


def _checksum(connection: Connection[Any], target: str, table: Table) -> Checksum:
    record = f"row({', '.join(table.columns)})"
    query = f"select count(*), coalesce(sum(hash_record_extended({record}, 0)), 0) from {target}"
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return Checksum(row[0], int(row[1]))


def differs(connection: Connection[Any], projection: Projection) -> bool:
    """Whether the tables that are there are not the ones declared: somebody forgot to raise the version."""
    query = "select table_name::text, column_name::text from information_schema.columns where table_schema = %s"
    found = set(connection.execute(query, (projection.name,)))
    return found != {(table.name, name) for table in projection.tables for name in (*table.columns, *table.derived)}


def _has_key(connection: Connection[Any], target: str) -> bool:
    query = "select from pg_constraint where conrelid = %s::regclass and contype = 'p'"
    return connection.execute(query, (target,)).fetchone() is not None


def _column(kind: str) -> str:
    name, _, rest = kind.partition(" ")
    return name if rest == "null" else f"{name} not null {rest}".rstrip()


def _run(connection: Connection[Any], statement: str) -> None:
    connection.execute(statement.encode())
