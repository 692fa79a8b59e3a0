"""The worker: projectors and the tree on threads of their own, the timekeeper and the housekeeping on the event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from functools import partial

import structlog

from api.bootstrap import Application, grow_tree, run_feed, run_projectors, timekeeper_leadership
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
    works = {"projectors": partial(run_projectors, url, settings, stop), "tree": partial(grow_tree, url, secret, stop)}
    if settings.projectors == "kafka":
        works["feed"] = partial(run_feed, url, settings, secret, stop)
    followers = [
        threading.Thread(target=_follow, args=(work, loop, stopping), name=name, daemon=True)
        for name, work in works.items()
    ]
    for follower in followers:
        follower.start()
    async with Application(settings, database_url=url, secret=secret) as app:
        tasks = [asyncio.create_task(_keep_time(app)), asyncio.create_task(_tidy(app))]
        await stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for follower in followers:
        await asyncio.to_thread(follower.join, STOP_SECONDS_MAX)


def _follow(work: Callable[[], None], loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    """What cannot go on ends the worker: a supervisor notices that, not a silent thread."""
    try:
        work()
    except Exception:
        log.exception("follower_failed", follower=threading.current_thread().name)
        loop.call_soon_threadsafe(stopping.set)


async def _keep_time(app: Application) -> None:
    async with timekeeper_leadership(app):
        await Timekeeper(app).run()


async def _tidy(app: Application) -> None:
    while True:
        await app.tidy()
        await asyncio.sleep(TIDY_SECONDS)
