"""Orders and check-ins over HTTP, each against a no-op on the same server, and how long the slowest orders take."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import cycle

import uvloop

from api.client import Client
from tests.benchmarks.box_office import BoxOffice, OnSale, codes_of
from tests.benchmarks.harness import Bench
from tests.benchmarks.http_load import Load, Shot, load
from tests.benchmarks.positions import Positions
from tests.benchmarks.report import Measurement
from tests.benchmarks.served import served

NAMES = ("orders", "check-ins", "orders-p99")
CONNECTIONS = 64
SECONDS = 4.0
EVENTS = 4
PLENTY = 250_000
CHECK_INS_MAX = 15_000
"""In one round. A server that admits them all before its time is up is measured until then."""
TURNS = ("no-op orders", "orders", "no-op check-ins", "check-ins")


def measure(bench: Bench, wanted: Collection[str]) -> Iterator[Measurement]:
    yield from uvloop.run(_measure(bench, wanted))


async def _measure(bench: Bench, wanted: Collection[str]) -> list[Measurement]:
    """The two sides of a ratio are neighbours; the views are level before each, so that neither pays for the other."""
    url = bench.database()
    loads: dict[str, list[Load]] = {}
    turns = TURNS if "check-ins" in wanted else TURNS[:2]
    async with served(bench, url) as base_url, Positions(url) as positions, Client(base_url, CONNECTIONS) as client:
        office = await BoxOffice.opened(client)
        events = [await office.put_on_sale(quantity=PLENTY) for _ in range(EVENTS)]
        with bench.steps("Commands", len(turns) * bench.repetitions) as step:
            for repetition in range(1, bench.repetitions + 1):
                codes = await _sold_codes(bench, office, events[0]) if "check-ins" in wanted else []
                for name in turns:
                    step(f"{name}, round {repetition}")
                    await positions.until_level()
                    status = 201 if name == "orders" else 200
                    taken = await load(client, _shots(name, office, events, codes), CONNECTIONS, SECONDS, status)
                    loads.setdefault(name, []).append(taken)
    return _measurements(wanted, loads)


def _shots(name: str, office: BoxOffice, events: Sequence[OnSale], codes: Sequence[str]) -> Iterator[Shot]:
    match name:
        case "no-op orders":
            return office.orders(events, "/no-op/orders")
        case "orders":
            return office.orders(events)
        case "no-op check-ins":  # it has no use for codes, and none to spare
            return office.check_ins(cycle(codes), "/no-op/check-ins")
        case _:
            return office.check_ins(codes)


async def _sold_codes(bench: Bench, office: BoxOffice, event: OnSale) -> list[str]:
    return codes_of(await office.sell(event, CHECK_INS_MAX), bench.secret)


def _measurements(wanted: Collection[str], loads: dict[str, list[Load]]) -> list[Measurement]:
    made = []
    for name in ("orders", "check-ins"):
        if name in wanted:
            notes = {"connections": CONNECTIONS, "p50_milliseconds": [round(one.p50 * 1e3, 2) for one in loads[name]]}
            ours, peer = ([one.per_second for one in loads[side]] for side in (name, f"no-op {name}"))
            made.append(Measurement(name, ours, peer, "requests/s", notes))
    if "orders-p99" in wanted:
        slow, usual = ([1e3 * getattr(one, name) for one in loads["orders"]] for name in ("p99", "p50"))
        made.append(Measurement("orders-p99", slow, usual, "ms", {"connections": CONNECTIONS}))
    return made
