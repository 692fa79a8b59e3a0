"""What holders, organisers and the gate do with tickets, and what the chain says has been done with them."""

from __future__ import annotations

from typing import NamedTuple, Protocol
from uuid import UUID

from commands.kernel import Clock, Command, Ledger
from commands.privacy import Vault
from domain.event import Event
from domain.kernel import ForbiddenError, NotFoundError
from domain.ticket import Ticket, TicketStatus
from domain.ticket_refusals import CancelledError, WrongEventError
from domain.wallet import Address, Hash, Wallet, WalletNotLinkedError, wallet_stream


class CodeContent(NamedTuple):
    """What a ticket's code says, once its signature has been checked."""

    ticket_id: UUID
    custody: int


class TicketCodes(Protocol):
    def sign(self, ticket_id: UUID, custody: int) -> str: ...

    def verify(self, code: str) -> CodeContent:
        """Raises BadCodeError for anything that we did not sign."""


class ClaimTicket(Command):
    ticket_id: UUID
    holder_id: UUID
    attendee_name: str


class TransferTicket(Command):
    ticket_id: UUID
    holder_id: UUID
    to: UUID
    needs_acceptance: bool = False


class AcceptTransfer(Command):
    ticket_id: UUID
    by: UUID


class DeclineTransfer(Command):
    ticket_id: UUID
    by: UUID


class DeliverTicket(Command):
    ticket_id: UUID
    holder_id: UUID
    wallet: Address


class ReturnTicket(Command):
    ticket_id: UUID
    holder_id: UUID


class RecordChainTransfer(Command):
    """A transfer that a holder made on a chain by themselves, once it is final there."""

    ticket_id: UUID
    chain_id: int
    contract: Address
    token_id: int
    version: int
    """The token's, after the transfer."""
    from_wallet: Address
    to_wallet: Address
    block_number: int
    block_hash: Hash
    transaction_hash: Hash
    log_index: int


class IdentifyHolder(Command):
    """The wallet that a ticket is in may have been linked since the ticket came into it."""

    ticket_id: UUID


class RevokeTicket(Command):
    ticket_id: UUID
    organizer_id: UUID
    reason: str


class CheckIn(Command):
    code: str
    gate: str
    by: UUID
    event_id: UUID | None = None
    """The event this gate admits to, when the scanner knows it."""


async def claim_ticket(command: ClaimTicket, *, ledger: Ledger, vault: Vault, clock: Clock) -> Ticket:
    """The attendee's name is sealed with the holder's key: a name is told by whoever knows the person."""
    ticket, event = await own_ticket(command.ticket_id, command.holder_id, ledger=ledger)
    _refuse_when_void(ticket, event)
    known = ticket.attendee_name
    if await vault.open(known) != command.attendee_name:
        (known,) = await vault.seal(command.holder_id, command.attendee_name)
    assert known is not None
    ticket.claim(attendee_name=known, at=clock())
    return await ledger.append(ticket, rests_on=(event,))


async def transfer_ticket(command: TransferTicket, *, ledger: Ledger, clock: Clock) -> Ticket:
    ticket, event = await own_ticket(command.ticket_id, command.holder_id, ledger=ledger)
    _refuse_when_void(ticket, event)
    if command.needs_acceptance:
        ticket.offer(to=command.to, at=clock())
    else:
        ticket.transfer(to=command.to, at=clock())
    return await ledger.append(ticket, rests_on=(event,))


async def accept_transfer(command: AcceptTransfer, *, ledger: Ledger, clock: Clock) -> Ticket:
    ticket, event = await _offered(command.ticket_id, command.by, ledger=ledger)
    _refuse_when_void(ticket, event)
    ticket.accept(by=command.by, at=clock())
    return await ledger.append(ticket, rests_on=(event,))


async def decline_transfer(command: DeclineTransfer, *, ledger: Ledger, clock: Clock) -> Ticket:
    ticket, _ = await _offered(command.ticket_id, command.by, ledger=ledger)
    ticket.decline(by=command.by, at=clock())
    return await ledger.append(ticket)


async def deliver_ticket(command: DeliverTicket, *, ledger: Ledger, clock: Clock) -> Ticket:
    """Raises WalletNotLinkedError for a wallet that is not the holder's own."""
    ticket, event = await own_ticket(command.ticket_id, command.holder_id, ledger=ledger)
    wallet = await ledger.load(Wallet, wallet_stream(command.wallet))  # perhaps linked by another process just now
    if wallet.account_id != command.holder_id:
        raise WalletNotLinkedError
    _refuse_when_void(ticket, event)
    ticket.deliver(wallet=command.wallet, at=clock())
    return await ledger.append(ticket, rests_on=(event, wallet))


