"""Rebuilds views beside themselves (blue/green): fill shadows, compare, catch up, swap. Readers notice nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from time import monotonic, sleep
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg import Connection

from adapters import view_cursors, view_schema
from adapters.view_bulk import Progress
from adapters.view_cursors import open_connection
from adapters.view_schema import Checksum
from adapters.view_shadows import Shadows
from projections.kernel import Projection

REBUILD_LOCK = 0x0C0F_0003
"""Advisory lock: one rebuild at a time. Leading is not needed, so an operator can rebuild while the projector works."""
COMPARABLE_FACTS = 10_000
"""A view this close to the ledger's head is being kept up: the rebuild goes where it is, to compare."""
SWAP_ATTEMPTS_MAX = 60
SWAP_WAIT = b"set local lock_timeout = '1s'"
"""How long one attempt makes readers wait for others who are still reading the old tables."""
SWAP_PAUSE_SECONDS = 0.2

log = structlog.get_logger()


class RebuildRunningError(RuntimeError):
    """Another rebuild has not finished."""


class RebuildReport(NamedTuple):
    name: str
    version: int
    facts: int
    """The position at which the checksum was taken: so many facts made these rows."""
    rows: int
    seconds: float
    """From the beginning, which all views of a rebuild share, to the swap."""
    checksum: str
    equal: bool | None
    """Whether the old tables had the same rows at that position. False: the old view was wrong.

    None: there was nothing to compare with, for they were of another version or another position.
    """
    dead_streams: int


class Rebuild:
    """Of some views at once: the ledger is read and decoded once for all of them."""

    def __init__(
        self,
        url: str,
        projections: Sequence[Projection],
        *,
        stop: threading.Event | None = None,
        on_progress: Progress = lambda position, goal: None,
    ) -> None:
        self._url = url
        self._projections = tuple(projections)
        self._names = [projection.name for projection in projections]
        self._stop = stop or threading.Event()
        self._on_progress = on_progress

    def run(self) -> list[RebuildReport]:
        """Raises RebuildRunningError, RebuildStoppedError and psycopg's errors; the views are then as they were."""
        began = monotonic()
        with (
            closing(open_connection(self._url)) as guard,
            closing(open_connection(self._url)) as work,
            _alone(guard),
        ):
            shadows = Shadows(self._url, work, self._projections)
            try:
                shadows.load(lambda: self._goal(guard), self._stop, self._on_progress)
                compared = self._compare(guard, work, shadows)
                self._swap(guard, shadows)
            except BaseException:
                with suppress(psycopg.Error):  # else the next rebuild drops them
                    shadows.drop()
                raise
            reports = [_report(view, position, monotonic() - began) for ...]
        return reports
