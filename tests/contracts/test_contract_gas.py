"""What the mirror may cost, at most; the figures are printed for those who ask (`-s`)."""

from __future__ import annotations

from tests.anvil import Anvil
from tests.contracts.chain import Chain, anvil_node
from tests.contracts.gas import costs


def test_no_operation_costs_more_than_it_may() -> None:
    with Anvil("--enable-tx-gas-limit") as anvil:
        measured = costs(Chain(anvil_node(anvil)))
    for cost in measured:
        print(cost)
    assert [cost for cost in measured if cost.gas > cost.at_most] == []
    assert len(measured) == 5
