"""Leader election by a session's advisory lock: PostgreSQL releases it when the leader dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapters.postgres import connect

CANDIDATE_SECONDS = 1.0
"""How often a standby asks whether it is its turn."""
TIMEKEEPER = 0x0C0F_0004


@asynccontextmanager
async def leadership(url: str, lock: int) -> AsyncIterator[None]:
    """Wait until nobody else leads, and lead until the end of the block."""
    conn = await connect(url, "counterfoil_app")
    try:
        while True:
            row = await (await conn.execute("select pg_try_advisory_lock(%s)", (lock,))).fetchone()
            if row is not None and row[0]:
                break
            await asyncio.sleep(CANDIDATE_SECONDS)
        yield
    finally:
        await conn.close()
