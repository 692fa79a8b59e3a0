"""Projectors at work beside a test: in a thread, or in a process that can be killed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from adapters.projector import Projector

WAIT_SECONDS_MAX = 20.0
POLL_SECONDS = 0.005
PROGRAM = (
    "import sys, threading; from adapters.projector import Projector; Projector(sys.argv[1]).run(threading.Event())"
)


@contextmanager
def running(projector: Projector) -> Iterator[Projector]:
    """Runs until the end of the block, and fails the test when it stops before that with an error."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            projector.run(stop)
        except BaseException as error:  # noqa: BLE001 - for the test to raise
            errors.append(error)

    thread = threading.Thread(target=run, name="projector")
    thread.start()
    try:
        yield projector
    finally:
        stop.set()
        thread.join(WAIT_SECONDS_MAX)
    assert not thread.is_alive()
    if errors:
        raise errors[0]


def start_process(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(POLL_SECONDS)


def reached(connection: Connection[Any], position: int) -> bool:
    """Whether every view has got there."""
    row = connection.execute("select min(position) from projections.cursors").fetchone()
    return row is not None and row[0] is not None and row[0] >= position
