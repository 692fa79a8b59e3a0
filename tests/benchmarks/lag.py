"""Whether the views keep up: how long they need to be level with the ledger after half a minute of orders."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import uvloop

from api.client import Client
from tests.benchmarks.box_office import BoxOffice
from tests.benchmarks.harness import Bench, Window
from tests.benchmarks.http_load import fire, until_over, wanting
from tests.benchmarks.positions import Positions
from tests.benchmarks.report import Measurement
from tests.benchmarks.served import served

NAMES = ("lag",)
CONNECTIONS = 64
BURST_SECONDS = 30.0
EVENTS = 4
PLENTY = 250_000


def measure(bench: Bench, _: Collection[str]) -> Iterator[Measurement]:
    yield uvloop.run(_measure(bench))


async def _measure(bench: Bench) -> Measurement:
    url = bench.database()
    waited: list[float] = []
    behind: list[int] = []
    rates: list[int] = []
    async with served(bench, url) as base_url, Positions(url) as positions, Client(base_url, CONNECTIONS) as client:
        office = await BoxOffice.opened(client)
        events = [await office.put_on_sale(quantity=PLENTY) for _ in range(EVENTS)]
        with bench.steps("Lag", bench.repetitions) as step:
            for repetition in range(1, bench.repetitions + 1):
                await positions.until_level()
                step(f"{BURST_SECONDS:.0f} s of orders, round {repetition}")
                window = Window(BURST_SECONDS, warm_up_seconds=0.0)
                hits = await fire(client, until_over(window, office.orders(events)), CONNECTIONS, wanting(201))
                behind.append((await positions.marks()).behind)
                waited.append(await positions.until_level())
                rates.append(round(len(hits) / BURST_SECONDS))
    notes = {"orders_per_second": rates, "facts_behind_at_the_end": behind}
    return Measurement("lag", waited, (), "s", notes)
