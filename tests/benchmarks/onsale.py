"""A rush: far more buyers than tickets, all for one event. What is sold is counted until nothing is left."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from time import perf_counter

import uvloop

from api.client import Client, Response
from tests.benchmarks.box_office import BoxOffice, ask
from tests.benchmarks.harness import Bench, BenchError
from tests.benchmarks.http_load import fire, wanting
from tests.benchmarks.positions import Positions
from tests.benchmarks.report import Measurement
from tests.benchmarks.served import served

NAMES = ("on-sale",)
TICKETS = 5_000
ATTEMPTS = 20_000
CONNECTIONS = 500
QUIET_EVENTS = 10
PLENTY = 100_000


def measure(bench: Bench, _: Collection[str]) -> Iterator[Measurement]:
    """In turn: as many orders without a rush, over the same connections, and the rush."""
    yield uvloop.run(_measure(bench))


async def _measure(bench: Bench) -> Measurement:
    url = bench.database()
    quiet: list[float] = []
    rush: list[float] = []
    async with served(bench, url) as base_url, Positions(url) as positions, Client(base_url, CONNECTIONS) as client:
        office = await BoxOffice.opened(client)
        plenty = [await office.put_on_sale(quantity=PLENTY, tiers=1) for _ in range(QUIET_EVENTS)]
        await fire(client, islice(office.orders(plenty), TICKETS), CONNECTIONS, wanting(201))
        with bench.steps("On-sale", 2 * bench.repetitions) as step:
            for repetition in range(1, bench.repetitions + 1):
                await positions.until_level()
                step(f"orders without a rush, round {repetition}")
                began = perf_counter()
                await fire(client, islice(office.orders(plenty), TICKETS), CONNECTIONS, wanting(201))
                quiet.append(TICKETS / (perf_counter() - began))
                await positions.until_level()
                step(f"the rush, round {repetition}")
                rush.append(await _goodput(office, client))
    notes = {"tickets": TICKETS, "attempts": ATTEMPTS, "connections": CONNECTIONS, "sold": [TICKETS] * len(rush)}
    return Measurement("on-sale", rush, quiet, "orders/s", notes)


async def _goodput(office: BoxOffice, client: Client) -> float:
    """Orders per second until the last ticket is gone. Raises BenchError unless exactly all are sold, each once."""
    event = await office.put_on_sale(quantity=TICKETS, tiers=1)
    sold: set[str] = set()
    placed = refused = 0
    sold_at = began = perf_counter()

    def take(response: Response) -> None:
        nonlocal placed, refused, sold_at
        if response.status == 201:
            placed, sold_at = placed + 1, perf_counter()
            sold.update(ticket["ticket_id"] for ticket in response.json()["tickets"])
        elif response.status == 409 and response.json()["code"] == "sold-out":
            refused += 1
        else:
            raise BenchError(f"answered {response.status}: {response.body[:300]!r}")

    await fire(client, islice(office.orders([event]), ATTEMPTS), CONNECTIONS, take)
    if (placed, len(sold), refused) != (TICKETS, TICKETS, ATTEMPTS - TICKETS):
        raise BenchError(f"{placed} orders for {len(sold)} different tickets of {TICKETS}, {refused} refused")
    tier = (await ask(office.admin, "GET", f"/v1/events/{event.event_id}/availability"))["tiers"][0]
    if tier["available"] != 0 or tier["held"] + tier["sold"] != TICKETS:
        raise BenchError(f"sold out, yet the availability is {tier}")
    return placed / (sold_at - began)
