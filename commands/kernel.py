"""Commands, and the one way in which they change anything: load, decide, append.

``Ledger`` is what a handler sees. ``Store`` is the port behind it. Both speak of facts; neither knows SQL or HTTP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.kernel import Aggregate, Fact, new_id

RETRIES_MAX = 12
"""How often a command is decided again because somebody else's append came first."""

A = TypeVar("A", bound=Aggregate)

Clock = Callable[[], datetime]
Render = Callable[[Any], bytes]


class Command(BaseModel):
    """An intention, in the imperative. Frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ConflictError(Exception):
    """A stream that was written or rested on has moved since it was read. The command may be decided again.

    ``stream_ids`` are the streams known or suspected to have moved.
    """

    def __init__(self, stream_ids: Sequence[UUID] = ()) -> None:
        super().__init__("somebody else's append came first")
        self.stream_ids = tuple(stream_ids)


class OverloadedError(Exception):
    """A bounded queue is full, or a dependency is down. Nothing is known to have changed; try again later."""

    def __init__(self, detail: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Metadata(NamedTuple):
    """Who asked for what, and why. Stored with every fact that followed."""

    actor: str
    """A user's id, or ``system`` and the worker's name."""
    command: str
    command_id: UUID
    correlation_id: str
    causation_id: str | None = None


class Answer(NamedTuple):
    """What was answered to a request with an Idempotency-Key, to be given again to its repeats."""

    status: int
    body: bytes
    position: int = 0


class AlreadyAnsweredError(Exception):
    """The key was used before: this is the first answer. Nothing was appended."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("this request has been answered before")
        self.answer = answer


class KeyReusedError(Exception):
    """The key was used before, for a different request."""


class Key(NamedTuple):
    """An Idempotency-Key as the ledger stores it."""

    id: UUID
    """Digest of caller and key."""
    fingerprint: bytes
    """Keyed digest of method, path and body."""


class NewFact(NamedTuple):
    stream_id: UUID
    version: int
    fact: Fact


class Request(NamedTuple):
    """One append: all of it or none of it."""

    facts: Sequence[NewFact]
    metadata: Metadata
    rests_on: Sequence[tuple[UUID, int]] = ()
    """Streams read but not written, with the versions they had."""
    key: Key | None = None
    answer: Answer | None = None


class Store(Protocol):
    """The port to the ledger. Everything it acknowledges is durable."""

    async def load(self, kind: type[A], ids: Sequence[UUID]) -> list[A]:
        """Fresh aggregates, blank where there is no stream."""

    async def peek(self, kind: type[A], stream_id: UUID) -> A:
        """A shared aggregate that may lag by a moment and must not be changed. What rests on it names its version."""

    async def append(self, request: Request) -> int:
        """Returns the position of the last fact (0 without facts).

        Raises ConflictError, AlreadyAnsweredError, KeyReusedError, OverloadedError.
        """


@dataclass(slots=True)
class Ledger:
    """The ledger as one command sees it: it knows who is asking, and how the request is to be answered."""

    store: Store
    metadata: Metadata
    key: Key | None = None
    render: Render | None = None
    status: int = 200
    position: int = 0
    """Of the last fact appended by this command; 0 before that."""
    body: bytes | None = None

    async def load(self, kind: type[A], stream_id: UUID) -> A:
        return (await self.store.load(kind, (stream_id,)))[0]

    async def load_all(self, kind: type[A], stream_ids: Sequence[UUID]) -> list[A]:
        return await self.store.load(kind, stream_ids)

    async def peek(self, kind: type[A], stream_id: UUID) -> A:
        return await self.store.peek(kind, stream_id)

    async def append(self, first: A, *others: Aggregate, rests_on: Sequence[Aggregate] = ()) -> A:
        """Append what the aggregates have decided, atomically, and answer with the first of them."""
        everyone: tuple[Aggregate, ...] = (first, *others)
        changed = [aggregate for aggregate in everyone if aggregate.pending]
        facts = [
            NewFact(aggregate.id, version, fact)
            for aggregate in changed
            for version, fact in enumerate(aggregate.pending, aggregate.stored_version + 1)
        ]
        body = self.render(first) if self.render is not None else None
        if facts or self.key is not None:
            request = Request(
                facts,
                self.metadata,
                [(aggregate.id, aggregate.version) for aggregate in rests_on],
                self.key,
                Answer(self.status, body or b"") if self.key is not None else None,
            )
            self.position = await self.store.append(request) or self.position
        for aggregate in changed:
            aggregate.pending.clear()
        self.body = body
        return first

    def refusing(self) -> Ledger:
        """This ledger for an append that belongs to a refusal: the answer of success is not to be stored with it."""
        return Ledger(self.store, self.metadata)


Handler = Callable[..., Awaitable[Any]]


def new_metadata(actor: str, command: str, *, correlation_id: str = "", causation_id: str | None = None) -> Metadata:
    command_id = new_id()
    return Metadata(actor, command, command_id, correlation_id or str(command_id), causation_id)


async def decide(handler: Handler, command: Command, ledger: Ledger) -> Any:
    """Run a handler, again when somebody else's append came first, at most RETRIES_MAX times."""
    for _ in range(RETRIES_MAX):
        try:
            return await handler(command, ledger=ledger)
        except ConflictError:
            continue
    raise OverloadedError("too many others are changing the same thing; try again")
