"""The contract on both kinds of node: anvil, and the EVM in this process that is the embedded default."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.anvil import Anvil
from tests.contracts.chain import Chain, Node, anvil_node, in_process_node


@pytest.fixture(scope="session")
def anvil() -> Iterator[Anvil]:
    with Anvil("--enable-tx-gas-limit") as anvil:
        yield anvil


@pytest.fixture(scope="session")
def on_anvil(anvil: Anvil) -> Node:
    return anvil_node(anvil)


@pytest.fixture(scope="session")
def in_process() -> Node:
    return in_process_node()


@pytest.fixture(params=["on_anvil", "in_process"])
def chain(request: pytest.FixtureRequest) -> Chain:
    return Chain(request.getfixturevalue(request.param))
