"""The projector: wakes at once, works alone, moves view and position together, and loses or doubles nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection

from adapters import projector_session
from adapters.fact_reader import Page
from adapters.postgres import conninfo
from adapters.projector import LEADER_LOCK, POLL_SECONDS, NotLeaderError, Projector
from adapters.rebuild import Rebuild
from adapters.view_cursors import open_connection
from adapters.view_updater import ViewUpdater, apply
from domain.account import Account, Role
from projections import account
from projections.account import Accounts
from projections.registry import ALL
from tests.projections.book import Book
from tests.projections.conftest import Ask
from tests.projections.running import reached, running, start_process, until
from tests.projections.town import NOW, Town

VIEWS_CHANNEL = "counterfoil_views"


def registered() -> Account.Registered:
    return Account.Registered(email="a@example.com", name="Åsa", roles=(Role.ATTENDEE,), at=NOW)


def assert_as_rebuilt(database: str) -> None:
    """A rebuild finds the rows that are there."""
    assert [report.equal for report in Rebuild(database, ALL).run()] == [True] * len(ALL)


@pytest.fixture
def listener(database: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(conninfo(database, "counterfoil_app"), autocommit=True) as connection:
        connection.execute(f"listen {VIEWS_CHANNEL}".encode())
        yield connection


def test_a_view_says_its_position_soon_after_the_ledger_moved(
    database: str, book: Book, listener: Connection[Any]
) -> None:
    with running(Projector(database)):
        book.append((uuid4(), registered()))
        until(lambda: reached(listener, 1))
        seconds = []
        for _ in range(15):
            list(listener.notifies(timeout=0.05))  # idle, and everything said before is heard
            began = time.monotonic()
            position = book.append((uuid4(), registered()))
            [notification] = listener.notifies(timeout=5, stop_after=1)
            seconds.append(time.monotonic() - began)
            assert int(notification.payload) == position
            assert reached(listener, position)
    assert sorted(seconds)[7] < 0.2
    assert max(seconds) < POLL_SECONDS * 0.9  # it was woken: nothing was left to the fallback


def test_what_is_announced_is_what_all_views_have_reached(database: str, book: Book, listener: Connection[Any]) -> None:
    for _ in range(3):
        book.append((uuid4(), registered()))
    Projector(database, [Accounts()]).catch_up()
    list(listener.notifies(timeout=0.1))
    Projector(database).catch_up()
    heard = [int(notification.payload) for notification in listener.notifies(timeout=0.2)]
    assert heard == [3]


def test_a_view_that_is_behind_catches_up_and_goes_on_in_step(
    database: str, book: Book, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector_session, "PAGE_FACTS", 10)
    for _ in range(95):
        book.append((uuid4(), registered()))
    accounts, *others = reversed(ALL)
    assert isinstance(accounts, Accounts)
    Projector(database, others).catch_up()
    with running(Projector(database)):
        for _ in range(20):
            position = book.append((uuid4(), registered()))
        until(lambda: reached(book.connection, position))
    assert len(ask(account.listed, limit=200)) == 115
    assert_as_rebuilt(database)


def test_of_two_projectors_one_works_and_the_other_follows_it(database: str, book: Book) -> None:
    one, other = Projector(database), Projector(database)
    with running(other):
        with running(one):
            until(lambda: one.leads or other.leads)
            for _ in range(20):
                position = book.append((uuid4(), registered()))
            until(lambda: reached(book.connection, position))
            assert one.leads != other.leads
            leader, standby = (one, other) if one.leads else (other, one)
            assert (leader.facts_total, standby.facts_total) == (20, 0)
        if leader is one:
            position = book.append((uuid4(), registered()))
            until(lambda: reached(book.connection, position))
            assert standby.facts_total == 1
    assert_as_rebuilt(database)


def test_catching_up_is_refused_while_another_projector_leads(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.projector.LEADER_SECONDS_MAX", 0.2)
    with closing(open_connection(database)) as leader:
        leader.execute("select pg_advisory_lock(%s)", (LEADER_LOCK,))
        with pytest.raises(NotLeaderError):
            Projector(database).catch_up()


def test_a_lost_connection_costs_nothing_and_doubles_nothing(
    database: str, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the rows were written and before the position was: both are undone."""
    killed: list[int] = []

    def apply_and_die(connection: Connection[Any], views: list[ViewUpdater], page: Page) -> int:
        rows = apply(connection, views, page)
        if len(killed) < 3:
            killed.append(page.last)
            book_keeper.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))
        return rows

    monkeypatch.setattr(projector_session, "apply", apply_and_die)
    town = Town(book, Random(7))
    with psycopg.connect(database, autocommit=True) as book_keeper, running(Projector(database)) as projector:
        until(lambda: town.act(10) and len(killed) == 3)
        town.act(50)
        until(lambda: reached(book.connection, town.position))
        assert projector.facts_total == town.position
    assert_as_rebuilt(database)


def test_killed_again_and_again_the_views_are_as_replayed(database: str, book: Book) -> None:
    town, random = Town(book, Random(8)), Random(9)
    for _ in range(5):
        process = start_process(database)
        try:
            until(partial(_moves, town, book, town.position))
            town.act(random.randrange(40))
        finally:
            process.kill()
            process.wait()
        town.act(20)
    with running(Projector(database)):
        until(lambda: reached(book.connection, town.position))
    assert_as_rebuilt(database)


def _moves(town: Town, book: Book, before: int) -> bool:
    """Whether somebody is projecting what happens."""
    return town.act(5) > before and reached(book.connection, before + 1)


def test_lag_is_told_in_facts_and_seconds(database: str, book: Book) -> None:
    projector = Projector(database)
    book.append((uuid4(), registered()))
    projector.catch_up()
    assert {(lag.position, lag.facts, lag.seconds) for lag in projector.lag()} == {(1, 0, 0.0)}
    book.append((uuid4(), registered()), (uuid4(), registered()))
    time.sleep(0.05)
    lags = projector.lag()
    assert {(lag.name, lag.position, lag.facts) for lag in lags} == {(p.name, 1, 2) for p in ALL}
    assert all(0.05 <= lag.seconds < 10 for lag in lags)


def test_batches_are_told_to_whoever_measures(database: str, book: Book) -> None:
    book.append(*[(uuid4(), registered()) for _ in range(3)])
    projector, told = Projector(database), []
    projector.on_batch = lambda facts, seconds: told.append((facts, seconds > 0))
    projector.catch_up()
    assert told == [(3, True)]
    assert (projector.facts_total, projector.batches_total) == (3, 1)
