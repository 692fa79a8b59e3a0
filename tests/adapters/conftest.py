"""A started ledger, on the loop that production uses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.ledger import PostgresLedger
from adapters.sealing import Sealer
from tests.adapters.ledger_parts import SECRET, started


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(SECRET)


@pytest.fixture
async def ledger(database: str) -> AsyncIterator[PostgresLedger]:
    async with started(database) as ledger:
        yield ledger
