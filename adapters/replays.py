"""The whole read side as it was at a position, in a schema of its own: built like a rebuild, kept until it is dropped.

It is made in STAGING and gets its name, its place in the catalogue and its protection in one transaction: nobody ever
sees half of one, and what a killed process leaves behind is in one place.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from time import monotonic
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from adapters import view_cursors, view_schema
from adapters.view_bulk import Progress
from adapters.view_cursors import open_connection
from adapters.view_schema import shadow_of
from adapters.view_shadows import Shadows
from projections.kernel import Projection

REPLAY_LOCK = 0x0C0F_000B
"""Advisory lock: one replay is built or dropped at a time. Rebuilds and projectors are not in its way."""
STAGING = "replay_next"
NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
RESERVED = frozenset(
    {"public", "information_schema", "ledger", "secrets", "projections", "chain", "relay", "tree", "privacy"}
)
DROP_WAIT = b"set local lock_timeout = '5s'"
"""For those who are reading what is to be dropped."""

KEPT = b"select name, position, instant, views, rows, dead_streams, built_at from projections.replays"
KEEP = b"""
    insert into projections.replays (name, position, instant, views, rows, dead_streams)
    values (%s, %s, coalesce(%s, (select recorded_at from ledger.events where position = %s)), %s, %s, %s)
    returning name, position, instant, views, rows, dead_streams, built_at"""


class ReplayRefusedError(RuntimeError):
    """What was asked for cannot be had, in one sentence. Nothing was changed."""


class Replay(NamedTuple):
    name: str
    position: int
    instant: datetime | None
    """The one that was asked for, or that of the position; None: before there was anything."""
    views: dict[str, int]
    """The version of each view that it was made with."""
    rows: int
    dead_streams: int
    """Streams that some view could not take, as it could not when it was first built."""
    built_at: datetime


class ReplayReport(NamedTuple):
    replay: Replay
    seconds: float


class Replays:
    def __init__(self, url: str, projections: Sequence[Projection]) -> None:
        self._url = url
        self._projections = tuple(projections)

    def build(
        self,
        name: str,
        as_of: int | datetime | None = None,
        *,
        stop: threading.Event | None = None,
        on_progress: Progress = lambda *_: None,
    ) -> ReplayReport:
        """As of a position, an instant, or now. Raises ReplayRefusedError, RebuildStoppedError, psycopg's errors."""
        began = monotonic()
        with closing(open_connection(self._url)) as connection, _alone(connection):
            self._check_name(connection, name)
            position = position_as_of(connection, as_of)
            _clear(connection)
            try:
                shadows = self._fill(connection, name, position, stop or threading.Event(), on_progress)
                instant = as_of if isinstance(as_of, datetime) else None
                replay = self._keep(connection, name, instant, shadows)
            except BaseException:
                with suppress(psycopg.Error):  # else whoever comes next clears it away
                    _clear(connection)
                raise
        return ReplayReport(replay, monotonic() - began)

    def _fill(
        self, connection: Connection[Any], name: str, position: int, stop: threading.Event, on_progress: Progress
    ) -> Shadows:
        shadows = Shadows(self._url, connection, self._projections, lambda _: STAGING)
        connection.execute(sql.SQL("comment on schema {} is {}").format(sql.Identifier(STAGING), sql.Literal(name)))
        shadows.load(lambda: position, stop, on_progress)
        return shadows

    def _keep(self, connection: Connection[Any], name: str, instant: datetime | None, shadows: Shadows) -> Replay:
        position = shadows.position
        views = {projection.name: projection.version for projection in self._projections}
        dead = sum(len(view.letters) for view in shadows.updaters)
        try:
            with connection.transaction():
                rows = self._count(connection)
                _seal(connection, name)
                row = connection.execute(KEEP, (name, position, instant, position, Jsonb(views), rows, dead)).fetchone()
        except psycopg.errors.DuplicateSchema as error:
            raise ReplayRefusedError(f"somebody has made a schema {name} meanwhile") from error
        assert row is not None
        return Replay(*row)

    def _count(self, connection: Connection[Any]) -> int:
        tables = [f"{STAGING}.{table.name}" for projection in self._projections for table in projection.tables]
        connection.execute(b"set local enable_seqscan = on")
        query = " + ".join(f"(select count(*) from {table})" for table in tables)
        row = connection.execute(f"select {query}".encode()).fetchone()
        return int(row[0]) if row is not None else 0

    def _check_name(self, connection: Connection[Any], name: str) -> None:
        """Raises ReplayRefusedError for a name that cannot be that of a new replay."""
        if NAME.fullmatch(name) is None:
            raise ReplayRefusedError(
                f"{name!r} is no name for a replay: up to 48 small letters, digits and underscores, a letter first"
            )
        ours = {schema for p in self._projections for schema in (p.name, shadow_of(p))}
        quoted = connection.execute("select quote_ident(%s)", (name,)).fetchone()
        if name in RESERVED | ours | {STAGING} or name.startswith("pg_") or quoted != (name,):
            raise ReplayRefusedError(f"the name {name} is reserved")
        if (kept := _kept(connection, name)) is not None:
            raise ReplayRefusedError(f"{name} is kept already, as of position {kept.position}; drop it first")
        if view_schema.exists(connection, name):
            raise ReplayRefusedError(f"there is a schema {name} that is not a replay")

    def drop(self, name: str) -> None:
        """A kept one, or what is left of one that was never finished. Raises ReplayRefusedError for anything else."""
        with closing(open_connection(self._url)) as connection, _alone(connection):
            began = _clear(connection)
            if _kept(connection, name) is None:
                if began == name:
                    return
                raise ReplayRefusedError(f"no replay is kept as {name}")
            try:
                with connection.transaction():
                    connection.execute(DROP_WAIT)
                    connection.execute("delete from projections.replays where name = %s", (name,))
                    connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))
            except psycopg.errors.LockNotAvailable as error:
                raise ReplayRefusedError(f"somebody is reading {name}; try again when they have done") from error

    def kept(self) -> list[Replay]:
        """In the order of what they are as of."""
        with closing(open_connection(self._url)) as connection:
            return [Replay(*row) for row in connection.execute(KEPT + b" order by position, name")]


