"""Time in the ledger: it never steps back, and every instant has one position."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.ledger import PostgresLedger
from tests.adapters.ledger_parts import DOORS, appending, rows_of, scalar, started


@pytest.mark.anyio
async def test_recorded_times_follow_positions_whoever_writes(ledger: PostgresLedger, database: str) -> None:
    async with started(database) as elsewhere:
        stores = [ledger, elsewhere] * 40
        await asyncio.gather(*(store.append(appending()) for store in stores))
    rows = rows_of(database)
    assert len(rows) == len(stores)
    assert all(earlier.recorded_at <= later.recorded_at for earlier, later in pairwise(rows))
    assert abs(rows[-1].recorded_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.anyio
async def test_a_clock_that_is_set_back_does_not_set_the_ledger_back(ledger: PostgresLedger, database: str) -> None:
    await ledger.append(appending())
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    with psycopg.connect(database) as conn:
        conn.execute("update ledger.head set recorded_at = %s", (ahead,))
    await asyncio.gather(*(ledger.append(appending()) for _ in range(3)))
    assert [row.recorded_at for row in rows_of(database)][1:] == [ahead] * 3
    assert scalar(database, "select ledger.position_at(%s)", ahead) == 4
    assert scalar(database, "select ledger.position_at(%s)", ahead - timedelta(microseconds=1)) == 1


def test_before_anything_was_recorded_every_instant_is_position_0(database: str) -> None:
    assert scalar(database, "select ledger.position_at(now())") == 0
    assert scalar(database, "select ledger.position_at('infinity')") == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.sampled_from([0, 0, 1, 2, 1_000_000]), max_size=40),
    instants=st.lists(st.integers(min_value=-3, max_value=12), min_size=1, max_size=10),
)
def test_an_instants_position_is_the_last_recorded_by_then(database: str, gaps: list[int], instants: list[int]) -> None:
    """Gaps are microseconds between facts: batches give many facts one time, and clocks may stand still."""
    times = [DOORS + timedelta(microseconds=total) for total in accumulate(gaps)]
    asked = [DOORS + timedelta(microseconds=offset) for offset in instants] + times
    with psycopg.connect(database) as conn:
        conn.cursor().executemany(
            "insert into ledger.events values (%s, %s, 1, 'ticket.held', '', '', %s)",
            [(position, uuid4(), time) for position, time in enumerate(times, 1)],
        )
        conn.execute("update ledger.head set position = %s", (len(times),))
        found = conn.execute("select ledger.position_at(t) from unnest(%s::timestamptz[]) t", (asked,)).fetchall()
        conn.rollback()  # each example has a ledger of its own
    assert [position for (position,) in found] == [bisect_right(times, instant) for instant in asked]
