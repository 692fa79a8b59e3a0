"""The read port of the projections, on a pool of connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg_pool import AsyncConnectionPool


class PostgresViews:
    """`projections.kernel.Views`, as the application's role, which may read the views and change nothing in them."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def fetch(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of one statement, which sees one moment of every view it names."""
        async with self._pool.connection() as conn:
            cursor = conn.cursor(binary=True)
            await cursor.execute(sql.encode(), params)
            return await cursor.fetchall()
