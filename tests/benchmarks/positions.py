"""How far the views are behind the ledger, asked of the database itself."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import NamedTuple, Self

from psycopg import AsyncConnection

from tests.benchmarks.harness import BenchError

POLL_SECONDS = 0.005
LEVEL_SECONDS_MAX = 120.0

MARKS = b"select (select position from ledger.head), coalesce(min(position), 0) from projections.cursors"


class Marks(NamedTuple):
    ledger: int
    views: int

    @property
    def behind(self) -> int:
        return self.ledger - self.views


class Positions:
    """An async context manager."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._connection = await AsyncConnection.connect(self._url, autocommit=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def marks(self) -> Marks:
        row = await (await self._connection.execute(MARKS, prepare=True)).fetchone()
        assert row is not None
        return Marks(*row)

    async def until_level(self) -> float:
        """Wait until every view is at the ledger's head; the seconds it took. Raises BenchError after two minutes."""
        began = perf_counter()
        while (behind := (await self.marks()).behind) > 0:
            if perf_counter() - began > LEVEL_SECONDS_MAX:
                raise BenchError(f"the views are still {behind} facts behind")
            await asyncio.sleep(POLL_SECONDS)
        return perf_counter() - began
