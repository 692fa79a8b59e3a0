"""What the ledger survives: impossible requests, full queues, impatient callers, and a database that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from adapters.committer import BATCH_REQUESTS_MAX, LANES, QUEUE_MAX, RECONNECT_SECONDS
from adapters.ledger import PostgresLedger
from commands.kernel import OverloadedError
from domain.ticket import Ticket
from tests.adapters.ledger_parts import (
    METADATA,
    WAIT_SECONDS_MAX,
    appending,
    connection_count,
    held_up,
    meet_in_one_batch,
    rows_of,
    started,
    terminate_connections,
    until,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.mark.parametrize("bad", ["version", "metadata", "repetition"])
async def test_what_the_database_cannot_take_harms_nobody_else(ledger: PostgresLedger, database: str, bad: str) -> None:
    stream_id = uuid4()
    impossible = {
        "version": appending((stream_id, 2**31)),
        "metadata": appending((stream_id, 1))._replace(metadata=METADATA._replace(actor="\ud800")),
        "repetition": appending((stream_id, 1), (stream_id, 1)),
    }[bad]
    results = await meet_in_one_batch(ledger, database, [appending(), impossible, appending()])
    assert isinstance(results[1], Exception)
    assert not isinstance(results[1], OverloadedError), "its outcome is known: it cannot be recorded"
    assert (results[0], results[2]) == (2, 3)
    assert stream_id not in {row.stream_id for row in rows_of(database)}
    assert await ledger.append(appending()) == 4


async def test_a_full_queue_refuses_at_once_and_keeps_what_it_took(ledger: PostgresLedger, database: str) -> None:
    capacity = QUEUE_MAX + LANES * BATCH_REQUESTS_MAX
    async with held_up(database):
        tasks = [asyncio.create_task(ledger.append(appending())) for _ in range(capacity + 100)]
        await until(lambda: sum(task.done() for task in tasks) >= 100)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert all(isinstance(error, OverloadedError) for error in refused)
    assert 100 <= len(refused) < capacity
    assert sorted(result for result in results if isinstance(result, int)) == list(
        range(1, len(tasks) - len(refused) + 1)
    )


async def test_a_caller_who_goes_away_stops_nobody(ledger: PostgresLedger, database: str) -> None:
    async with held_up(database):
        tasks = [asyncio.create_task(ledger.append(appending())) for _ in range(3)]
        await until(lambda: ledger.committer.busy)
        for task in tasks[:2]:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, asyncio.CancelledError, int]
    assert await ledger.append(appending()) == len(rows_of(database))


async def test_after_a_broken_connection_the_outcome_is_unknown_and_then_it_works_again(
    ledger: PostgresLedger, database: str
) -> None:
    await ledger.append(appending())
    async with held_up(database):
        doomed = asyncio.create_task(ledger.append(appending()))
        await until(lambda: ledger.committer.busy)
        await asyncio.sleep(0.05)  # the statement is on its way
        assert terminate_connections(database) >= LANES
        with pytest.raises(OverloadedError):
            await doomed
    ticket_id = uuid4()
    position = await recovered(lambda: ledger.append(appending((ticket_id, 1))))
    assert position == len(rows_of(database))
    assert (await recovered(lambda: ledger.load(Ticket, [ticket_id])))[0].exists


async def recovered(action: Callable[[], Awaitable[T]]) -> T:
    """Every connection finds out for itself that it was broken, as it comes to be used."""
    for _ in range(2 * LANES):
        try:
            return await action()
        except OverloadedError:
            await asyncio.sleep(RECONNECT_SECONDS)
    raise AssertionError("it did not come back")


@pytest.fixture
def away(postgres: str, database: str) -> Iterator[Callable[[bool], None]]:
    """Takes the database away from everybody, and gives it back."""

    def take(gone: bool) -> None:
        name = conninfo_to_dict(database)["dbname"]
        with psycopg.connect(postgres, autocommit=True) as conn:
            conn.execute(f'alter database "{name}" with allow_connections {not gone}'.encode())
            conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))

    yield take
    take(False)


async def test_while_the_database_is_away_everybody_is_told_and_then_it_goes_on(
    ledger: PostgresLedger, away: Callable[[bool], None]
) -> None:
    ticket_id = uuid4()
    away(True)
    for _ in range(3):
        results = await asyncio.gather(
            ledger.append(appending()), ledger.load(Ticket, [ticket_id]), return_exceptions=True
        )
        assert [type(result) for result in results] == [OverloadedError, OverloadedError]
    away(False)
    assert await recovered(lambda: ledger.append(appending((ticket_id, 1)))) == 1
    assert (await recovered(lambda: ledger.load(Ticket, [ticket_id])))[0].exists


async def test_a_committer_that_gives_up_leaves_nobody_waiting(
    ledger: PostgresLedger, away: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.committer.RECONNECTS_MAX", 3)
    away(True)
    tasks = [asyncio.create_task(ledger.append(appending())) for _ in range(300)]
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT_SECONDS_MAX)
    assert {type(result) for result in results} == {OverloadedError}
    await until(lambda: ledger.committer._closed)
    with pytest.raises(OverloadedError):
        await asyncio.wait_for(ledger.append(appending()), WAIT_SECONDS_MAX)


async def test_stopping_finishes_what_was_taken_and_refuses_what_comes(database: str) -> None:
    async with started(database) as ledger:
        tasks = [asyncio.create_task(ledger.append(appending())) for _ in range(50)]
        await asyncio.sleep(0)
    assert sorted(await asyncio.gather(*tasks)) == list(range(1, 51))
    with pytest.raises(OverloadedError):
        await ledger.append(appending())
    await until(lambda: connection_count(database) == 0)
