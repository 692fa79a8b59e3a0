"""What the tests of the ledger are made of: facts, requests, and a way to hold the writers up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row

from adapters.ledger import PostgresLedger
from adapters.sealing import Sealer
from commands.kernel import Answer, Key, NewFact, Request, new_metadata
from domain.kernel import Fact
from domain.order import Order
from domain.ticket import Ticket

SECRET = b"a secret that only these tests share"
WAIT_SECONDS_MAX = 10.0
DOORS = datetime(2031, 5, 17, 19, 0, tzinfo=UTC)
EVENT, TIER = uuid4(), uuid4()
METADATA = new_metadata("a buyer", "PlaceOrder")


class Row(NamedTuple):
    """A row of ledger.events, as far as the tests look at it."""

    position: int
    stream_id: UUID
    version: int
    topic: str
    recorded_at: datetime


@asynccontextmanager
async def started(database: str) -> AsyncIterator[PostgresLedger]:
    """One process's ledger: several of them stand for several processes."""
    ledger = PostgresLedger(database, Sealer(SECRET))
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.stop()


def held(serial: int = 1) -> Ticket.Held:
    return Ticket.Held(
        event_id=EVENT, tier_id=TIER, serial=serial, price=4500, order_id=EVENT, buyer_id=EVENT, until=DOORS, at=DOORS
    )


def paid() -> Ticket.Paid:
    return Ticket.Paid(event_id=EVENT, tier_id=TIER, at=DOORS)


def cancelled() -> Order.Cancelled:
    return Order.Cancelled(at=DOORS)


def appending(
    *facts: tuple[UUID, int] | tuple[UUID, int, Fact],
    rests_on: Sequence[tuple[UUID, int]] = (),
    key: Key | None = None,
    body: bytes = b"{}",
) -> Request:
    """A request for these streams and versions; a fresh ticket's first hold where nothing is said."""
    new = [NewFact(*fact) if len(fact) == 3 else NewFact(*fact, held()) for fact in facts or [(uuid4(), 1)]]
    return Request(new, METADATA, rests_on, key, Answer(201, body) if key is not None else None)


def new_key(fingerprint: bytes = b"of the request") -> Key:
    return Key(uuid4(), fingerprint)


async def until(condition: Callable[[], object]) -> None:
    """Raises TimeoutError when it does not come true."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():  # noqa: ASYNC110  # what it waits for has no signal
            await asyncio.sleep(0.001)


@asynccontextmanager
async def held_up(database: str) -> AsyncIterator[None]:
    """No batch can be recorded meanwhile: somebody else has the writers' lock."""
    async with await AsyncConnection.connect(database) as other, other.transaction():
        await other.execute("select from ledger.head for update")
        yield


async def meet_in_one_batch(ledger: PostgresLedger, database: str, requests: Sequence[Request]) -> list[Any]:
    """What each request came to, a position or an error, all of them having waited for the same batch."""
    async with held_up(database):
        first = asyncio.create_task(ledger.append(appending()))
        await until(lambda: ledger.committer.busy)
        tasks = [asyncio.create_task(ledger.append(request)) for request in requests]
        await until(lambda: len(ledger.committer._queue) == len(requests))
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def rows_of(database: str) -> list[Row]:
    """Everything recorded, in order."""
    with psycopg.connect(database, row_factory=namedtuple_row) as conn:
        found = conn.execute(
            "select position, stream_id, version, topic, recorded_at from ledger.events order by position"
        )
        return [Row(*row) for row in found]


def scalar(database: str, query: str, *arguments: Any) -> Any:
    """The one value of a query."""
    with psycopg.connect(database) as conn:
        row = conn.execute(query.encode(), arguments).fetchone()
    assert row is not None
    return row[0]


def connection_count(database: str, application_name: str = "counterfoil") -> int:
    count: int = scalar(
        database,
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = %s",
        application_name,
    )
    return count


def terminate_connections(database: str, application_name: str = "counterfoil") -> int:
    """End the sessions of that name, as a failing server would; how many there were."""
    with psycopg.connect(database) as conn:
        ended = conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = %s",
            (application_name,),
        )
        return len(ended.fetchall())
