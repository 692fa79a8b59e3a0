"""Orders and check-ins over HTTP, each against a no-op on the same server, and how long the slowest orders take."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import repeat

import uvloop

from api.client import Client
from tests.benchmarks.box_office import BoxOffice, OnSale, codes_of
from tests.benchmarks.harness import Bench, Step
from tests.benchmarks.http_load import Load, load
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
NO_OPS = {"orders": "/no-op/orders", "check-ins": "/no-op/check-ins"}


def measure(bench: Bench, wanted: Collection[str]) -> Iterator[Measurement]:
    yield from uvloop.run(_measure(bench, wanted))


async def _measure(bench: Bench, wanted: Collection[str]) -> list[Measurement]:
    """The two sides of a ratio are neighbours; the views are level before each, so that neither pays for the other."""
    url = bench.database()
    loads: dict[str, list[Load]] = {}
    async with served(bench, url) as base_url, Positions(url) as positions, Client(base_url, CONNECTIONS) as client:
        office = await BoxOffice.opened(client)
        events = [await office.put_on_sale(quantity=PLENTY) for _ in range(EVENTS)]
        turns = 4 if "check-ins" in wanted else 2
        with bench.steps("Commands", turns * bench.repetitions) as step:
            for repetition in range(1, bench.repetitions + 1):
                codes = await _sold_codes(bench, office, events[0]) if "check-ins" in wanted else []
                shots = {
                    "no-op orders": office.orders(events, NO_OPS["orders"]),
                    "orders": office.orders(events),
                    "no-op check-ins": office.check_ins(_again(codes), NO_OPS["check-ins"]),
                    "check-ins": office.check_ins(codes),
                }
                for name in list(shots)[:turns]:
                    _show(step, name, repetition)
                    await positions.until_level()
                    status = 201 if name == "orders" else 200
                    loads.setdefault(name, []).append(await load(client, shots[name], CONNECTIONS, SECONDS, status))
    return _measurements(wanted, loads)


async def _sold_codes(bench: Bench, office: BoxOffice, event: OnSale) -> list[str]:
    return codes_of(await office.sell(event, CHECK_INS_MAX), bench.secret)


def _again(codes: Sequence[str]) -> Iterator[str]:
    """The no-op has no use for codes, and none to spare."""
    return (code for again in repeat(codes) for code in again)


def _show(step: Step, name: str, repetition: int) -> None:
    step(f"{name}, round {repetition}")


def _measurements(wanted: Collection[str], loads: dict[str, list[Load]]) -> list[Measurement]:
    made = []
    for name in ("orders", "check-ins"):
        if name in wanted:
            notes = {"connections": CONNECTIONS, "p50_milliseconds": [round(one.p50 * 1e3, 2) for one in loads[name]]}
            ours, peer = ([one.per_second for one in loads[side]] for side in (name, f"no-op {name}"))
            made.append(Measurement(name, ours, peer, "requests/s", notes))
    if "orders-p99" in wanted:
        p99, p50 = (
            [quantile * 1e3 for quantile in side]
            for side in zip(*((o.p99, o.p50) for o in loads["orders"]), strict=True)
        )
        made.append(Measurement("orders-p99", p99, p50, "ms", {"connections": CONNECTIONS}))
    return made
