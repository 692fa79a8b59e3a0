"""Processes that sweep parts of a snapshot for an audit in another one.

They are programs of their own, not `multiprocessing`'s: those begin by importing what the command line imports, which
takes longer than a sweep of half a million facts.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import psycopg

from adapters.audit_sweep import Bounds, Part, sweep_part

STOP_SECONDS_MAX = 10.0


class SweepFailedError(psycopg.OperationalError):
    """A process that swept a part ended before it was done."""


class Worker:
    """The other end of a process; it ends with the block."""

    def __init__(self, info: str, snapshot: str) -> None:
        command = [sys.executable, "-m", "adapters.audit_workers"]
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._send((info, snapshot))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate(timeout=STOP_SECONDS_MAX)  # nothing more to do, says the end of its input

    def sweep(self, bounds: Bounds, sizes: Sequence[int]) -> Part:
        """Raises SweepFailedError; why is on standard error."""
        self._send((bounds, sizes))
        assert self._process.stdout is not None
        try:
            part: Part = pickle.load(self._process.stdout)  # noqa: S301 - from a process of ours
        except (EOFError, pickle.UnpicklingError) as error:
            raise SweepFailedError(f"a process of the audit ended with {self._process.wait()}") from error
        return part

    def _send(self, message: tuple[Any, ...]) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise SweepFailedError(f"a process of the audit ended with {self._process.wait()}") from error


def sweep_parts(
    info: str, snapshot: str, bounds: Sequence[Bounds], sizes: Sequence[int], processes: int
) -> Iterator[Part]:
    """In the order of the bounds. Raises SweepFailedError."""
    with ExitStack() as stack:
        idle: SimpleQueue[Worker] = SimpleQueue()
        for _ in range(processes):
            idle.put(stack.enter_context(Worker(info, snapshot)))

        def sweep(part: Bounds) -> Part:
            worker = idle.get()
            try:
                return worker.sweep(part, sizes)
            finally:
                idle.put(worker)

        threads = stack.enter_context(ThreadPoolExecutor(processes))
        yield from threads.map(sweep, bounds)


def work() -> None:
    """Sweep what is asked for on standard input until it ends."""
    info, snapshot = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    with closing(psycopg.connect(info, autocommit=True, prepare_threshold=0)) as connection:
        connection.execute("begin isolation level repeatable read read only")
        connection.execute(f"set transaction snapshot '{snapshot}'".encode())
        while True:
            try:
                bounds, sizes = pickle.load(sys.stdin.buffer)  # noqa: S301 - the same
            except EOFError:
                return
            pickle.dump(sweep_part(connection, bounds, sizes), sys.stdout.buffer)
            sys.stdout.flush()


if __name__ == "__main__":
    work()
