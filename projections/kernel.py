"""What every projection is made of: tables that are declared, facts that become rows, the port its questions go through.

A view is thrown away and rebuilt whenever its meaning changes, so it has no migrations: raise ``version`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar
from uuid import UUID

from domain.kernel import Fact
from projections.rows import Rows


@dataclass(frozen=True, eq=False)
class Table:
    """One table of a projection.

    ``columns`` maps a name to a PostgreSQL type, followed by ``null`` where it may be or by its ``default``.
    ``derived`` maps a name to a type and the expression that PostgreSQL computes it with from the other columns.
    ``indexes`` are what follows ``create index on`` the table: ``(event_id, tier_id)``.
    ``append_only``: rows are appended or tallied and never looked up by writes; a rebuild then builds the key last.
    """

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    derived: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    indexes: tuple[str, ...] = ()
    append_only: bool = False

    types: Mapping[str, str] = field(init=False)
    """The columns' bare types."""
    single: bool = field(init=False)
    """Whether the key is one column."""
    identity: Callable[[Any], Any] = field(init=False)
    """Of a key, for a dict. A UUID hashes and compares in Python, the integer within it does so in C."""

    def __post_init__(self) -> None:
        types = {name: kind.partition(" ")[0] for name, kind in self.columns.items()}
        by_uuid = types[self.key[0]] == "uuid" and (len(self.key) == 1 or self.key[1:] == ("position",))
        object.__setattr__(self, "types", types)
        object.__setattr__(self, "single", len(self.key) == 1)
        object.__setattr__(self, "identity", attrgetter("int") if by_uuid else _itself)


def _itself(key: Any) -> Any:
    return key


class Recorded(NamedTuple):
    """A fact, and where and when the ledger recorded it."""

    position: int
    stream_id: UUID
    version: int
    fact: Fact
    recorded_at: datetime


F = TypeVar("F", bound=Fact)
Handler = Callable[[Any, Recorded, Any, Rows], None]


def when(*facts: type[F]) -> Callable[[Callable[[Any, Recorded, F, Rows], None]], Handler]:
    """Marks the method of a projection that says what facts of these types do to the rows."""

    def mark(method: Callable[[Any, Recorded, F, Rows], None]) -> Handler:
        method.__dict__["facts"] = facts
        return method

    return mark


class Projection:
    """A view of the ledger. Async: its tables follow the ledger by a moment.

    Its methods are pure functions of the fact: they read no table and no clock, so that a rebuild gives the same rows.
    """

    name: ClassVar[str]
    """Also the PostgreSQL schema that its tables live in."""
    version: ClassVar[int]
    """Raise it when the tables or their meaning change: the view is then rebuilt beside the old one."""
    tables: ClassVar[tuple[Table, ...]]
    by_stream: ClassVar[bool] = True
    """Whether every row is of one stream alone, so that streams can be projected side by side, in whatever order."""
    handlers: ClassVar[dict[type[Fact], Handler]]
    """Which method takes which facts; it is handed no others."""

    def __init_subclass__(cls) -> None:
        cls.handlers = {fact: m for m in vars(cls).values() for fact in getattr(m, "facts", ())}

    def project(self, recorded: Recorded, rows: Rows) -> None:
        handler = self.handlers.get(type(recorded.fact))
        if handler is not None:
            handler(self, recorded, recorded.fact, rows)

    def project_all(self, facts: Iterable[Recorded], rows: Rows) -> None:
        """`project` for facts that are known to have handlers, without a call in between: rebuilds spend time here."""
        handlers = self.handlers
        for recorded in facts:
            fact = recorded.fact
            handlers[type(fact)](self, recorded, fact, rows)


class Spell(NamedTuple):
    """A stream while something of it was somebody's: from the fact that gave it to them to the one that took it away."""

    stream_id: UUID
    first: int
    last: int | None
    """None: it is theirs still."""


class Views(Protocol):
    """The port through which views are read."""

    async def fetch(self, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of one statement, which sees one moment of every view it names."""


POSITION_MAX = 2**63 - 1


def before_or_all(cursor: int | None) -> int:
    """Lists run from the newest back: the position below which a page begins, given where the last one ended."""
    return POSITION_MAX if cursor is None else cursor
