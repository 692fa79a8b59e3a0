"""How far each view has got, and the lock under which that, or the view itself, is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from adapters.postgres import conninfo
from projections.kernel import Projection

VIEWS_CHANNEL = "counterfoil_views"

READ = b"select name, version, generation, position from projections.cursors where name = any(%s) order by name"
MOVE = b"update projections.cursors set position = %s, updated_at = now() where name = any(%s)"
RENEW = b"""
    insert into projections.cursors (name, version, position) values (%s, %s, %s)
    on conflict (name) do update set version = excluded.version, generation = cursors.generation + 1,
        position = excluded.position, updated_at = now()"""
ANNOUNCE = b"select pg_notify(%s, min(position)::text) from projections.cursors where name = any(%s)"


class Cursor(NamedTuple):
    name: str
    version: int
    """Of the projection that made the tables."""
    generation: int
    """How often they have been made."""
    position: int


def open_connection(url: str) -> Connection[Any]:
    """As the projector. A view's commit need not be flushed: if it is lost, view and position are, and made again."""
    info = conninfo(url, "counterfoil_projector", planner=True, application="counterfoil projector")
    connection = Connection.connect(info, autocommit=True, prepare_threshold=0)
    connection.prepared_max = None
    connection.execute("set synchronous_commit = off")
    return connection


def head(connection: Connection[Any]) -> int:
    """The position of the last fact of the ledger."""
    row = connection.execute("select position from ledger.head", prepare=True).fetchone()
    return int(row[0]) if row else 0


def read(connection: Connection[Any], names: Sequence[str]) -> list[Cursor]:
    return [Cursor(*row) for row in connection.execute(READ, (list(names),), prepare=True)]


def lock(connection: Connection[Any], names: Sequence[str]) -> list[Cursor]:
    """`read`, and nobody else writes these views or swaps them until the transaction ends."""
    return [Cursor(*row) for row in connection.execute(READ + b" for update", (list(names),), prepare=True)]


def move(connection: Connection[Any], names: Sequence[str], position: int) -> None:
    connection.execute(MOVE, (position, list(names)), prepare=True)


def renew(connection: Connection[Any], projection: Projection, position: int) -> None:
    """The view was made anew."""
    connection.execute(RENEW, (projection.name, projection.version, position))


def announce(connection: Connection[Any], names: Sequence[str]) -> None:
    """Tell those who wait for views what all of these have reached, once the transaction commits."""
    connection.execute(ANNOUNCE, (VIEWS_CHANNEL, list(names)), prepare=True)
