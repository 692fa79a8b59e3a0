"""What the tests of the relay are made of: a ledger with something to tell, a relay at work, and what topics then have."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, NamedTuple

import psycopg
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.facts import FACTS
from adapters.kafka.relay import BEGUN, Relay
from domain.kernel import decode
from projections.messages.registry import CHANNELS, PUBLISHED
from tests.projections.book import Book
from tests.projections.town import Town

WAIT_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
READ_SECONDS_MAX = 20.0
PARTITIONS = 3
BEGINNING = 100
TICKETS = "counterfoil.tickets.v1"
EVENT = {
    "title": "An evening of string quartets",
    "venue": {"name": "Concert hall", "city": "Amsterdam"},
    "starts_at": "2031-05-17T19:00:00Z",
    "ends_at": "2031-05-17T22:00:00Z",
    "doors_open_at": "2031-05-17T17:00:00Z",
    "timezone": "Europe/Amsterdam",
    "currency": "EUR",
    "tiers": [{"name": "Standing", "price": 4500, "quantity": 100}],
}


class Received(NamedTuple):
    """A message as a reader finds it."""

    topic: str
    partition: int
    offset: int
    key: str
    headers: dict[str, str]
    value: bytes
    timestamp_ms: int

    @property
    def id(self) -> str:
        return self.headers["ce_id"]

    @property
    def version(self) -> int:
        return int(self.id.partition(":")[2])

    @property
    def position(self) -> int:
        return int(self.headers["ce_sequence"])


class Expected(NamedTuple):
    """A message that the ledger owes to the world."""

    id: str
    topic: str
    position: int
    value: bytes


def settings_for(bootstrap: str, partitions: int = PARTITIONS) -> KafkaSettings:
    return KafkaSettings((bootstrap,), partitions, 1)


# -- The ledger. -----------------------------------------------------------------------


def founded(book: Book) -> Town:
    """People at random, who have done enough for there to be tickets."""
    town = Town(book, Random(7))
    town.act(BEGINNING)
    return town


def owed(database: str) -> list[Expected]:
    """Everything that should be in the topics, in the ledger's order."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select position, stream_id, version, topic, payload from ledger.events order by position"
        ).fetchall()
    found = []
    for position, stream_id, version, topic, payload in rows:
        fact = decode(topic, payload)
        if (message := PUBLISHED.get(type(fact))) is not None:
            found.append(Expected(f"{stream_id}:{version}", message.channel, position, message.of(fact).encode()))
    return found


def scalar(database: str, query: str) -> Any:
    with psycopg.connect(database) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row is not None else None


def relayed(database: str) -> int:
    """The cursor."""
    return int(scalar(database, "select position from relay.cursor") or 0)


def problem(database: str) -> str | None:
    found: str | None = scalar(database, "select problem from relay.cursor")
    return found


def head(database: str) -> int:
    return int(scalar(database, "select position from ledger.head"))


# -- A relay. --------------------------------------------------------------------------


class Observed(Relay):
    """Says when it has found where to go on; before that, a cursor that is level says nothing."""

    def __init__(self, url: str, settings: KafkaSettings, feed_secret: bytes | None = None) -> None:
        super().__init__(url, settings, feed_secret)
        self.begun = threading.Event()
        self.on_step = lambda step: self.begun.set() if step == BEGUN else None


@contextmanager
def relaying(database: str, settings: KafkaSettings, feed_secret: bytes | None = None) -> Iterator[Observed]:
    """At work in a thread until the end of the block; the test fails when it ends before that."""
    relay = Observed(database, settings, feed_secret)
    with at_work(relay.run):
        yield relay


@contextmanager
def at_work(run: Callable[[threading.Event], None]) -> Iterator[None]:
    """In a thread until the end of the block; what it raises is raised there."""
    stop, errors = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            run(stop)
        except BaseException as error:  # noqa: BLE001 - for the test to raise
            errors.append(error)

    thread = threading.Thread(target=work, name="at work")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(WAIT_SECONDS_MAX)
        if errors:  # whatever else has failed, this is why
            raise errors[0]
    assert not thread.is_alive()


def relay_to_the_head(database: str, settings: KafkaSettings) -> Observed:
    """Relay until there is no more."""
    with relaying(database, settings) as relay:
        relay.begun.wait(WAIT_SECONDS_MAX)
        until(lambda: relayed(database) == head(database))
    return relay


def until(condition: Callable[[], object], seconds: float = WAIT_SECONDS_MAX) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(POLL_SECONDS)


# -- The topics. -----------------------------------------------------------------------


@contextmanager
def administering(settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=list(settings.bootstrap))
    try:
        yield admin
    finally:
        admin.close()


def delete_topics(settings: KafkaSettings, *names: str) -> None:
    """Those that are there, and wait until they are gone."""
    with administering(settings) as admin:
        if there := sorted(set(names or (*CHANNELS, FACTS)) & set(admin.list_topics())):
            admin.delete_topics(there)
        until(lambda: not set(there) & set(admin.list_topics()))


def received(settings: KafkaSettings, topics: Sequence[str] = CHANNELS) -> list[Received]:
    """Everything in the topics, partition by partition, in the order of a partition."""
    consumer = KafkaConsumer(bootstrap_servers=list(settings.bootstrap), enable_auto_commit=False)
    try:
        partitions = [TopicPartition(topic, n) for topic in topics for n in consumer.partitions_for_topic(topic) or ()]
        ends, begins = consumer.end_offsets(partitions), consumer.beginning_offsets(partitions)
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, begins[partition])
        messages = []
        deadline = time.monotonic() + READ_SECONDS_MAX
        while any((consumer.position(partition, timeout_ms=1_000) or 0) < ends[partition] for partition in partitions):
            assert time.monotonic() < deadline, "the topics could not be read"
            for records in consumer.poll(timeout_ms=200).values():
                messages += [_received(record) for record in records]
    finally:
        consumer.close()
    return sorted(messages, key=lambda message: (message.topic, message.partition, message.offset))


def _received(record: Any) -> Received:
    headers = {name: value.decode() for name, value in record.headers}
    return Received(
        record.topic, record.partition, record.offset, record.key.decode(), headers, record.value, record.timestamp
    )


def without_duplicates(messages: Sequence[Received]) -> list[Received]:
    """As a reader who remembers what it has seen."""
    return list({message.id: message for message in reversed(messages)}.values())[::-1]


def check(messages: Sequence[Received], database: str) -> int:
    """Nothing is missing, nothing is there that was not said, each key is in order. Returns how many are duplicates."""
    wanted = {message.id: message for message in owed(database)}
    first = without_duplicates(messages)
    there = {message.id for message in first}
    missing = [(told.topic, told.position) for told in wanted.values() if told.id not in there]
    assert not missing, f"{missing} of {len(wanted)}"
    assert there <= set(wanted)
    for message in messages:
        told = wanted[message.id]
        assert (message.topic, message.position, message.value) == (told.topic, told.position, told.value)
    of_key: dict[tuple[str, str], list[int]] = defaultdict(list)
    partitions: dict[tuple[str, str], set[int]] = defaultdict(set)
    for message in first:
        of_key[message.topic, message.key].append(message.version)
        partitions[message.topic, message.key].add(message.partition)
    for key, versions in of_key.items():
        assert versions == sorted(versions), key
        assert len(partitions[key]) == 1, key
    return len(messages) - len(first)
