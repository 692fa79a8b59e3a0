"""One server for each module of journeys, on a clean ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from api.client import Client
from tests.journeys.people import People, sign_up
from tests.server import Server

CONNECTIONS = 32
BUYERS = 4


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
async def people(server: Server) -> AsyncIterator[People]:
    async with Client(server.url, CONNECTIONS) as client:
        yield await sign_up(client, buyers=BUYERS)
