"""Chains to mirror to: a real node and the EVM in the process, with one suite for both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.chain.embedded_node import EmbeddedNode
from adapters.chain.http_node import HttpNode
from adapters.ledger import PostgresLedger
from tests.adapters.ledger_parts import started
from tests.anvil import Anvil, dev_key
from tests.chain.parts import Stand, standing


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def ledger(database: str) -> AsyncIterator[PostgresLedger]:
    async with started(database) as ledger:
        yield ledger


@pytest.fixture(scope="session")
def automine() -> Iterator[Anvil]:
    """A node that mines each transaction at once."""
    with Anvil("--prune-history", "--enable-tx-gas-limit") as anvil:
        yield anvil


@pytest.fixture(params=["embedded", "anvil"])
async def stand(request: pytest.FixtureRequest, database: str, ledger: PostgresLedger) -> AsyncIterator[Stand]:
    if request.param == "embedded":
        embedded = EmbeddedNode()
        async with standing(database, ledger, embedded) as stand:
            yield stand
        await embedded.close()
    else:
        node = HttpNode(request.getfixturevalue("automine").url)
        async with standing(database, ledger, node, key=bytes.fromhex(dev_key(0).removeprefix("0x"))) as stand:
            yield stand
        await node.close()
