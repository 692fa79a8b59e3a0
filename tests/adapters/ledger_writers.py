"""What the writing processes of `test_ledger_readers` do: many writers each, large and small appends, many rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from random import Random
from uuid import UUID, uuid4, uuid5

import uvloop
from eventsourcing.persistence import IntegrityError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresFactory
from eventsourcing.utils import Environment
from psycopg.conninfo import conninfo_to_dict

from adapters.follower import Followed
from adapters.ledger import PostgresLedger
from commands.kernel import ConflictError, OverloadedError
from tests.adapters.ledger_parts import appending, started, until

WRITERS = 8
"""In each process."""
APPENDS = 100
"""By each writer."""
SIZES = (1, 1, 1, 1, 1, 2, 3, 100)
"""Facts in an append. The large ones are long in being recorded while small ones, begun later, overtake them."""
CONTENDED_SHARE = 0.3
"""Appends that also want a stream which others want too: all but one of those are rolled back."""
IMPATIENT_SHARE = 0.1
PATIENCE_SECONDS_MAX = 0.02
START_SECONDS_MAX = 60.0


@dataclass(slots=True)
class Report:
    """What one process can say of its appends afterwards."""

    recorded: list[tuple[int, list[UUID]]] = field(default_factory=list)
    """Acknowledged: the last position, and the streams."""
    refused: list[UUID] = field(default_factory=list)
    """Streams of refused appends that nobody else has."""
    unknown: int = 0
    followed: list[int] = field(default_factory=list)
    """Positions, as the process's own follower delivered them."""


gate: Barrier


def arm(barrier: Barrier) -> None:
    """So that all processes begin at once."""
    global gate  # noqa: PLW0603  # a process is handed a barrier only as it starts
    gate = barrier


def streams_of_append(random: Random, number: int, contended: UUID) -> list[UUID]:
    own = [uuid4() for _ in range(random.choice(SIZES))]
    return [*own, uuid5(contended, str(number))] if random.random() < CONTENDED_SHARE else own


# -- On our ledger. -----------------------------------------------------------------------


def write_to_ledger(database: str, contended: UUID, seed: int) -> Report:
    return uvloop.run(_write_to_ledger(database, contended, seed))


async def _write_to_ledger(database: str, contended: UUID, seed: int) -> Report:
    report = Report()

    def follow(batch: Sequence[Followed]) -> None:
        report.followed.extend(followed.position for followed in batch)

    async with started(database) as ledger:
        ledger.follower.listen(follow)
        await asyncio.to_thread(gate.wait, START_SECONDS_MAX)
        writers = (_append_many(ledger, contended, Random(f"{seed}/{n}"), report) for n in range(WRITERS))
        await asyncio.gather(*writers)
        last = max(position for position, _ in report.recorded)
        await until(lambda: ledger.follower.position >= last)
    return report


async def _append_many(ledger: PostgresLedger, contended: UUID, random: Random, report: Report) -> None:
    for number in range(APPENDS):
        streams = streams_of_append(random, number, contended)
        impatient = random.random() < IMPATIENT_SHARE
        try:
            async with asyncio.timeout(random.uniform(0, PATIENCE_SECONDS_MAX) if impatient else None):
                position = await ledger.append(appending(*((stream_id, 1) for stream_id in streams)))
            report.recorded.append((position, streams))
        except ConflictError:
            report.refused.extend(streams[:-1])
        except (TimeoutError, OverloadedError):
            report.unknown += 1


# -- On the library's own recorder, without its lock. ----------------------------------------


@contextmanager
def unlocked_recorder(database: str, *, create: bool) -> Iterator[PostgresApplicationRecorder]:
    """The library's PostgreSQL recorder with the database functions that drop its table lock."""
    where = conninfo_to_dict(database)
    environment = {
        "POSTGRES_HOST": str(where["host"]),
        "POSTGRES_DBNAME": str(where["dbname"]),
        "POSTGRES_USER": str(where["user"]),
        "POSTGRES_PASSWORD": "",
        "POSTGRES_POOL_SIZE": str(WRITERS),
        "POSTGRES_ENABLE_DB_FUNCTIONS": "y",
        "CREATE_TABLE": "y" if create else "n",
    }
    with PostgresFactory(Environment(env=environment)) as factory:
        recorder = factory.application_recorder()
        assert isinstance(recorder, PostgresApplicationRecorder)
        yield recorder


def write_unlocked(database: str, contended: UUID, seed: int) -> Report:
    report = Report()

    def append_many(recorder: PostgresApplicationRecorder, random: Random) -> None:
        for number in range(APPENDS):
            streams = streams_of_append(random, number, contended)
            try:
                ids = recorder.insert_events([StoredEvent(stream_id, 1, "a", b"{}") for stream_id in streams])
            except IntegrityError:
                report.refused.extend(streams[:-1])
            else:
                report.recorded.append((list(ids or ())[-1], streams))

    with unlocked_recorder(database, create=False) as recorder, ThreadPoolExecutor(WRITERS) as threads:
        gate.wait(START_SECONDS_MAX)
        list(threads.map(append_many, [recorder] * WRITERS, (Random(f"{seed}/{n}") for n in range(WRITERS))))
    return report
