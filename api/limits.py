"""Rate limits: the generic cell rate algorithm (ITU-T I.371), per caller and address, in each process by itself."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import NamedTuple

from starlette.requests import Request as HttpRequest

from api.errors import TooManyRequestsError

CALLERS_MAX = 100_000


class Limit(NamedTuple):
    """``rate`` requests a second on average, ``burst`` at once."""

    rate: float
    burst: int


SIGNED_IN = Limit(rate=100, burst=400)
ADDRESS = Limit(rate=200, burst=800)
AUTH = Limit(rate=10, burst=100)
"""Registering and logging in cost a tenth of a second of a core each."""


class RateLimits:
    def __init__(self, *, on: bool) -> None:
        self._on = on
        self._due: OrderedDict[tuple[str, str], float] = OrderedDict()

    def admit(self, request: HttpRequest, caller: str | None, *, anonymous: bool) -> None:
        """Raises TooManyRequestsError with the seconds after which the next one is welcome."""
        if not self._on:
            return
        address = request.client.host if request.client is not None else "unknown"
        if anonymous and request.url.path.startswith("/v1/auth/"):
            self._take("auth", address, AUTH)
        elif caller is None:
            self._take("address", address, ADDRESS)
        else:
            self._take("caller", caller, SIGNED_IN)

    def _take(self, kind: str, who: str, limit: Limit) -> None:
        now = time.monotonic()
        interval = 1 / limit.rate
        due = max(self._due.get((kind, who), 0.0), now)
        wait = due - (limit.burst - 1) * interval - now
        if wait > 0:
            raise TooManyRequestsError(retry_after_seconds=int(wait) + 1)
        self._due[(kind, who)] = due + interval
        if len(self._due) > CALLERS_MAX:
            self._due.popitem(last=False)
