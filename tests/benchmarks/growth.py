"""Whether reads stay as quick as the ledger grows: the same questions to a small ledger and to a large one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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
REQUESTS = 400
WARM_UP_REQUESTS = 200


class Ledger(NamedTuple):
    url: str
    facts: int
    paths: dict[str, list[str]]
    """For each measurement what is asked."""


class Reader(NamedTuple):
    """One connection to a server, signed in as somebody who may read everything."""

    client: Client
    token: str
    paths: dict[str, list[str]]

    async def median_milliseconds(self, name: str, requests: int) -> float:
        """Of one request at a time: how long an answer takes, not how many there can be."""
        headers = {"authorization": f"Bearer {self.token}"}
        shots = [Shot("GET", path, None, headers) for path in islice(cycle(self.paths[name]), requests)]
        hits = await fire(self.client, shots, 1, wanting(200))
        return 1e3 * median(ended - began for began, ended in hits)


def measure(bench: Bench, wanted: Collection[str]) -> Iterator[Measurement]:
    names = [name for name in NAMES if name in wanted]
    with bench.steps("Growth", 2 + bench.repetitions) as step:
        ledgers = []
        for facts in (FACTS_LARGE, FACTS_SMALL):
            step(f"a ledger of {facts:,} facts")
            ledgers.append(_ledger(bench, facts))
        times = uvloop.run(_take_times(bench, names, ledgers, step))
    notes = {"facts": [ledger.facts for ledger in ledgers], "requests": REQUESTS}
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
        connection.execute("analyze ledger.events")
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
    """For each name and round: milliseconds for the large ledger and the small one, asked in turn."""
    async with AsyncExitStack() as stack:
        readers = [await _reader(stack, bench, ledger) for ledger in ledgers]
        for reader in readers:
            for name in names:
                await reader.median_milliseconds(name, WARM_UP_REQUESTS)
        times: dict[str, list[list[float]]] = {name: [] for name in names}
        for repetition in range(1, bench.repetitions + 1):
            step(f"the same questions to both, round {repetition}")
            for name in names:
                times[name].append([await reader.median_milliseconds(name, REQUESTS) for reader in readers])
        return times


async def _reader(stack: AsyncExitStack, bench: Bench, ledger: Ledger) -> Reader:
    base_url = await stack.enter_async_context(served(bench, ledger.url))
    client = await stack.enter_async_context(Client(base_url))
    admin = await signed_in(client, *ADMIN)
    assert admin.token is not None
    return Reader(client, admin.token, ledger.paths)
