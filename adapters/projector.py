"""The projector: keeps every view up with the ledger. However many are started, one at a time does the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from time import monotonic
from typing import Any

import psycopg
import structlog
from psycopg import Connection

from adapters.projector_session import PAGE_FACTS, Session
from adapters.rebuild import Rebuild, RebuildReport
from adapters.rebuild_beside import RebuildBeside
from adapters.view_cursors import open_connection
from projections.kernel import Projection
from projections.progress import LAG, Lag
from projections.registry import ALL

LEDGER_CHANNEL = "counterfoil_ledger"
LEADER_LOCK = 0x0C0F_0002
"""Advisory lock of the one projector that works. It is the session's, so it ends with the connection it writes on."""
LEADER_POLL_SECONDS = 0.5
LEADER_SECONDS_MAX = 30.0
"""How long `catch_up` waits for another projector to let go."""
POLL_SECONDS = 1.0
"""A fallback: what a lost notification would otherwise delay for ever."""
STOP_POLL_SECONDS = 0.1
BATCH_SECONDS_MIN = 0.01
"""Under load batches begin no closer together than this: fewer and larger ones leave more of the machine to others."""
FEED_LOOK_SECONDS = 0.25
"""Between two looks whether the feeds keep their views up."""
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 5.0
FAILURES_MAX = 200
"""In a row, which with the longest back-off is a quarter of an hour without a database."""

log = structlog.get_logger()


class NotLeaderError(RuntimeError):
    """Another projector is at work and did not let go in time."""


class Projector:
    """Synchronous: for a thread or a process of its own. ``on_batch`` is told of facts and seconds after each batch.

    Views that are ``fed`` from a topic it leaves to their feeds for as long as those keep them up.
    """

    def __init__(self, url: str, projections: Sequence[Projection] = ALL, *, fed: Iterable[str] = ()) -> None:
        self._fed = frozenset(fed)
        self._url = url
        self._projections = tuple(projections)
        self.on_batch: Callable[[int, float], None] = lambda *_: None
        self.on_rebuild: Callable[[RebuildReport], None] = lambda _: None
        self.leads = False
        self.facts_total = 0
        self.batches_total = 0

    def run(self, stop: threading.Event) -> None:
        """Lead, or stand by until the leader goes; connect again when the connection breaks. Returns when stopped.

        Raises psycopg.Error when the database has failed FAILURES_MAX times in a row.
        """
        failures = 0
        while not stop.is_set():
            batches = self.batches_total
            try:
                with closing(open_connection(self._url)) as connection:
                    if _take_lead(connection, stop):
                        self._follow(connection, stop)
            except (psycopg.Error, OSError) as error:
                failures = 1 if self.batches_total > batches else failures + 1
                log.warning("projector_interrupted", error=str(error).strip(), failures=failures)
                if failures >= FAILURES_MAX:
                    raise
                stop.wait(min(BACKOFF_SECONDS * 2 ** min(failures, 10), BACKOFF_SECONDS_MAX))
            finally:
                self.leads = False

    def catch_up(self) -> int:
        """Bring every view to the ledger's head, rebuilding what is outdated, and return the position.

        Raises NotLeaderError.
        """
        with closing(open_connection(self._url)) as connection:
            stop = threading.Event()
            timer = threading.Timer(LEADER_SECONDS_MAX, stop.set)
            timer.start()
            try:
                if not _take_lead(connection, stop):
                    raise NotLeaderError
            finally:
                timer.cancel()
            session = Session(connection, self._projections)
            session.prepare()
            if outdated := session.outdated():
                Rebuild(self._url, outdated).run()
            while self._step(session):
                pass
            return min(cursor.position for cursor in session.cursors())

    def lag(self) -> list[Lag]:
        """Of each view, as the database has it now."""
        with closing(open_connection(self._url)) as connection:
            return [Lag(*row) for row in connection.execute(LAG.encode())]

    # -- Leading -------------------------------------------------------------------

    def _follow(self, connection: Connection[Any], stop: threading.Event) -> None:
        session = Session(connection, self._projections, self._fed)
        session.prepare()
        connection.execute(f"listen {LEDGER_CHANNEL}".encode())
        self.leads = True
        with RebuildBeside(self._url, session.outdated(), self.on_rebuild) as beside:
            kept_up, looked_at = self._fed, -FEED_LOOK_SECONDS
            while not stop.is_set():
                began = monotonic()
                if beside.tend():
                    session.announce()
                if self._fed and began - looked_at >= FEED_LOOK_SECONDS:
                    kept_up, looked_at = frozenset(session.kept_up()), began
                if not self._step(session, beside.views | kept_up):
                    _await_notification(connection, stop)
                    continue
                if session.last_size < PAGE_FACTS:
                    stop.wait(max(0.0, BATCH_SECONDS_MIN - (monotonic() - began)))
                _drop_notifications(connection)

    def _step(self, session: Session, leave: Iterable[str] = ()) -> bool:
        began, before = monotonic(), session.facts_total
        moved = session.step(leave)
        if moved:
            facts = session.facts_total - before
            self.facts_total += facts
            self.batches_total += 1
            self.on_batch(facts, monotonic() - began)
        return moved


def _take_lead(connection: Connection[Any], stop: threading.Event) -> bool:
    while not stop.is_set():
        row = connection.execute("select pg_try_advisory_lock(%s)", (LEADER_LOCK,)).fetchone()
        if row == (True,):
            return True
        stop.wait(LEADER_POLL_SECONDS)
    return False


def _drop_notifications(connection: Connection[Any]) -> None:
    """Those that came while there was work anyway: the connection would keep them for ever."""
    for _ in connection.notifies(timeout=0):
        pass


def _await_notification(connection: Connection[Any], stop: threading.Event) -> None:
    """Until the ledger has moved, the fallback's time is over, or we are to stop."""
    deadline = monotonic() + POLL_SECONDS
    while not stop.is_set() and monotonic() < deadline:
        if list(connection.notifies(timeout=STOP_POLL_SECONDS, stop_after=1)):
            return
