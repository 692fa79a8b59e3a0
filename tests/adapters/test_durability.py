"""Acknowledged means fsynced: Counterfoil does not start on a server that would lose what it said it has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from adapters.embedded import EmbeddedPostgres
from adapters.postgres import DatabaseUnfitError, migrate, refuse_unless_durable
from tests.adapters.ledger_parts import WAIT_SECONDS_MAX, scalar


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A server whose settings may be spoilt."""
    with TemporaryDirectory(prefix="counterfoil-") as data_dir:
        server = EmbeddedPostgres(Path(data_dir))
        yield server.start()
        server.stop()


def configure(url: str, setting: str, value: str) -> None:
    """Set it for the whole server, and wait until new connections have it."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"alter system set {setting} = {value}".encode())
        conn.execute("select pg_reload_conf()")
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while scalar(url, f"show {setting}") != value:
        assert time.monotonic() < deadline, f"{setting} did not become {value}"
        time.sleep(0.01)


def test_a_server_as_it_ships_is_fit(own_server: str) -> None:
    with psycopg.connect(own_server) as conn:
        refuse_unless_durable(conn)


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_may_forget_is_refused(own_server: str, setting: str) -> None:
    configure(own_server, setting, "off")
    try:
        with pytest.raises(DatabaseUnfitError, match=f"{setting} is 'off'"):
            migrate(own_server)
    finally:
        configure(own_server, setting, "on")
    assert scalar(own_server, "select to_regclass('ledger.events')") is None, "it is refused before it is touched"


def test_a_database_or_a_connection_that_does_not_wait_for_the_disk_is_refused(empty_database: str) -> None:
    hasty = make_conninfo(empty_database, options="-c synchronous_commit=off")
    with pytest.raises(DatabaseUnfitError, match="synchronous_commit"):
        migrate(hasty)
    with psycopg.connect(empty_database, autocommit=True) as conn:
        conn.execute(f'alter database "{conn.info.dbname}" set synchronous_commit = off'.encode())
    with pytest.raises(DatabaseUnfitError, match="synchronous_commit"):
        migrate(empty_database)


def test_a_role_that_does_not_wait_for_the_disk_is_refused(own_server: str) -> None:
    with psycopg.connect(own_server, autocommit=True) as conn:
        conn.execute("create role hasty superuser login")
        conn.execute("alter role hasty set synchronous_commit = off")
    with pytest.raises(DatabaseUnfitError, match="synchronous_commit"):
        migrate(make_conninfo(own_server, user="hasty"))


@pytest.mark.parametrize("waits_for", ["local", "remote_write", "remote_apply", "on"])
def test_waiting_for_this_disk_or_for_others_too_is_fit(empty_database: str, waits_for: str) -> None:
    with psycopg.connect(make_conninfo(empty_database, options=f"-c synchronous_commit={waits_for}")) as conn:
        refuse_unless_durable(conn)


def test_migrating_again_changes_nothing(database: str) -> None:
    assert migrate(database) == []
