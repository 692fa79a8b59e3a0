"""The ledger in pages of messages, bounded in facts and in bytes."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from psycopg import Connection

from adapters.fact_reader import READ, LedgerGapError
from adapters.kafka import cursor
from adapters.kafka.encoding import Encoder, Outgoing
from adapters.kafka.facts import FactSealer
from domain.kernel import UnknownTopicError, decode
from projections.messages.registry import STREAM_TYPES

PAGE_FACTS_MAX = 1_000
PAGE_BYTES_MAX = 900_000
"""A page whose messages all go to one partition is one batch, and brokers take 1,048,588 bytes unless told otherwise."""

LEDGER_ID = b"select ledger_id from chain.identity"

log = structlog.get_logger()


class NotUnderstoodError(RuntimeError):
    """A fact that should go out and cannot be made a message of. Passing over it would lose it for ever."""


class Page(NamedTuple):
    last: int
    """The position up to which everything is in this page, or before it, or stays in."""
    messages: list[Outgoing]
    full: bool
    """Whether there is more to come at once."""


class LedgerPages:
    """From a position on. Raises LedgerGapError, NotUnderstoodError, cursor.BegunAgainError, psycopg.Error."""

    def __init__(
        self, connection: Connection[Any], generation: int, after: int, sealer: FactSealer | None = None
    ) -> None:
        """With a sealer the facts themselves go out as well, in a topic of their own; the publisher seals them."""
        self._sealer = sealer
        self._connection = connection
        self._generation = generation
        self._reading = connection.cursor(binary=True)
        self._read_to = after
        self._left: deque[Outgoing] = deque()
        """Read, and too much for the page before."""
        self._encoder = Encoder(ledger_id(connection))

    def next(self) -> Page | None:
        """Nothing when the ledger has no more."""
        head = cursor.head(self._connection, self._generation)
        before = self._read_to
        if not self._left and head > before:
            self._read_to = min(head, before + PAGE_FACTS_MAX)
            self._left.extend(self._read(before, self._read_to))
        elif not self._left:
            return None
        messages = self._cut()
        last = self._left[0].position - 1 if self._left else self._read_to
        return Page(last, messages, full=bool(self._left) or head - self._read_to >= PAGE_FACTS_MAX)

    def _cut(self) -> list[Outgoing]:
        """As many as there may be in a page, and one in any case."""
        messages: list[Outgoing] = []
        size = 0
        while self._left:
            size += self._left[0].size
            if messages and size > PAGE_BYTES_MAX:
                break
            messages.append(self._left.popleft())
        return messages

    def _read(self, after: int, until: int) -> list[Outgoing]:
        rows = self._reading.execute(READ, (after, until), prepare=True).fetchall()
        if len(rows) != until - after:
            raise LedgerGapError(f"{len(rows)} facts between the positions {after} and {until}")
        messages = []
        for row in rows:
            if self._sealer is not None:
                messages.append(self._sealer.prepare(*row))
            if (message := self._encode(*row)) is not None:
                messages.append(message)
        return messages

    def _encode(
        self, position: int, stream_id: UUID, version: int, topic: str, payload: bytes, recorded_at: datetime
    ) -> Outgoing | None:
        stream_type = topic.partition(".")[0]
        try:
            return self._encoder.encode(position, stream_id, version, decode(topic, payload), recorded_at)
        except UnknownTopicError as error:
            if stream_type in STREAM_TYPES:  # of a newer release; that one will publish it
                raise NotUnderstoodError(f"position {position}: this release knows no fact {topic!r}") from error
            log.warning("topic_not_known", topic=topic, position=position)
            return None
        except ValueError as error:  # pydantic's, and upcasters'
            if stream_type not in STREAM_TYPES:
                return None
            raise NotUnderstoodError(
                f"position {position}: {topic!r} cannot be read: {type(error).__name__}"
            ) from error


def ledger_id(connection: Connection[Any]) -> UUID:
    row = connection.execute(LEDGER_ID).fetchone()
    assert row is not None
    found: UUID = row[0]
    return found
