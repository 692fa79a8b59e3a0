"""Appending: dense positions, all or nothing, and a refusal for the one who came too late, for nobody else."""

from __future__ import annotations

import asyncio
from random import Random
from uuid import uuid4

import psycopg
import pytest

from adapters.ledger import PostgresLedger
from commands.kernel import ConflictError
from domain.ticket import Ticket
from tests.adapters.ledger_parts import (
    appending,
    cancelled,
    held_up,
    meet_in_one_batch,
    paid,
    rows_of,
    started,
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


async def test_a_batch_notifies_once(ledger: PostgresLedger, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as listener:
        listener.execute("listen counterfoil_ledger")
        await meet_in_one_batch(ledger, database, [appending((uuid4(), 1), (uuid4(), 1)) for _ in range(20)])
        heard = [int(notify.payload) for notify in listener.notifies(timeout=1, stop_after=2)]
    assert heard == [1, 41]


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
