"""Reading by position while 32 writers in 4 processes append, and much of what they try is rolled back.

Nothing may be missed, nothing come twice or out of order, and no gap may ever be seen. The same harness is then turned on
the library's own recorder with ``POSTGRES_ENABLE_DB_FUNCTIONS=y``, which numbers events without holding a lock until they
are committed: there a reader does pass over events that become visible behind it. That shows that the harness can see it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from threading import Event as Flag
from threading import Thread
from uuid import UUID, uuid4

import psycopg
from eventsourcing.persistence import ApplicationRecorder

from adapters.recorder import LedgerRecorder
from tests.adapters.ledger_parts import rows_of
from tests.adapters.ledger_writers import (
    APPENDS,
    START_SECONDS_MAX,
    WRITERS,
    Report,
    arm,
    unlocked_recorder,
    write_to_ledger,
    write_unlocked,
)

PROCESSES = 4
PAGE = 500
WRITING_SECONDS_MAX = 60.0
READING_SECONDS_MAX = 30.0
SABOTAGE_SECONDS = 0.1
"""Between two of the writers' connections that are broken."""
ATTEMPTS_MAX = 3
"""Runs within which the recorder without a lock has to lose something. One loses about a thousand of 35,000 events."""

Write = Callable[[str, UUID, int], Report]


class Tail(Thread):
    """A reader that remembers the positions it came by, in the order in which it did."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.seen: list[int] = []
        self.stopped = Flag()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.read()
        except BaseException as error:  # noqa: BLE001  # it is raised again where the thread is joined
            self.error = error

    def read(self) -> None:
        """Ask again and again for what follows the last position seen."""
        while not self.stopped.is_set():
            last = self.seen[-1] if self.seen else None
            page = self.recorder.select_notifications(last, PAGE, inclusive_of_start=False)
            self.seen.extend(notification.id for notification in page)

    def finish(self, end: int) -> list[int]:
        """What it saw, once it has come to the end. Nobody writes any more."""
        deadline = time.monotonic() + READING_SECONDS_MAX
        while self.is_alive() and self.seen[-1:] < [end] and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stop()
        self.join(READING_SECONDS_MAX)
        if self.error is not None:
            raise self.error
        assert not self.is_alive()
        return self.seen

    def stop(self) -> None:
        self.stopped.set()


class SubscribedTail(Tail):
    """The same by a live subscription, which NOTIFY wakes."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        super().__init__(recorder)
        self.subscription = recorder.subscribe()

    def read(self) -> None:
        with self.subscription:
            self.seen.extend(notification.id for notification in self.subscription)

    def stop(self) -> None:
        self.subscription.stop()


@dataclass(slots=True)
class Observed:
    reports: list[Report]
    recorded: list[int]
    """Every position there is, when all is done."""
    seen: list[list[int]]
    """What each reader saw, in the order in which it saw it."""

    @property
    def missed(self) -> set[int]:
        return {position for seen in self.seen for position in set(self.recorded) - set(seen)}


def observe(database: str, recorder: ApplicationRecorder, write: Write) -> Observed:
    """Let the processes write while two readers follow."""
    spawn = get_context("spawn")
    gate = spawn.Barrier(PROCESSES + 1)
    contended = uuid4()
    tails = [Tail(recorder), SubscribedTail(recorder)]
    try:
        with ProcessPoolExecutor(PROCESSES, spawn, initializer=arm, initargs=(gate,)) as processes:
            writing = [processes.submit(write, database, contended, seed) for seed in range(PROCESSES)]
            gate.wait(START_SECONDS_MAX)
            for tail in tails:
                tail.start()
            reports = [future.result(WRITING_SECONDS_MAX) for future in writing]
        end = recorder.max_notification_id()
        assert end is not None
        seen = [tail.finish(end) for tail in tails]
    finally:
        for tail in tails:
            tail.stop()
    recorded = [notification.id for notification in recorder.select_notifications(None, end + 1)]
    return Observed(reports, recorded, seen)


@contextmanager
def breaking_connections(database: str) -> Iterator[list[int]]:
    """Meanwhile, end one of the writers' sessions after the other, wherever they happen to be."""
    broken: list[int] = []
    done = Flag()

    def sabotage() -> None:
        with psycopg.connect(database, autocommit=True) as conn:
            while not done.wait(SABOTAGE_SECONDS):
                ended = conn.execute(
                    "select pid, pg_terminate_backend(pid) from (select pid from pg_stat_activity"
                    " where datname = current_database() and application_name = 'counterfoil'"
                    " and query like '%ledger.append%' order by random() limit 1) one_of_them"
                )
                broken.extend(pid for pid, _ in ended)

    thread = Thread(target=sabotage)
    thread.start()
    try:
        yield broken
    finally:
        done.set()
        thread.join()


def test_a_reader_misses_nothing_and_sees_no_gap(database: str) -> None:
    recorder = LedgerRecorder(database)
    try:
        with breaking_connections(database) as broken:
            observed = observe(database, recorder, write_to_ledger)
    finally:
        recorder.close()
    dense = list(range(1, len(observed.recorded) + 1))
    assert observed.recorded == dense
    for seen in observed.seen:
        assert seen == dense
    for report in observed.reports:
        assert report.followed == dense[: len(report.followed)]
    assert_reports_are_true(observed.reports, database)
    assert broken, "no connection was broken"
    assert sum(report.unknown for report in observed.reports) > 0
    assert sum(len(report.refused) for report in observed.reports) > 0


def assert_reports_are_true(reports: list[Report], database: str) -> None:
    """What was acknowledged is where it was said to be; of what was refused there is no trace."""
    rows = rows_of(database)
    streams = {row.stream_id for row in rows}
    assert len(streams) == len(rows)
    for report in reports:
        for position, appended in report.recorded:
            assert [row.stream_id for row in rows[position - len(appended) : position]] == appended
        assert streams.isdisjoint(report.refused)
    attempts = sum(len(report.recorded) + report.unknown for report in reports)
    assert 0 < attempts <= PROCESSES * WRITERS * APPENDS


LINGER = """
    create function linger() returns trigger language plpgsql as $$
    begin
        if random() < 0.005 then perform pg_sleep(0.05); end if;
        return null;
    end $$;
    create constraint trigger linger after insert on {table} deferrable initially deferred
        for each row execute function linger()"""
"""Some commits take their time, after the numbers were given: on a slow machine the reader comes too late to pass any by."""


def test_the_harness_sees_what_a_recorder_without_a_lock_loses(empty_database: str) -> None:
    """The control: were this to find nothing missed, the test above would prove nothing."""
    missed: set[int] = set()
    with unlocked_recorder(empty_database, create=True) as recorder:
        with psycopg.connect(empty_database) as connection:
            connection.execute(LINGER.format(table=recorder.events_table_name).encode())
        for _ in range(ATTEMPTS_MAX):
            missed = observe(empty_database, recorder, write_unlocked).missed
            if missed:
                break
    assert missed, f"nothing was lost in {ATTEMPTS_MAX} runs"
