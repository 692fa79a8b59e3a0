"""The bench itself: a PostgreSQL of its own on a real disk, a window in which work is counted, and word of progress."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from adapters.embedded import EmbeddedPostgres, keep_secret
from adapters.postgres import migrate

WARM_UP_SECONDS = 0.5
"""Connections are open, statements prepared and caches filled before anything is counted."""

Step = Callable[[str], None]


class BenchError(Exception):
    """A measurement means nothing, because what was measured did not do what it should have done."""


class Window:
    """Opens after the warm-up. Only what is completed within it counts, so that beginnings and ends cost nobody."""

    def __init__(self, seconds: float, warm_up_seconds: float = WARM_UP_SECONDS) -> None:
        self.opens_at = perf_counter() + warm_up_seconds
        self.closes_at = self.opens_at + seconds

    @property
    def seconds(self) -> float:
        return self.closes_at - self.opens_at

    def is_over(self) -> bool:
        return perf_counter() >= self.closes_at

    def is_open(self) -> bool:
        return self.opens_at <= perf_counter() < self.closes_at

    def close(self) -> None:
        """There is nothing left to do before its time is up."""
        self.closes_at = min(self.closes_at, perf_counter())


class Bench:
    """What every measurement is given."""

    def __init__(self, console: Console, directory: Path, url: str, repetitions: int) -> None:
        self.console = console
        self.directory = directory
        self.url = url
        self.repetitions = repetitions
        self.secret = keep_secret(directory)

    def database(self) -> str:
        """The URL of a fresh database of this release."""
        name = f"bench_{uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"create database {name}".encode())
        url = make_conninfo(self.url, dbname=name)
        migrate(url)
        return url

    @contextmanager
    def steps(self, title: str, total: int) -> Iterator[Step]:
        """A bar on a terminal, a line for each step elsewhere."""
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
        )
        shown = self.console.is_terminal
        with Progress(*columns, console=self.console, transient=True, disable=not shown) as progress:
            bar = progress.add_task(title, total=total, now="", completed=-1)  # a step is done when the next begins

            def step(now: str) -> None:
                progress.update(bar, advance=1, now=now)
                if not shown:
                    self.console.print(f"{title}: {now}", highlight=False)

            yield step


@contextmanager
def workbench(console: Console, repetitions: int) -> Iterator[Bench]:
    """A PostgreSQL in a temporary directory, stopped and removed at the end, also when we are told to stop."""
    with _stoppable(), TemporaryDirectory(prefix="counterfoil-bench-") as directory:
        server = EmbeddedPostgres(Path(directory))
        try:
            yield Bench(console, Path(directory), server.start(), repetitions)
        finally:
            server.stop()


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM is taken as an interrupt, which event loops know how to wind up; so is SIGINT, even in the background."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: lambda *_: signal.raise_signal(signal.SIGINT),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
