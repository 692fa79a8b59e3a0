"""Chains to mirror to: a real node and the EVM in the process, with one suite for both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from adapters.chain import feed, packing
from adapters.chain.embedded_node import EmbeddedNode
from adapters.ledger import PostgresLedger
from tests.adapters.ledger_parts import started
from tests.anvil import Anvil
from tests.chain.pace import CONFIRMATIONS, Pace, paced
from tests.chain.parts import Stand, on_anvil, standing


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True)
def _batches_close_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of waiting two seconds for company."""
    monkeypatch.setattr(feed, "CLOSE_AFTER", timedelta(0))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten facts."""
    monkeypatch.setattr(packing, "FACTS_MAX", 10)
    monkeypatch.setattr(feed, "FACTS_MAX", 10)


@pytest.fixture
async def ledger(database: str) -> AsyncIterator[PostgresLedger]:
    async with started(database) as ledger:
        yield ledger


@pytest.fixture(scope="session")
def automine() -> Iterator[Anvil]:
    """A node that mines each transaction at once."""
    with Anvil("--prune-history", "64", "--enable-tx-gas-limit") as anvil:
        yield anvil


@pytest.fixture(params=["embedded", "anvil"])
async def stand(request: pytest.FixtureRequest, database: str, ledger: PostgresLedger) -> AsyncIterator[Stand]:
    if request.param == "embedded":
        embedded = EmbeddedNode()
        async with standing(database, ledger, embedded) as stand:
            yield stand
        await embedded.close()
    else:
        async with on_anvil(request.getfixturevalue("automine"), database, ledger) as stand:
            yield stand


@pytest.fixture
async def stand_on_anvil(automine: Anvil, database: str, ledger: PostgresLedger) -> AsyncIterator[Stand]:
    async with on_anvil(automine, database, ledger) as stand:
        yield stand


@pytest.fixture
async def pace(database: str, ledger: PostgresLedger) -> AsyncIterator[Pace]:
    async with paced(database, ledger, confirmations=CONFIRMATIONS) as pace:
        yield pace
