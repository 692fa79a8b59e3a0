"""``counterfoil relay``: Kafka brought level with the ledger, from wherever an operator says."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.bootstrap import Application, relay_again, run_relay
from api.cli.console import err, fail, out, with_application
from projections import relay as relay_view

POLL_SECONDS = 0.2
PROBLEM_SECONDS_MAX = 60.0
"""How long the same problem is watched before the command gives up; a relay that is a service does not."""


def relay(
    begin: Annotated[
        int | None,
        typer.Option("--from", min=0, help="Begin again after this position: all that the topics lack since is sent."),
    ] = None,
) -> None:
    """Tell Kafka of everything in the ledger that it has not been told, and end.

    `counterfoil worker relay` goes on for ever. Where one runs, it does the work, and this shows how far it is.
    """

    async def work(application: Application) -> None:
        if not application.settings.kafka_bootstrap:
            fail("COUNTERFOIL_KAFKA_BOOTSTRAP names no broker to relay to")
        head = await application.head()
        if not await asyncio.to_thread(relay_again, application.database_url, begin):
            fail(f"there is no position {begin:,}: the ledger ends at {head:,}")
        stop = threading.Event()
        relaying = asyncio.create_task(
            asyncio.to_thread(run_relay, application.database_url, application.settings, application.secret, stop)
        )
        try:
            await _until_level(application, head, relaying)
        finally:
            stop.set()
            await relaying
        out.print(f"Kafka has everything up to position {head:,}.", highlight=False)

    with_application(work)


async def _until_level(application: Application, head: int, relaying: asyncio.Task[None]) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    stuck_since = monotonic()
    with Progress(*columns, console=err, transient=True) as bars:
        bar = bars.add_task("relaying", total=head)
        while not relaying.done():
            status = await relay_view.status(application.views)
            if status is not None:
                bars.update(bar, completed=status.position, description=status.problem or "relaying")
                if status.position >= head and status.problem is None:
                    return
            problem = status.problem if status is not None else None
            if problem is None:
                stuck_since = monotonic()
            elif monotonic() - stuck_since > PROBLEM_SECONDS_MAX:
                fail(problem)
            await asyncio.sleep(POLL_SECONDS)
