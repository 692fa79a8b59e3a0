"""What people asked for, known from what came of it, and what has come of it when it is decided again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from domain.allowance import Allowance
from domain.event import Event
from domain.kernel import Fact, Refusal
from domain.order import Order
from domain.ticket import Ticket

STREAM_TYPES = frozenset(kind.stream_type for kind in (Allowance, Event, Order, Ticket))
"""Whose facts are decided again. Accounts and wallets stand as they are."""
FOLLOWING = (Ticket.Held, Ticket.Paid, Ticket.Released, Allowance.Taken, Allowance.Returned)
"""Facts that nobody asks for by themselves."""

Facts = Sequence[tuple[UUID, Fact]]


class Intention(NamedTuple):
    """What one command appended: the fact that was asked for, and those that followed from it."""

    position: int
    """Of the first of its facts."""
    stream_id: UUID
    facts: list[tuple[UUID, Fact]]

    @property
    def asked(self) -> Fact:
        return self.facts[0][1]


class Outcome(NamedTuple):
    """One intention: what came of it in reality, and what would have."""

    position: int
    """0: nobody asked, it was due."""
    stream_id: UUID
    event_id: UUID
    asked: str
    """The topic of the fact that was asked for."""
    recorded: Facts
    decided: Facts
    refusal: Refusal | None = None

    @property
    def same(self) -> bool:
        return self.recorded == self.decided


class Intentions:
    """Puts facts that were appended together together again. One intention is in memory."""

    def __init__(self) -> None:
        self._open: Intention | None = None
        self._last = 0

    def take(self, position: int, stream_id: UUID, fact: Fact) -> Intention | None:
        """The intention that this fact shows to be complete."""
        done = None
        if self._open is not None and self.goes_on(position, stream_id, fact):
            self._open.facts.append((stream_id, fact))
        else:
            done, self._open = self._open, Intention(position, stream_id, [(stream_id, fact)])
        self._last = position
        return done

    def goes_on(self, position: int, stream_id: UUID, fact: Fact) -> bool:
        """Whether this fact belongs to the intention that is open: it would be cut off without it."""
        return self._open is not None and position == self._last + 1 and _follows(self._open, stream_id, fact)

    def end(self) -> Intention | None:
        done, self._open = self._open, None
        return done


def _follows(intention: Intention, stream_id: UUID, fact: Fact) -> bool:
    asked = intention.asked
    if isinstance(fact, Ticket.Cancelled):
        return isinstance(asked, Order.Refunded) and stream_id in asked.ticket_ids
    return isinstance(fact, FOLLOWING) and asked.stream_type == Order.stream_type
