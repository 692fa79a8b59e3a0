"""The ledger as the ``eventsourcing`` library sees it: its recorder protocol, and a mapper for our facts.

The library's tools (event store, application, notification log, projection runner) work on the table that
`adapters.ledger` writes: ``PERSISTENCE_MODULE=adapters.recorder`` and ``LEDGER_URL`` are all they need. What they append
goes through the same ``ledger.append``, so positions stay dense and in commit order whoever writes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Never
from uuid import UUID

import psycopg
from eventsourcing import persistence
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import (
    ApplicationRecorder,
    InfrastructureFactory,
    Mapper,
    Notification,
    NotSupportedError,
    StoredEvent,
    Subscription,
    Transcoder,
)
from eventsourcing.utils import retry
from psycopg import Connection
from psycopg_pool import ConnectionPool
from pydantic_core import to_json

from adapters.follower import LEDGER_CHANNEL
from adapters.postgres import conninfo
from commands.kernel import new_metadata
from domain.kernel import Fact, decode

ACTOR = "eventsourcing"
"""Who appended, in the metadata of what comes through the library."""
APPLICATION_NAME = "counterfoil-recorder"
POOL_CONNECTIONS_MAX = 8
POOL_WAITING_MAX = 1_000
POOL_SECONDS_MAX = 10.0
READ_ATTEMPTS_MAX = 5
READ_RETRY_SECONDS = 0.2
PAGE_FACTS = 500
POLL_SECONDS = 1.0
"""A fallback: what a lost notification would otherwise delay for ever."""
STOP_SECONDS_MAX = 0.1
"""How long a waiting subscription may take to see that it was stopped."""
VERSION_MIN, VERSION_MAX = -(2**31), 2**31 - 1
POSITION_MAX = 2**63 - 1

APPEND = (
    "select first_position from ledger.append(stream_ids => %s::uuid[], versions => %s::int[], topics => %s::text[],"
    " payloads => %s::bytea[], metadatas => %s::bytea[])"
)
STREAM = (
    "select stream_id, version, topic, payload from ledger.events"
    " where stream_id = %s::uuid and version > %s and version <= %s order by version"
)
PAGE = (
    "select stream_id, version, topic, payload, position from ledger.events"
    " where position >= %(start)s and position <= %(stop)s"
    " and (cardinality(%(topics)s::text[]) = 0 or topic = any(%(topics)s::text[]))"
    " order by position limit %(limit)s"
)

PEP_249 = ("InterfaceError", "OperationalError", "DataError", "IntegrityError", "InternalError", "ProgrammingError",
           "NotSupportedError", "DatabaseError")  # fmt: skip
"""What psycopg and the library both call their errors, from the special to the general."""

repeated_when_disconnected = retry(
    (persistence.InterfaceError, persistence.OperationalError), max_attempts=READ_ATTEMPTS_MAX, wait=READ_RETRY_SECONDS
)
"""For reads only. An append whose connection broke may have been recorded: its caller has to look."""


class LedgerRecorder(ApplicationRecorder):
    """Appends and reads through a bounded pool; safe to use from any number of threads. Close it when done.

    Every method raises the library's PersistenceError family; a version that exists already is its IntegrityError.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = ConnectionPool(
            conninfo(url, "counterfoil_app", planner=True, application=APPLICATION_NAME),
            kwargs={"autocommit": True, "prepare_threshold": 0},
            min_size=1,
            max_size=POOL_CONNECTIONS_MAX,
            max_waiting=POOL_WAITING_MAX,
            timeout=POOL_SECONDS_MAX,
            check=ConnectionPool.check_connection,
            open=True,
        )

    def close(self) -> None:
        self._pool.close()

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append all or none; returns their positions. An OperationalError means that the outcome is not known."""
        if kwargs.get("tracking") is not None:
            raise NotSupportedError("the ledger keeps no tracking: it belongs in the projection's own store")
        if not stored_events:
            return None
        metadata = to_json(new_metadata(ACTOR, "insert_events")._asdict())
        rows = [(e.originator_id, e.originator_version, e.topic, e.state, metadata) for e in stored_events]
        with self._connection() as conn:
            row = conn.execute(APPEND, [list(column) for column in zip(*rows, strict=True)]).fetchone()
        assert row is not None
        return list(range(row[0], row[0] + len(rows)))

    @repeated_when_disconnected
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        bounds = (VERSION_MIN if gt is None else gt, VERSION_MAX if lte is None else lte)
        query = f"{STREAM} {'desc' if desc else 'asc'} limit %s".encode()
        with self._connection() as conn:
            return [StoredEvent(*row) for row in conn.execute(query, (originator_id, *bounds, limit))]

    @repeated_when_disconnected
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = 0 if start is None else start if inclusive_of_start else start + 1
        last = POSITION_MAX if stop is None else stop
        wanted = {"start": first, "stop": last, "topics": list(topics), "limit": limit}
        with self._connection() as conn:
            return [Notification(*row) for row in conn.execute(PAGE, wanted)]

    @repeated_when_disconnected
    def max_notification_id(self) -> int | None:
        with self._connection() as conn:
            row = conn.execute("select position from ledger.head").fetchone()
        return row[0] or None if row else None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> LedgerSubscription:
        return LedgerSubscription(self, gt, topics)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        try:
            with self._pool.connection() as conn:
                yield conn
        except psycopg.Error as error:
            name = next((name for name in PEP_249 if isinstance(error, getattr(psycopg, name))), "PersistenceError")
            raise getattr(persistence, name)(str(error)) from error


class LedgerSubscription(Subscription[LedgerRecorder]):
    """Everything after a position, in order, and then what comes: woken by NOTIFY, with polling as a fallback.

    It runs in the thread that iterates; ``stop`` may be called from any other and takes effect within STOP_SECONDS_MAX.
    """

    def __init__(self, recorder: LedgerRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder, gt, topics)
        self._position = gt or 0
        self._page: deque[Notification] = deque()
        self._conn: Connection | None = None
        self._iterating = Lock()

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        with self._iterating:  # another thread may be waiting on the connection
            self._close()

    def __next__(self) -> Notification:
        with self._iterating:
            while not self._has_been_stopped:
                if self._page:
                    return self._page.popleft()
                if not self._read_page():
                    self._wait()
            self._close()
            raise StopIteration

    def _read_page(self) -> bool:
        """Whether the position moved. What the topics leave out is passed over once, not read again at each page."""
        head = self._recorder.max_notification_id() or 0
        if head <= self._position:
            return False
        page = self._recorder.select_notifications(
            self._position, PAGE_FACTS, head, self._topics, inclusive_of_start=False
        )
        self._page.extend(page)
        self._position = page[-1].id if len(page) == PAGE_FACTS else head
        return True

    def _wait(self) -> None:
        """Until something may have been recorded. Listening comes before the read that finds nothing."""
        try:
            if self._conn is None:
                info = conninfo(self._recorder.url, "counterfoil_app", application=APPLICATION_NAME)
                self._conn = Connection.connect(info, autocommit=True)
                self._conn.execute(f"listen {LEDGER_CHANNEL}")
                return
            deadline = time.monotonic() + POLL_SECONDS
            while not self._has_been_stopped and time.monotonic() < deadline:
                if list(self._conn.notifies(timeout=STOP_SECONDS_MAX, stop_after=1)):
                    return
        except psycopg.Error:
            self._close()
            time.sleep(STOP_SECONDS_MAX)

    def _close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None


@dataclass(frozen=True, slots=True)
class RecordedFact:
    """A fact in the envelope in which the library's tools expect a domain event."""

    originator_id: UUID
    originator_version: int
    fact: Fact


