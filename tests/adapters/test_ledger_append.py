"""Appending: dense positions, all or nothing, and a refusal for the one who came too late, for nobody else."""

from __future__ import annotations

import asyncio
from random import Random
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.committer import BATCH_REQUESTS_MAX, LANES, QUEUE_MAX
from adapters.ledger import PostgresLedger
from commands.kernel import ConflictError, OverloadedError
from domain.ticket import Ticket
from tests.adapters.ledger_parts import (
    METADATA,
    appending,
    cancelled,
    held_up,
    meet_in_one_batch,
    paid,
    rows_of,
    scalar,
    started,
    terminate_connections,
    until,
)

pytestmark = pytest.mark.anyio


async def test_positions_are_dense_and_each_caller_gets_its_own(ledger: PostgresLedger, database: str) -> None:
    random = Random(1)
    requests = [appending(*((uuid4(), 1) for _ in range(random.randint(1, 4)))) for _ in range(400)]
    results = await asyncio.gather(*(ledger.append(request) for request in requests))
    rows = rows_of(database)
    assert [row.position for row in rows] == list(range(1, sum(len(request.facts) for request in requests) + 1))
    for request, last in zip(requests, results, strict=True):
        own = rows[last - len(request.facts) : last]
        assert [(row.stream_id, row.version) for row in own] == [(new.stream_id, 1) for new in request.facts]


async def test_what_was_acknowledged_is_loaded_again(ledger: PostgresLedger) -> None:
    ticket_id = uuid4()
    await ledger.append(appending((ticket_id, 1)))
    await ledger.append(appending((ticket_id, 2, paid())))
    (ticket,) = await ledger.load(Ticket, [ticket_id])
    assert (ticket.version, ticket.status, ticket.price) == (2, "paid", 4500)


async def test_several_streams_are_appended_together_or_not_at_all(ledger: PostgresLedger, database: str) -> None:
    taken, order_id, free = uuid4(), uuid4(), uuid4()
    await ledger.append(appending((taken, 1)))
    async with started(database) as elsewhere:
        with pytest.raises(ConflictError) as refused:
            await elsewhere.append(appending((order_id, 1, cancelled()), (free, 1), (taken, 1)))
    assert taken in refused.value.stream_ids
    assert [row.stream_id for row in rows_of(database)] == [taken]


async def test_a_conflict_refuses_the_loser_and_nobody_else_in_its_batch(ledger: PostgresLedger, database: str) -> None:
    taken = uuid4()
    async with started(database) as elsewhere:
        await elsewhere.append(appending((taken, 1)))
    requests = [appending((uuid4(), 1), (taken if n % 3 == 0 else uuid4(), 1)) for n in range(12)]
    requests = [requests[0], *(request for n, request in enumerate(requests) if n % 3)]
    results = await meet_in_one_batch(ledger, database, requests)
    assert ledger.committer.batches == 2
    assert isinstance(results[0], ConflictError)
    assert results[1:] == list(range(4, 4 + 2 * len(requests[1:]), 2))
    assert [row.position for row in rows_of(database)] == list(range(1, 2 + 2 * len(requests[1:]) + 1))


async def test_of_two_who_want_the_same_place_one_wins(ledger: PostgresLedger, database: str) -> None:
    ticket_id = uuid4()
    async with started(database) as elsewhere:
        attempts = [store.append(appending((ticket_id, 1))) for store in (ledger, elsewhere) for _ in range(20)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ConflictError"] * 39 + ["int"]
    assert len(rows_of(database)) == 1


async def test_a_conflict_this_process_knows_of_needs_no_round_trip(ledger: PostgresLedger, database: str) -> None:
    ticket_id = uuid4()
    await ledger.append(appending((ticket_id, 1)))
    async with held_up(database):
        with pytest.raises(ConflictError):
            await ledger.append(appending((ticket_id, 1)))


# -- Conditions: what a decision rests on without writing it. -------------------------


async def test_a_decision_stands_while_what_it_rests_on_has_not_moved(ledger: PostgresLedger) -> None:
    event_id, blank = uuid4(), uuid4()
    await ledger.append(appending((event_id, 1)))
    assert await ledger.append(appending(rests_on=[(event_id, 1), (blank, 0)])) == 2


async def test_a_decision_falls_when_what_it_rests_on_has_moved(ledger: PostgresLedger, database: str) -> None:
    event_id = uuid4()
    async with started(database) as elsewhere:
        await elsewhere.append(appending((event_id, 1)))
        await elsewhere.append(appending((event_id, 2, paid())))
    alone = await asyncio.gather(ledger.append(appending(rests_on=[(event_id, 1)])), return_exceptions=True)
    assert isinstance(alone[0], ConflictError)
    requests = [appending(), appending(rests_on=[(event_id, 1)]), appending(rests_on=[(event_id, 2)])]
    results = await meet_in_one_batch(ledger, database, requests)
    assert isinstance(results[1], ConflictError)
    assert (results[0], results[2]) == (4, 5)


async def test_a_decision_does_not_rest_on_what_its_own_batch_moves(ledger: PostgresLedger, database: str) -> None:
    event_id = uuid4()
    await ledger.append(appending((event_id, 1)))
    requests = [appending((event_id, 2, paid())), appending(rests_on=[(event_id, 1)])]
    results = await meet_in_one_batch(ledger, database, requests)
    assert isinstance(results[1], ConflictError)
    assert len(rows_of(database)) == 3


# -- What a batch must survive. ---------------------------------------------------------


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
    for _ in range(LANES + 1):  # the other lane, and the readers, find their connections gone as they come to use them
        try:
            position = await ledger.append(appending())
            break
        except OverloadedError:
            continue
    assert position == len(rows_of(database))
    ticket_id = uuid4()
    assert await ledger.append(appending((ticket_id, 1))) == position + 1
    assert (await load_again(ledger, ticket_id)).exists


async def load_again(ledger: PostgresLedger, ticket_id: UUID) -> Ticket:
    for _ in range(5):
        try:
            return (await ledger.load(Ticket, [ticket_id]))[0]
        except OverloadedError:
            continue
    raise AssertionError("the readers did not come back")


async def test_stopping_finishes_what_was_taken_and_refuses_what_comes(database: str) -> None:
    async with started(database) as ledger:
        tasks = [asyncio.create_task(ledger.append(appending())) for _ in range(50)]
        await asyncio.sleep(0)
    assert sorted(await asyncio.gather(*tasks)) == list(range(1, 51))
    with pytest.raises(OverloadedError):
        await ledger.append(appending())
    assert (
        scalar(
            database,
            "select count(*) from pg_stat_activity where application_name = 'counterfoil'"
            " and datname = current_database()",
        )
        == 0
    )


async def test_a_batch_notifies_once(ledger: PostgresLedger, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute("listen counterfoil_ledger")
        await meet_in_one_batch(ledger, database, [appending((uuid4(), 1), (uuid4(), 1)) for _ in range(20)])
        heard = [int(notify.payload) for notify in listener.notifies(timeout=1, stop_after=2)]
    assert heard == [1, 41]
