"""Rebuilds views beside themselves (blue/green): fill a shadow, catch up, compare, swap. Readers notice nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from time import monotonic
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg import Connection

from adapters import view_schema
from adapters.fact_reader import FactReader
from adapters.projector_connection import head_of, open_connection
from adapters.view_bulk import BulkLoad, Progress, RebuildStoppedError
from adapters.view_schema import Checksum, shadow_of
from adapters.view_updater import DATA_ERRORS, ViewUpdater, apply
from projections.kernel import Projection

REBUILD_LOCK = 0x0C0F_0003
"""Advisory lock: one rebuild at a time. Leading is not needed, so an operator can rebuild while the projector works."""
PAGE_FACTS = 2_000
CATCH_UP_ROUNDS_MAX = 100
"""Rounds of catching up before the swap catches up under the lock, however much is left."""
SWAP_ATTEMPTS_MAX = 60
SWAP_WAIT_SECONDS = 1.0
"""How long one attempt makes readers wait for those who are reading the old tables."""
SWAP_PAUSE_SECONDS = 0.2
FINISHERS = 2
"""Connections that build indexes at once."""

log = structlog.get_logger()


class RebuildRunningError(RuntimeError):
    """Another rebuild has not finished."""


class RebuildReport(NamedTuple):
    name: str
    version: int
    facts: int
    """Read to rebuild it: the position of the comparison, or of the swap when there was nothing to compare with."""
    rows: int
    seconds: float
    """From the beginning of the rebuild, which all views share, to the swap."""
    checksum: str
    """Of the new tables, at the position ``facts``."""
    equal: bool | None
    """Whether the old tables were the same at that position. None: they were of another version or further behind."""
    dead_streams: int


class Rebuild:
    """Of some views at once: the ledger is read and decoded once for all of them."""

    def __init__(
        self,
        url: str,
        projections: Sequence[Projection],
        *,
        stop: threading.Event | None = None,
        on_progress: Progress = lambda position, head: None,
    ) -> None:
        self._url = url
        self._projections = tuple(projections)
        self._stop = stop or threading.Event()
        self._on_progress = on_progress

    def run(self) -> list[RebuildReport]:
        """Raises RebuildRunningError, RebuildStoppedError, and psycopg's errors; the views are then as they were."""
        ...
