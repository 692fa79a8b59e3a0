"""Views read over a few connections of their own, so that lists never wait for commands or commands for lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from adapters.postgres import conninfo
from commands.kernel import OverloadedError

CONNECTIONS_MIN = 1
CONNECTIONS_MAX = 8
WAITING_MAX = 1_000
WAIT_SECONDS_MAX = 5.0
STATEMENT_TIMEOUT = "10s"
"""A list that takes longer is of no use to anybody, and would hold up a rebuild's swap."""


class PostgresViews:
    """`projections.kernel.Views`. One per process and event loop."""

    def __init__(self, url: str) -> None:
        info = conninfo(url, "counterfoil_app", planner=True, application="counterfoil views")
        self._pool: AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]] = AsyncConnectionPool(
            info,
            min_size=CONNECTIONS_MIN,
            max_size=CONNECTIONS_MAX,
            max_waiting=WAITING_MAX,
            timeout=WAIT_SECONDS_MAX,
            kwargs={"autocommit": True, "prepare_threshold": 0},
            configure=_configure,
            open=False,
            name="views",
        )

    async def start(self) -> None:
        await self._pool.open(wait=True)

    async def stop(self) -> None:
        await self._pool.close()

    async def fetch(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Raises OverloadedError when no connection is free in time, or the database does not answer."""
        try:
            try:
                return await self._fetch(sql, params)
            except psycopg.errors.QueryCanceled:
                raise
            except (psycopg.OperationalError, psycopg.InterfaceError):
                await self._pool.check()  # the database may have been away: then every idle connection is a dead one
                return await self._fetch(sql, params)
        except (PoolTimeout, TooManyRequests) as error:
            raise OverloadedError("too many are reading") from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise OverloadedError("the database did not answer") from error

    async def _fetch(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(sql.encode(), params)
            return await cursor.fetchall()


async def _configure(connection: AsyncConnection[Any]) -> None:
    await connection.execute(f"set statement_timeout = '{STATEMENT_TIMEOUT}'".encode())
