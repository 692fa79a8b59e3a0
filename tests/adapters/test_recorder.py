"""The ``eventsourcing`` library's own cases for a recorder, run against ours; then what they leave open."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing import persistence
from eventsourcing.persistence import AggregateRecorder, Notification, StoredEvent, Tracking
from eventsourcing.popo import POPOApplicationRecorder
from eventsourcing.tests import persistence as library
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.recorder import APPLICATION_NAME, POLL_SECONDS, LedgerRecorder
from tests.adapters.ledger_parts import WAIT_SECONDS_MAX, connection_count, rows_of, scalar, terminate_connections

# -- The library's cases. ---------------------------------------------------------------


class OnLedger(library.RecorderTestCase):
    """A fresh database for each case."""

    url: str

    @pytest.fixture(autouse=True)
    def _fresh_database(self, database: str) -> None:
        self.url = database

    def create_recorder(self) -> Any:
        recorder = LedgerRecorder(self.url)
        self.addCleanup(recorder.close)
        return recorder


class TestApplicationRecorder(OnLedger, library.ApplicationRecorderTestCase[LedgerRecorder]):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNotificationIdsDoNotInterleave(OnLedger, library.NonInterleavingNotificationIDsBaseCase):
    pass


class StreamsOnly(AggregateRecorder):
    """What the library asks of a recorder that numbers no notifications: the same, without the numbers."""

    def __init__(self, recorder: LedgerRecorder) -> None:
        self.recorder = recorder

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        self.recorder.insert_events(stored_events, **kwargs)

    def select_events(self, originator_id: UUID | str, **bounds: Any) -> Sequence[StoredEvent]:
        return list(self.recorder.select_events(originator_id, **bounds))


class TestAggregateRecorder(OnLedger, library.AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return StreamsOnly(super().create_recorder())


# -- What they leave open. --------------------------------------------------------------


@pytest.fixture
def recorder(database: str) -> Iterator[LedgerRecorder]:
    recorder = LedgerRecorder(database)
    yield recorder
    recorder.close()


def stored(stream_id: UUID | str, version: int = 1, topic: str = "a") -> StoredEvent:
    return StoredEvent(stream_id, version, topic, b"{}")


STREAMS = [uuid4() for _ in range(3)]
STORED = [stored(STREAMS[n % 3], n // 3 + 1, "abc"[n * n % 3]) for n in range(24)]
positions = st.integers(min_value=0, max_value=27)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_reads_what_the_librarys_own_recorder_reads(recorder: LedgerRecorder, data: st.DataObject) -> None:
    model = POPOApplicationRecorder()
    for each in (model, recorder) if recorder.max_notification_id() is None else (model,):
        each.insert_events(STORED)
    asked: dict[str, Any] = data.draw(
        st.fixed_dictionaries(
            {"start": st.none() | positions, "limit": st.integers(min_value=1, max_value=27)},
            optional={
                "stop": st.none() | positions,
                "topics": st.lists(st.sampled_from("abcd"), unique=True),
                "inclusive_of_start": st.booleans(),
            },
        )
    )
    assert recorder.select_notifications(**asked) == model.select_notifications(**asked)
    version = st.none() | st.integers(min_value=-1, max_value=10)
    bounds: dict[str, Any] = {"gt": data.draw(version), "lte": data.draw(version), "desc": data.draw(st.booleans())}
    limit = data.draw(st.none() | st.integers(min_value=1, max_value=10))
    stream_id = data.draw(st.sampled_from([*STREAMS, uuid4()]))
    assert recorder.select_events(stream_id, limit=limit, **bounds) == list(
        model.select_events(stream_id, limit=limit, **bounds)
    )


def test_a_stream_may_be_named_by_the_text_of_its_uuid(recorder: LedgerRecorder) -> None:
    stream_id = uuid4()
    recorder.insert_events([stored(str(stream_id))])
    assert recorder.select_events(str(stream_id)) == recorder.select_events(stream_id) == [stored(stream_id)]


def test_who_appended_through_the_library_is_on_record(recorder: LedgerRecorder, database: str) -> None:
    recorder.insert_events([stored(uuid4())])
    metadata = scalar(database, "select metadata from ledger.facts")
    assert (metadata["actor"], metadata["command"]) == ("eventsourcing", "insert_events")
    assert str(UUID(metadata["command_id"])) == metadata["correlation_id"]


@pytest.mark.parametrize(
    ("impossible", "error"),
    [
        (stored("not a uuid"), persistence.DataError),
        (stored(uuid4(), 2**31), persistence.DataError),
        (stored(uuid4(), topic="NUL \x00"), persistence.DataError),
    ],
)
def test_what_cannot_be_recorded_raises_the_librarys_error(
    recorder: LedgerRecorder, impossible: StoredEvent, error: type[Exception]
) -> None:
    with pytest.raises(error):
        recorder.insert_events([stored(uuid4()), impossible])
    assert recorder.max_notification_id() is None
    assert recorder.insert_events([stored(uuid4())]) == [1]


def test_tracking_is_refused_rather_than_dropped(recorder: LedgerRecorder) -> None:
    with pytest.raises(persistence.NotSupportedError):
        recorder.insert_events([stored(uuid4())], tracking=Tracking("upstream", 1))
    assert recorder.max_notification_id() is None


def test_connections_that_died_while_idle_are_not_handed_out(recorder: LedgerRecorder, database: str) -> None:
    recorder.insert_events([stored(uuid4())])
    assert terminate_connections(database, APPLICATION_NAME)
    assert recorder.insert_events([stored(uuid4())]) == [2]
    assert terminate_connections(database, APPLICATION_NAME)
    assert recorder.max_notification_id() == 2


def test_without_its_database_it_says_so_in_the_librarys_words(recorder: LedgerRecorder, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("drop schema ledger cascade")
    with pytest.raises(persistence.ProgrammingError):
        recorder.max_notification_id()
    recorder.close()
    with pytest.raises(persistence.OperationalError):
        recorder.insert_events([stored(uuid4())])


# -- Subscriptions. -----------------------------------------------------------------------


class Tail(Thread):
    """Iterates a subscription in a thread of its own, as the library's runner does."""

    def __init__(self, recorder: LedgerRecorder, **asked: Any) -> None:
        super().__init__()
        self.subscription = recorder.subscribe(**asked)
        self.heard: list[Notification] = []
        self.start()

    def run(self) -> None:
        for notification in self.subscription:
            self.heard.append(notification)

    def expect(self, count: int) -> list[int]:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while len(self.heard) < count:
            assert time.monotonic() < deadline, f"{len(self.heard)} of {count} arrived"
            time.sleep(0.005)
        return [notification.id for notification in self.heard]

    def end(self) -> None:
        with self.subscription:
            pass
        self.join(WAIT_SECONDS_MAX)
        assert not self.is_alive()


