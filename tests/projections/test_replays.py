"""The read side as it was, kept: the same as if the ledger had ended there, and nothing changes it any more."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from random import Random
from time import monotonic
from typing import get_args
from uuid import uuid4

import psycopg
import pytest

from adapters import view_bulk, view_schema
from adapters.fact_reader import FactReader
from adapters.postgres import Role, conninfo
from adapters.projector import Projector
from adapters.rebuild import Rebuild
from adapters.replays import REPLAY_LOCK, RESERVED, STAGING, ReplayRefusedError, Replays, position_as_of
from adapters.view_bulk import RebuildStoppedError
from adapters.view_cursors import open_connection
from adapters.view_schema import Checksum
from projections.registry import ALL
from tests.api.house import fresh_database
from tests.projections.book import Book
from tests.projections.running import running, until
from tests.projections.town import Town

NAME = "audit_2018"
WAIT_SECONDS_MAX = 60.0
APPEND = "select ledger.append(array[%s]::uuid[], '{0}', '{ticket.held}', array['{}'::bytea], array['{}'::bytea])"
WAITING = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
SLOW = """
import sys, time
from adapters.replays import Replays
from projections.registry import ALL
def show(*_):
    print("begun", flush=True)
    time.sleep(60)
Replays(sys.argv[1], ALL).build(sys.argv[2], on_progress=show)
"""


@pytest.fixture
def town(book: Book) -> Town:
    town = Town(book, Random(11))
    town.act(150)
    return town


@pytest.fixture
def replays(database: str) -> Replays:
    return Replays(database, ALL)


@pytest.fixture
def other_database(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url


def checksums(database: str, schema: str | None = None) -> dict[str, Checksum]:
    """Of every table of the views, or of a replay of them."""
    with psycopg.connect(database) as connection:
        tables = [view_schema.checksums(connection, p, schema or p.name) for p in ALL]
    return {name: checksum for of_view in tables for name, checksum in of_view.items()}


def schemas(database: str) -> set[str]:
    with psycopg.connect(database) as connection:
        return {row[0] for row in connection.execute("select nspname from pg_namespace")}


def copy_ledger(source: str, target: str, until_position: int) -> None:
    """A ledger that ended there."""
    columns = "position, stream_id, version, topic, payload, metadata, recorded_at"
    query = f"select {columns} from ledger.events where position <= %s order by position"
    with psycopg.connect(source) as reading, psycopg.connect(target) as writing:
        rows = reading.execute(query.encode(), (until_position,)).fetchall()
        writing.cursor().executemany(f"insert into ledger.events ({columns}) values ({', '.join(['%s'] * 7)})", rows)
        writing.execute("update ledger.head set position = %s, recorded_at = %s", (until_position, rows[-1][-1]))


def test_it_is_the_read_side_of_a_ledger_that_ended_there(
    database: str, other_database: str, town: Town, replays: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_bulk, "PAGE_FACTS", 7)
    monkeypatch.setattr(view_bulk, "WINDOW_FACTS", 20)
    position = town.position - 40

    def go_on(*_: int) -> None:
        town.act(2)

    with running(Projector(database)):
        report = replays.build(NAME, position, on_progress=go_on)
    copy_ledger(database, other_database, position)
    Rebuild(other_database, ALL).run()
    wanted = checksums(other_database)
    assert checksums(database, NAME) == wanted
    assert (report.replay.position, report.replay.dead_streams) == (position, 0)
    assert report.replay.rows == sum(checksum.rows for checksum in wanted.values()) > 0
    assert replays.kept() == [report.replay]


def test_the_live_side_goes_on_and_the_replay_stays(database: str, town: Town, replays: Replays) -> None:
    position = town.position
    replays.build(NAME)
    then = checksums(database, NAME)
    Projector(database).catch_up()
    assert checksums(database) == then
    town.act(100)
    Projector(database).catch_up()
    assert {report.equal for report in Rebuild(database, ALL).run()} == {True}
    assert checksums(database, NAME) == then
    assert checksums(database) != then
    assert [kept.position for kept in replays.kept()] == [position]


def test_as_of_an_instant_of_the_beginning_and_of_now(database: str, town: Town, replays: Replays) -> None:
    with psycopg.connect(database) as connection:
        query = "select recorded_at from ledger.events where position = %s"
        row = connection.execute(query, (town.position // 2,)).fetchone()
        assert row is not None
        instant = row[0].astimezone(UTC)
        at = connection.execute("select ledger.position_at(%s)", (instant,)).fetchone()
    then = replays.build("at_an_instant", instant).replay
    nothing = replays.build("at_first", 0).replay
    now = replays.build("now").replay
    assert ((then.position,), then.instant) == (at, instant)
    assert (nothing.position, nothing.instant, nothing.rows) == (0, None, 0)
    assert now.position == town.position
    assert now.instant is not None
    assert [kept.name for kept in replays.kept()] == ["at_first", "at_an_instant", "now"]


def test_as_of_an_instant_just_now_waits_for_a_commit_that_is_under_way(database: str, town: Town) -> None:
    """Its time is earlier than the instant; it would be in the same replay if that were made later."""
    wanted, found = town.position + 1, list[int]()

    def look() -> None:
        with closing(open_connection(database)) as connection:
            found.append(position_as_of(connection, instant))

    with psycopg.connect(database) as writer, psycopg.connect(database, autocommit=True) as watcher:
        writer.execute(APPEND, (uuid4(),))
        row = watcher.execute("select clock_timestamp()").fetchone()
        assert row is not None
        instant, looking = row[0], threading.Thread(target=look)
        looking.start()
        deadline = monotonic() + WAIT_SECONDS_MAX
        while looking.is_alive() and watcher.execute(WAITING).fetchone() is None and monotonic() < deadline:
            pass
        writer.commit()
        looking.join(WAIT_SECONDS_MAX)
    assert found == [wanted]


def test_what_is_still_to_come_is_refused(town: Town, replays: Replays) -> None:
    with pytest.raises(ReplayRefusedError, match=f"ends at position {town.position}"):
        replays.build(NAME, town.position + 1)
    with pytest.raises(ReplayRefusedError, match="still to come"):
        replays.build(NAME, datetime.now(UTC) + timedelta(minutes=5))
    assert replays.kept() == []


@pytest.mark.parametrize("role", get_args(Role))
def test_both_roles_read_it_and_neither_writes_it(database: str, town: Town, replays: Replays, role: Role) -> None:
    replays.build(NAME)
    with psycopg.connect(conninfo(database, role), autocommit=True) as connection:
        connection.execute(f"set search_path to {NAME}".encode())
        assert connection.execute("select count(*) from orders").fetchone() == (len(town.orders),)
        for table in chain.from_iterable(projection.tables for projection in ALL):
            for change in (f"delete from {table.name}", f"truncate {table.name}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(change.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create table more ()")


@pytest.mark.parametrize(
    "name",
    [
        "", "2018", "Audit", "audit-2018", "a" * 49, 'a"; drop schema ledger; --', "a.b", "é",
        "select", "user", "pg_audit", "orders", "tickets_next", STAGING, *sorted(RESERVED),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_is_refused_and_nothing_changes(database: str, replays: Replays, name: str) -> None:
    before = schemas(database)
    with pytest.raises(ReplayRefusedError, match=r"no name for a replay|is reserved"):
        replays.build(name)
    with pytest.raises(ReplayRefusedError, match="no replay is kept"):
        replays.drop(name)
    assert schemas(database) == before


def test_a_name_that_is_taken_is_refused(database: str, replays: Replays) -> None:
    with psycopg.connect(database, autocommit=True) as operator:
        operator.execute("create schema theirs")
        operator.execute("create table theirs.precious ()")
    with pytest.raises(ReplayRefusedError, match="a schema theirs that is not a replay"):
        replays.build("theirs")
    with pytest.raises(ReplayRefusedError, match="no replay is kept as theirs"):
        replays.drop("theirs")
    kept = replays.build(NAME).replay
    with pytest.raises(ReplayRefusedError, match="kept already, as of position 0"):
        replays.build(NAME)
    with psycopg.connect(database) as operator:
        assert operator.execute("select count(*) from theirs.precious").fetchone() == (0,)
    assert replays.kept() == [kept]


def test_a_schema_that_appears_while_it_is_built_is_left_alone(database: str, town: Town, replays: Replays) -> None:
    def meddle(*_: int) -> None:
        with psycopg.connect(database, autocommit=True) as operator:
            operator.execute(f"create schema if not exists {NAME}".encode())

    with pytest.raises(ReplayRefusedError, match="somebody has made a schema"):
        replays.build(NAME, on_progress=meddle)
    assert replays.kept() == []
    assert NAME in schemas(database)
    assert STAGING not in schemas(database)


def test_dropped_it_is_gone_and_its_name_is_free(database: str, town: Town, replays: Replays) -> None:
    replays.build(NAME)
    replays.build("other", 1)
    replays.drop(NAME)
    assert [kept.name for kept in replays.kept()] == ["other"]
    assert NAME not in schemas(database)
    replays.build(NAME, 2)
    assert [kept.position for kept in replays.kept()] == [1, 2]


def test_a_replay_that_is_being_read_is_not_dropped(
    database: str, town: Town, replays: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.replays.DROP_WAIT", b"set local lock_timeout = '50ms'")
    kept = replays.build(NAME).replay
    with psycopg.connect(conninfo(database, "counterfoil_app")) as analyst:
        analyst.execute(f"select from {NAME}.orders".encode())
        with pytest.raises(ReplayRefusedError, match="somebody is reading"):
            replays.drop(NAME)
        assert replays.kept() == [kept]
        assert analyst.execute(f"select count(*) from {NAME}.orders".encode()).fetchone() == (len(town.orders),)
    replays.drop(NAME)
    assert replays.kept() == []


def test_stopped_or_failed_it_leaves_nothing(
    database: str, town: Town, replays: Replays, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = schemas(database)
    stop = threading.Event()
    with pytest.raises(RebuildStoppedError):
        replays.build(NAME, stop=stop, on_progress=lambda *_: stop.set())
    with monkeypatch.context() as patched:
        patched.setattr(FactReader, "read", lambda *_: (_ for _ in ()).throw(psycopg.OperationalError("gone")))
        with pytest.raises(psycopg.OperationalError):
            replays.build(NAME)
    assert schemas(database) == before
    assert replays.kept() == []


@pytest.mark.parametrize("after", ["dropped", "built"])
def test_killed_half_way_the_next_clears_up(database: str, town: Town, replays: Replays, after: str) -> None:
    command = [sys.executable, "-c", SLOW, database, NAME]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path.cwd()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        with pytest.raises(ReplayRefusedError, match="another replay is being built"):
            replays.build("meanwhile")
        process.send_signal(signal.SIGKILL)
    assert STAGING in schemas(database)
    assert NAME not in schemas(database)
    assert replays.kept() == []
    until(lambda: lock_is_free(database))
    if after == "dropped":
        replays.drop(NAME)
        with pytest.raises(ReplayRefusedError, match="no replay is kept"):
            replays.drop(NAME)
    else:
        assert replays.build(NAME).replay.position == town.position
    assert STAGING not in schemas(database)


def lock_is_free(database: str) -> bool:
    """The server notices a moment later that a process is gone."""
    with closing(open_connection(database)) as connection:
        return connection.execute("select pg_try_advisory_lock(%s)", (REPLAY_LOCK,)).fetchone() == (True,)


def test_a_fact_that_a_view_cannot_take_is_counted_and_the_rest_is_there(
    database: str, book: Book, town: Town, replays: Replays
) -> None:
    book.append_stored((uuid4(), "account.registered", b"no JSON"))
    assert replays.build(NAME).replay.dead_streams == 1
    with psycopg.connect(database) as connection:
        assert connection.execute(f"select count(*) from {NAME}.orders".encode()).fetchone() == (len(town.orders),)


def test_no_two_views_have_a_table_of_the_same_name() -> None:
    names = [table.name for projection in ALL for table in projection.tables]
    assert len(set(names)) == len(names)
