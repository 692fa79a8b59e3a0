"""The processes that `counterfoil serve` starts beside itself: they end when it does, and are started again when they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import structlog

WATCH_SECONDS = 0.25
RESTARTS_MAX = 20
"""Within RESTARTS_SECONDS; more means that starting it again does not help."""
RESTARTS_SECONDS = 600.0
STOP_SECONDS_MAX = 15

log = structlog.get_logger()


class Children:
    """Each child reads a pipe that only our death closes, so that even SIGKILL leaves none behind."""

    def __init__(self, commands: Sequence[Sequence[str]], env: Mapping[str, str], pass_fds: Sequence[int]) -> None:
        self._env = dict(env)
        self._pass_fds = tuple(pass_fds)
        self._stopping = threading.Event()
        self._restarted: list[float] = []
        self._running = [(command, self._start(command)) for command in commands]
        self._watcher = threading.Thread(target=self._watch, name="children", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Ask them to end, wait, and insist."""
        self._stopping.set()
        self._watcher.join()
        for _, child in self._running:
            child.terminate()
        for _, child in self._running:
            try:
                child.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "api", *command],
            env=self._env,
            stdin=subprocess.PIPE,
            pass_fds=self._pass_fds,
            start_new_session=True,
        )

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            for index, (command, child) in enumerate(self._running):
                if child.poll() is None:
                    continue
                now = time.monotonic()
                self._restarted = [at for at in self._restarted if now - at < RESTARTS_SECONDS] + [now]
                if len(self._restarted) > RESTARTS_MAX:
                    log.error("child_keeps_dying", child=command[0], code=child.returncode)
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                log.warning("child_restarted", child=command[0], code=child.returncode)
                self._running[index] = (command, self._start(command))


def die_with_parent() -> None:
    """In a child: end when the parent is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS_MAX)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