@pytest.fixture
def tail(recorder: LedgerRecorder) -> Iterator[Tail]:
    tail = Tail(recorder)
    yield tail
    tail.end()


def test_a_subscription_is_woken_rather_than_polling(recorder: LedgerRecorder, tail: Tail) -> None:
    recorder.insert_events([stored(uuid4())])
    tail.expect(1)
    began = time.monotonic()
    for count in range(2, 12):
        recorder.insert_events([stored(uuid4())])
        tail.expect(count)
    assert time.monotonic() - began < 5 * POLL_SECONDS


def test_a_subscription_outlives_its_connections(recorder: LedgerRecorder, tail: Tail, database: str) -> None:
    for count in range(1, 6):
        recorder.insert_events([stored(uuid4()), stored(uuid4())])
        assert tail.expect(2 * count) == list(range(1, 2 * count + 1))
        assert terminate_connections(database, APPLICATION_NAME)


def test_a_lost_notification_only_delays(recorder: LedgerRecorder, tail: Tail, database: str) -> None:
    recorder.insert_events([stored(uuid4())])
    tail.expect(1)
    with psycopg.connect(database) as conn:  # what no notification announces
        conn.execute("update ledger.head set position = 2")
        conn.execute("insert into ledger.events values (2, gen_random_uuid(), 1, 'a', '{}', '{}', now())")
    assert tail.expect(2) == [1, 2]


def test_topics_that_are_left_out_are_passed_over(recorder: LedgerRecorder, database: str) -> None:
    recorder.insert_events([stored(uuid4(), topic="ab"[n % 100 == 0]) for n in range(2_000)])
    tail = Tail(recorder, gt=101, topics=["b"])
    assert tail.expect(18) == list(range(201, 2_000, 100))
    recorder.insert_events([stored(uuid4()), stored(uuid4(), topic="b")])
    assert tail.expect(19)[-1] == len(rows_of(database))
    tail.end()


def test_a_waiting_subscription_stops_at_once_and_leaves_no_connection(recorder: LedgerRecorder, database: str) -> None:
    tail = Tail(recorder)
    recorder.insert_events([stored(uuid4())])
    tail.expect(1)
    began = time.monotonic()
    tail.end()
    assert time.monotonic() - began < POLL_SECONDS
    recorder.close()
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while connection_count(database, APPLICATION_NAME):  # the server takes a moment to notice
        assert time.monotonic() < deadline
        time.sleep(0.01)
