"""How far something behind the ledger has got, as it announces it; and waiting for a position without polling."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

from commands.kernel import OverloadedError

WAIT_SECONDS_MAX = 5.0
WAITERS_MAX = 10_000


class Positions:
    """Of the views, or of the tree's signed heads. One each per process, fed by the follower's connection."""

    def __init__(self, of: str) -> None:
        """``of``: as in "the views have"."""
        self._of = of
        self.position = 0
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    def announce(self, position: int) -> None:
        self.position = max(self.position, position)
        while self._waiters and self._waiters[0][0] <= self.position:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)

    def reset(self, position: int) -> None:
        """What the database says after a connection was lost: it may have lost commits that are not flushed."""
        self.position = position
        self.announce(position)

    async def wait_for(self, position: int) -> None:
        """Return once the position is reached. Raises OverloadedError when they do not in time."""
        if position <= self.position:
            return
        if len(self._waiters) >= WAITERS_MAX:
            raise OverloadedError("too many requests are waiting for a position")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (position, next(self._order), future))
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await future
        except TimeoutError as error:
            raise OverloadedError(f"{self._of} reached {self.position}, not {position} yet") from error
