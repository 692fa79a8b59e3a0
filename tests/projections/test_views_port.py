"""The port to the views: bounded, and whole again as soon as the database is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from adapters import views as views_module
from adapters.views import CONNECTIONS_MAX, PostgresViews
from commands.kernel import OverloadedError

pytestmark = pytest.mark.anyio

SLEEP = "select pg_sleep(%s)::text"
END_OTHERS = """
    select count(pg_terminate_backend(pid)) from pg_stat_activity
     where datname = current_database() and application_name = 'counterfoil views'"""


@asynccontextmanager
async def started(database: str) -> AsyncIterator[PostgresViews]:
    views = PostgresViews(database)
    await views.start()
    try:
        yield views
    finally:
        await views.stop()


async def test_rows_come_as_they_are(database: str) -> None:
    async with started(database) as views:
        assert await views.fetch("select %(a)s::int, %(b)s::text, '100%%'", {"a": 1, "b": None, "unused": 2}) == [
            (1, None, "100%")
        ]
        assert await views.fetch("select current_user::text, current_setting('is_superuser')", ()) == [
            ("counterfoil_app", "off")
        ]


async def test_it_reads_again_when_the_database_was_away(database: str) -> None:
    async with started(database) as views:
        await asyncio.gather(*(views.fetch(SLEEP, (0.1,)) for _ in range(CONNECTIONS_MAX)))
        with psycopg.connect(database, autocommit=True) as admin:
            row = admin.execute(END_OTHERS).fetchone()
            assert row is not None
            assert row[0] > 1
        assert await views.fetch("select 1", ()) == [(1,)]


async def test_too_many_readers_are_told_to_come_again(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound, value in (("CONNECTIONS_MIN", 2), ("CONNECTIONS_MAX", 2), ("WAITING_MAX", 2), ("WAIT_SECONDS_MAX", 0.3)):
        monkeypatch.setattr(views_module, bound, value)
    async with started(database) as views:
        answers = await asyncio.gather(*(views.fetch(SLEEP, (1,)) for _ in range(7)), return_exceptions=True)
        assert [answer for answer in answers if isinstance(answer, list)] == [[("",)]] * 2
        assert sum(isinstance(answer, OverloadedError) for answer in answers) == 5


async def test_a_read_that_takes_too_long_is_ended(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views_module, "STATEMENT_TIMEOUT", "100ms")
    async with started(database) as views:
        with pytest.raises(OverloadedError):
            await views.fetch(SLEEP, (5,))
