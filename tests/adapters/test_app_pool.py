"""The connections that everybody shares: nobody waits for one for ever, and nobody keeps one for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from psycopg.errors import QueryCanceled
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from adapters import app_pool

pytestmark = pytest.mark.anyio

SLEEP = b"select pg_sleep(%s)"


@asynccontextmanager
async def opened(database: str) -> AsyncIterator[AsyncConnectionPool]:
    async with app_pool.make(database) as pool:
        await pool.wait()
        yield pool


async def sleep(pool: AsyncConnectionPool, seconds: float) -> None:
    async with pool.connection() as connection:
        await connection.execute(SLEEP, (seconds,))


async def test_waiting_has_an_end_and_so_has_the_queue(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound, value in (("CONNECTIONS_MAX", 1), ("WAITING_MAX", 2), ("WAIT_SECONDS_MAX", 0.2)):
        monkeypatch.setattr(app_pool, bound, value)
    async with opened(database) as pool:
        ended = await asyncio.gather(*(sleep(pool, 0.6) for _ in range(5)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == sorted(
        ["NoneType", *[PoolTimeout.__name__] * 2, *[TooManyRequests.__name__] * 2]
    )


async def test_a_statement_that_takes_too_long_is_ended(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_pool, "STATEMENT_TIMEOUT", "100ms")
    async with opened(database) as pool:
        with pytest.raises(QueryCanceled):
            await sleep(pool, 60)
        await sleep(pool, 0)