class FactMapper(Mapper[UUID]):
    """Between stored events and facts. Facts are stored as JSON that psql can read: no compressor, no cipher."""

    def __init__(
        self,
        transcoder: Transcoder | None = None,
        compressor: persistence.Compressor | None = None,
        cipher: persistence.Cipher | None = None,
    ) -> None:
        if compressor is not None or cipher is not None:
            raise NotSupportedError("facts are stored neither compressed nor encrypted")
        super().__init__(transcoder or persistence.JSONTranscoder())

    def to_stored_event(self, domain_event: DomainEventProtocol[UUID]) -> StoredEvent:
        assert isinstance(domain_event, RecordedFact), type(domain_event)
        fact = domain_event.fact
        return StoredEvent(
            domain_event.originator_id, domain_event.originator_version, fact.stored_topic, fact.encode()
        )

    def to_domain_event(self, stored_event: StoredEvent) -> RecordedFact:
        """Raises MapperDeserialisationError for a topic of the future and for bytes that are not what it says."""
        stream_id = stored_event.originator_id
        try:
            fact = decode(stored_event.topic, stored_event.state)
        except (LookupError, TypeError, ValueError) as error:  # unknown, not valid, or too odd for an upcaster
            raise persistence.MapperDeserialisationError(
                f"fact {stored_event.originator_version} of stream {stream_id}: {error}"
            ) from error
        return RecordedFact(UUID(str(stream_id)), stored_event.originator_version, fact)


class Factory(InfrastructureFactory[persistence.TrackingRecorder]):
    """What ``PERSISTENCE_MODULE=adapters.recorder`` gives an application. ``LEDGER_URL`` says which database."""

    def application_recorder(self) -> LedgerRecorder:
        url = self.env.get("LEDGER_URL")
        if not url:
            raise persistence.InfrastructureFactoryError("LEDGER_URL is not set")
        self._recorder = LedgerRecorder(url)
        return self._recorder

    def mapper(
        self, transcoder: Transcoder | None = None, mapper_class: type[Mapper[Any]] | None = None
    ) -> Mapper[Any]:
        if mapper_class is None and not self.env.get(self.MAPPER_TOPIC):
            mapper_class = FactMapper
        return super().mapper(transcoder, mapper_class)

    def close(self) -> None:
        if hasattr(self, "_recorder"):
            self._recorder.close()

    def aggregate_recorder(self, purpose: str = "events") -> Never:
        raise NotSupportedError(f"the ledger keeps no {purpose} for the library: its snapshots are its own")

    def tracking_recorder(self, tracking_recorder_class: Any = None) -> Never:
        view = getattr(tracking_recorder_class, "__name__", "the view")
        raise NotSupportedError(f"the ledger keeps no tracking: give {view} a persistence module of its own")

    process_recorder = tracking_recorder
