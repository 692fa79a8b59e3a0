"""The topics as the brokers have them: made when they are missing, and where each partition ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaTimeoutError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from adapters.kafka import clients
from adapters.kafka.clients import MESSAGE_BYTES_MAX, KafkaSettings
from adapters.kafka.encoding import ID, SEQUENCE, SOURCE
from adapters.kafka.facts import FACTS

LOOK_BACK_MESSAGES = (1, 100)
"""How far from its end a partition is searched for a message of ours: usually the last one is."""
READ_SECONDS_MAX = 10.0
POLL_SECONDS = 0.5
TAKES = "max.message.bytes"
"""What a topic takes in one go; brokers say 1,048,588 unless they are told otherwise."""

log = structlog.get_logger()


class Told(NamedTuple):
    """What a message said of itself."""

    offset: int
    source: str
    id: str
    position: int


class End(NamedTuple):
    """Of one partition."""

    begin: int
    """The offset of its first message, or of its next when it is empty."""
    offset: int
    """That its next message will have."""
    last: Told | None
    """Nothing where the partition is empty, or no CloudEvent is near its end."""


class TopicEnds(NamedTuple):
    topic_id: UUID
    partitions: list[End]


def ends(settings: KafkaSettings, names: Sequence[str]) -> dict[str, TopicEnds]:
    """Where these topics end; those that are missing are made. Raises NoBrokerError, KafkaError."""
    with clients.admin(settings) as admin:
        described = _made(admin, settings, names)
    partitions = [TopicPartition(topic["name"], n) for topic in described for n in range(len(topic["partitions"]))]
    with clients.consumer(settings) as consumer:
        found = _ends(consumer, partitions)
    return {
        topic["name"]: TopicEnds(
            UUID(topic["topic_id"]),
            [found[TopicPartition(topic["name"], n)] for n in range(len(topic["partitions"]))],
        )
        for topic in described
    }


def clear(settings: KafkaSettings, partitions: Mapping[tuple[str, int], int]) -> None:
    """Take out of these partitions what is before an offset. Raises NoBrokerError, KafkaError."""
    with clients.admin(settings) as admin:
        admin.delete_records({TopicPartition(*partition): offset for partition, offset in partitions.items()})


def _made(admin: KafkaAdminClient, settings: KafkaSettings, names: Sequence[str]) -> list[dict[str, Any]]:
    """What the brokers say of the topics, all of which are there and have leaders."""
    known = {topic["name"] for topic in admin.describe_topics(list(names)) if topic["error_code"] == 0}
    missing = [name for name in names if name not in known]
    if missing:
        try:
            admin.create_topics({name: _new(settings, name) for name in missing})
        except TopicAlreadyExistsError:  # somebody else was faster
            pass
        else:
            log.info("topics_made", topics=missing)
    admin.wait_for_topics(list(names))
    if FACTS in names:
        _widen(admin)
    described: list[dict[str, Any]] = admin.describe_topics(list(names))
    return described


def _new(settings: KafkaSettings, name: str) -> dict[str, object]:
    configs = {TAKES: str(MESSAGE_BYTES_MAX)} if name == FACTS else {}
    return {"num_partitions": settings.partitions, "replication_factor": settings.replication or -1, "configs": configs}


def _widen(admin: KafkaAdminClient) -> None:
    """Facts go out whole, and none is passed over: a topic that was made to take less learns to take the largest."""
    wanted = ConfigResource(ConfigResourceType.TOPIC, FACTS, {TAKES: str(MESSAGE_BYTES_MAX)})
    has = admin.describe_configs([wanted], config_filter="all").get("topic", {}).get(FACTS, {}).get(TAKES)
    if has is not None and int(has["value"]) >= MESSAGE_BYTES_MAX:
        return
    answer = admin.alter_configs([wanted], raise_on_unknown=False)["topic"][FACTS]
    if answer == "OK":
        log.info("topic_widened", topic=FACTS, takes=MESSAGE_BYTES_MAX)
    else:  # what is small enough goes out nevertheless
        log.warning("topic_not_widened", topic=FACTS, wanted=f"{TAKES}={MESSAGE_BYTES_MAX}", answer=answer)


def _ends(consumer: KafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, End]:
    try:
        ends, begins = consumer.end_offsets(list(partitions)), consumer.beginning_offsets(list(partitions))
    except LookupError as error:  # kafka-python 3.0, of a topic that has just been deleted
        raise UnknownTopicOrPartitionError("a topic has gone while it was looked at") from error
    last: dict[TopicPartition, Told] = {}
    for back in LOOK_BACK_MESSAGES:
        froms = {
            partition: max(begins[partition], ends[partition] - back)
            for partition in partitions
            if partition not in last and begins[partition] < ends[partition]
        }
        last |= _last_told(consumer, froms, ends)
    return {partition: End(begins[partition], ends[partition], last.get(partition)) for partition in partitions}


def _last_told(
    consumer: KafkaConsumer, froms: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, Told]:
    """The last CloudEvent of each partition, of those between these offsets. Raises KafkaTimeoutError."""
    consumer.assign(list(froms))
    for partition, offset in froms.items():
        consumer.seek(partition, offset)
    last: dict[TopicPartition, Told] = {}
    deadline = monotonic() + READ_SECONDS_MAX
    while any(_at(consumer, partition) < ends[partition] for partition in froms):
        if monotonic() > deadline:
            raise KafkaTimeoutError("the ends of the topics could not be read")
        for partition, records in consumer.poll(timeout_ms=int(POLL_SECONDS * 1_000)).items():
            for record in records:
                if (told := _told(record.offset, record.headers)) is not None:
                    last[partition] = told
    return last


def _at(consumer: KafkaConsumer, partition: TopicPartition) -> int:
    """How far it has read. Without a time to wait it would for ever, once the topic has gone."""
    offset: int | None = consumer.position(partition, timeout_ms=int(POLL_SECONDS * 1_000))
    return -1 if offset is None else offset


def _told(offset: int, headers: Iterable[tuple[str, bytes]]) -> Told | None:
    """Nothing for what is no CloudEvent with a sequence."""
    said = dict(headers)
    try:
        return Told(offset, said[SOURCE].decode(), said[ID].decode(), int(said[SEQUENCE]))
    except (KeyError, ValueError, AttributeError):
        return None
