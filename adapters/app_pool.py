"""The application's connections beside commands and lists: people and sessions, the ledger's pages, proofs.

They are shared, so every wait has an end: who finds no connection in time, or asks for more than a statement may take, is
told to come again (psycopg.OperationalError, a 503).
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from adapters.postgres import conninfo

CONNECTIONS_MIN = 1
CONNECTIONS_MAX = 8
WAITING_MAX = 1_000
WAIT_SECONDS_MAX = 5.0
STATEMENT_TIMEOUT = "10s"
"""As for the views: each statement reads one page, or a person's few rows."""
OPEN_SECONDS_MAX = 10.0


def make(url: str) -> AsyncConnectionPool:
    """Not open yet."""
    return AsyncConnectionPool(
        conninfo(url, "counterfoil_app"),
        min_size=CONNECTIONS_MIN,
        max_size=CONNECTIONS_MAX,
        max_waiting=WAITING_MAX,
        timeout=WAIT_SECONDS_MAX,
        kwargs={"autocommit": True},
        configure=_configure,
        open=False,
        name="application",
    )


async def _configure(connection: AsyncConnection[Any]) -> None:
    await connection.execute(f"set statement_timeout = '{STATEMENT_TIMEOUT}'".encode())
