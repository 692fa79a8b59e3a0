"""How many tickets are held side by side in a second: the ledger read from its beginning, the contract asked for each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from uuid import UUID

import uvloop

from adapters.chain.http_node import HttpNode
from adapters.chain.reconciler import reconcile
from adapters.ledger import PostgresLedger
from adapters.sealing import Sealer
from domain.kernel import Fact
from tests.anvil import Anvil, dev_key
from tests.benchmarks.harness import Bench, BenchError, Step
from tests.benchmarks.report import Measurement
from tests.chain.parts import Box, Stand, delivered, standing

NAMES = ("reconcile",)
TICKETS = 20_000
DELIVERED_EVERY = 10
ADMITTED_EVERY = 4
PART = 1_000
ANVIL_ARGS = ("--prune-history", "--enable-tx-gas-limit")


def measure(bench: Bench, _: Collection[str]) -> Iterator[Measurement]:
    with bench.steps("Reconcile", 1 + bench.repetitions) as step:
        yield uvloop.run(_measure(bench, step))


async def _measure(bench: Bench, step: Step) -> Measurement:
    url = bench.database()
    ledger = PostgresLedger(url, Sealer(bench.secret))
    await ledger.start()
    rates: list[float] = []
    try:
        with Anvil(*ANVIL_ARGS) as anvil:
            node = HttpNode(anvil.url)
            async with standing(url, ledger, node, key=bytes.fromhex(dev_key(0).removeprefix("0x"))) as stand:
                step(f"{TICKETS:,} tickets on a chain")
                await _fill(stand)
                for repetition in range(1, bench.repetitions + 1):
                    step(f"both sides, round {repetition}")
                    rates.append(await _rate(stand))
            await node.close()
    finally:
        await ledger.stop()
    return Measurement("reconcile", rates, (), "tickets/s", {"tickets": TICKETS})


async def _fill(stand: Stand) -> None:
    event = await stand.box.event()
    tickets = await stand.box.sell(event, TICKETS)
    evening = list(_evening(stand.box, event, tickets))
    for start in range(0, len(evening), PART):
        await stand.box.tell(*evening[start : start + PART])
    await stand.level()


def _evening(box: Box, event: UUID, tickets: list[UUID]) -> Iterator[tuple[UUID, Fact]]:
    """Some go into wallets, some are used."""
    for wallet, ticket in enumerate(tickets[::DELIVERED_EVERY]):
        yield ticket, delivered(wallet)
    for ticket in tickets[::ADMITTED_EVERY]:
        yield ticket, box.checked_in(event)


async def _rate(stand: Stand) -> float:
    report = (await reconcile(stand.conn, stand.node, stand.deployment, confirmations=stand.confirmations)).report
    if not report.clean or report.equal != TICKETS:
        raise BenchError(f"ledger and chain are not the same: {report.unexplained} unexplained, {report.equal} equal")
    return report.tickets / report.seconds
