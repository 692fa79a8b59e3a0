"""What each fact of the ledger means for the contract on a chain: the plan that the mirror carries out.

Pure: it reads no chain, no table and no clock, so that the same ledger always gives the same operations, and a contract
on a new chain can be filled from position 0. Event numbers are given in the order of publication, serials in the order
of payment. A token's ``version`` counts its changes of owner, as the contract does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from domain.event import Event
from domain.kernel import Fact
from domain.reconciliation import Correction, Reconciliation
from domain.resale import ResaleRules
from domain.ticket import Ticket
from projections.chain_operations import (
    CANCELLED,
    DIRECT_TRANSFERS,
    NO_PRICE_CAP,
    SERIAL_BITS,
    CheckIn,
    Configure,
    Deliver,
    Issue,
    Move,
    Operation,
    Resale,
    UndoCheckIn,
    Unvoid,
    Void,
    event_number,
    token_id,
)
from projections.kernel import Recorded

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
class Plan:
    """The plan for one contract, as far as it has been made.

    Whoever keeps it adds all events, and before facts are followed the tokens of the tickets that `tickets_of` names.
    """

    chain: ChainRef
    event_count: int = 0
    events: dict[UUID, PlannedEvent] = field(default_factory=dict)
    tokens: dict[UUID, PlannedToken] = field(default_factory=dict)
    """By ticket."""
    disowned: dict[int, PlannedToken] = field(default_factory=dict)
    """Tokens without a ticket, by id."""
    touched: Touched = field(default_factory=Touched)
    """By the last fact."""
    _before: list[Callable[[], None]] = field(default_factory=list)
    """How to take the last fact back."""

    def follow(self, recorded: Recorded) -> list[Operation]:
        """What the contract has to be told because of this fact. Never refuses."""
        self._before.clear()
        self.touched = Touched()
        handler = HANDLERS.get(type(recorded.fact))
        return handler(self, recorded.stream_id, recorded.fact) if handler is not None else []

    def take_back(self) -> None:
        """As if the fact followed last had not been: it did not fit any more."""
        while self._before:
            self._before.pop()()

    # -- Events. -------------------------------------------------------------------

    def drafted(self, event_id: UUID, fact: Event.Drafted | Event.DetailsChanged) -> list[Operation]:
        return self._rules(event_id, ends_at=_seconds(fact.details.ends_at))

    def postponed(self, event_id: UUID, fact: Event.Postponed) -> list[Operation]:
        return self._rules(event_id, ends_at=_seconds(fact.ends_at))

    def resale_rules_set(self, event_id: UUID, fact: Event.ResaleRulesSet) -> list[Operation]:
        return self._rules(event_id, rules=fact.rules)

    def cancelled_event(self, event_id: UUID, _: Event.Cancelled) -> list[Operation]:
        """One flag voids all its tickets."""
        return self._rules(event_id, more_flags=CANCELLED)

    def published(self, event_id: UUID, _: Event.Published) -> list[Operation]:
        event = self._event(event_id)
        if event.number == 0:
            self._count_events(self.event_count + 1)
            event.number = self.event_count
        return [event.configure()]

    def _rules(
        self, event_id: UUID, *, ends_at: int | None = None, rules: ResaleRules | None = None, more_flags: int = 0
    ) -> list[Operation]:
        event = self._event(event_id)
        before = event.configure()
        event.flags |= more_flags
        if ends_at is not None:
            event.ends_at = ends_at
        if rules is not None:
            event.price_cap = rules.price_max if rules.price_max is not None else NO_PRICE_CAP
            event.royalty = rules.royalty_basis_points
            event.flags = (event.flags & ~DIRECT_TRANSFERS) | (DIRECT_TRANSFERS if rules.direct_transfers else 0)
        after = event.configure()
        return [after] if event.number and after != before else []

    def _event(self, event_id: UUID) -> PlannedEvent:
        """To be changed."""
        self.touched.events.add(event_id)
        event = _own_copy(self.events, event_id, PlannedEvent(event_id), self._before)
        assert event is not None
        return event

    def _count_events(self, count: int) -> None:
        before = self.event_count
        self._before.append(lambda: setattr(self, "event_count", before))
        self.event_count = count

    # -- Tickets. ------------------------------------------------------------------

    def paid(self, ticket_id: UUID, fact: Ticket.Paid) -> list[Operation]:
        event = self.events.get(fact.event_id)
        if event is None or not event.number or ticket_id in self.tokens:
            return []
        event = self._event(fact.event_id)
        token = PlannedToken(token_id(event.number, event.issued), ticket_id)
        event.issued += 1
        self.tokens[ticket_id] = token
        self.touched.tickets.add(ticket_id)
        self._before.append(lambda: self.tokens.__delitem__(ticket_id))
        return [Issue(token.token)]

    def delivered(self, ticket_id: UUID, fact: Ticket.Delivered) -> list[Operation]:
        return self._move(ticket_id, fact.wallet)

    def returned(self, ticket_id: UUID, _: Ticket.ReturnedToCustody) -> list[Operation]:
        return self._move(ticket_id, None)

    def transferred(self, ticket_id: UUID, _: Ticket.Transferred) -> list[Operation]:
        return self._move(ticket_id, None)

    def resold(self, ticket_id: UUID, fact: Ticket.Resold) -> list[Operation]:
        token = self._token(ticket_id)
        if token is None:
            return []
        operation = Resale(token.token, token.version, fact.wallet, fact.price)
        if token.wallet is not None or fact.wallet is not None:
            _now_in(token, fact.wallet)
        return [operation]

    def transferred_on_chain(self, ticket_id: UUID, fact: Ticket.TransferredOnChain) -> list[Operation]:
        """The contract it happened on has it already; every other one is told."""
        if (fact.chain_id, fact.contract) != self.chain:
            return self._move(ticket_id, fact.to_wallet)
        token = self._token(ticket_id)
        if token is not None:
            token.wallet, token.version = fact.to_wallet, fact.version
        return []

    def _move(self, ticket_id: UUID, wallet: str | None) -> list[Operation]:
        token = self._token(ticket_id)
        return [] if token is None else [_move(token, wallet)]

    def checked_in(self, ticket_id: UUID, _: Ticket.CheckedIn) -> list[Operation]:
        token = self._token(ticket_id)
        if token is None:
            return []
        token.checked_in = True
        return [CheckIn(token.token, token.wallet is None)]

    def cancelled(self, ticket_id: UUID, fact: Ticket.Cancelled) -> list[Operation]:
        token = self._token(ticket_id)
        if token is None:
            return []
        token.voided = True
        event = self.events.get(fact.event_id)
        if event is not None and event.flags & CANCELLED:  # the refunds of a cancelled event: its flag has said it
            return []
        return [Void(token.token, token.wallet is None)]

    def _token(self, ticket_id: UUID) -> PlannedToken | None:
        """To be changed. None for a ticket that was never paid for, which the chain does not have."""
        token = _own_copy(self.tokens, ticket_id, None, self._before)
        if token is not None:
            self.touched.tickets.add(ticket_id)
        return token

    # -- Repairs. ------------------------------------------------------------------

    def corrected(self, _: UUID, fact: Reconciliation.Corrected) -> list[Operation]:
        if (fact.chain_id, fact.contract) != self.chain:
            return []
        by_token = sorted(fact.corrections, key=lambda correction: correction.token_id)
        return [operation for correction in by_token for operation in self._correct(correction)]

    def _correct(self, correction: Correction) -> list[Operation]:
        """From what the chain was seen to have to what the ledger says."""
        if correction.ticket_id is None:
            return self._disown(correction)
        token = self._token(correction.ticket_id)
        if token is None or token.token != correction.token_id:
            return []
        chain, wanted = correction.chain, token.wallet
        token.version, token.wallet = chain.version, chain.wallet
        changes: list[Operation] = [] if chain.issued else [Issue(token.token)]
        if token.wallet != wanted:
            changes.append(_move(token, wanted))
        if chain.checked_in and not token.checked_in:
            changes.append(UndoCheckIn(token.token))
        if token.checked_in and not chain.checked_in:
            changes.append(CheckIn(token.token, in_custody=False))
        if chain.voided and (changes or not token.voided):
            changes.insert(0, Unvoid(token.token))  # nothing else can be done to a token that is void
        if token.voided and (not chain.voided or changes):
            changes.append(Void(token.token, in_custody=False))
        return changes

    def _disown(self, correction: Correction) -> list[Operation]:
        """A token that the ledger never issued is made void, and its number and serial are not given again."""
        number, serial = event_number(correction.token_id), correction.token_id % (1 << SERIAL_BITS)
        self._count_events(max(self.event_count, number))
        for event_id in [event_id for event_id, event in self.events.items() if event.number == number]:
            event = self._event(event_id)
            event.issued = max(event.issued, serial + 1)
        chain = correction.chain
        token = PlannedToken(correction.token_id, None, chain.wallet, chain.version, chain.checked_in, voided=True)
        self.disowned[token.token] = token
        self.touched.disowned.add(token.token)
        self._before.append(lambda: self.disowned.__delitem__(token.token))
        return [] if chain.voided else [Void(token.token, in_custody=False)]


def _move(token: PlannedToken, wallet: str | None) -> Operation:
    version, was_in_custody = token.version, token.wallet is None
    if was_in_custody and wallet is None:
        return Move(token.token, version, None)
    _now_in(token, wallet)
    if was_in_custody and wallet is not None:
        return Deliver(token.token, version, wallet)
    return Move(token.token, version, wallet)


def _now_in(token: PlannedToken, wallet: str | None) -> None:
    token.wallet, token.version = wallet, (token.version + 1) % VERSIONS


def _own_copy(those: dict[UUID, T], key: UUID, default: T | None, undo: list[Callable[[], None]]) -> T | None:
    """The entry, to be changed, and how to get the one before back."""
    before = those.get(key)
    if before is None and default is None:
        return None
    entry = copy(before) if before is not None else default
    assert entry is not None
    those[key] = entry
    undo.append(partial(those.__setitem__, key, before) if before is not None else partial(those.__delitem__, key))
    return entry


def _seconds(at: Any) -> int:
    return int(at.timestamp())


Follow = Callable[[Plan, UUID, Any], list[Operation]]

HANDLERS: dict[type[Fact], Follow] = {
    Event.Drafted: Plan.drafted,
    Event.DetailsChanged: Plan.drafted,
    Event.Postponed: Plan.postponed,
    Event.ResaleRulesSet: Plan.resale_rules_set,
    Event.Published: Plan.published,
    Event.Cancelled: Plan.cancelled_event,
    Ticket.Paid: Plan.paid,
    Ticket.Delivered: Plan.delivered,
    Ticket.ReturnedToCustody: Plan.returned,
    Ticket.Transferred: Plan.transferred,
    Ticket.Resold: Plan.resold,
    Ticket.TransferredOnChain: Plan.transferred_on_chain,
    Ticket.CheckedIn: Plan.checked_in,
    Ticket.Cancelled: Plan.cancelled,
    Reconciliation.Corrected: Plan.corrected,
}
"""The facts that a contract has to hear of."""


def tickets_of(facts: Iterable[Recorded]) -> set[UUID]:
    """The tickets whose tokens a plan needs to follow these facts."""
    found: set[UUID] = set()
    for recorded in facts:
        if recorded.fact.stream_type == Ticket.stream_type:
            found.add(recorded.stream_id)
        elif isinstance(recorded.fact, Reconciliation.Corrected):
            found.update(c.ticket_id for c in recorded.fact.corrections if c.ticket_id is not None)
    return found
