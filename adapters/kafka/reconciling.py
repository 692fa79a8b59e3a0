"""Where the relay has to go on, from what it remembers and what the topics have.

A partition holds the messages of its streams in the order of their positions, and a batch is written whole or not at
all. So one that ends with position *p* has everything up to *p* that belongs into it, and none of that is sent again.
Memory is needed for what the end does not tell: messages that a topic's retention has taken were there, those of a
topic that was deleted are missing.

One thing breaks the rule: a topic that is deleted and made again under a relay takes the page that is on its way, as if
nothing had been before it. The relay notices by the offsets and stops; such a page is taken out again before the topic
is filled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from psycopg import Connection

from adapters.kafka.cursor import Standing, TopicStanding
from adapters.kafka.ledger_pages import PAGE_FACTS_MAX
from adapters.kafka.topics import End, Told, TopicEnds

FACT_AT = b"select stream_id, version from ledger.events where position = %s"
log = structlog.get_logger()


class TopicsDisagreeError(RuntimeError):
    """A topic has what this ledger never said. Going on would mix two histories; an operator has to say which is right."""


class Start(NamedTuple):
    after: int
    """The position to go on from."""
    topics: dict[str, TopicStanding]
    """What each partition has, and what is therefore not sent to it again."""


def reconcile(standing: Standing, known: Mapping[str, TopicStanding], found: Mapping[str, TopicEnds]) -> Start:
    """Back to the first message that any partition lacks, which mostly is where the cursor is."""
    after = standing.position
    topics = {}
    for name, ends in found.items():
        had = known.get(name)
        if had is None or had.topic_id != ends.topic_id:
            topic, owed = _of_another(name, ends, standing)
        elif len(had.positions) != len(ends.partitions):
            topic, owed = _of_repartitioned(had, ends, standing)
        else:
            topic, owed = _of_known(had, ends, standing)
        topics[name] = topic
        if owed < after:
            log.warning("topic_lacks_messages", topic=name, after=owed, relayed=after)
            after = owed
    return Start(after, topics)


def strays(known: Mapping[str, TopicStanding], found: Mapping[str, TopicEnds]) -> dict[tuple[str, int], int]:
    """Partitions that hold no more than what was on its way when their topic was made again, and where they end.

    A copy of a topic, which another cluster may have, holds more; and to send so few again would harm nobody.
    """
    return {
        (name, number): end.offset
        for name, ends in found.items()
        if (had := known.get(name)) is not None and had.topic_id != ends.topic_id
        for number, end in enumerate(ends.partitions)
        if end.begin == 0 and 0 < end.offset <= PAGE_FACTS_MAX and end.last is not None
    }


def without(found: Mapping[str, TopicEnds], cleared: Mapping[tuple[str, int], int]) -> dict[str, TopicEnds]:
    """The topics once these partitions have been cleared."""
    return {
        name: TopicEnds(
            ends.topic_id,
            [
                End(end.offset, end.offset, None) if (name, number) in cleared else end
                for number, end in enumerate(ends.partitions)
            ],
        )
        for name, ends in found.items()
    }


def _of_known(had: TopicStanding, ends: TopicEnds, standing: Standing) -> tuple[TopicStanding, int]:
    positions, offsets, owed = [], [], standing.position
    for position, offset, end in zip(had.positions, had.offsets, ends.partitions, strict=True):
        told = end.last.position if end.last is not None else standing.begins_after
        if end.offset > offset:
            told = max(told, position)
        else:  # it ends before what was acknowledged: the partition has lost its end
            owed = min(owed, told)
        positions.append(told)
        offsets.append(end.offset - 1)
    return TopicStanding(had.topic, had.topic_id, positions, offsets), owed


def _of_another(name: str, ends: TopicEnds, standing: Standing) -> tuple[TopicStanding, int]:
    """A topic that is new, or that somebody deleted and made again: it has what it has, and lacks the rest."""
    positions = [end.last.position if end.last is not None else standing.begins_after for end in ends.partitions]
    offsets = [end.offset - 1 for end in ends.partitions]
    return TopicStanding(name, ends.topic_id, positions, offsets), min(standing.position, *positions)


def _of_repartitioned(had: TopicStanding, ends: TopicEnds, standing: Standing) -> tuple[TopicStanding, int]:
    """Streams have moved to other partitions, so that what a partition ends with no longer says what it has."""
    intact = all(end.offset > offset for end, offset in zip(ends.partitions, had.offsets, strict=False))
    after = standing.position if intact else standing.begins_after
    positions, offsets = [after] * len(ends.partitions), [end.offset - 1 for end in ends.partitions]
    return TopicStanding(had.topic, had.topic_id, positions, offsets), after


def refuse_foreign(connection: Connection[Any], source: str, found: Mapping[str, TopicEnds]) -> None:
    """Raises TopicsDisagreeError unless what each partition ends with is in this ledger, where it says."""
    for name, ends in found.items():
        for number, end in enumerate(ends.partitions):
            if end.last is not None:
                _refuse_foreign(connection, source, f"{name}, partition {number}", end.last)


def _refuse_foreign(connection: Connection[Any], source: str, where: str, told: Told) -> None:
    if told.source != source:
        raise TopicsDisagreeError(
            f"{where} has messages of another ledger ({told.source}). Relay to another cluster, or delete the topic."
        )
    row = connection.execute(FACT_AT, (told.position,), prepare=True).fetchone()
    if row is None or told.id != f"{UUID(str(row[0]))}:{row[1]}":
        raise TopicsDisagreeError(
            f"{where} has position {told.position} as {told.id}, which this ledger has not: it was restored to before"
            " that. Delete the topics, tell their readers, and they are filled again."
        )
