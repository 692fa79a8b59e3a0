"""The ledger read once, in pages, for a history that is decided again. Nothing can be written on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection

from adapters.fact_reader import LedgerGapError
from adapters.replays import position_as_of
from adapters.view_bulk import Progress
from adapters.view_cursors import open_connection
from commands.what_if import Redecision
from commands.what_if_intentions import STREAM_TYPES, Intention, Intentions, Outcome
from commands.what_if_rules import Rules
from domain.kernel import Fact, UnknownTopicError, decode
from projections.what_if import Comparison

PAGE_FACTS = 2_000
READ = b"""
    select position, stream_id, topic, payload from ledger.events
     where position > %b::bigint and position <= %b::bigint order by position"""


class WhatIf(NamedTuple):
    comparison: Comparison
    position: int
    """As of which."""
    unread: int
    """Facts that this release cannot read; nothing was made of them."""
    unmet: list[str]
    """Names in the rules that nothing in the history has."""


def decide_again(
    url: str, rules: Rules, as_of: int | datetime | None = None, *, on_progress: Progress = lambda *_: None
) -> WhatIf:
    """As of a position, an instant, or now. In memory is what can still be acted on, about 2.7 kB a ticket.

    Raises ReplayRefusedError for what is still to come, RulesError, LedgerGapError, psycopg's errors.
    """
    redecision, comparison, facts = Redecision(rules), Comparison(), _Facts()
    with closing(open_connection(url)) as connection:
        until = position_as_of(connection, as_of)  # it may have to wait for a writer, which a reader may not
        connection.execute("set default_transaction_read_only = on")
        latest = None
        for intention in facts.intentions(connection, until, on_progress):
            asked_at = intention.asked.at
            latest = asked_at if latest is None else max(latest, asked_at)
            for outcome in redecision.take(intention):
                _compare(comparison, outcome)
    end = as_of if isinstance(as_of, datetime) else latest
    if end is not None:
        for outcome in redecision.pass_time(end):
            _compare(comparison, outcome)
    return WhatIf(comparison, until, facts.unread, redecision.changes.unmet())


def _compare(comparison: Comparison, outcome: Outcome) -> None:
    comparison.take(outcome.event_id, outcome.recorded, outcome.decided, asked=outcome.position > 0, same=outcome.same)
    if outcome.refusal is not None:
        comparison.refuse(outcome.asked, outcome.refusal, outcome.position, outcome.stream_id)


class _Facts:
    def __init__(self) -> None:
        self.unread = 0
        self._gathering = Intentions()

    def intentions(self, connection: Connection[Any], until: int, on_progress: Progress) -> Iterator[Intention]:
        for after in range(0, until, PAGE_FACTS):
            last = min(after + PAGE_FACTS, until)
            page = self._read(connection, after, last)
            if len(page) != last - after:
                raise LedgerGapError(f"{len(page)} facts between the positions {after} and {last}")
            for position, stream_id, topic, payload in page:
                if (fact := self._decode(topic, payload)) is not None:
                    done = self._gathering.take(position, stream_id, fact)
                    if done is not None:
                        yield done
            on_progress(last, until)
        done = self._gathering.end() if not self._cut_off(connection, until) else None
        if done is not None:
            yield done

    def _read(self, connection: Connection[Any], after: int, until: int) -> list[tuple[int, UUID, str, bytes]]:
        return connection.cursor(binary=True).execute(READ, (after, until), prepare=True).fetchall()

    def _cut_off(self, connection: Connection[Any], until: int) -> bool:
        """Whether the end lies within what one command appended: as of then, it is not there."""
        unread = self.unread
        found = [
            self._gathering.goes_on(position, stream_id, fact)
            for position, stream_id, topic, payload in self._read(connection, until, until + 1)
            if (fact := self._decode(topic, payload)) is not None
        ]
        self.unread = unread  # what comes later is not ours to count
        return any(found)

    def _decode(self, topic: str, payload: bytes) -> Fact | None:
        if topic.partition(".")[0] not in STREAM_TYPES:
            return None
        try:
            return decode(topic, payload)
        except (UnknownTopicError, ValueError):  # pydantic's, and upcasters'
            self.unread += 1
            return None
