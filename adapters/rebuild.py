"""Rebuilds views beside themselves (blue/green): fill shadows, compare, catch up, swap. Readers notice nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from hashlib import sha256
from time import monotonic, sleep
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg import Connection

from adapters import view_cursors, view_marks, view_schema
from adapters.view_bulk import Progress
from adapters.view_cursors import Cursor, open_connection
from adapters.view_schema import Checksum, shadow_of
from adapters.view_shadows import Shadows
from adapters.view_updater import ViewUpdater
from projections.kernel import Projection

REBUILD_LOCK = 0x0C0F_0003
"""Advisory lock: one rebuild at a time. Leading is not needed, so an operator can rebuild while the projector works."""
COMPARABLE_FACTS = 10_000
"""A view this close to the ledger's head is being kept up: the rebuild goes where it is, to compare."""
SWAP_ATTEMPTS_MAX = 60
SWAP_PAUSE_SECONDS = 1.0

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
        on_progress: Progress = lambda *_: None,
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
                compared = self._compare(guard, shadows)
                self._swap(guard, shadows)
            except BaseException:
                with suppress(psycopg.Error):  # else the next rebuild drops them
                    shadows.drop()
                raise
        return [self._report(view, compared[view.projection.name], monotonic() - began) for view in shadows.updaters]

    def _goal(self, guard: Connection[Any]) -> int:
        """Where the views are that are kept up; without any the ledger's head."""
        head = view_cursors.head(guard)
        cursors = view_cursors.read(guard, self._names)
        return max((c.position for c in cursors if self._is_kept_up(c, head)), default=head)

    def _is_kept_up(self, cursor: Cursor, head: int) -> bool:
        version = next(p.version for p in self._projections if p.name == cursor.name)
        return cursor.version == version and head - cursor.position <= COMPARABLE_FACTS

    def _compare(self, guard: Connection[Any], shadows: Shadows) -> dict[str, Compared]:
        """Checksums of old and new at one position. Views stand still only until both have been brought there."""
        with ExitStack() as snapshot:
            with guard.transaction():
                locked = view_cursors.lock(guard, self._names)
                shadows.catch_up(self._goal(guard))
                work = snapshot.enter_context(shadows.snapshot())
            there = {c.name for c in locked if self._is_kept_up(c, c.position) and c.position == shadows.position}
            there -= {p.name for p in self._projections if view_schema.differs(work, p)}
            there -= view_marks.beyond(work, self._names).names()  # more than their position says
            return {
                p.name: Compared(
                    shadows.position,
                    view_schema.checksums(work, p, shadow_of(p)),
                    view_schema.checksums(work, p, p.name) if p.name in there else None,
                )
                for p in self._projections
            }

    def _swap(self, guard: Connection[Any], shadows: Shadows) -> None:
        view_schema.keep_vacuum(guard, self._projections, away=True)
        try:
            for _ in range(SWAP_ATTEMPTS_MAX - 1):
                with suppress(psycopg.errors.QueryCanceled):
                    return self._try_to_swap(guard, shadows)
                log.info("swap_waits_for_readers", views=self._names)
                sleep(SWAP_PAUSE_SECONDS)
            return self._try_to_swap(guard, shadows)
        except psycopg.Error:
            with suppress(psycopg.Error):
                view_schema.keep_vacuum(guard, self._projections, away=False)
            raise

    def _try_to_swap(self, guard: Connection[Any], shadows: Shadows) -> None:
        """Under the cursors' lock nothing moves: the shadows catch up, take the views' places, and are where those were.

        Raises QueryCanceled while somebody reads the old tables for longer than we make others wait.
        """
        with guard.transaction():
            view_cursors.lock(guard, self._names)
            shadows.catch_up(max(self._goal(guard), view_marks.highest(guard, self._names)))
            view_schema.swap(guard, self._projections)
            for view in shadows.updaters:
                view_cursors.renew(guard, view.projection, shadows.position)
                view.letters.replace(guard)

    def _report(self, view: ViewUpdater, compared: Compared, seconds: float) -> RebuildReport:
        new, old = compared.new, compared.old
        report = RebuildReport(
            view.projection.name,
            view.projection.version,
            compared.position,
            sum(table.rows for table in new.values()),
            seconds,
            sha256(repr(sorted(new.items())).encode()).hexdigest(),
            None if old is None else old == new,
            len(view.letters),
        )
        if report.equal is False:
            tables = [name for name in new if old is not None and old[name] != new[name]]
            log.error("view_was_wrong", view=report.name, tables=tables, position=report.facts)
        log.info("view_rebuilt", **report._asdict())
        return report


class Compared(NamedTuple):
    position: int
    new: dict[str, Checksum]
    old: dict[str, Checksum] | None
    """None: there was nothing to compare with."""


@contextmanager
def _alone(guard: Connection[Any]) -> Iterator[None]:
    row = guard.execute("select pg_try_advisory_lock(%s)", (REBUILD_LOCK,)).fetchone()
    if row != (True,):
        raise RebuildRunningError("another rebuild has not finished")
    yield  # the lock ends with the connection
