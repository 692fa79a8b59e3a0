"""The relay: tells Kafka of everything in the ledger that is public, in order. However many are started, one relays.

The ledger is the outbox: what is committed is there to be relayed, and nothing else ever is. The cursor moves when the
brokers have acknowledged, so a relay that dies may leave messages behind it that the cursor does not know of; the ends
of the topics tell the next one. A broker that is away is waited for, whatever it takes, and nobody who sells notices.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import Any

import psycopg
import structlog
from kafka.errors import KafkaError, RetriableError
from psycopg import Connection

from adapters.fact_reader import LedgerGapError
from adapters.follower import LEDGER_CHANNEL
from adapters.kafka import cursor, reconciling, topics
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.cursor import RELAY_CHANNEL, BegunAgainError, Standing
from adapters.kafka.facts import FACTS, FactSealer
from adapters.kafka.ledger_pages import LedgerPages, NotUnderstoodError, Page, ledger_id
from adapters.kafka.publisher import Publisher, StoppedError, TopicLostError
from adapters.kafka.reconciling import Start, TopicsDisagreeError
from projections.messages.registry import CHANNELS

PAGE_SECONDS_MIN = 0.01
"""While the relay is level, pages begin no closer together than this: fewer and larger ones cost everybody less."""
POLL_SECONDS = 1.0
"""A fallback: what a lost notification would otherwise delay for ever."""
STOP_POLL_SECONDS = 0.1
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 5.0
HELD_SECONDS = 10.0
"""Between looks whether an operator has put right what nobody else can."""
FAILURES_MAX = 200
"""Of the database in a row, which with the longest back-off is a quarter of an hour without one."""

BEGUN, SENT, ACKNOWLEDGED, RECORDED = "begun", "sent", "acknowledged", "recorded"
"""What `Relay.on_step` is told of: a session that knows where to go on, and the steps of each page."""

EXPECTED = (KafkaError, OSError, TopicLostError, TopicsDisagreeError, NotUnderstoodError, LedgerGapError)
"""Any other failure is logged with where it came from."""

log = structlog.get_logger()


class Relay:
    """Synchronous: for a thread or a process of its own."""

    def __init__(self, url: str, settings: KafkaSettings, feed_secret: bytes | None = None) -> None:
        """``feed_secret``: the facts themselves go out as well, sealed with it, for projectors to be fed from."""
        self._feed_secret = feed_secret
        self._channels = CHANNELS if feed_secret is None else (*CHANNELS, FACTS)
        self._url = url
        self._settings = settings
        self.messages_total = 0
        """Acknowledged."""
        self.on_step: Callable[[str], object] = lambda _: None

    def run(self, stop: threading.Event) -> None:
        """Relay, or stand by until whoever relays goes. Until told to stop.

        Raises psycopg.Error when the database has failed FAILURES_MAX times in a row. Nothing else ends it: what it
        cannot go on from is in `relay.cursor`, for operators, until it can.
        """
        failures = 0
        while not stop.is_set():
            began = monotonic()
            try:
                with closing(cursor.open_connection(self._url)) as connection:
                    if cursor.take_lead(connection, stop):
                        self._lead(connection, stop)
            except (psycopg.Error, OSError) as error:
                failures = failures + 1 if monotonic() - began < BACKOFF_SECONDS_MAX else 1
                log.warning("relay_interrupted", error=str(error).strip(), failures=failures)
                if failures >= FAILURES_MAX:
                    raise
                stop.wait(_backoff(failures))

    def _lead(self, connection: Connection[Any], stop: threading.Event) -> None:
        """One session with the brokers after the other. Only the database's failures end it."""
        connection.execute(f"listen {LEDGER_CHANNEL}".encode())
        connection.execute(f"listen {RELAY_CHANNEL}".encode())
        failures = 0
        while not stop.is_set():
            before = self.messages_total
            try:
                self._relay(connection, stop)
            except StoppedError:
                return
            except BegunAgainError:
                log.info("relay_begins_again")
            except psycopg.Error:
                raise
            except Exception as error:  # noqa: BLE001 - Kafka's client fails in more ways than it names
                failures = failures + 1 if self.messages_total == before else 1
                self._hold(connection, error, failures, stop)

    def _relay(self, connection: Connection[Any], stop: threading.Event) -> None:
        """From where the topics end, for as long as the brokers do their part."""
        standing = cursor.read(connection)
        start = self._find_start(connection, standing)
        cursor.move(connection, standing.generation, start.after, start.topics.values())
        log.info("relay_begins", after=start.after)
        self.on_step(BEGUN)
        sealer = self._sealer(connection)
        pages = LedgerPages(connection, standing.generation, start.after, sealer)
        with closing(Publisher(self._settings, start.topics, sealer)) as publisher:
            page: Page | None = None
            while not stop.is_set():
                began = monotonic()
                page = page or pages.next()
                if page is None:
                    _await_notification(connection, stop)
                    continue
                ahead = self._publish(connection, standing.generation, page, pages, publisher, stop)
                if ahead is None:
                    stop.wait(max(0.0, PAGE_SECONDS_MIN - (monotonic() - began)))
                    _drop_notifications(connection)
                page = ahead

    def _find_start(self, connection: Connection[Any], standing: Standing) -> Start:
        found = topics.ends(self._settings, self._channels)
        cursor.forget_topics(connection, self._channels)
        reconciling.refuse_foreign(connection, ledger_id(connection).urn, found)
        known = cursor.read_topics(connection)
        if strays := reconciling.strays(known, found):
            log.warning("relay_clears", partitions=sorted(strays))
            topics.clear(self._settings, strays)
            found = reconciling.without(found, strays)
        return reconciling.reconcile(standing, known, found)

    def _sealer(self, connection: Connection[Any]) -> FactSealer | None:
        return None if self._feed_secret is None else FactSealer(self._feed_secret, ledger_id(connection))

    def _publish(
        self,
        connection: Connection[Any],
        generation: int,
        page: Page,
        pages: LedgerPages,
        publisher: Publisher,
        stop: threading.Event,
    ) -> Page | None:
        """One page, and the next one prepared meanwhile if there is one at once."""
        flight = publisher.begin(page.messages)
        self.on_step(SENT)
        ahead = pages.next() if page.full else None
        moved = publisher.finish(flight, stop)
        self.on_step(ACKNOWLEDGED)
        cursor.move(connection, generation, page.last, moved)
        self.messages_total += len(flight.words)
        self.on_step(RECORDED)
        return ahead

    def _hold(self, connection: Connection[Any], error: Exception, failures: int, stop: threading.Event) -> None:
        """Say why it does not go on, and wait: a moment for what may pass, longer for what somebody has to put right."""
        problem = str(error) if isinstance(error, EXPECTED) else f"{type(error).__name__}: {error}"
        passes = isinstance(error, (RetriableError, OSError, TopicLostError))
        seconds = _backoff(failures) if passes else HELD_SECONDS
        log.warning("relay_waits", problem=problem, seconds=seconds, exc_info=not isinstance(error, EXPECTED))
        cursor.report(connection, problem)
        stop.wait(seconds)


def _backoff(failures: int) -> float:
    seconds: float = BACKOFF_SECONDS * 2 ** min(failures, 10)
    return min(seconds, BACKOFF_SECONDS_MAX)


def _drop_notifications(connection: Connection[Any]) -> None:
    """Those that came while there was work anyway: the connection would keep them for ever."""
    for _ in connection.notifies(timeout=0):
        pass


def _await_notification(connection: Connection[Any], stop: threading.Event) -> None:
    """Until the ledger has moved, an operator wants something, the fallback's time is over, or we are to stop."""
    deadline = monotonic() + POLL_SECONDS
    while not stop.is_set() and monotonic() < deadline:
        if list(connection.notifies(timeout=STOP_POLL_SECONDS, stop_after=1)):
            return
