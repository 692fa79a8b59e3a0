"""What a contract on a chain will know, entry by entry: the state of a plan, and how its last change is taken back."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar
from uuid import UUID

from domain.reconciliation import TokenState
from projections.chain_operations import CANCELLED, NO_PRICE_CAP, Configure, Deliver, Move, event_number

K = TypeVar("K")
T = TypeVar("T")

VERSIONS = 1 << 16


class ChainRef(NamedTuple):
    """One contract on one chain; ``contract`` is its address."""

    chain_id: int
    contract: str


@dataclass(slots=True)
class PlannedEvent:
    """What the contract will know of an event. ``number`` 0: not published yet, so not there."""

    event_id: UUID
    number: int = 0
    issued: int = 0
    ends_at: int = 0
    price_cap: int = NO_PRICE_CAP
    royalty: int = 0
    flags: int = 0

    def configure(self) -> Configure:
        return Configure(self.number, self.ends_at, self.price_cap, self.royalty, self.flags)


@dataclass(slots=True)
class PlannedToken:
    """What the contract will say of a token once everything planned has been mined."""

    token: int
    ticket_id: UUID | None
    """None: the chain has it, the ledger never issued it."""
    wallet: str | None = None
    version: int = 0
    checked_in: bool = False
    voided: bool = False

    def now_in(self, wallet: str | None) -> None:
        self.wallet, self.version = wallet, (self.version + 1) % VERSIONS


@dataclass(slots=True)
class Touched:
    """Which entries of a plan have changed."""

    events: set[UUID] = field(default_factory=set)
    tickets: set[UUID] = field(default_factory=set)
    disowned: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.events or self.tickets or self.disowned)

    def add(self, other: Touched) -> None:
        self.events |= other.events
        self.tickets |= other.tickets
        self.disowned |= other.disowned


@dataclass(slots=True)
class Book:
    """Everything planned for one contract so far."""

    chain: ChainRef
    event_count: int = 0
    events: dict[UUID, PlannedEvent] = field(default_factory=dict)
    tokens: dict[UUID, PlannedToken] = field(default_factory=dict)
    """By ticket."""
    disowned: dict[int, PlannedToken] = field(default_factory=dict)
    """Tokens without a ticket, by id."""
    disowned_events: set[int] = field(default_factory=set)
    """Events of the chain that the ledger does not know, by number."""
    touched: Touched = field(default_factory=Touched)
    """By the last fact."""
    _before: list[Callable[[], None]] = field(default_factory=list)
    """How to take the last fact back."""

    def begin(self) -> None:
        """A fact is to be followed: from here on, changes can be taken back."""
        self._before.clear()
        self.touched = Touched()

    def take_back(self) -> None:
        """As if the fact followed last had not been: it did not fit any more."""
        while self._before:
            self._before.pop()()

    def count_events(self, count: int) -> None:
        before = self.event_count
        self._before.append(lambda: setattr(self, "event_count", before))
        self.event_count = count

    def event(self, event_id: UUID) -> PlannedEvent:
        """To be changed; a new one where there is none."""
        self.touched.events.add(event_id)
        return self._own_copy(self.events, event_id) or self._add(self.events, event_id, PlannedEvent(event_id))

    def token(self, ticket_id: UUID) -> PlannedToken | None:
        """To be changed. None for a ticket that was never paid for, which the chain does not have."""
        token = self._own_copy(self.tokens, ticket_id)
        if token is not None:
            self.touched.tickets.add(ticket_id)
        return token

    def enter(self, ticket_id: UUID, token: PlannedToken) -> None:
        self._add(self.tokens, ticket_id, token)
        self.touched.tickets.add(ticket_id)

    def disown(self, token: PlannedToken) -> None:
        self._add(self.disowned, token.token, token)
        self.touched.disowned.add(token.token)

    def disown_event(self, number: int) -> None:
        self.count_events(number)
        self.disowned_events.add(number)
        self._before.append(lambda: self.disowned_events.discard(number))

    def state_of(self, token: PlannedToken) -> TokenState:
        """As the contract will say it: the tickets of a cancelled event are void."""
        wallet, version, checked_in = token.wallet, token.version, token.checked_in
        voided = self.is_void(token)
        return TokenState(issued=True, wallet=wallet, version=version, checked_in=checked_in, voided=voided)

    def is_void(self, token: PlannedToken) -> bool:
        event = self.event_numbered(event_number(token.token))
        return token.voided or (event is not None and bool(event.flags & CANCELLED))

    def event_numbered(self, number: int) -> PlannedEvent | None:
        """Not to be changed. Repairs alone look for it in this way, so no index is kept."""
        return next((event for event in self.events.values() if event.number == number), None)

    def _own_copy(self, those: dict[K, T], key: K) -> T | None:
        """The entry, to be changed: the one before can be had back."""
        before = those.get(key)
        return self._add(those, key, copy(before)) if before is not None else None

    def _add(self, those: dict[K, T], key: K, entry: T) -> T:
        self._before.append(partial(_put_back, those, key, those.get(key)))
        those[key] = entry
        return entry


def move(token: PlannedToken, wallet: str | None) -> Deliver | Move:
    """To a wallet, or into custody (None). Within custody it is a record, and the token stays as it is."""
    version, was_in_custody = token.version, token.wallet is None
    if was_in_custody and wallet is None:
        return Move(token.token, version, None)
    token.now_in(wallet)
    if was_in_custody and wallet is not None:
        return Deliver(token.token, version, wallet)
    return Move(token.token, version, wallet)


def _put_back(those: dict[K, T], key: K, before: T | None) -> None:
    if before is None:
        del those[key]
    else:
        those[key] = before
