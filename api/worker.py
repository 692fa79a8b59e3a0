"""The worker: projectors on a thread of their own, the timekeeper and the housekeeping on the event loop."""

from __future__ import annotations

import asyncio
import signal
import threading

import structlog

from api.bootstrap import Application, run_projectors, timekeeper_leadership
from api.settings import Settings
from api.timekeeper import Timekeeper

TIDY_SECONDS = 3_600.0
STOP_SECONDS_MAX = 10.0

log = structlog.get_logger()


async def run_worker(settings: Settings, url: str, secret: bytes, stop: threading.Event) -> None:
    """Run until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def end() -> None:
        stop.set()
        stopping.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, end)
    projectors = threading.Thread(target=_project, args=(url, stop, loop, stopping), name="projectors", daemon=True)
    projectors.start()
    async with Application(settings, database_url=url, secret=secret) as app:
        tasks = [asyncio.create_task(_keep_time(app)), asyncio.create_task(_tidy(app))]
        await stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.to_thread(projectors.join, STOP_SECONDS_MAX)


def _project(url: str, stop: threading.Event, loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """A projector that cannot go on ends the worker: a supervisor notices that, not a silent thread."""
    try:
        run_projectors(url, stop)
    except Exception:
        log.exception("projectors_failed")
        loop.call_soon_threadsafe(stopping.set)


async def _keep_time(app: Application) -> None:
    async with timekeeper_leadership(app):
        await Timekeeper(app).run()


async def _tidy(app: Application) -> None:
    while True:
        await app.tidy()
        await asyncio.sleep(TIDY_SECONDS)
