"""Public messages about tickets. The key is the ticket's id.

People are their account's id here. Names of attendees stay in, and so do addresses of wallets, which tie an account to
everything that such an address ever did; and reasons, in which anything may be written about anybody.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from domain.ticket import Ticket
from projections.messages.kernel import Message
from projections.messages.parts import IsThere, Seat


class TicketHeld(Message, of=Ticket.Held):
    """A place is kept for a buyer until ``until``. Its price is in minor units of the event's currency."""

    event_id: UUID
    tier_id: UUID
    serial: int | None
    """Of a tier without numbered seats, from 1."""
    seat: Seat | None
    price: int
    order_id: UUID
    buyer_id: UUID
    until: datetime


class TicketReleased(Message, of=Ticket.Released):
    """The hold ended without payment; the place is free again. ``cause`` is ``expired`` or ``cancelled``."""

    cause: str
    event_id: UUID
    tier_id: UUID


class TicketPaid(Message, of=Ticket.Paid):
    """The buyer has paid, and holds the ticket."""

    event_id: UUID
    tier_id: UUID


class TicketClaimed(Message, of=Ticket.Claimed):
    """The holder has said who will come."""


class TicketTransferOffered(Message, of=Ticket.TransferOffered):
    """The holder has offered the ticket to another account."""

    to_id: UUID = Field(validation_alias="to")


class TicketTransferDeclined(Message, of=Ticket.TransferDeclined):
    """The offer was declined, or taken back, by this account."""

    by_id: UUID = Field(validation_alias="by")


class TicketTransferred(Message, of=Ticket.Transferred):
    """The ticket has another holder."""

    from_id: UUID
    to_id: UUID = Field(validation_alias="to")


class TicketResold(Message, of=Ticket.Resold):
    """Sold on to another holder, at a price in minor units of the event's currency."""

    from_id: UUID
    to_id: UUID = Field(validation_alias="to")
    price: int
    in_wallet: IsThere = Field(validation_alias="wallet")
    """Whether it went into a wallet of the new holder's, or stays in our custody."""


class TicketDelivered(Message, of=Ticket.Delivered):
    """Out of our custody, into a wallet that the holder has proved to be theirs."""


class TicketReturnedToCustody(Message, of=Ticket.ReturnedToCustody):
    """Out of the holder's wallet, into our custody again."""


class TicketTransferredOnChain(Message, of=Ticket.TransferredOnChain):
    """A holder moved the ticket on a chain without asking us. ``to_id`` null: nobody has said yet whose the wallet is."""

    chain_id: int
    from_id: UUID | None
    to_id: UUID | None = Field(validation_alias="to")


class TicketHolderIdentified(Message, of=Ticket.HolderIdentified):
    """Somebody proved that the wallet that the ticket is in is theirs."""

    holder_id: UUID


class TicketCheckedIn(Message, of=Ticket.CheckedIn):
    """The one admission that the ticket was good for."""

    event_id: UUID
    tier_id: UUID
    gate: str


class TicketCancelled(Message, of=Ticket.Cancelled):
    """The right to enter ended: revoked or refunded. The place is not sold again."""

    event_id: UUID
    tier_id: UUID
