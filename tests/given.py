"""Given facts, when a decision is asked for, then these facts or that refusal: tests of the domain as sentences.

Two more rules are checked whatever the sentence says: a refusal records and changes nothing, and what was decided is
the state that its stored bytes fold into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Self, TypeVar
from uuid import UUID

from domain.kernel import Aggregate, Fact, Refusal, decode

A = TypeVar("A", bound=Aggregate)

STREAM = UUID("00000000-0000-4000-8000-0000000057a2")
"""The id of every aggregate made here."""


def given(kind: type[A], *history: Fact) -> Given[A]:
    """An aggregate to which this has happened; blank without any facts."""
    return Given(kind, history)


def folded(kind: type[A], *history: Fact) -> A:
    """The aggregate as a release of tomorrow would read it: from the bytes that today's facts are stored as."""
    return kind(id=STREAM).fold(stored(history))


def stored(facts: Iterable[Fact]) -> list[Fact]:
    """The facts after a journey through the ledger."""
    return [decode(fact.stored_topic, fact.encode()) for fact in facts]


@dataclass(frozen=True, slots=True)
class Given(Generic[A]):
    kind: type[A]
    history: tuple[Fact, ...]

    def when(self, decide: Callable[[A], object]) -> Outcome[A]:
        aggregate = folded(self.kind, *self.history)
        try:
            return Outcome(self, aggregate, answer=decide(aggregate))
        except Refusal as refusal:
            return Outcome(self, aggregate, refusal=refusal)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[A]):
    given: Given[A]
    aggregate: A
    answer: object = None
    refusal: Refusal | None = None

    def then(self, *facts: Fact) -> Self:
        """Exactly these facts were recorded, in this order."""
        if self.refusal is not None:
            raise AssertionError(f"refused with {self.refusal!r}") from self.refusal
        assert self.aggregate.pending == list(facts)
        assert self.aggregate.stored_version == len(self.given.history)
        assert self.aggregate == folded(self.given.kind, *self.given.history, *facts)
        return self

    def then_nothing(self) -> Self:
        """The decision was allowed and had nothing to add: repeating it is harmless."""
        return self.then()

    def then_refused(self, error: type[Refusal], **facts: object) -> None:
        """This refusal, no relative of it, telling at least these facts; and nothing has changed."""
        assert type(self.refusal) is error, f"recorded {self.aggregate.pending}, refused with {self.refusal!r}"
        assert facts.items() <= self.refusal.facts.items()
        assert self.aggregate.pending == []
        assert self.aggregate == folded(self.given.kind, *self.given.history)

    def answering(self, answer: object) -> None:
        assert self.answer == answer
