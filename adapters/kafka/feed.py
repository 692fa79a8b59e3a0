"""Views fed from a topic: the brokers spread its partitions over however many of these there are.

Who has a partition reads it and brings the views forward, view and mark in one transaction. The marks say what a view has,
and each message says which one it follows. So what comes twice is passed over; what comes from somebody who no longer has
the partition finds the mark moved; and where something is missing the view waits at that place, until the projector that
reads the table has brought it past. No assignment, offset or topic has to be right for the views to be.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from operator import attrgetter
from time import monotonic
from typing import Any, NamedTuple

import psycopg
import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from psycopg import Connection

from adapters import view_cursors, view_marks, view_schema
from adapters.fact_reader import FactReader, Page
from adapters.kafka import clients
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.facts import FACTS, Delivered, FactSealer
from adapters.kafka.ledger_pages import ledger_id
from adapters.sealing import SealBrokenError
from adapters.view_cursors import Cursor, open_connection
from adapters.view_updater import ViewUpdater, apply
from projections.kernel import Projection
from projections.registry import ALL

PAGE_FACTS = 1_000
POLL_SECONDS = 0.5
SETTLE_POLL_SECONDS = 0.01
"""While views have facts that the relay has not noted as told yet, or that others' partitions lack."""
GAP_SECONDS = 0.2
"""Between two looks whether the table has closed a gap."""
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 5.0
EXPECTED = (psycopg.Error, KafkaError, OSError)
"""Any other failure is logged with where it came from."""
LETTERS = b"select distinct name from projections.dead_letters where name = any(%s)"

TAKEN, COMMITTED = "taken", "committed"
"""What `Feed.on_step` is told of: rows that are written and not committed, and rows that are."""

log = structlog.get_logger()


class MadeAgainError(RuntimeError):
    """A view is another one since this began."""


class Taken(NamedTuple):
    """What a view takes of some messages."""

    positions: frozenset[int]
    reached: int
    gap: bool
    """Whether messages are left that do not follow what it has."""


