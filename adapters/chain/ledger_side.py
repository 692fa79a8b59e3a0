"""The ledger's side of a reconciliation: what it says of every ticket, folded from its facts alone.

Nothing that the mirror has written down is believed. Token ids and versions come from a plan that is made again from
position 0; owner, admission and cancellation from what the tickets' own facts do to a ticket.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from adapters.chain.packed import CHECKED_IN, NOTHING, VOIDED, pack, packed
from domain.event import Event
from domain.kernel import UnknownTopicError, decode
from domain.reconciliation import EventOrder, Reconciliation
from domain.ticket import Ticket, TicketStatus
from projections.chain_book import ChainRef, PlannedEvent, PlannedToken
from projections.chain_operations import CANCELLED, Configure, event_number
from projections.chain_plan import HANDLERS, Plan, tickets_of
from projections.chain_repairs import disowned_rules
from projections.kernel import Recorded

PAGE_POSITIONS = 5_000

TOPICS = [fact.topic for fact in HANDLERS]
READ = b"""
    select position, stream_id, version, topic, payload, recorded_at from ledger.events
     where position > %b::bigint and position <= %b::bigint and split_part(topic, '@', 1) = any(%b::text[])
     order by position"""

NEVER_SOLD = (TicketStatus.AVAILABLE, None)
SOLD = frozenset({TicketStatus.PAID, TicketStatus.CLAIMED, TicketStatus.CHECKED_IN, TicketStatus.CANCELLED})

Read = Callable[[int], Awaitable[None]]
"""Hears up to which position the ledger has been read."""

log = structlog.get_logger()


async def facts(conn: AsyncConnection, until: int, on_read: Read) -> AsyncIterator[Recorded]:
    """Those that a contract hears of, in order, a page at a time. What nobody understands the mirror passes over, too."""
    cursor = conn.cursor(binary=True)
    for start in range(0, until, PAGE_POSITIONS):
        end = min(start + PAGE_POSITIONS, until)
        await cursor.execute(READ, (start, end, TOPICS), prepare=True)
        for row in await cursor.fetchall():
            recorded = _decoded(*row)
            if recorded is not None:
                yield recorded
        await on_read(end)


def _decoded(position: int, stream: UUID, version: int, topic: str, payload: bytes, at: datetime) -> Recorded | None:
    try:
        return Recorded(position, stream, version, decode(topic, payload), at)
    except (UnknownTopicError, ValueError) as error:
        log.warning("fact_not_reconciled", position=position, topic=topic, error=str(error))
        return None


@dataclass(slots=True)
class LedgerSide:
    """At the ledger's head (*now*), and where the contract had been told everything (*then*): at the position ``told``.

    ``block_number`` is the block at which the chain is looked at.
    """

    chain: ChainRef
    told: int
    block_number: int
    plan: Plan = field(init=False)
    transfers: set[tuple[str, int]] = field(default_factory=set)
    """Those made on this chain that the ledger knows, by block hash and log index."""
    repairs: dict[int, int] = field(default_factory=dict)
    """Token → the state from which a repair starts that is on its way."""
    event_repairs: dict[int, int | None] = field(default_factory=dict)
    """Event → the serial from which it is issued again, if it is, by a repair that is on its way."""
    _custodian: int = field(init=False)
    _folded: dict[UUID, tuple[TicketStatus, str | None]] = field(default_factory=dict)
    _then: dict[UUID, int] = field(default_factory=dict)
    """Tickets touched since, as they were; without what their event makes of them."""
    _rules_then: dict[UUID, Configure | None] = field(default_factory=dict)
    """Events touched since."""
    _scratch: Ticket = field(default_factory=lambda: Ticket(id=UUID(int=0)))
    _by_number: dict[int, PlannedEvent] = field(default_factory=dict)
    _void_now: set[int] = field(default_factory=set)
    _void_then: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.plan = Plan(self.chain)
        self._custodian = int(self.chain.contract, 16)

    # -- Following the ledger. ---------------------------------------------------------

    def follow(self, recorded: Recorded) -> None:
        fact = recorded.fact
        transfer = fact if isinstance(fact, Ticket.TransferredOnChain) and self._is_here(fact) else None
        there = transfer is not None and transfer.block_number <= self.block_number
        late = recorded.position > self.told or (transfer is not None and not there)
        before = self._states_before(recorded) if late and not there else None
        operations = self.plan.follow(recorded)
        if before is not None:
            self._then |= {ticket: state for ticket, state in before.items() if ticket in self.plan.touched.tickets}
        if fact.stream_type == Ticket.stream_type:
            self._fold(recorded)
        if transfer is not None:
            self._remember_transfer(recorded.stream_id, transfer, there=there)
        if late and operations and isinstance(fact, Reconciliation.Corrected):
            self._remember_repair(fact)

    def end(self) -> None:
        """Everything has been read: what the events make of their tickets is known."""
        self._by_number = {event.number: event for event in self.plan.events.values() if event.number}
        for number in (*self._by_number, *self.plan.disowned_events):
            for rules, void in ((self.rules_now(number), self._void_now), (self.rules_then(number), self._void_then)):
                if rules is not None and rules.flags & CANCELLED:
                    void.add(number)

    def _fold(self, recorded: Recorded) -> None:
        """The ticket's own rule of what a fact does to it, applied to the two fields that matter here."""
        ticket, fact = self._scratch, recorded.fact
        ticket.status, ticket.wallet = self._folded.get(recorded.stream_id, NEVER_SOLD)
        fact.apply(ticket)
        self._folded[recorded.stream_id] = ticket.status, ticket.wallet
        ticket.chain_seen = frozenset()

    def _states_before(self, recorded: Recorded) -> dict[UUID, int]:
        """Of the tickets that a fact may touch and that have not been touched since."""
        if recorded.fact.stream_type == Event.stream_type and recorded.stream_id not in self._rules_then:
            event = self.plan.events.get(recorded.stream_id)
            self._rules_then[recorded.stream_id] = event.configure() if event is not None and event.number else None
        tickets = tickets_of((recorded,)) - self._then.keys()
        return {ticket: self._of_ticket(ticket) for ticket in tickets}

    def _remember_transfer(self, ticket: UUID, transfer: Ticket.TransferredOnChain, *, there: bool) -> None:
        """``there``: the contract has it at the block that is looked at, whatever it has been told since."""
        self.transfers.add((transfer.block_hash, transfer.log_index))
        if there and ticket in self._then:
            moved = pack(custodian=self._custodian, wallet=transfer.to_wallet, version=transfer.version)
            self._then[ticket] = moved | self._then[ticket] & (CHECKED_IN | VOIDED)

    def _remember_repair(self, fact: Reconciliation.Corrected) -> None:
        touched = self.plan.touched
        for correction in fact.corrections:
            if correction.ticket_id not in touched.tickets and correction.token_id not in touched.disowned:
                continue  # the ledger says something else by now
            start = packed(correction.chain, custodian=self._custodian)
            self.repairs[correction.token_id] = start
            ticket = correction.ticket_id
            token = self.plan.tokens.get(ticket) if ticket is not None else None
            if ticket is None or token is None:
                continue
            if start == self._of_itself(token) | (VOIDED if self.plan.is_void(token) else 0):
                self._then[ticket] = self._of_itself(token)  # it takes over what the chain has
        for order in fact.events:
            if order.order is not EventOrder.LIFT:
                self.event_repairs.setdefault(order.number, order.issue_from)

    def _is_here(self, fact: Ticket.TransferredOnChain) -> bool:
        return (fact.chain_id, fact.contract) == self.chain

    # -- What it says. -----------------------------------------------------------------

    def now(self, token: PlannedToken) -> int:
        return self._of_itself(token) | (VOIDED if event_number(token.token) in self._void_now else 0)

    def then(self, token: PlannedToken) -> int:
        state = self._of_itself(token) if token.ticket_id is None else self._then_of_itself(token, token.ticket_id)
        return state | (VOIDED if state and event_number(token.token) in self._void_then else 0)

    def touched(self, token: PlannedToken) -> bool:
        """Whether anything was said of it that the contract has not been told at that block."""
        return token.ticket_id in self._then or token.token in self.repairs

    def tokens(self) -> Iterable[PlannedToken]:
        yield from self.plan.tokens.values()
        yield from self.plan.disowned.values()

    def sold_without_token(self) -> list[UUID]:
        """There should be none: the plan gives a token to every ticket that is paid for."""
        return [t for t, (status, _) in self._folded.items() if status in SOLD and t not in self.plan.tokens]

    def event(self, number: int) -> PlannedEvent | None:
        return self._by_number.get(number)

    def event_numbers(self) -> Iterable[int]:
        return sorted({*self._by_number, *self.plan.disowned_events})

    def rules_now(self, number: int) -> Configure | None:
        event = self._by_number.get(number)
        if event is not None:
            return event.configure()
        return disowned_rules(number) if number in self.plan.disowned_events else None

    def rules_then(self, number: int) -> Configure | None:
        event = self._by_number.get(number)
        if event is not None and event.event_id in self._rules_then:
            return self._rules_then[event.event_id]
        return self.rules_now(number)

    def _then_of_itself(self, token: PlannedToken, ticket_id: UUID) -> int:
        before = self._then.get(ticket_id)
        return self._of_itself(token) if before is None else before

    def _of_ticket(self, ticket: UUID) -> int:
        token = self.plan.tokens.get(ticket)
        return NOTHING if token is None else self._of_itself(token)

    def _of_itself(self, token: PlannedToken) -> int:
        """Without what its event makes of it."""
        if token.ticket_id is None:
            wallet, checked_in, voided = token.wallet, token.checked_in, token.voided
        else:
            status, wallet = self._folded.get(token.ticket_id, NEVER_SOLD)
            checked_in, voided = status is TicketStatus.CHECKED_IN, status is TicketStatus.CANCELLED
        return pack(
            custodian=self._custodian, wallet=wallet, version=token.version, checked_in=checked_in, voided=voided
        )


async def read_ledger(
    conn: AsyncConnection, chain: ChainRef, *, told: int, block_number: int, head: int, on_read: Read
) -> LedgerSide:
    """One pass from the beginning. It holds a few hundred bytes for each ticket that was sold."""
    side = LedgerSide(chain, told, block_number)
    async for recorded in facts(conn, head, on_read):
        side.follow(recorded)
    side.end()
    return side
