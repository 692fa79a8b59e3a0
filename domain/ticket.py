"""A ticket: one holder's right to enter one event, once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from domain.event import Event, EventStatus
from domain.kernel import Aggregate, Fact, NotFoundError
from domain.money import Amount
from domain.personal import Personal
from domain.seat import Seat
from domain.ticket_refusals import (
    AlreadyCheckedInError,
    BadCodeError,
    CancelledError,
    DoorsClosedError,
    HolderUnknownError,
    InCustodyError,
    InWalletError,
    NotPaidError,
    NoTransferError,
    NotYetOpenError,
    PriceAboveLimitError,
    SameHolderError,
    SeatTakenError,
    TransferPendingError,
)
from domain.wallet import Address, Hash


class TicketStatus(StrEnum):
    AVAILABLE = "available"
    HELD = "held"
    PAID = "paid"
    CLAIMED = "claimed"
    CHECKED_IN = "checked_in"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ADMITTING = (TicketStatus.PAID, TicketStatus.CLAIMED)


@dataclass(slots=True, kw_only=True)
class Ticket(Aggregate):
    stream_type: ClassVar[str] = "ticket"

    status: TicketStatus = TicketStatus.AVAILABLE
    event_id: UUID | None = None
    tier_id: UUID | None = None
    serial: int | None = None
    seat: Seat | None = None
    price: int = 0
    order_id: UUID | None = None
    holder_id: UUID | None = None
    held_until: datetime | None = None
    attendee_name: Personal | None = None
    offered_to: UUID | None = None
    custody: int = 0
    """Counts changes of hands. A code is good for one custody only, so that old codes stop working."""
    checked_in_at: datetime | None = None
    gate: str | None = None
    cancel_reason: str | None = None
    wallet: str | None = None
    """The address that owns it on the chain; None: it is in our custody, whoever the holder is."""
    chain_seen: frozenset[tuple[str, int]] = frozenset()
    """Block hash and log index of each transfer that a holder made on a chain."""

    # -- Facts: what is stored, and what each does to the state. --------------

    class Held(Fact, topic="ticket.held"):
        event_id: UUID
        tier_id: UUID
        serial: int | None = None
        seat: Seat | None = None
        price: int
        order_id: UUID
        buyer_id: UUID
        until: datetime

        def apply(self, ticket: Any) -> None:
            ticket.status = TicketStatus.HELD
            ticket.event_id, ticket.tier_id, ticket.order_id = self.event_id, self.tier_id, self.order_id
            ticket.serial, ticket.seat, ticket.price = self.serial, self.seat, self.price
            ticket.holder_id, ticket.held_until = self.buyer_id, self.until
            ticket.custody += 1

    class Released(Fact, topic="ticket.released"):
        """The hold ended without payment (``cause`` is ``expired`` or ``cancelled``): the place is free again."""

        cause: str
        event_id: UUID
        tier_id: UUID

        def apply(self, ticket: Any) -> None:
            ticket.status = TicketStatus.AVAILABLE
            ticket.order_id = ticket.holder_id = ticket.held_until = None

    class Paid(Fact, topic="ticket.paid"):
        event_id: UUID
        tier_id: UUID

        def apply(self, ticket: Any) -> None:
            ticket.status, ticket.held_until = TicketStatus.PAID, None

    class Claimed(Fact, topic="ticket.claimed"):
        attendee_name: Personal

        def apply(self, ticket: Any) -> None:
            ticket.status, ticket.attendee_name = TicketStatus.CLAIMED, self.attendee_name

    class TransferOffered(Fact, topic="ticket.transfer_offered"):
        to: UUID

        def apply(self, ticket: Any) -> None:
            ticket.offered_to = self.to

    class TransferDeclined(Fact, topic="ticket.transfer_declined"):
        by: UUID

        def apply(self, ticket: Any) -> None:
            ticket.offered_to = None

    class Transferred(Fact, topic="ticket.transferred"):
        from_id: UUID
        to: UUID

        def apply(self, ticket: Any) -> None:
            ticket.change_hands(self.to, wallet=None)

    class Resold(Fact, topic="ticket.resold"):
        """Sold on to another holder, into their ``wallet`` if they want it there."""

        from_id: UUID
        to: UUID
        price: Amount
        wallet: Address | None = None

        def apply(self, ticket: Any) -> None:
            ticket.change_hands(self.to, wallet=self.wallet)

    class Delivered(Fact, topic="ticket.delivered"):
        """Out of our custody, into a wallet that the holder has proved to be theirs."""

        wallet: Address

        def apply(self, ticket: Any) -> None:
            ticket.wallet = self.wallet

    class ReturnedToCustody(Fact, topic="ticket.returned_to_custody"):
        def apply(self, ticket: Any) -> None:
            ticket.wallet = None

    class TransferredOnChain(Fact, topic="ticket.transferred_on_chain"):
        """A holder transferred the token without asking us. The chain has it already; ``version`` is the token's after it.

        ``to`` is the account that ``to_wallet`` was linked to; None: nobody has proved yet that it is theirs.
        """

        chain_id: int
        contract: Address
        token_id: int
        version: int
        from_wallet: Address
        to_wallet: Address
        from_id: UUID | None
        to: UUID | None
        block_number: int
        block_hash: Hash
        transaction_hash: Hash
        log_index: int

        def apply(self, ticket: Any) -> None:
            ticket.change_hands(self.to, wallet=self.to_wallet)
            ticket.chain_seen |= {(self.block_hash, self.log_index)}

    class HolderIdentified(Fact, topic="ticket.holder_identified"):
        """Somebody proved that the wallet that the ticket is in is theirs."""

        holder_id: UUID
        wallet: Address

        def apply(self, ticket: Any) -> None:
            ticket.change_hands(self.holder_id, wallet=self.wallet)

    class CheckedIn(Fact, topic="ticket.checked_in"):
        event_id: UUID
        tier_id: UUID
        gate: str

        def apply(self, ticket: Any) -> None:
            ticket.status, ticket.checked_in_at, ticket.gate = TicketStatus.CHECKED_IN, self.at, self.gate

    class Cancelled(Fact, topic="ticket.cancelled"):
        """The right to enter ended: revoked by the organiser or refunded. The place is not sold again."""

        event_id: UUID
        tier_id: UUID
        reason: str

        def apply(self, ticket: Any) -> None:
            ticket.status, ticket.cancel_reason, ticket.offered_to = TicketStatus.CANCELLED, self.reason, None
            ticket.custody += 1

    # -- Decisions: what may happen now. ---------------------------------------

    def hold(self, fact: Ticket.Held) -> None:
        if self.status is not TicketStatus.AVAILABLE:
            raise SeatTakenError(f"{fact.seat or fact.serial} is taken")
        self.record(fact)

    def release(self, *, cause: str, at: datetime) -> None:
        """End a hold. A ticket that is not held is left as it is: expiry and payment may race."""
        if self.status is TicketStatus.HELD:
            self.record(self.Released(cause=cause, event_id=self.event_id, tier_id=self.tier_id, at=at))

    def pay(self, *, at: datetime) -> None:
        if self.status is not TicketStatus.HELD:
            raise NotPaidError("only a held ticket can be paid for")
        self.record(self.Paid(event_id=self.event_id, tier_id=self.tier_id, at=at))

    def claim(self, *, attendee_name: Personal, at: datetime) -> None:
        """Name the person who will come; naming another one later is a new claim."""
        self._refuse_unless_admitting()
        if self.status is not TicketStatus.CLAIMED or attendee_name != self.attendee_name:
            self.record(self.Claimed(attendee_name=attendee_name, at=at))

    def transfer(self, *, to: UUID, at: datetime) -> None:
        self._refuse_unless_admitting()
        if to == self.holder_id:
            raise SameHolderError
        self.record(self.Transferred(from_id=self.holder_id, to=to, at=at))

    def offer(self, *, to: UUID, at: datetime) -> None:
        """Offer the ticket to somebody, who becomes the holder on accepting."""
        self._refuse_unless_admitting()
        if to == self.holder_id:
            raise SameHolderError
        if self.offered_to is not None:
            raise TransferPendingError
        self.record(self.TransferOffered(to=to, at=at))

    def accept(self, *, by: UUID, at: datetime) -> None:
        self._refuse_unless_admitting()
        if self.offered_to != by:
            raise NoTransferError
        self.record(self.Transferred(from_id=self.holder_id, to=by, at=at))

    def decline(self, *, by: UUID, at: datetime) -> None:
        """The one it was offered to says no, or the holder takes the offer back."""
        if self.offered_to is None or by not in (self.offered_to, self.holder_id):
            raise NoTransferError
        self.record(self.TransferDeclined(by=by, at=at))

    def check_in(self, *, event: Event, custody: int, gate: str, at: datetime) -> None:
        """Admit once. The reason for a refusal is the first that holds, gravest first."""
        if self.status is TicketStatus.CANCELLED or event.cancel_reason is not None:  # archived since, perhaps
            raise CancelledError(self.cancel_reason or event.cancel_reason or "")
        if custody != self.custody:
            raise BadCodeError("this code was replaced by a newer one")
        if self.status is TicketStatus.CHECKED_IN:
            raise AlreadyCheckedInError(
                f"admitted at {self.gate} already", checked_in_at=self.checked_in_at, gate=self.gate
            )
        if self.status not in ADMITTING:
            raise NotPaidError
        if at < event.known_details.doors_open_at:
            raise NotYetOpenError(opens_at=event.known_details.doors_open_at)
        if event.is_over(at):
            raise DoorsClosedError
        self.record(self.CheckedIn(event_id=self.event_id, tier_id=self.tier_id, gate=gate, at=at))

    def cancel(self, *, reason: str, at: datetime) -> None:
        if self.status is TicketStatus.CANCELLED:
            raise CancelledError(self.cancel_reason or "")
        if self.status is TicketStatus.CHECKED_IN:
            raise AlreadyCheckedInError(checked_in_at=self.checked_in_at, gate=self.gate)
        if self.status not in ADMITTING:
            raise NotPaidError("this ticket has not been sold")
        self.record(self.Cancelled(event_id=self.event_id, tier_id=self.tier_id, reason=reason, at=at))

    def resell(self, *, event: Event, to: UUID, price: int, wallet: str | None, at: datetime) -> None:
        """The holder sells it on. The price and who pays whom are the market's; here it changes hands."""
        self._refuse_unless_admitting()
        if to == self.holder_id:
            raise SameHolderError
        limit = event.resale_rules.price_max
        if limit is not None and price > limit:
            raise PriceAboveLimitError(f"at most {limit}", price_max=limit)
        self.record(self.Resold(from_id=self.holder_id, to=to, price=price, wallet=wallet, at=at))

    def deliver(self, *, wallet: str, at: datetime) -> None:
        """Into the holder's wallet. A used ticket may be kept there as a souvenir."""
        self._refuse_unless_owned()
        if self.wallet is not None:
            raise InWalletError(wallet=self.wallet)
        self.record(self.Delivered(wallet=wallet, at=at))

    def return_to_custody(self, *, at: datetime) -> None:
        self._refuse_unless_owned()
        if self.wallet is None:
            raise InCustodyError
        self.record(self.ReturnedToCustody(at=at))

    def follow_chain(self, fact: Ticket.TransferredOnChain) -> None:
        """What has happened on the chain is not refused; hearing of it again adds nothing.

        Raises NotPaidError for a ticket that was never sold: no chain can have it.
        """
        if self.status in (TicketStatus.AVAILABLE, TicketStatus.HELD):
            raise NotPaidError
        if (fact.block_hash, fact.log_index) not in self.chain_seen:
            self.record(fact)

    def identify_holder(self, *, holder_id: UUID, wallet: str, at: datetime) -> None:
        """A ticket that is not in this wallet, or whose holder is known, is left as it is."""
        if self.wallet == wallet and self.holder_id is None:
            self.record(self.HolderIdentified(holder_id=holder_id, wallet=wallet, at=at))

    def change_hands(self, to: UUID | None, *, wallet: str | None) -> None:
        """For facts: whoever came before has no more say, and their code no longer admits."""
        self.holder_id, self.attendee_name, self.offered_to, self.wallet = to, None, None, wallet
        if self.status is TicketStatus.CLAIMED:
            self.status = TicketStatus.PAID
        self.custody += 1

    # -- Questions. ----------------------------------------------------------------

    def status_during(self, event: Event) -> TicketStatus:
        """The status as people see it: the event's end expires what was not used, its cancellation cancels all.

        Both follow from one fact of the event, so a million tickets need no million facts to say it.
        """
        if self.status not in ADMITTING:
            return self.status
        if event.status is EventStatus.CANCELLED or event.cancel_reason is not None:
            return TicketStatus.CANCELLED
        if event.status in (EventStatus.ENDED, EventStatus.ARCHIVED):
            return TicketStatus.EXPIRED
        return self.status

    @property
    def known_event_id(self) -> UUID:
        if self.event_id is None:
            raise NotFoundError
        return self.event_id

    def _refuse_unless_owned(self) -> None:
        if self.status is not TicketStatus.CHECKED_IN:
            self._refuse_unless_admitting()
        elif self.holder_id is None:
            raise HolderUnknownError

    def _refuse_unless_admitting(self) -> None:
        match self.status:
            case TicketStatus.CANCELLED:
                raise CancelledError(self.cancel_reason or "")
            case TicketStatus.CHECKED_IN:
                raise AlreadyCheckedInError(checked_in_at=self.checked_in_at, gate=self.gate)
            case TicketStatus.PAID | TicketStatus.CLAIMED:
                if self.holder_id is None:
                    raise HolderUnknownError
            case _:
                raise NotPaidError
