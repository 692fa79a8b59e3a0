"""Facts told to the plan for a contract, one after the other."""

from __future__ import annotations

from uuid import UUID, uuid4

from domain.event import Event
from domain.kernel import Fact
from domain.reconciliation import (
    Correction,
    EventCorrection,
    Reconciliation,
    TokenState,
)
from domain.resale import ResaleRules
from domain.ticket import Ticket
from projections.chain_book import ChainRef
from projections.chain_operations import (
    Operation,
    token_id,
)
from projections.chain_plan import Plan
from projections.kernel import Recorded
from tests.chain.parts import NOW, details
from tests.domain.happening import BUYER

HERE = ChainRef(31_337, "0x" + "c0" * 20)
ELSEWHERE = ChainRef(1, HERE.contract)
ENDS_AT = int(details().ends_at.timestamp())
TIER = uuid4()
FIRST = token_id(1, 0)


class Story:
    """Facts told to a plan, one after the other."""

    def __init__(self, chain: ChainRef = HERE) -> None:
        self.plan = Plan(chain)
        self.facts: list[Recorded] = []

    def tell(self, stream: UUID, fact: Fact) -> list[Operation]:
        recorded = Recorded(len(self.facts) + 1, stream, 1, fact, NOW)
        self.facts.append(recorded)
        return self.plan.follow(recorded)

    def event(self, rules: ResaleRules | None = None) -> UUID:
        event = uuid4()
        self.tell(event, Event.Drafted(organizer_id=BUYER, currency="EUR", details=details(), at=NOW))
        if rules is not None:
            self.tell(event, Event.ResaleRulesSet(rules=rules, at=NOW))
        self.tell(event, Event.Published(at=NOW))
        return event

    def ticket(self, event: UUID) -> UUID:
        ticket = uuid4()
        self.tell(ticket, paid(event))
        return ticket

    def correct(self, *corrections: Correction, chain: ChainRef = HERE) -> list[Operation]:
        return self.tell(uuid4(), corrected(*corrections, chain=chain))

    def correct_event(self, *orders: EventCorrection) -> list[Operation]:
        return self.tell(uuid4(), corrected(events=orders))

    def seen(self, ticket: UUID, chain: TokenState) -> Correction:
        """What a reconciliation orders that finds this on the chain."""
        token = self.plan.tokens[ticket]
        return Correction(token_id=token.token, ticket_id=ticket, chain=chain, ledger=self.plan.state_of(token))


def corrected(
    *corrections: Correction, events: tuple[EventCorrection, ...] = (), chain: ChainRef = HERE
) -> Reconciliation.Corrected:
    return Reconciliation.Corrected(
        chain_id=chain.chain_id, contract=chain.contract, corrections=corrections, events=events, at=NOW
    )


def paid(event: UUID) -> Ticket.Paid:
    return Ticket.Paid(event_id=event, tier_id=TIER, at=NOW)


def checked_in(event: UUID) -> Ticket.CheckedIn:
    return Ticket.CheckedIn(event_id=event, tier_id=TIER, gate="North", at=NOW)


def cancelled(event: UUID) -> Ticket.Cancelled:
    return Ticket.Cancelled(event_id=event, tier_id=TIER, reason="revoked", at=NOW)


CALLED_OFF = Event.Cancelled(reason="rain", at=NOW)
