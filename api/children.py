"""The processes that `counterfoil serve` starts beside itself: they end when it does, and are started again when they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

WATCH_SECONDS = 0.25
RESTARTS_MAX = 20
"""Within RESTARTS_SECONDS; more means that starting it again does not help."""
RESTARTS_SECONDS = 600.0
STOP_SECONDS_MAX = 15

log = structlog.get_logger()


class Child(NamedTuple):
    command: str
    pass_fds: tuple[int, ...] = ()
    """What it shares with us; a listening socket it does not need would keep the port when we are killed."""


class Children:
    """Each child reads a pipe that only our death closes, so that even SIGKILL leaves none behind."""

    def __init__(self, children: Sequence[Child], env: Mapping[str, str]) -> None:
        self._env = dict(env)
        self._stopping = threading.Event()
        self._restarted: list[float] = []
        self._running = [(child, self._start(child)) for child in children]
        self._watcher = threading.Thread(target=self._watch, name="children", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Ask them to end, wait, and insist."""
        self._stopping.set()
        self._watcher.join()
        for _, process in self._running:
            process.terminate()
        for _, process in self._running:
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, child: Child) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "api", *child.command.split()],
            env=self._env,
            stdin=subprocess.PIPE,
            pass_fds=child.pass_fds,
            start_new_session=True,
        )

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            for index, (child, process) in enumerate(self._running):
                if process.poll() is None:
                    continue
                now = time.monotonic()
                self._restarted = [at for at in self._restarted if now - at < RESTARTS_SECONDS] + [now]
                if len(self._restarted) > RESTARTS_MAX:
                    log.error("child_keeps_dying", child=child.command, code=process.returncode)
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                log.warning("child_restarted", child=child.command, code=process.returncode)
                self._running[index] = (child, self._start(child))


def die_with_parent() -> None:
    """In a child: end when the parent is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS_MAX)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
