"""How fast facts become durable: one fact per command, against plain INSERTs and the library's recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from uuid import uuid4

import uvloop

from adapters.ledger import PostgresLedger
from adapters.sealing import Sealer
from commands.kernel import NewFact, Request, new_metadata
from domain.kernel import utc_now
from domain.ticket import Ticket
from tests.benchmarks import peers
from tests.benchmarks.harness import Bench, Window
from tests.benchmarks.report import Measurement

SECONDS = 2.5
PAIRS = {
    "append-library": ("ours, 32", "library, 32"),
    "append-insert": ("ours, 32", "INSERT, 32"),
    "append-512": ("ours, 512", "INSERT, 32"),
    "append-1": ("ours, 1", "INSERT, 1"),
}
NAMES = tuple(PAIRS)

Contestant = Callable[[], peers.Rate]


def measure(bench: Bench, wanted: Collection[str]) -> Iterator[Measurement]:
    """All contestants take turns in every round, so that each ratio is one of neighbours."""
    pairs = {name: pair for name, pair in PAIRS.items() if name in wanted}
    contestants = _contestants(bench.database(), bench.secret)
    turns = [name for name in contestants if any(name in pair for pair in pairs.values())]
    rates: dict[str, list[peers.Rate]] = {name: [] for name in turns}
    with bench.steps("Appends", len(turns) * bench.repetitions) as step:
        for repetition in range(1, bench.repetitions + 1):
            for name in turns:
                step(f"{name}, round {repetition}")
                rates[name].append(contestants[name]())
    for name, sides in pairs.items():
        ours, peer = ([rate.per_second for rate in rates[side]] for side in sides)
        notes = {"fact_bytes": len(_fact().encode()), "peer_client": [rate.client for rate in rates[sides[1]]]}
        yield Measurement(name, ours, peer, "facts/s", notes)


def _contestants(url: str, secret: bytes) -> dict[str, Contestant]:
    """In the order of their turns: those that are divided by each other are neighbours."""
    fact = _fact()
    stored = peers.Fact(fact.stored_topic, fact.encode())

    def ours(clients: int) -> Contestant:
        return lambda: peers.Rate(uvloop.run(_append(url, secret, fact, clients)), "asyncio and uvloop")

    def library() -> peers.Rate:
        return peers.Rate(peers.library(url, stored, 32, SECONDS), "threads")

    def inserts(connections: int) -> Contestant:
        return lambda: peers.inserts(url, stored, connections, SECONDS)

    return {
        "library, 32": library,
        "ours, 32": ours(32),
        "INSERT, 32": inserts(32),
        "ours, 512": ours(512),
        "INSERT, 1": inserts(1),
        "ours, 1": ours(1),
    }


async def _append(url: str, secret: bytes, fact: Ticket.Held, clients: int) -> float:
    """Facts per second through the ledger's group commit, each awaited by the one who asked."""
    ledger = PostgresLedger(url, Sealer(secret))
    await ledger.start()
    metadata = new_metadata("system:bench", "HoldTicket")
    window = Window(SECONDS)

    async def client() -> int:
        count = 0
        while not window.is_over():
            await ledger.append(Request((NewFact(uuid4(), 1, fact),), metadata))
            count += window.is_open()
        return count

    try:
        return sum(await asyncio.gather(*(client() for _ in range(clients)))) / window.seconds
    finally:
        await ledger.stop()


def _fact() -> Ticket.Held:
    """Some three hundred bytes, as most facts are."""
    now, any_id = utc_now(), uuid4()
    return Ticket.Held(
        event_id=any_id, tier_id=any_id, serial=5, price=4500, order_id=any_id, buyer_id=any_id, until=now, at=now
    )
