"""What every aggregate is made of: facts that are stored, state folded from them, refusals that change nothing.

A *fact* (domain event) is an immutable pydantic model with an explicit topic. Applying a fact never refuses,
because it runs on every replay; the guards live in the decision methods of the aggregates.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json, to_json

type_of_fact: dict[str, type[Fact]] = {}
"""Every fact class under its topic. Filled as the classes are defined."""

Json = dict[str, Any]
Upcaster = Callable[[Json], Json]


class UnknownTopicError(LookupError):
    """A stored fact has a topic, or a version of one, that this release does not know."""


class Fact(BaseModel):
    """Something that happened to one aggregate. Frozen; unknown fields are ignored when it is read.

    A subclass names its topic once and for ever: ``class Held(Fact, topic="ticket.held")``. When the shape changes,
    a function from the old JSON to the new is appended to ``upcasters``; the version of a class is one more than the
    number of its upcasters, and is stored with the topic (``ticket.held@2``).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: ClassVar[str] = ""
    upcasters: ClassVar[tuple[Upcaster, ...]] = ()
    stored_topic: ClassVar[str] = ""

    at: datetime
    """When it was decided, UTC. (The ledger adds when it was recorded.)"""

    def __init_subclass__(cls, *, topic: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if topic in type_of_fact:
            raise TypeError(f"two facts share the topic {topic!r}")
        version = len(cls.upcasters) + 1
        cls.topic = topic
        cls.stored_topic = topic if version == 1 else f"{topic}@{version}"
        type_of_fact[topic] = cls

    def apply(self, aggregate: Any) -> None:  # noqa: ARG002 - subclasses use it
        """Fold this fact into the state. Never refuses."""
        raise TypeError(f"{type(self).__name__} does not say what it does to the state")

    def encode(self) -> bytes:
        """The stored form: UTF-8 JSON without insignificant white space."""
        return self.__pydantic_serializer__.to_json(self)

    @property
    def stream_type(self) -> str:
        return self.topic.partition(".")[0]


def decode(stored_topic: str, payload: bytes) -> Fact:
    """The fact that was stored, brought to today's shape.

    Raises UnknownTopicError for a topic or version of the future, pydantic.ValidationError for bytes that are not it.
    """
    cls = type_of_fact.get(stored_topic)
    if cls is not None and not cls.upcasters:  # `extra`: also for the parts of a fact, which as input are strict
        return cls.__pydantic_validator__.validate_json(payload, extra="ignore")  # type: ignore[no-any-return]
    topic, marked, suffix = stored_topic.partition("@")
    cls = type_of_fact.get(topic)
    version = (int(suffix) if suffix.isascii() and suffix.isdigit() else 0) if marked else 1
    if cls is None or not 1 <= version <= len(cls.upcasters) + 1:
        raise UnknownTopicError(f"no fact is known as {stored_topic!r}")
    data = from_json(payload)
    for upcast in cls.upcasters[version - 1 :]:
        data = upcast(data)
    return cls.model_validate_json(to_json(data), extra="ignore")


@dataclass(slots=True, kw_only=True)
class Aggregate:
    """A consistency boundary: one stream of facts and the state they fold into. Blank (version 0) until its first."""

    id: UUID
    version: int = 0
    pending: list[Fact] = field(default_factory=list, repr=False, compare=False)
    """Facts decided but not yet appended, oldest first."""

    stream_type: ClassVar[str]

    @property
    def exists(self) -> bool:
        return self.version > 0

    @property
    def stored_version(self) -> int:
        """The version the ledger has, which the append will expect."""
        return self.version - len(self.pending)

    def record(self, fact: Fact) -> None:
        """Decide: the fact changes the state now and the ledger when the aggregate is appended."""
        fact.apply(self)
        self.version += 1
        self.pending.append(fact)

    def fold(self, facts: Iterable[Fact]) -> Self:
        """Apply facts that the ledger already holds."""
        for fact in facts:
            fact.apply(self)
            self.version += 1
        return self


class Refusal(Exception):  # noqa: N818 - the base of many `…Error`s
    """A decision was asked for that the state does not allow. Nothing was changed.

    ``code`` is part of the published contract; ``facts`` are further members of the problem document.
    """

    code: ClassVar[str] = "refused"
    title: ClassVar[str] = "The state does not allow this"

    def __init__(self, detail: str = "", **facts: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.facts: Mapping[str, object] = facts


class NotFoundError(Refusal):
    """Unknown, or not the caller's: the two are not told apart."""

    code = "not-found"
    title = "There is no such thing, or it is not yours"


class ForbiddenError(Refusal):
    """The caller's role does not allow this."""

    code = "forbidden"
    title = "Your role does not allow this"


class InvalidError(Refusal):
    """The request is well formed JSON of the right types, yet cannot be meant. ``pointer`` is a JSON pointer into it."""

    code = "invalid"
    title = "The request is not valid"

    def __init__(self, detail: str, *, pointer: str = "") -> None:
        super().__init__(detail)
        self.pointer = pointer


def utc_now() -> datetime:
    """The system's clock; everything that needs the time is handed a function like this one."""
    return datetime.now(UTC)


_random = bytearray()
ID_RANDOM_BYTES = 10
RANDOM_BYTES = 4096
"""Fetched from the system at once: one call for some four hundred ids."""
os.register_at_fork(after_in_child=_random.clear)  # or parent and child would make the same ids


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): ids made together lie together in an index, and none can be guessed from another.

    For one thread of one process; everything that decides runs on one event loop.
    """
    if len(_random) < ID_RANDOM_BYTES:
        _random.extend(os.urandom(RANDOM_BYTES))
    tail = int.from_bytes(_random[-ID_RANDOM_BYTES:], "big")
    del _random[-ID_RANDOM_BYTES:]
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (tail >> 68) << 64 | 0x2 << 62 | tail & (1 << 62) - 1)
