"""One long step of the demo: many jobs at once, and how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

REDRAW_SECONDS = 0.2
LINE_SECONDS = 10.0  # between two lines when the output is not a terminal

Job = TypeVar("Job")


class Phase:
    """Shown as a bar on a terminal, as an occasional line elsewhere.

    A ticker reads the count: drawing at each of a million steps would cost more than the steps.
    """

    def __init__(self, console: Console, title: str, unit: str, total: int) -> None:
        self._console = console
        self._title = title
        self._unit = unit
        self._total = total
        self._done = 0
        self._began = monotonic()

    async def work_off(self, jobs: Iterable[Job], work: Callable[[Job], Awaitable[int]], workers: int) -> None:
        """Do each job, at most ``workers`` at a time; ``work`` returns how many units it got done.

        The first job that fails stops the others, and its exception is raised.
        """
        queue = iter(jobs)

        async def worker() -> None:
            for job in queue:
                done = await work(job)  # apart from the sum, which must not straddle an await
                self._done += done

        self._began = monotonic()
        ticker = asyncio.create_task(self._draw() if self._console.is_terminal else self._print_lines())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(worker())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker

    async def watch(self, reached: Callable[[], Awaitable[int]], pause_seconds: float) -> None:
        """Show how far somebody else's work has come, until it is all done. ``reached`` is asked again and again."""

        async def step(_: int) -> int:
            before = self._done
            while True:
                now = min(await reached(), self._total)
                if now > before:
                    return now - before
                await asyncio.sleep(pause_seconds)

        def steps() -> Iterator[int]:
            while self._done < self._total:
                yield self._done

        await self.work_off(steps(), step, 1)

    @property
    def _rate(self) -> str:
        return f"{self._done / max(monotonic() - self._began, 0.001):,.0f} {self._unit}/s"

    async def _draw(self) -> None:
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=self._console, auto_refresh=False) as bars:
            bar = bars.add_task(self._title, total=self._total, rate="")
            try:
                while True:
                    bars.update(bar, completed=self._done, rate=self._rate, refresh=True)
                    await asyncio.sleep(REDRAW_SECONDS)
            finally:
                bars.update(bar, completed=self._done, rate=self._rate, refresh=True)

    async def _print_lines(self) -> None:
        try:
            while True:
                await asyncio.sleep(LINE_SECONDS)
                self._print_line()
        finally:
            self._print_line()

    def _print_line(self) -> None:
        self._console.print(
            f"{self._title}: {self._done:,} of {self._total:,} {self._unit}, {self._rate}", highlight=False
        )
