"""Hands pages of messages to the brokers, one page at a time, and says what each partition has once it is acknowledged.

Why one at a time: a producer that gives up on a batch goes on with the next one of the partition, and a message would be
behind the one that follows it. What goes to a partition in one page is one batch, and there is no next one before
every batch of the page has been acknowledged. Meanwhile the relay prepares the next page.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from typing import Any, NamedTuple

from kafka.errors import KafkaError

from adapters.kafka import clients
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.cursor import TopicStanding
from adapters.kafka.encoding import Outgoing, partition_of
from adapters.kafka.facts import FACTS, FactSealer

FLUSH_SECONDS_MAX = clients.DELIVERY_SECONDS_MAX + clients.REQUEST_SECONDS_MAX
"""By then the producer has given up by itself."""
STOP_POLL_SECONDS = 0.1


class TopicLostError(RuntimeError):
    """A message went to where an earlier one should be: the topic is not the one it was when the relay began."""


class StoppedError(RuntimeError):
    """The relay was told to stop, and has not waited for an acknowledgement."""


class Flight(NamedTuple):
    """A page on its way."""

    first: dict[tuple[str, int], Any]
    """The producer's word on the first message to each partition."""
    last: dict[tuple[str, int], tuple[int, Any]]
    """The position of the last message to each partition, and the producer's word on it."""
    words: list[Any]
    flushed: Future[None]


class Publisher:
    """Raises KafkaError, TopicLostError; it is of no use after that."""

    def __init__(
        self, settings: KafkaSettings, topics: Mapping[str, TopicStanding], sealer: FactSealer | None = None
    ) -> None:
        self.topics = dict(topics)
        self._sealer = sealer
        self.messages_total = 0
        self._producer = clients.producer(settings)
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="relay-flush")
        self._flight: Flight | None = None

    def begin(self, messages: Sequence[Outgoing]) -> Flight:
        """Send what the topics do not have yet."""
        assert self._flight is None, "one page at a time"
        first: dict[tuple[str, int], Any] = {}
        last: dict[tuple[str, int], tuple[int, Any]] = {}
        words = []
        for message in messages:
            topic = self.topics[message.channel]
            partition = partition_of(message.key, len(topic.positions))
            if message.position <= topic.positions[partition]:
                continue
            where = (message.channel, partition)
            previous, _ = last.get(where, (topic.positions[partition], None))
            word = self._send(message, partition, previous)
            words.append(word)
            first.setdefault(where, word)
            last[where] = (message.position, word)
        flushed: Future[None] = self._flusher.submit(self._producer.flush, FLUSH_SECONDS_MAX) if words else _done()
        self._flight = Flight(first, last, words, flushed)
        return self._flight

    def _send(self, message: Outgoing, partition: int, previous: int) -> Any:
        if message.channel == FACTS:
            if self._sealer is None:
                raise RuntimeError("facts do not go out unsealed")
            message = self._sealer.seal(message, previous, len(self.topics[FACTS].positions))
        try:
            return self._producer.send(
                message.channel, message.value, message.key, message.headers, partition, message.timestamp_ms
            )
        except ValueError as error:  # the brokers no longer know the topic, or it has fewer partitions
            raise TopicLostError(f"{message.channel}, partition {partition} is gone") from error

    def finish(self, flight: Flight, stop: threading.Event) -> list[TopicStanding]:
        """Wait for every acknowledgement; the topics that have got further. Raises StoppedError."""
        while True:
            try:
                flight.flushed.result(STOP_POLL_SECONDS)
                break
            except NotYetError:
                if stop.is_set():
                    raise StoppedError from None
        for word in flight.words:
            if not word.succeeded():
                raise word.exception or KafkaError("a message was not acknowledged")
        moved = {channel: self._moved(channel, flight) for channel in sorted({channel for channel, _ in flight.last})}
        self.topics |= moved
        self.messages_total += len(flight.words)
        self._flight = None
        return list(moved.values())

    def _moved(self, channel: str, flight: Flight) -> TopicStanding:
        topic = self.topics[channel]
        positions, offsets = list(topic.positions), list(topic.offsets)
        for (name, partition), (position, word) in flight.last.items():
            if name == channel:
                if flight.first[name, partition].value.offset <= offsets[partition]:
                    raise TopicLostError(f"{channel}, partition {partition} has begun anew")
                positions[partition], offsets[partition] = position, word.value.offset
        return topic._replace(positions=positions, offsets=offsets)

    def close(self) -> None:
        """Does not wait: what is on its way may arrive or not, and the topics' ends will tell."""
        clients.abandon(self._producer)
        self._flusher.shutdown(wait=True)


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future
