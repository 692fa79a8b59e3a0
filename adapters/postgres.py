"""Connections to PostgreSQL: roles, the refusal of servers that do not keep what they acknowledge, migrations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal, get_args

import psycopg
from psycopg import AsyncConnection, Connection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

MIGRATION_LOCK = 0x0C0F_0001
"""Advisory lock under which migrations run, so that two starting processes do not run them twice."""

MIGRATION_WAIT = "60s"
"""For whoever only wants to know which ran, while somebody else's are running."""

Role = Literal["counterfoil_app", "counterfoil_projector", "counterfoil_reader"]

DURABLE = {"fsync": "on", "full_page_writes": "on"}
SERVER_VERSION_MIN = 150000

# Plans are made while tables are young and kept for the life of a connection: a plan that scans a small table
# would be ruinous on a large one. Every statement of ours has an index to go by.
PLANNER = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan"


class DatabaseUnfitError(RuntimeError):
    """The server would lose acknowledged commands, or is too old. Counterfoil does not start on it."""


class OtherReleaseError(DatabaseUnfitError):
    """The database is of another release than this one, and whoever only reads it is not to change that."""


def conninfo(url: str, role: Role, *, planner: bool = False, application: str = "counterfoil") -> str:
    """The URL with the role to act as. ``planner``: plan as the ledger's own statements need it."""
    options = f"-c role={role} -c jit=off" + (f" {PLANNER}" if planner else "")
    given = str(conninfo_to_dict(url).get("options") or "")
    return make_conninfo(url, options=f"{given} {options}".strip(), application_name=application)


async def connect(url: str, role: Role, *, planner: bool = False) -> AsyncConnection:
    return await AsyncConnection.connect(conninfo(url, role, planner=planner), autocommit=True, prepare_threshold=0)


def refuse_unless_durable(connection: Connection) -> None:
    """Raises DatabaseUnfitError when a commit that was acknowledged could still be lost."""
    if connection.info.server_version < SERVER_VERSION_MIN:
        raise DatabaseUnfitError(f"PostgreSQL 15 or later is needed, this is {connection.info.server_version // 10000}")
    for setting, wanted in DURABLE.items():
        _refuse_setting(connection, setting, wanted.__eq__)
    _refuse_setting(connection, "synchronous_commit", lambda value: value != "off")


def _refuse_setting(connection: Connection, setting: str, fits: Callable[[str], bool]) -> None:
    row = connection.execute("select current_setting(%s)", (setting,)).fetchone()
    value = row[0] if row else "unknown"
    if not fits(str(value)):
        raise DatabaseUnfitError(
            f"{setting} is {value!r}: this server may lose what it has acknowledged. Turn it on and start again."
        )


def migrate(url: str) -> list[str]:
    """Bring the database to this release and return the names of the migrations that ran. Safe to repeat and to race."""
    with psycopg.connect(url, autocommit=True) as connection:
        refuse_unless_durable(connection)
        connection.execute("select pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        try:
            return _run_migrations(connection)
        finally:
            connection.execute("select pg_advisory_unlock(%s)", (MIGRATION_LOCK,))


def expect_release(url: str, *, begin: bool = False) -> None:
    """Raises OtherReleaseError unless the database is of this release. ``begin``: one that is empty becomes so."""
    with psycopg.connect(url, autocommit=True) as connection:
        refuse_unless_durable(connection)
        connection.execute(sql.SQL("set lock_timeout = {}").format(sql.Literal(MIGRATION_WAIT)))
        connection.execute("select pg_advisory_lock_shared(%s)", (MIGRATION_LOCK,))  # until the connection closes
        done = _migrations_done(connection)
    if begin and not done:
        migrate(url)
    elif not done:
        raise OtherReleaseError("there is no ledger in this database: `counterfoil serve` begins one")
    else:
        _refuse_other_release(done, {script.name for script in _scripts()})


def _refuse_other_release(done: set[str], ours: set[str]) -> None:
    if unknown := ", ".join(sorted(done - ours)):
        raise OtherReleaseError(
            f"the database is of a later release, with {unknown}, which this one does not know: read it with that release"
        )
    if missing := ", ".join(sorted(ours - done)):
        raise OtherReleaseError(
            f"the database is of an earlier release: it lacks {missing}. Reading does not change that:"
            " read it with the release that serves it, or have it served by this one, which migrates it"
        )


def _run_migrations(connection: Connection) -> list[str]:
    ensure_roles(connection)
    connection.execute(
        "create table if not exists public.counterfoil_migrations"
        " (name text primary key, ran_at timestamptz not null default now())"
    )
    done, ran = _migrations_done(connection), []
    for script in _scripts():
        if script.name in done:
            continue
        with connection.transaction():
            connection.execute(script.read_text(encoding="utf-8").encode())
            connection.execute("insert into public.counterfoil_migrations (name) values (%s)", (script.name,))
        ran.append(script.name)
    return ran


def _scripts() -> list[Traversable]:
    scripts = [path for path in (files("adapters") / "migrations").iterdir() if path.name.endswith(".sql")]
    return sorted(scripts, key=lambda script: script.name)


def _migrations_done(connection: Connection) -> set[str]:
    if connection.execute("select to_regclass('public.counterfoil_migrations')").fetchone() == (None,):
        return set()
    return {row[0] for row in connection.execute("select name from public.counterfoil_migrations")}


def ensure_roles(connection: Connection) -> None:
    """Roles belong to the whole server, so another database's migration may be making them at this moment."""
    for role in get_args(Role):
        if connection.execute("select from pg_roles where rolname = %s", (role,)).fetchone() is None:
            with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
        if not connection.execute("select pg_has_role(%s, 'member')", (role,)).fetchone():
            connection.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(role)))
    connection.execute(
        sql.SQL("grant create on database {} to counterfoil_projector").format(sql.Identifier(connection.info.dbname))
    )
