"""The mirror's worker: a station for each chain, which is handed what only the ledger can do."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog

from api.bootstrap import Application, stations
from api.settings import Settings
from commands.reconciliation import CompleteReconciliation, FailReconciliation
from commands.ticket import RecordChainTransfer
from domain.reconciliation import Reconciliation, Report
from projections import reconciliation as reconciliations
from projections.chain_book import ChainRef
from projections.chain_repairs import repairs

ACTOR = "system:mirror"
WAITING_MAX = 100

log = structlog.get_logger()


async def run_mirror(settings: Settings, url: str, secret: bytes) -> None:
    """Run until SIGTERM or SIGINT. An error that no operator can put right ends the process."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    async with Application(settings, database_url=url, secret=secret) as app, mirroring(app) as stations_running:
        asked = asyncio.create_task(stopping.wait())
        await asyncio.wait((asked, *stations_running), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()


@asynccontextmanager
async def mirroring(app: Application, *urls: str) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Mirror to every configured chain, or to those at these addresses, until the end of the block.

    What ended one of the stations before that is raised there.
    """
    desk = Desk(app)
    running = [
        asyncio.create_task(station.run(station.mirror, station.watching(desk), station.reconciling(desk)))
        for station in stations(app, *urls)
    ]
    try:
        yield running
    finally:
        for task in running:
            task.cancel()
        ends = await asyncio.gather(*running, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


class Desk:
    """What the stations need of the ledger."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def heard(self, transfer: RecordChainTransfer) -> None:
        """Of what a holder did on a chain; hearing of it again adds nothing."""
        await self._app.execute(transfer, actor=ACTOR)

    async def waiting(self, chain: ChainRef) -> list[tuple[UUID, bool]]:
        """Asked of the view, and of the ledger itself: the view may not know yet what was done a moment ago."""
        views = self._app.views
        found = await reconciliations.waiting(
            views, chain_id=chain.chain_id, contract=chain.contract, limit=WAITING_MAX
        )
        known = await self._app.store.load(Reconciliation, [row.reconciliation_id for row in found])
        return [(one.id, one.repair) for one in known if one.status == "requested"]

    async def completed(self, reconciliation: UUID, report: Report) -> None:
        command = CompleteReconciliation(reconciliation_id=reconciliation, report=report, repairs=repairs(report))
        await self._app.execute(command, actor=ACTOR)

    async def failed(self, reconciliation: UUID, reason: str) -> None:
        await self._app.execute(FailReconciliation(reconciliation_id=reconciliation, reason=reason), actor=ACTOR)
