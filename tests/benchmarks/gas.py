"""What the contract's operations cost on a real node, all in. Gas does not depend on the machine."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from tests.anvil import Anvil
from tests.benchmarks.harness import Bench
from tests.benchmarks.report import Measurement
from tests.contracts.chain import Chain, anvil_node
from tests.contracts.gas import costs

NAMES = ("gas-mint", "gas-deliver", "gas-resale", "gas-check-in", "gas-mixed")
"""In the order of `costs`."""


def measure(bench: Bench, names: Collection[str]) -> Iterator[Measurement]:
    with bench.steps("Gas", 1) as step, Anvil("--enable-tx-gas-limit") as anvil:
        step("all operations")
        measured = costs(Chain(anvil_node(anvil)))
    for name, cost in zip(NAMES, measured, strict=True):
        if name in names:
            notes = {"share_of_a_60_M_gas_block_for_1000": round(cost.share_of_block, 4), "peer": cost.peer}
            yield Measurement(name, [cost.gas], (), "gas", notes)
