"""Whether reads stay as quick as the ledger grows: the same questions to a small ledger and to a large one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import cycle, islice
from statistics import median
from typing import NamedTuple
from uuid import UUID

import psycopg
import uvloop

from adapters.projector import Projector
from api.client import Client
from projections.registry import ALL
from tests.benchmarks.box_office import signed_in
from tests.benchmarks.harness import Bench, Step
from tests.benchmarks.http_load import Shot, fire, wanting
from tests.benchmarks.report import Measurement
from tests.benchmarks.served import ADMIN, served
from tests.benchmarks.world import fill

NAMES = ("availability", "ticket-as-of")
FACTS_SMALL = 10_000
FACTS_LARGE = 1_000_000
SUBJECTS = 8
"""Events asked about, and a multiple of tickets: as many in both ledgers, spread over all of their positions."""
TICKETS_PER_SUBJECT = 25
TURNS = 20
TURN_REQUESTS = 25
"""One ledger is asked so often, then the other: what disturbs a shared machine lasts longer than a turn."""
WARM_UP_REQUESTS = 200


class Ledger(NamedTuple):
    url: str
    facts: int
    paths: dict[str, list[str]]
    """For each measurement what is asked."""


class Reader(NamedTuple):
    """One connection to a server, signed in as somebody who may read everything."""

    client: Client
    shots: Mapping[str, Iterator[Shot]]

    async def ask(self, name: str, requests: int) -> list[float]:
        """The milliseconds that each answer took, one request at a time."""
        hits = await fire(self.client, islice(self.shots[name], requests), 1, wanting(200))
        return [1e3 * (ended - began) for began, ended in hits]


def measure(bench: Bench, wanted: Collection[str]) -> Iterator[Measurement]:
    names = [name for name in NAMES if name in wanted]
    with bench.steps("Growth", 2 + bench.repetitions) as step:
        ledgers = []
        for facts in (FACTS_LARGE, FACTS_SMALL):
            step(f"a ledger of {facts:,} facts")
            ledgers.append(_ledger(bench, facts))
        times = uvloop.run(_take_times(bench, names, ledgers, step))
    notes = {"facts": [ledger.facts for ledger in ledgers], "requests": TURNS * TURN_REQUESTS}
    for name in names:
        large, small = ([pair[side] for pair in times[name]] for side in (0, 1))
        yield Measurement(name, large, small, "ms", notes)


def _ledger(bench: Bench, facts: int) -> Ledger:
    """Filled, and its views brought to its head."""
    url = bench.database()
    world = uvloop.run(fill(url, bench.secret, facts))
    Projector(url, ALL).catch_up()
    events = _spread(world.events, SUBJECTS)
    tickets = _spread(world.tickets, SUBJECTS * TICKETS_PER_SUBJECT)
    with psycopg.connect(url) as connection:
        connection.execute("analyze ledger.events")  # as autovacuum would before long, but not in the middle of a round
        positions = connection.execute(
            "select stream_id, position from ledger.events where stream_id = any(%s) and version = 2", (tickets,)
        ).fetchall()
    paths = {
        "availability": [f"/v1/events/{event}/availability" for event in events],
        "ticket-as-of": [f"/v1/tickets/{ticket}?as_of={position}" for ticket, position in positions],
    }
    return Ledger(url, world.facts, paths)


def _spread(ids: Sequence[UUID], count: int) -> list[UUID]:
    return [ids[index * len(ids) // count] for index in range(count)]


async def _take_times(
    bench: Bench, names: Sequence[str], ledgers: Sequence[Ledger], step: Step
) -> dict[str, list[list[float]]]:
    """For each name and round: the median milliseconds with the large ledger and with the small one."""
    async with AsyncExitStack() as stack:
        readers = [await _reader(stack, bench, ledger) for ledger in ledgers]
        for reader in readers:
            for name in names:
                await reader.ask(name, WARM_UP_REQUESTS)
        times: dict[str, list[list[float]]] = {name: [] for name in names}
        for repetition in range(1, bench.repetitions + 1):
            step(f"the same questions to both, round {repetition}")
            for name in names:
                times[name].append(await _medians(name, readers))
        return times


async def _medians(name: str, readers: Sequence[Reader]) -> list[float]:
    taken: list[list[float]] = [[] for _ in readers]
    for _ in range(TURNS):
        for reader, milliseconds in zip(readers, taken, strict=True):
            milliseconds.extend(await reader.ask(name, TURN_REQUESTS))
    return [median(milliseconds) for milliseconds in taken]


async def _reader(stack: AsyncExitStack, bench: Bench, ledger: Ledger) -> Reader:
    base_url = await stack.enter_async_context(served(bench, ledger.url))
    client = await stack.enter_async_context(Client(base_url))
    admin = await signed_in(client, *ADMIN)
    headers = {"authorization": f"Bearer {admin.token}"}
    shots = {name: cycle([Shot("GET", path, None, headers) for path in paths]) for name, paths in ledger.paths.items()}
    return Reader(client, shots)
