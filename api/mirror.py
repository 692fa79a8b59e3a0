"""The mirror's worker: a station for each chain, which is handed what only the ledger can do."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog

from api.bootstrap import Application, stations
from api.settings import Settings
from commands.ticket import RecordChainTransfer

ACTOR = "system:mirror"

log = structlog.get_logger()


async def run_mirror(settings: Settings, url: str, secret: bytes) -> None:
    """Run until SIGTERM or SIGINT. An error that no operator can put right ends the process."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    async with Application(settings, database_url=url, secret=secret) as app, mirroring(app):
        await stopping.wait()


@asynccontextmanager
async def mirroring(app: Application, *urls: str) -> AsyncIterator[None]:
    """Mirror to every configured chain, or to those at these addresses, until the end of the block."""
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(station.run(station.mirror, station.watching(partial(_record, app))))
            for station in stations(app, *urls)
        ]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


async def _record(app: Application, transfer: RecordChainTransfer) -> None:
    """The ledger hears of what a holder did on a chain; hearing of it again adds nothing."""
    await app.execute(transfer, actor=ACTOR)
