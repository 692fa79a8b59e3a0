"""What was done with a ticket, put to the ticket as it is in another course of things."""

from __future__ import annotations

from domain.event import Event
from domain.kernel import Fact
from domain.ticket import Ticket


def act(ticket: Ticket, asked: Fact, event: Event) -> None:
    """Decide again what the fact says was asked for. Raises the ticket's refusals."""
    match asked:
        case Ticket.CheckedIn():
            ticket.check_in(event=event, custody=ticket.custody, gate=asked.gate, at=asked.at)  # the code of then
        case Ticket.Claimed():
            ticket.claim(attendee_name=asked.attendee_name, at=asked.at)
        case Ticket.Cancelled():
            ticket.cancel(reason=asked.reason, at=asked.at)
        case Ticket.Resold():
            ticket.resell(event=event, to=asked.to, price=asked.price, wallet=asked.wallet, at=asked.at)
        case _:
            _hand_on(ticket, asked)


def _hand_on(ticket: Ticket, asked: Fact) -> None:
    match asked:
        case Ticket.TransferOffered():
            ticket.offer(to=asked.to, at=asked.at)
        case Ticket.TransferDeclined():
            ticket.decline(by=asked.by, at=asked.at)
        case Ticket.Transferred(to=to) if to == ticket.offered_to:
            ticket.accept(by=to, at=asked.at)
        case Ticket.Transferred():
            ticket.transfer(to=asked.to, at=asked.at)
        case _:
            _move(ticket, asked)


def _move(ticket: Ticket, asked: Fact) -> None:
    """Between our custody and wallets."""
    match asked:
        case Ticket.Delivered():
            ticket.deliver(wallet=asked.wallet, at=asked.at)
        case Ticket.ReturnedToCustody():
            ticket.return_to_custody(at=asked.at)
        case Ticket.TransferredOnChain():
            ticket.follow_chain(asked)
        case Ticket.HolderIdentified():
            ticket.identify_holder(holder_id=asked.holder_id, wallet=asked.wallet, at=asked.at)
        case _:
            raise TypeError(f"nobody has said how {asked.topic} is decided again")