async def return_ticket(command: ReturnTicket, *, ledger: Ledger, clock: Clock) -> Ticket:
    ticket, event = await own_ticket(command.ticket_id, command.holder_id, ledger=ledger)
    _refuse_when_void(ticket, event)
    ticket.return_to_custody(at=clock())
    return await ledger.append(ticket, rests_on=(event,))


async def record_chain_transfer(command: RecordChainTransfer, *, ledger: Ledger, clock: Clock) -> Ticket:
    """Once, however often it is heard of. Raises NotPaidError for a ticket that no chain can have."""
    ticket = await ledger.load(Ticket, command.ticket_id)
    sender = await ledger.peek(Wallet, wallet_stream(command.from_wallet))
    receiver = await ledger.peek(Wallet, wallet_stream(command.to_wallet))
    known = ticket.holder_id if ticket.wallet == command.from_wallet else None  # also when it was unlinked since
    fact = Ticket.TransferredOnChain(
        **command.model_dump(exclude={"ticket_id"}),
        from_id=known or sender.account_id,
        to=receiver.account_id,
        at=clock(),
    )
    ticket.follow_chain(fact)
    return await ledger.append(ticket, rests_on=(sender, receiver))


async def identify_holder(command: IdentifyHolder, *, ledger: Ledger, clock: Clock) -> Ticket:
    """A ticket whose holder is known, or whose wallet is nobody's, is left as it is."""
    ticket = await ledger.load(Ticket, command.ticket_id)
    if ticket.wallet is None or ticket.holder_id is not None:
        return ticket
    wallet = await ledger.peek(Wallet, wallet_stream(ticket.wallet))
    if wallet.account_id is not None:
        ticket.identify_holder(holder_id=wallet.account_id, wallet=ticket.wallet, at=clock())
    return await ledger.append(ticket, rests_on=(wallet,))


async def revoke_ticket(command: RevokeTicket, *, ledger: Ledger, clock: Clock) -> Ticket:
    ticket = await ledger.load(Ticket, command.ticket_id)
    if ticket.event_id is None:
        raise NotFoundError
    event = await ledger.peek(Event, ticket.event_id)
    if event.organizer_id != command.organizer_id:
        raise NotFoundError
    ticket.cancel(reason=command.reason, at=clock())
    return await ledger.append(ticket)


async def check_in(command: CheckIn, *, ledger: Ledger, codes: TicketCodes, clock: Clock) -> Ticket:
    """Admit the bearer of a code, once.

    Raises BadCodeError, ForbiddenError for people who do not work at this event, and `Ticket.check_in`'s refusals.
    """
    content = codes.verify(command.code)
    ticket = await ledger.load(Ticket, content.ticket_id)
    event = await ledger.peek(Event, command.event_id or ticket.known_event_id)
    if command.by != event.organizer_id and command.by not in event.gate_staff:
        raise ForbiddenError("only the event's organiser and its gate staff may admit people")
    if event.id != ticket.known_event_id:
        raise WrongEventError(event_id=ticket.event_id)
    ticket.check_in(event=event, custody=content.custody, gate=command.gate, at=clock())
    return await ledger.append(ticket, rests_on=(event,))


async def own_ticket(ticket_id: UUID, holder_id: UUID, *, ledger: Ledger) -> tuple[Ticket, Event]:
    """Raises NotFoundError when there is no such ticket or it is somebody else's."""
    ticket = await ledger.load(Ticket, ticket_id)
    if ticket.holder_id != holder_id or ticket.event_id is None:
        raise NotFoundError
    return ticket, await ledger.peek(Event, ticket.event_id)


async def _offered(ticket_id: UUID, by: UUID, *, ledger: Ledger) -> tuple[Ticket, Event]:
    ticket = await ledger.load(Ticket, ticket_id)
    if ticket.event_id is None or by not in (ticket.offered_to, ticket.holder_id):
        raise NotFoundError
    return ticket, await ledger.peek(Event, ticket.event_id)


def _refuse_when_void(ticket: Ticket, event: Event) -> None:
    """What the event's own end or cancellation has made of the ticket."""
    status = ticket.status_during(event)
    if status in (TicketStatus.CANCELLED, TicketStatus.EXPIRED):
        raise CancelledError("the event is over" if status is TicketStatus.EXPIRED else "the event was cancelled")