class Feed:
    """Synchronous: for a thread or a process of its own. ``projections`` are those whose rows are of one stream alone."""

    def __init__(self, url: str, settings: KafkaSettings, secret: bytes, projections: Sequence[Projection]) -> None:
        if wrong := [projection.name for projection in projections if not projection.by_stream]:
            raise ValueError(f"{', '.join(wrong)} cannot be spread by stream")
        self._url = url
        self._settings = settings
        self.secret = secret
        self._projections = tuple(projections)
        self.facts_total = 0
        """Delivered, and new to at least one view."""
        self.partitions: frozenset[int] = frozenset()
        self.on_step: Callable[[str], object] = lambda _: None

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. Whatever fails is tried again: meanwhile the table feeds the views."""
        failures = 0
        while not stop.is_set():
            before = self.facts_total
            try:
                with closing(open_connection(self._url)) as connection:
                    group = f"counterfoil.views.{ledger_id(connection)}"
                    with clients.group_member(self._settings, group) as consumer:
                        FeedSession(self, connection, consumer).follow(stop)
            except Exception as error:  # Kafka's client fails in more ways than it names
                failures = 1 if self.facts_total > before else failures + 1
                said = str(error).strip() or type(error).__name__
                log.warning("feed_interrupted", error=said, failures=failures, exc_info=not isinstance(error, EXPECTED))
                stop.wait(min(BACKOFF_SECONDS * 2 ** min(failures, 10), BACKOFF_SECONDS_MAX))
            finally:
                self.partitions = frozenset()

    def session_views(self, connection: Connection[Any]) -> dict[Cursor, ViewUpdater]:
        """Those that are there and are what this release knows. The others are being made by the projector."""
        cursors = {cursor.name: cursor for cursor in view_cursors.read(connection, [p.name for p in self._projections])}
        return {
            cursors[p.name]: ViewUpdater(connection, p, p.name)
            for p in sorted(self._projections, key=lambda p: p.name)
            if p.name in cursors and cursors[p.name].version == p.version and not view_schema.differs(connection, p)
        }

    def views_are_there(self, connection: Connection[Any]) -> bool:
        """Before the projector has made them, in a new database, there is nothing to be fed."""
        return len(view_cursors.read(connection, self.names)) == len(self._projections)

    @property
    def names(self) -> list[str]:
        return sorted(projection.name for projection in self._projections)


class FeedSession:
    """On one connection, as one member of the group."""

    def __init__(self, feed: Feed, connection: Connection[Any], consumer: KafkaConsumer) -> None:
        self._feed = feed
        self._connection = connection
        self._consumer = consumer
        self._sealer = FactSealer(feed.secret, ledger_id(connection))
        self._prepare()

    def _prepare(self) -> None:
        views = self._feed.session_views(self._connection)
        self._generations = {cursor.name: cursor.generation for cursor in views}
        self._views = list(views.values())
        self._names = [view.projection.name for view in self._views]
        self._reader = FactReader([view.projection for view in self._views])
        self._unsettled = 0
        """The highest position that was taken and that not every view has reached yet; 0: none."""

    def follow(self, stop: threading.Event) -> None:
        while not self._feed.views_are_there(self._connection):
            if stop.wait(BACKOFF_SECONDS):
                return
        self._prepare()
        self._consumer.subscribe([FACTS])
        log.info("feed_begins", views=self._names)
        looked_at = monotonic()
        while not stop.is_set():
            joining = clients.is_joining(self._consumer)
            wait = SETTLE_POLL_SECONDS if self._unsettled and not joining else POLL_SECONDS
            polled = self._consumer.poll(timeout_ms=int(wait * 1_000), max_records=PAGE_FACTS)
            self._feed.partitions = frozenset(partition.partition for partition in self._consumer.assignment())
            gap = False
            for partition in sorted(polled):
                gap |= self._take(partition, polled[partition])
            self._settle()
            if gap:
                stop.wait(GAP_SECONDS)
            if len(self._views) < len(self._feed.names) and monotonic() - looked_at > BACKOFF_SECONDS_MAX:
                looked_at = monotonic()
                self._prepare()

    def _take(self, partition: TopicPartition, records: Sequence[Any]) -> bool:
        """Bring the views past these messages; whether one of them is left waiting, to be tried with them again."""
        delivered = self._open(partition.partition, records)
        unique = {message.position: message for message in delivered if message is not None}
        messages = [unique[position] for position in sorted(unique)]
        has = self._bring_past(messages, partition.partition)
        goes_on_at = int(records[-1].offset) + 1
        if has is not None:
            goes_on_at = next(
                record.offset
                for record, message in zip(records, delivered, strict=True)
                if message is not None and message.position > has
            )
            self._consumer.seek(partition, goes_on_at)
        self._consumer.commit_async({partition: OffsetAndMetadata(goes_on_at, "", -1)})
        return has is not None

    def _open(self, partition: int, records: Sequence[Any]) -> list[Delivered | None]:
        """What each message is. Those that nobody can open are passed over: if a fact was in one, the chain has a hole."""
        opened: list[Delivered | None] = []
        strange = []
        for record in records:
            try:
                message = self._sealer.open(record.headers, record.value)
            except SealBrokenError:
                message = None
                strange.append(record.offset)
            if message is not None and message.partition != partition:  # somebody's copy
                message = None
                strange.append(record.offset)
            opened.append(message)
        if strange:
            log.warning("messages_passed_over", partition=partition, count=len(strange), first_offset=strange[0])
        return opened

    def _bring_past(self, messages: list[Delivered], partition: int) -> int | None:
        """None; or, when a view is left waiting, the position that all have reached."""
        for partitions, run in groupby(messages, attrgetter("partitions")):
            if not self._views:
                return None
            try:
                taken = self._bring_forward(list(run), partitions, partition)
            except MadeAgainError as error:
                log.info("view_was_made_again", view=str(error))
                self._prepare()
                return messages[0].position - 1
            if any(one.gap for one in taken.values()):
                return min(one.reached for one in taken.values() if one.gap)
        return None

    def _bring_forward(self, messages: list[Delivered], partitions: int, partition: int) -> Mapping[str, Taken]:
        connection = self._connection
        with connection.transaction():
            self._hold_views()
            has = view_marks.lock(connection, self._names, partitions, partition)
            taken = {name: take(has[name], messages) for name in self._names}
            new = frozenset().union(*(one.positions for one in taken.values()))
            if not new:
                return taken
            self._load_letters()
            apply(connection, self._views, self._page([m for m in messages if m.position in new], taken))
            for view in self._views:
                view.letters.save(connection)
            moved = {name: one.reached for name, one in taken.items() if one.positions}
            view_marks.save(connection, moved, partitions, partition)
            self._feed.on_step(TAKEN)
        self._feed.on_step(COMMITTED)
        for view in self._views:
            view.letters.saved()
        self._feed.facts_total += len(new)
        self._unsettled = max(self._unsettled, *new)
        return taken

    def _hold_views(self) -> None:
        """Nobody swaps them, or brings them forward from the table, until the transaction ends; other feeds go on."""
        for row in self._connection.execute(view_marks.SHARE, (self._names,), prepare=True).fetchall():
            cursor = Cursor(*row)
            if self._generations[cursor.name] != cursor.generation:
                raise MadeAgainError(cursor.name)

    def _load_letters(self) -> None:
        """Streams come and go with their partitions, so what others have set aside has to be known."""
        named = {row[0] for row in self._connection.execute(LETTERS, (self._names,), prepare=True).fetchall()}
        for view in self._views:
            if view.projection.name in named or len(view.letters):
                view.letters.load(self._connection)

    def _page(self, messages: list[Delivered], taken: Mapping[str, Taken]) -> Page:
        page = self._reader.sort([message.stored for message in messages])
        wanted = [taken[name].positions for name in self._names]
        return page._replace(
            facts=tuple(_of(facts, positions) for facts, positions in zip(page.facts, wanted, strict=True)),
            broken=tuple(_of(broken, positions) for broken, positions in zip(page.broken, wanted, strict=True)),
        )

    def _settle(self) -> None:
        """Say how far the views are, now that they have more or the relay has told more."""
        if not self._unsettled:
            return
        if view_marks.settle(self._connection, self._names, FACTS):
            view_cursors.announce(self._connection, [projection.name for projection in ALL])
        if all(c.position >= self._unsettled for c in view_cursors.read(self._connection, self._names)):
            self._unsettled = 0


def take(has: int, messages: Iterable[Delivered]) -> Taken:
    """What somebody who has a partition up to a position takes of its messages, which are in order."""
    positions = []
    gap = False
    for message in messages:
        if message.position <= has:
            continue
        if message.previous > has:
            gap = True
            break
        positions.append(message.position)
        has = message.position
    return Taken(frozenset(positions), has, gap)


def _of(facts: Sequence[Any], positions: frozenset[int]) -> list[Any]:
    return [fact for fact in facts if fact.position in positions]