def position_as_of(connection: Connection[Any], as_of: int | datetime | None) -> int:
    """Raises ReplayRefusedError for what is still to come: it would be kept, and be wrong when it has come."""
    head = view_cursors.head(connection)
    if as_of is None:
        return head
    if isinstance(as_of, int):
        if as_of > head:
            raise ReplayRefusedError(f"the ledger ends at position {head}")
        return as_of
    if connection.execute("select %s > clock_timestamp()", (as_of,)).fetchone() == (True,):
        raise ReplayRefusedError("this instant is still to come")
    _settle(connection, as_of)
    row = connection.execute("select ledger.position_at(%s)", (as_of,)).fetchone()
    assert row is not None
    return int(row[0])


def _settle(connection: Connection[Any], instant: datetime) -> None:
    """Until every fact of then can be seen: of a commit that is under way none can. Where later ones can, all can."""
    if connection.execute("select recorded_at > %s from ledger.head", (instant,)).fetchone() == (True,):
        return
    try:
        connection.execute("select ledger.settle()")
    except psycopg.errors.LockNotAvailable as error:
        raise ReplayRefusedError("somebody is writing, and does not end; try again") from error


def _kept(connection: Connection[Any], name: str) -> Replay | None:
    row = connection.execute(KEPT + b" where name = %s", (name,)).fetchone()
    return Replay(*row) if row is not None else None


def _clear(connection: Connection[Any]) -> str | None:
    """Drop what a killed process has left, and say which name it was for."""
    query = "select obj_description(oid, 'pg_namespace') from pg_namespace where nspname = %s"
    row = connection.execute(query, (STAGING,)).fetchone()
    view_schema.drop(connection, STAGING)
    return row[0] if row is not None else None


def _seal(connection: Connection[Any], name: str) -> None:
    """Give it its name. From here on it can be read, and dropped as a whole; even its owner may not write in it."""
    schema = sql.Identifier(name)
    connection.execute(sql.SQL("alter schema {} rename to {}").format(sql.Identifier(STAGING), schema))
    connection.execute(
        sql.SQL(
            "revoke insert, update, delete, truncate, references, trigger on all tables in schema {}"
            " from counterfoil_projector"
        ).format(schema)
    )
    connection.execute(sql.SQL("revoke create on schema {} from counterfoil_projector").format(schema))
    connection.execute(sql.SQL("comment on schema {} is null").format(schema))


@contextmanager
def _alone(connection: Connection[Any]) -> Iterator[None]:
    if connection.execute("select pg_try_advisory_lock(%s)", (REPLAY_LOCK,)).fetchone() != (True,):
        raise ReplayRefusedError("another replay is being built or dropped")
    try:
        yield
    finally:
        with suppress(
            psycopg.Error
        ):  # the lock ends with the connection as well, though a moment after we have closed it
            connection.execute("select pg_advisory_unlock(%s)", (REPLAY_LOCK,))
