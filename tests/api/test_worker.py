"""A worker outlives what fails in it: its database's restarts, its housekeeping, a tree that must not be signed."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from structlog.testing import capture_logs

from adapters import tree
from adapters.leader import TIMEKEEPER
from api import worker as worker_room
from api.bootstrap import Application
from api.settings import Settings
from api.worker import run_worker
from tests.adapters.ledger_parts import SECRET
from tests.adapters.test_tree_growth import OTHER_TREE, tamper
from tests.adapters.tree_parts import Writer, grow, heads_of

WAIT_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
STANDBYS = """
    select pid from pg_stat_activity
     where datname = current_database() and query like '%pg_try_advisory_lock(%' and application_name = 'counterfoil'"""
LEADERS = f"""
    select count(*) from pg_locks l join pg_database d on d.oid = l.database
     where d.datname = current_database() and locktype = 'advisory' and objid = {TIMEKEEPER} and granted"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_room, "RETRY_SECONDS", 0.05)


@asynccontextmanager
async def at_work(database: str) -> AsyncIterator[None]:
    """Until the end of the block, and told to stop as a supervisor does; it must not have ended before."""
    work = asyncio.create_task(run_worker(Settings.from_environment({}), database, SECRET, threading.Event()))
    await asyncio.sleep(0)  # it hears signals from here on
    try:
        yield
        assert not work.done(), "the worker has ended"
    finally:
        if not work.done():
            signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(work, WAIT_SECONDS_MAX)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - other threads' doing
            await asyncio.sleep(POLL_SECONDS)


def count(database: str, query: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row is not None else 0


def reached(database: str) -> int:
    """What every view has."""
    return count(database, "select coalesce(min(position), 0) from projections.cursors")


def test_what_fails_in_the_housekeeping_is_done_again(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_room, "ERASURES_SECONDS", 0.05)
    monkeypatch.setattr(worker_room, "TIDY_SECONDS", 0.05)
    done = {"finish_erasures": 0, "tidy": 0}

    def failing_at_first(name: str) -> None:
        work = getattr(Application, name)

        async def attempt(app: Application) -> int:
            done[name] += 1
            if done[name] == 1:
                raise PoolTimeout("no connection in time")
            return int(await work(app))

        monkeypatch.setattr(Application, name, attempt)

    async def live() -> None:
        async with at_work(database):
            await until(lambda: min(done.values()) >= 3)

    for name in done:
        failing_at_first(name)
    with capture_logs() as logs:
        asyncio.run(live())
    failed = [entry["work"] for entry in logs if entry["event"] == "housekeeping_failed"]
    assert sorted(failed) == ["erasures", "tidying"]


def test_erasures_that_were_cut_off_are_ended_within_minutes() -> None:
    assert worker_room.ERASURES_SECONDS <= 120


def test_who_stands_by_takes_over_though_the_database_was_away_meanwhile(database: str) -> None:
    async def live() -> None:
        with psycopg.connect(database, autocommit=True) as leader:
            leader.execute("select pg_advisory_lock(%s)", (TIMEKEEPER,))
            async with at_work(database):
                await until(lambda: leader.execute(STANDBYS.encode()).fetchall())
                for (pid,) in leader.execute(STANDBYS.encode()).fetchall():
                    leader.execute("select pg_terminate_backend(%s)", (pid,))
                leader.execute("select pg_advisory_unlock(%s)", (TIMEKEEPER,))
                await until(lambda: count(database, LEADERS) == 1)

    asyncio.run(live())


def test_a_tree_that_must_not_be_signed_holds_the_builder_and_nobody_else(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "HELD_SECONDS", 0.1)
    writer = Writer(database)
    writer.append(20)
    head = grow(database, SECRET)
    tamper(database, OTHER_TREE)

    async def live() -> None:
        async with at_work(database):
            await until(lambda: sum(entry["event"] == "tree_held" for entry in logs) >= 2)
            await asyncio.to_thread(writer.append, 20)
            await until(lambda: reached(database) == 40)
            await until(lambda: count(database, LEADERS) == 1)

    with capture_logs() as logs:
        asyncio.run(live())
    assert heads_of(database) == [head]
