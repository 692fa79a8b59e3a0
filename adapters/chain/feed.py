"""The ledger, read in order and turned into batches for one contract."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from psycopg import AsyncConnection

from adapters.chain import plans
from adapters.chain.packing import FACTS_MAX, Draft
from domain.kernel import UnknownTopicError, decode
from projections.chain_book import Touched
from projections.chain_plan import HANDLERS, Plan, tickets_of
from projections.kernel import Recorded

PAGE_FACTS = 2_000
TOKENS_KEPT_MAX = 50_000
"""In memory. More are forgotten between two pages, as far as they are stored, and loaded again when they are needed."""
CLOSE_AFTER = timedelta(seconds=2)
"""A batch that is not full waits this long for more, counted from its first fact."""
UNSENT_POSITIONS = 1_000
"""Positions with nothing for the contract, after which it is noted that they were read."""

TOPICS = {fact.topic for fact in HANDLERS}
READ = b"""
    select position, stream_id, version, topic, payload, recorded_at from ledger.events
     where position > %b::bigint and position <= %b::bigint order by position"""

log = structlog.get_logger()


@dataclass(slots=True)
class Filled:
    """A batch's worth of facts, followed by the plan."""

    draft: Draft = field(default_factory=Draft)
    touched: Touched = field(default_factory=Touched)
    position: int = 0
    """The ledger's, up to which everything is in it or in those before."""
    since: datetime | None = None
    """When its first fact was recorded: never later than now, whatever the database's clock says."""


class Feed:
    """For one contract. After an error it is of no more use: its plan has gone further than what was stored."""

    def __init__(self, conn: AsyncConnection, deployment: int, plan: Plan, position: int) -> None:
        self.plan = plan
        self._conn = conn
        self._deployment = deployment
        self._read = self._noted = position
        self._page: deque[Recorded] = deque()
        self._filled = Filled(position=position)

    async def next(self, now: datetime) -> Filled | None:
        """The next batch, once it is full or has waited long enough; None: nothing is due."""
        while True:
            while self._page:
                if not self._follow(self._page[0], now):
                    return self._close()
                self._page.popleft()
                if self._filled.draft.facts >= FACTS_MAX:
                    return self._close()
            if not await self._turn_page():
                break
        filled = self._filled
        filled.position = self._read
        if filled.draft.operations:
            return self._close() if filled.since is not None and now - filled.since >= CLOSE_AFTER else None
        if filled.touched or self._read - self._noted >= UNSENT_POSITIONS:
            await self._note_unsent()
        return None

    def _follow(self, recorded: Recorded, now: datetime) -> bool:
        """Whether the fact found room in the batch."""
        filled = self._filled
        operations = self.plan.follow(recorded)
        if operations and not filled.draft.takes(operations):
            self.plan.take_back()
            return False
        filled.touched.add(self.plan.touched)
        filled.position = recorded.position
        if operations:
            filled.draft.add(operations)
            filled.since = filled.since or min(recorded.recorded_at, now)
        return True

    def _close(self) -> Filled:
        filled, self._filled = self._filled, Filled()
        self._noted = filled.position
        return filled

    async def _turn_page(self) -> bool:
        """Whether there was one: positions are dense, so what the head has passed can all be read."""
        cursor = self._conn.cursor(binary=True)
        await cursor.execute("select position from ledger.head")
        row = await cursor.fetchone()
        until = min(row[0] if row is not None else 0, self._read + PAGE_FACTS)
        if until <= self._read:
            return False
        await cursor.execute(READ, (self._read, until), prepare=True)
        self._page.extend(fact for row in await cursor.fetchall() if (fact := _decoded(*row)) is not None)
        self._read = until
        if len(self.plan.tokens) > TOKENS_KEPT_MAX:
            self._forget()
        await plans.load_tokens(self._conn, self._deployment, self.plan, tickets_of(self._page))
        return True

    def _forget(self) -> None:
        """All tokens but those that are not stored yet."""
        tokens = self.plan.tokens
        self.plan.tokens = {ticket: tokens[ticket] for ticket in self._filled.touched.tickets if ticket in tokens}

    async def _note_unsent(self) -> None:
        filled = self._close()
        await plans.store_unsent(self._conn, self._deployment, filled.position, self.plan, filled.touched)


def _decoded(
    position: int, stream_id: object, version: int, topic: str, payload: bytes, at: datetime
) -> Recorded | None:
    """None for what the chain need not know, and for bytes that nobody understands, which must not hold up the rest."""
    if topic.partition("@")[0] not in TOPICS:
        return None
    try:
        return Recorded(position, stream_id, version, decode(topic, payload), at)  # type: ignore[arg-type]
    except (UnknownTopicError, ValueError) as error:
        log.warning("fact_not_mirrored", position=position, topic=topic, error=str(error))
        return None
