"""A fact as a Kafka message: CloudEvents 1.0 in the binary mode of its Kafka protocol binding.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import NamedTuple
from uuid import UUID

from kafka.partitioner.default import murmur2

from domain.kernel import Fact
from projections.messages.kernel import Message
from projections.messages.registry import PUBLISHED

Header = tuple[str, bytes]

CONTENT_TYPE: Header = ("content-type", b"application/json; charset=utf-8")
SPECVERSION: Header = ("ce_specversion", b"1.0")
ID, SEQUENCE, SOURCE, SUBJECT, TIME = "ce_id", "ce_sequence", "ce_source", "ce_subject", "ce_time"
KEYS_CACHED = 65_536
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outgoing(NamedTuple):
    """A message that is to go out, and the position of the fact it was made of."""

    position: int
    channel: str
    """The Kafka topic."""
    key: bytes
    value: bytes
    headers: list[Header]
    timestamp_ms: int

    @property
    def size(self) -> int:
        return len(self.key) + len(self.value) + sum(len(name) + len(value) for name, value in self.headers)


class Encoder:
    """For the messages of one ledger."""

    def __init__(self, ledger_id: UUID) -> None:
        self.source = ledger_id.urn.encode()

    def encode(
        self, position: int, stream_id: UUID, version: int, fact: Fact, recorded_at: datetime
    ) -> Outgoing | None:
        """None when the fact stays in. Its ``ce_id`` is the same however often it is sent."""
        message = PUBLISHED.get(type(fact))
        if message is None:
            return None
        key = str(stream_id).encode()
        kind, dataschema = _constants(message)
        headers = [
            SPECVERSION,
            (ID, b"%b:%d" % (key, version)),
            (SOURCE, self.source),
            kind,
            (SUBJECT, key),
            (TIME, recorded_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()),
            (SEQUENCE, b"%d" % position),
            dataschema,
            CONTENT_TYPE,
        ]
        value = message.of(fact).encode()
        return Outgoing(position, message.channel, key, value, headers, milliseconds(recorded_at))


def milliseconds(instant: datetime) -> int:
    """Since 1970."""
    since = instant - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


@lru_cache(KEYS_CACHED)
def partition_of(key: bytes, partitions: int) -> int:
    """As Kafka's own clients choose it."""
    chosen: int = (murmur2(key) & 0x7FFFFFFF) % partitions
    return chosen


@cache
def _constants(message: type[Message]) -> tuple[Header, Header]:
    return ("ce_type", message.kind.encode()), ("ce_dataschema", message.schema_id.encode())
