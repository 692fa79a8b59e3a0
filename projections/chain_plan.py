"""What each fact of the ledger means for the contract on a chain: the plan that the mirror carries out.

Pure: it reads no chain, no table and no clock, so that the same ledger always gives the same operations, and a contract
on a new chain can be filled from position 0. Event numbers are given in the order of publication, serials in the order
of payment. A token's ``version`` counts its changes of owner, as the contract does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from domain.event import Event
from domain.kernel import Fact
from domain.reconciliation import Reconciliation
from domain.resale import ResaleRules
from domain.ticket import Ticket
from projections.chain_book import Book, PlannedToken, move
from projections.chain_operations import (
    CANCELLED,
    DIRECT_TRANSFERS,
    NO_PRICE_CAP,
    CheckIn,
    Issue,
    Operation,
    Resale,
    Void,
    token_id,
)
from projections.chain_repairs import corrected
from projections.kernel import Recorded


class Plan(Book):
    """The plan for one contract, as far as it has been made.

    Whoever keeps it adds all events, and before facts are followed the tokens of the tickets that `tickets_of` names.
    """

    def follow(self, recorded: Recorded) -> list[Operation]:
        """What the contract has to be told because of this fact. Never refuses."""
        self.begin()
        handler = HANDLERS.get(type(recorded.fact))
        return handler(self, recorded.stream_id, recorded.fact) if handler is not None else []

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
        event = self.event(event_id)
        if event.number == 0:
            self.count_events(self.event_count + 1)
            event.number = self.event_count
        return [event.configure()]

    def _rules(
        self, event_id: UUID, *, ends_at: int | None = None, rules: ResaleRules | None = None, more_flags: int = 0
    ) -> list[Operation]:
        event = self.event(event_id)
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

    # -- Tickets. ------------------------------------------------------------------

    def paid(self, ticket_id: UUID, fact: Ticket.Paid) -> list[Operation]:
        event = self.events.get(fact.event_id)
        if event is None or not event.number or ticket_id in self.tokens:
            return []
        event = self.event(fact.event_id)
        token = PlannedToken(token_id(event.number, event.issued), ticket_id)
        event.issued += 1
        self.enter(ticket_id, token)
        return [Issue(token.token)]

    def delivered(self, ticket_id: UUID, fact: Ticket.Delivered) -> list[Operation]:
        return self._move(ticket_id, fact.wallet)

    def returned(self, ticket_id: UUID, _: Ticket.ReturnedToCustody) -> list[Operation]:
        return self._move(ticket_id, None)

    def transferred(self, ticket_id: UUID, _: Ticket.Transferred) -> list[Operation]:
        return self._move(ticket_id, None)

    def resold(self, ticket_id: UUID, fact: Ticket.Resold) -> list[Operation]:
        token = self.token(ticket_id)
        if token is None:
            return []
        operation = Resale(token.token, token.version, fact.wallet, fact.price)
        if token.wallet is not None or fact.wallet is not None:
            token.now_in(fact.wallet)
        return [operation]

    def transferred_on_chain(self, ticket_id: UUID, fact: Ticket.TransferredOnChain) -> list[Operation]:
        """The contract it happened on has it already; every other one is told."""
        if (fact.chain_id, fact.contract) != self.chain:
            return self._move(ticket_id, fact.to_wallet)
        token = self.token(ticket_id)
        if token is not None:
            token.wallet, token.version = fact.to_wallet, fact.version
        return []

    def _move(self, ticket_id: UUID, wallet: str | None) -> list[Operation]:
        token = self.token(ticket_id)
        return [] if token is None else [move(token, wallet)]

    def checked_in(self, ticket_id: UUID, _: Ticket.CheckedIn) -> list[Operation]:
        token = self.token(ticket_id)
        if token is None:
            return []
        token.checked_in = True
        return [CheckIn(token.token, token.wallet is None)]

    def cancelled(self, ticket_id: UUID, fact: Ticket.Cancelled) -> list[Operation]:
        token = self.token(ticket_id)
        if token is None:
            return []
        token.voided = True
        event = self.events.get(fact.event_id)
        if event is not None and event.flags & CANCELLED:  # the refunds of a cancelled event: its flag has said it
            return []
        return [Void(token.token, token.wallet is None)]


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
    Reconciliation.Corrected: corrected,
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
