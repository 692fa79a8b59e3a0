"""The worker: projectors and the tree on threads of their own, the timekeeper and the housekeeping on the event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from api.bootstrap import Application, grow_tree, run_feed, run_projectors, timekeeper_leadership
from api.settings import Settings
from api.timekeeper import Timekeeper

ERASURES_SECONDS = 60.0
"""What a crash has left of an erasure is ended within minutes: that is promised."""
TIDY_SECONDS = 3_600.0
RETRY_SECONDS = 5.0
"""After a failure: the database may be away for a moment."""
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
        tasks = [
            asyncio.create_task(_again_and_again("timekeeper", partial(_keep_time, app), 0.0)),
            asyncio.create_task(_again_and_again("erasures", app.finish_erasures, ERASURES_SECONDS)),
            asyncio.create_task(_again_and_again("tidying", app.tidy, TIDY_SECONDS)),
        ]
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


async def _again_and_again(name: str, work: Callable[[], Awaitable[object]], pause_seconds: float) -> None:
    """Until cancelled. No failure ends it: nobody would notice that a task of ours is gone."""
    while True:
        try:
            await work()
            await asyncio.sleep(pause_seconds)
        except Exception:
            log.exception("housekeeping_failed", work=name)
            await asyncio.sleep(RETRY_SECONDS)


async def _keep_time(app: Application) -> None:
    """Stand by, and lead when it is our turn."""
    async with timekeeper_leadership(app):
        await Timekeeper(app).run()
