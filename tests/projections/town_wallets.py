"""What people at random do with wallets: link them, put tickets into them, and move them on a chain without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from domain.resale import ResaleRules
from domain.ticket import Ticket
from domain.wallet import Wallet, wallet_stream

if TYPE_CHECKING:
    from tests.projections.town import Town

ADDRESSES = [f"0x{number:040x}" for number in range(1, 9)]
PRICES = (None, 0, 5_000)


def wallet_at(town: Town, address: str) -> Wallet:
    return town.wallets.setdefault(address, Wallet(id=wallet_stream(address)))


def link_wallet(town: Town) -> None:
    address, account_id = town.random.choice(ADDRESSES), town.random.choice(town.people)
    wallet = wallet_at(town, address)
    wallet.link(Wallet.Linked(address=address, account_id=account_id, message="", signature="", at=town.now()))
    town.saved(wallet)


def unlink_wallet(town: Town) -> None:
    wallet = town.random.choice([wallet for wallet in town.wallets.values() if wallet.account_id is not None])
    assert wallet.account_id is not None
    wallet.unlink(account_id=wallet.account_id, at=town.now())
    town.saved(wallet)


def deliver(town: Town) -> None:
    ticket = town.any_ticket()
    ticket.deliver(wallet=town.random.choice(ADDRESSES), at=town.now())
    town.saved(ticket)


def take_back(town: Town) -> None:
    ticket = town.random.choice([ticket for ticket in town.tickets.values() if ticket.wallet is not None])
    ticket.return_to_custody(at=town.now())
    town.saved(ticket)


def resell(town: Town) -> None:
    ticket, wallet = town.any_ticket(), town.random.choice([None, *ADDRESSES])
    event = town.events[ticket.known_event_id]
    ticket.resell(event=event, to=town.random.choice(town.people), price=4_000, wallet=wallet, at=town.now())
    town.saved(ticket)


def move_on_chain(town: Town) -> None:
    """Of any ticket that was ever sold, used and cancelled ones included."""
    ticket, to_wallet, block = town.any_ticket(), town.random.choice(ADDRESSES), town.random.randrange(10**6)
    ticket.follow_chain(
        Ticket.TransferredOnChain(
            chain_id=31337,
            contract=ADDRESSES[0],
            token_id=1,
            version=1,
            from_wallet=ticket.wallet or ADDRESSES[0],
            to_wallet=to_wallet,
            from_id=ticket.holder_id,
            to=owner(town, to_wallet),
            block_number=block,
            block_hash=f"0x{block:064x}",
            transaction_hash=f"0x{block:064x}",
            log_index=0,
            at=town.now(),
        )
    )
    town.saved(ticket)


def identify_holder(town: Town) -> None:
    ticket_id = town.random.choice(sorted(unidentified(town)))
    ticket = town.tickets[ticket_id]
    assert ticket.wallet is not None
    holder_id = owner(town, ticket.wallet)
    assert holder_id is not None
    ticket.identify_holder(holder_id=holder_id, wallet=ticket.wallet, at=town.now())
    town.saved(ticket)


def set_resale_rules(town: Town) -> None:
    event = town.any_event()
    rules = ResaleRules(price_max=town.random.choice(PRICES), royalty_basis_points=town.random.randrange(1_000))
    event.set_resale_rules(rules, at=town.now())
    town.saved(event)


def owner(town: Town, address: str) -> UUID | None:
    return wallet_at(town, address).account_id


def unidentified(town: Town) -> set[UUID]:
    """Tickets that are nobody's, in wallets that are somebody's."""
    return {
        ticket.id
        for ticket in town.tickets.values()
        if ticket.holder_id is None and ticket.wallet is not None and owner(town, ticket.wallet) is not None
    }
