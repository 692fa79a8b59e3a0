"""Rebuilt beside the views in use: readers never notice, writers never wait, and what was wrong is found out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from random import Random
from uuid import uuid4

import psycopg
import pytest

from adapters import view_bulk, view_shadows
from adapters.fact_reader import FactReader
from adapters.postgres import conninfo
from adapters.projector import Projector
from adapters.rebuild import REBUILD_LOCK, Rebuild, RebuildReport, RebuildRunningError
from adapters.view_bulk import RebuildStoppedError
from adapters.view_cursors import open_connection
from domain.account import Account, Role
from domain.personal import stored_text
from projections import account
from projections.account import ACCOUNTS, Accounts
from projections.kernel import Recorded, when
from projections.registry import ALL
from projections.rows import Rows
from projections.ticket import Tickets
from tests.projections.book import Book
from tests.projections.conftest import Ask
from tests.projections.running import reached, running, until
from tests.projections.town import NOW, Town

COUNT = "select count(*) from accounts.accounts where email > %s"


def registered(name: str = "Åsa") -> Account.Registered:
    return Account.Registered(email=f"{name}@example.com", name=name, roles=(Role.ATTENDEE,), at=NOW)


class ShoutedAccounts(Accounts):
    """The next release: names in capitals."""

    version = 3

    @when(Account.Registered)
    def registered(self, recorded: Recorded, fact: Account.Registered, rows: Rows) -> None:
        Accounts.registered(self, recorded, fact, rows)
        rows.patch(ACCOUNTS, recorded.stream_id, name=stored_text(fact.name).upper())


def schemas(database: str) -> set[str]:
    with psycopg.connect(database) as connection:
        return {row[0] for row in connection.execute("select nspname from pg_namespace where nspname like '%\\_next'")}


class Reader(threading.Thread):
    """Reads a view again and again, as the API does, and keeps the smallest answer and the longest wait."""

    def __init__(self, database: str, *, prepared: bool) -> None:
        super().__init__(daemon=True)
        self._connection = psycopg.connect(
            conninfo(database, "counterfoil_app", planner=True),
            autocommit=True,
            prepare_threshold=0 if prepared else None,
        )
        self.reads = 0
        self.smallest = 10**9
        self.longest = 0.0
        self.error: Exception | None = None
        self.stop = threading.Event()

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                began = time.monotonic()
                row = self._connection.execute(COUNT, ("",)).fetchone()
                assert row is not None
                self.smallest = min(self.smallest, row[0])
                self.longest = max(self.longest, time.monotonic() - began)
                self.reads += 1
        except Exception as error:  # noqa: BLE001 - for the test to look at
            self.error = error
        finally:
            self._connection.close()


def test_rebuilt_while_people_write_and_read_nobody_notices(database: str, book: Book) -> None:
    town = Town(book, Random(3))
    for _ in range(20):
        town.register()
    stop = threading.Event()
    writer = threading.Thread(target=lambda: [town.act() for _ in iter(stop.is_set, True)])
    readers = [Reader(database, prepared=prepared) for prepared in (True, True, False)]
    with running(Projector(database)):
        until(lambda: reached(book.connection, town.position))
        for thread in (writer, *readers):
            thread.start()
        reports = [report for _ in range(4) for report in Rebuild(database, ALL).run()]
        stop.set()
        writer.join()
        for reader in readers:
            reader.stop.set()
            reader.join()
        until(lambda: reached(book.connection, town.position))
    assert [reader.error for reader in readers] == [None] * len(readers)
    assert all(reader.reads > 20 and reader.smallest >= 20 and reader.longest < 5 for reader in readers)
    assert {report.equal for report in reports} == {True}
    assert {report.equal for report in Rebuild(database, ALL).run()} == {True}
    assert schemas(database) == set()


def test_the_report_says_what_was_made(database: str, book: Book, caught_up: Callable[[], int]) -> None:
    for name in "abc":
        book.append((uuid4(), registered(name)))
    caught_up()
    first, second = (Rebuild(database, [Accounts()]).run()[0] for _ in range(2))
    assert (first.name, first.version, first.facts, first.rows, first.equal, first.dead_streams) == (
        "accounts",
        2,
        3,
        3,
        True,
        0,
    )
    assert first.seconds > 0
    assert first.checksum == second.checksum
    book.append((uuid4(), registered("d")))
    caught_up()
    assert Rebuild(database, [Accounts()]).run()[0].checksum != first.checksum


def test_a_view_that_was_wrong_is_found_out_and_put_right(
    database: str, book: Book, ask: Ask, caught_up: Callable[[], int]
) -> None:
    book.append((uuid4(), registered("a")))
    caught_up()
    with psycopg.connect(database, autocommit=True) as vandal:
        vandal.execute("update accounts.accounts set name = 'somebody else'")
    [report] = Rebuild(database, [Accounts()]).run()
    assert report.equal is False
    assert [row.name for row in ask(account.listed, limit=10)] == ["a"]


def test_a_new_version_is_built_beside_the_old_which_is_read_until_then(database: str, book: Book, ask: Ask) -> None:
    book.append(*[(uuid4(), registered(name)) for name in ("ann", "bob")])
    Projector(database).catch_up()
    reports: list[RebuildReport] = []
    projector = Projector(database, [ShoutedAccounts(), Tickets()])
    projector.on_rebuild = reports.append
    with running(projector):
        until(lambda: ask(account.listed, limit=10)[0].name == "BOB")
        position = book.append((uuid4(), registered("cy")))
        until(lambda: len(ask(account.listed, limit=10)) == 3)
        until(lambda: reports)
    assert [row.name for row in ask(account.listed, limit=10)] == ["CY", "BOB", "ANN"]
    assert [(report.name, report.version, report.equal) for report in reports] == [("accounts", 3, None)]
    assert position == 3


def test_a_projector_leaves_a_view_alone_that_another_release_has_made_anew(
    database: str, book: Book, ask: Ask
) -> None:
    book.append((uuid4(), registered("ann")))
    with running(Projector(database)):
        until(lambda: reached(book.connection, 1))
        Rebuild(database, [ShoutedAccounts()]).run()
        position = book.append((uuid4(), registered("bob")))
        query = "select min(position) from projections.cursors where name <> 'accounts'"
        until(lambda: book.connection.execute(query).fetchone() == (position,))
    assert [row.name for row in ask(account.listed, limit=10)] == ["ANN"]


def test_tables_that_are_not_as_declared_are_rebuilt(database: str, book: Book, ask: Ask) -> None:
    book.append((uuid4(), registered("ann")))
    Projector(database).catch_up()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("alter table accounts.accounts drop column name")
    Projector(database).catch_up()
    assert [row.name for row in ask(account.listed, limit=10)] == ["ann"]


def test_a_view_far_behind_is_rebuilt_by_the_projector(
    database: str, book: Book, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.projector_session.REBUILD_BEHIND_FACTS", 50)
    monkeypatch.setattr("adapters.rebuild.COMPARABLE_FACTS", 10)
    book.append(*[(uuid4(), registered()) for _ in range(60)])
    projector = Projector(database)
    with running(projector):
        until(lambda: reached(book.connection, 60))
    assert projector.facts_total == 0
    assert len(ask(account.listed, limit=100)) == 60


def test_facts_that_come_while_the_shadow_is_filled_are_in_it(
    database: str, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_bulk, "PAGE_FACTS", 7)
    monkeypatch.setattr(view_bulk, "WINDOW_FACTS", 20)
    monkeypatch.setattr(view_shadows, "PAGE_FACTS", 5)
    town = Town(book, Random(5))
    town.act(200)
    Projector(database).catch_up()

    def write_more(position: int, goal: int) -> None:
        assert 0 < position <= goal
        if len(town.orders) < 200:
            town.act(3)
            Projector(database).catch_up()

    reports = Rebuild(database, ALL, on_progress=write_more).run()
    assert {report.equal for report in reports} == {True}
    assert {report.facts for report in reports} == {town.position}


def test_a_rebuild_without_a_projector_at_work_goes_where_the_views_are(database: str, book: Book) -> None:
    for _ in range(3):
        book.append((uuid4(), registered()))
    Projector(database).catch_up()
    book.append((uuid4(), registered()))
    assert {(report.facts, report.equal) for report in Rebuild(database, ALL).run()} == {(3, True)}
    assert Projector(database).catch_up() == 4
    assert {(report.facts, report.equal) for report in Rebuild(database, ALL).run()} == {(4, True)}


def test_views_that_never_were_are_built(database: str, book: Book, ask: Ask) -> None:
    book.append((uuid4(), registered("ann")))
    assert {(report.facts, report.equal) for report in Rebuild(database, ALL).run()} == {(1, None)}
    assert [row.name for row in ask(account.listed, limit=10)] == ["ann"]


def test_one_rebuild_at_a_time(database: str) -> None:
    with closing(open_connection(database)) as other:
        other.execute("select pg_advisory_lock(%s)", (REBUILD_LOCK,))
        with pytest.raises(RebuildRunningError):
            Rebuild(database, ALL).run()


def test_stopped_it_leaves_everything_as_it_was(database: str, book: Book, ask: Ask) -> None:
    book.append((uuid4(), registered("ann")))
    Projector(database).catch_up()
    stop = threading.Event()
    with pytest.raises(RebuildStoppedError):
        Rebuild(database, ALL, stop=stop, on_progress=lambda *_: stop.set()).run()
    assert schemas(database) == set()
    assert [row.name for row in ask(account.listed, limit=10)] == ["ann"]
    assert {report.equal for report in Rebuild(database, ALL).run()} == {True}


def test_what_a_killed_rebuild_left_behind_is_cleared_away(
    database: str, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.append((uuid4(), registered("ann")))
    Projector(database).catch_up()
    with monkeypatch.context() as patched:
        patched.setattr(view_shadows.Shadows, "drop", lambda _: None)
        patched.setattr(FactReader, "read", lambda *_: (_ for _ in ()).throw(psycopg.OperationalError("gone")))
        with pytest.raises(psycopg.OperationalError):
            Rebuild(database, ALL).run()
    assert schemas(database) == {f"{projection.name}_next" for projection in ALL}
    assert {report.equal for report in Rebuild(database, ALL).run()} == {True}
    assert schemas(database) == set()


def test_it_waits_for_somebody_who_reads_for_long_and_others_read_meanwhile(database: str, book: Book) -> None:
    book.append((uuid4(), registered("ann")))
    Projector(database).catch_up()
    reader = Reader(database, prepared=True)
    rebuild = threading.Thread(target=Rebuild(database, [Accounts()]).run)
    with psycopg.connect(conninfo(database, "counterfoil_app")) as long:
        assert long.execute(COUNT, ("",)).fetchone() == (1,)
        reader.start()
        rebuild.start()
        time.sleep(1.2)
        assert rebuild.is_alive()
        reads = reader.reads
        until(lambda: reader.reads > reads)
        assert long.execute(COUNT, ("",)).fetchone() == (1,)
    rebuild.join(20)
    assert not rebuild.is_alive()
    reader.stop.set()
    reader.join()
    assert (reader.error, reader.smallest) == (None, 1)


def test_the_application_reads_views_and_writes_none_also_after_a_rebuild(database: str, book: Book) -> None:
    book.append((uuid4(), registered("ann")))
    Projector(database).catch_up()
    Rebuild(database, ALL).run()
    with psycopg.connect(conninfo(database, "counterfoil_app"), autocommit=True) as app:
        for projection in ALL:
            for table in projection.tables:
                app.execute(f"select * from {projection.name}.{table.name}".encode())
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    app.execute(f"delete from {projection.name}.{table.name}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("update projections.cursors set position = 0")
