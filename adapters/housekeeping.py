"""What is kept only for a while: answers to repeats, and refresh tokens."""

from __future__ import annotations

from datetime import timedelta

from psycopg_pool import AsyncConnectionPool

ANSWERS_KEPT = timedelta(hours=48)
"""The contract promises 24."""
REVOCATIONS_KEPT = timedelta(days=60)
ROWS_MAX = 50_000
"""Deleted in one go; the rest waits for the next round."""


OUTLIVED: tuple[tuple[str, str, str, timedelta], ...] = (
    ("ledger.answers", "id", "answered_at", ANSWERS_KEPT),
    ("secrets.refresh_tokens", "digest", "expires_at", timedelta(0)),
    ("secrets.revoked_families", "family_id", "revoked_at", REVOCATIONS_KEPT),
)
"""Table, key, the column that tells its age, and how long it is kept."""


async def tidy(pool: AsyncConnectionPool) -> int:
    """Delete what has outlived its purpose and return how many rows that were."""
    deleted = 0
    async with pool.connection() as conn:
        for table, key, instant, kept in OUTLIVED:
            query = (
                f"delete from {table} where {key} in (select {key} from {table} where {instant} < now() - %s limit %s)"
            )
            deleted += (await conn.execute(query.encode(), (kept, ROWS_MAX))).rowcount
    return deleted
