"""Following the ledger: every fact once, in order, from whichever process; and decisions that rest on shared reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.follower import PAGE_FACTS, Followed
from adapters.ledger import PostgresLedger
from commands.kernel import ConflictError
from domain.ticket import Ticket
from tests.adapters.ledger_parts import appending, paid, rows_of, started, terminate_connections, until

pytestmark = pytest.mark.anyio


class Log:
    """A listener that remembers what it was given."""

    def __init__(self, ledger: PostgresLedger) -> None:
        self.heard: list[Followed] = []
        ledger.follower.listen(self.add)

    def add(self, batch: Sequence[Followed]) -> None:
        self.heard.extend(batch)

    @property
    def positions(self) -> list[int]:
        return [followed.position for followed in self.heard]


async def test_everything_is_delivered_once_and_in_order_while_two_processes_write(
    ledger: PostgresLedger, database: str
) -> None:
    random = Random(2)

    async def write(store: PostgresLedger) -> None:
        for _ in range(60):
            await store.append(appending(*((uuid4(), 1) for _ in range(random.choice((1, 1, 1, 5, 60))))))

    async with started(database) as elsewhere:
        logs = Log(ledger), Log(elsewhere)
        await asyncio.gather(*(write(store) for store in (ledger, elsewhere) for _ in range(8)))
        rows = rows_of(database)
        await until(lambda: all(log.positions and log.positions[-1] == len(rows) for log in logs))
    assert len(rows) > PAGE_FACTS
    for log in logs:
        assert log.positions == list(range(1, len(rows) + 1))
        assert [(heard.stream_id, heard.version, heard.recorded_at) for heard in log.heard] == [
            (row.stream_id, row.version, row.recorded_at) for row in rows
        ]


async def test_following_goes_on_after_the_connections_broke(ledger: PostgresLedger, database: str) -> None:
    log = Log(ledger)
    async with started(database) as elsewhere:
        await elsewhere.append(appending())
    await until(lambda: log.positions == [1])
    terminate_connections(database)
    async with started(database) as elsewhere:
        for _ in range(3):
            await elsewhere.append(appending())
    await until(lambda: log.positions == [1, 2, 3, 4])


async def test_a_fact_of_a_release_to_come_stops_nobody(ledger: PostgresLedger, database: str) -> None:
    log = Log(ledger)
    with psycopg.connect(database) as conn:
        conn.execute(
            "select ledger.append(stream_ids => %s::uuid[], versions => '{1,2}', topics => %s::text[],"
            " payloads => array['{}', '{}']::bytea[], metadatas => array['{}', '{}']::bytea[])",
            ([uuid4()] * 2, ["ticket.teleported", "ticket.held@99"]),
        )
    await ledger.append(appending())
    await until(lambda: log.positions == [3])


# -- Shared reads. ------------------------------------------------------------------------


async def test_what_was_peeked_is_read_once_and_again_when_it_moved(ledger: PostgresLedger, database: str) -> None:
    ticket_id = uuid4()
    await ledger.append(appending((ticket_id, 1)))
    first, second = await asyncio.gather(ledger.peek(Ticket, ticket_id), ledger.peek(Ticket, ticket_id))
    assert first is second is await ledger.peek(Ticket, ticket_id)
    async with started(database) as elsewhere:
        await elsewhere.append(appending((ticket_id, 2, paid())))
    await until(lambda: ledger.follower.position == 2)
    assert (await ledger.peek(Ticket, ticket_id)).version == 2
    assert first.version == 1, "a decision may be resting on it: it is replaced, not changed"


async def test_after_a_refusal_the_next_look_is_fresh(ledger: PostgresLedger, database: str) -> None:
    ticket_id = uuid4()
    await ledger.append(appending((ticket_id, 1)))
    stale = await ledger.peek(Ticket, ticket_id)
    await ledger.follower.stop()  # it will not hear of what happens elsewhere
    async with started(database) as elsewhere:
        await elsewhere.append(appending((ticket_id, 2, paid())))
    assert await ledger.peek(Ticket, ticket_id) is stale
    with pytest.raises(ConflictError):
        await ledger.append(appending(rests_on=[(ticket_id, stale.version)]))
    assert (await ledger.peek(Ticket, ticket_id)).version == 2


async def test_no_decision_is_recorded_after_what_it_rests_on_has_moved(ledger: PostgresLedger, database: str) -> None:
    """The race itself: one process moves a stream again and again, two others decide on what they see of it."""
    moving = uuid4()
    accepted: list[tuple[UUID, int]] = []
    refused = 0

    async def move(store: PostgresLedger) -> None:
        for version in range(2, 80):
            await store.append(appending((moving, version, paid())))
            await asyncio.sleep(0.001)

    async def decide(store: PostgresLedger, mover: asyncio.Task[None]) -> None:
        nonlocal refused
        while not mover.done():
            seen = (await store.peek(Ticket, moving)).version
            decision = uuid4()
            try:
                await store.append(appending((decision, 1), rests_on=[(moving, seen)]))
                accepted.append((decision, seen))
            except ConflictError:
                refused += 1

    await ledger.append(appending((moving, 1)))
    async with started(database) as mover, started(database) as elsewhere:
        moves = asyncio.create_task(move(mover))
        await asyncio.gather(*(decide(store, moves) for store in (ledger, elsewhere) for _ in range(4)))
        await moves
    rows = rows_of(database)
    position = {(row.stream_id, row.version): row.position for row in rows}
    assert accepted
    assert refused, "the race did not take place"
    for decision, seen in accepted:
        moved_at = position.get((moving, seen + 1), len(rows) + 1)
        assert position[moving, seen] < position[decision, 1] < moved_at
