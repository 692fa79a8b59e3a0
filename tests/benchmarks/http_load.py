"""Load in a closed loop: so many connections, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import quantiles
from time import perf_counter
from typing import NamedTuple

from api.client import Client, Response
from tests.benchmarks.harness import BenchError, Window

BODY_CHARACTERS = 300


class Shot(NamedTuple):
    """One request to be sent."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]


Hit = tuple[float, float]
"""When a request was sent and when it was answered. (A plain tuple of floats: the collector does not look at it.)"""

Take = Callable[[Response], None]


class Load(NamedTuple):
    """What was answered within a window."""

    per_second: float
    seconds: list[float]
    """The time each answer took, sorted."""

    @property
    def p50(self) -> float:
        return quantiles(self.seconds, n=100)[49]

    @property
    def p99(self) -> float:
        return quantiles(self.seconds, n=100)[98]


def wanting(status: int) -> Take:
    """Raises BenchError for any other status: a server that refuses quickly is not fast."""

    def take(response: Response) -> None:
        if response.status != status:
            raise BenchError(f"answered {response.status}: {response.body[:BODY_CHARACTERS]!r}")

    return take


async def fire(client: Client, shots: Iterable[Shot], connections: int, take: Take) -> list[Hit]:
    """Send everything, at most ``connections`` at a time, and hand over each answer.

    The first failure, of the connection or of ``take``, ends it and is raised.
    """
    queue = iter(shots)
    hits: list[Hit] = []

    async def worker() -> None:
        for shot in queue:
            began = perf_counter()
            response = await client.request(*shot)
            hits.append((began, perf_counter()))
            take(response)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return hits


async def load(client: Client, shots: Iterable[Shot], connections: int, seconds: float, status: int) -> Load:
    """Fire for so long, or until there is nothing left to fire. Raises BenchError for an answer of another status."""
    window = Window(seconds)
    hits = await fire(client, until_over(window, shots), connections, wanting(status))
    taken = sorted(ended - began for began, ended in hits if window.opens_at <= ended <= window.closes_at)
    if len(taken) < 2 or window.seconds <= 0:
        raise BenchError("nothing was answered within the window")
    return Load(len(taken) / window.seconds, taken)


def until_over(window: Window, shots: Iterable[Shot]) -> Iterator[Shot]:
    """The shots for as long as the window lasts; it closes early when there are no more."""
    for shot in shots:
        if window.is_over():
            return
        yield shot
    window.close()
