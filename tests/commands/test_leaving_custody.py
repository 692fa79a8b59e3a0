"""Tickets in wallets: delivered, returned, moved on the chain by their holders, and found to be somebody's."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from commands.event import CancelEvent
from commands.kernel import Command
from commands.order import RefundOrder
from commands.ticket import (
    CheckIn,
    ClaimTicket,
    DeliverTicket,
    IdentifyHolder,
    RecordChainTransfer,
    ReturnTicket,
    TransferTicket,
)
from commands.wallet import UnlinkWallet
from domain.kernel import NotFoundError, Refusal
from domain.order import Order
from domain.ticket import Ticket
from domain.ticket_refusals import (
    BadCodeError,
    CancelledError,
    InCustodyError,
    InWalletError,
    NotPaidError,
)
from domain.wallet import WalletNotLinkedError
from tests.commands.shop import Shop, in_a_shop, together
from tests.domain.happening import BUYER, DOORS, FRIEND, ORGANIZER, STRANGER, numbered
from tests.signer import Signer, new_signer


def deliver(ticket: Ticket, wallet: Signer, holder_id: UUID = BUYER) -> DeliverTicket:
    return DeliverTicket(ticket_id=ticket.id, holder_id=holder_id, wallet=wallet.address)


def take_back(ticket: Ticket, holder_id: UUID = BUYER) -> ReturnTicket:
    return ReturnTicket(ticket_id=ticket.id, holder_id=holder_id)


def unlink(wallet: Signer, account_id: UUID = BUYER) -> UnlinkWallet:
    return UnlinkWallet(address=wallet.address, account_id=account_id)


def moved(ticket: Ticket, from_wallet: Signer, to_wallet: Signer, *, block: int = 7, **more: Any) -> Command:
    """What a watcher says of a transfer; each block has one."""
    return RecordChainTransfer(
        ticket_id=ticket.id,
        chain_id=31337,
        contract=f"0x{'c0' * 20}",
        token_id=1 << 32,
        version=2,
        from_wallet=from_wallet.address,
        to_wallet=to_wallet.address,
        block_number=block,
        block_hash=f"0x{block:064x}",
        transaction_hash=f"0x{'dd' * 32}",
        **{"log_index": 0} | more,
    )


async def sold(shop: Shop) -> Ticket:
    return await shop.ticket(await shop.event_on_sale())


async def in_a_wallet(shop: Shop) -> tuple[Ticket, Signer]:
    """The buyer's ticket in the buyer's wallet."""
    ticket, wallet = await sold(shop), await shop.wallet(BUYER)
    return await shop.do(deliver(ticket, wallet)), wallet


async def away(shop: Shop) -> tuple[Ticket, Signer]:
    """A ticket in a wallet that is nobody's."""
    (ticket, wallet), stranger = await in_a_wallet(shop), new_signer()
    return await shop.do(moved(ticket, wallet, stranger)), stranger


# -- Delivered and returned. -------------------------------------------------------------------


@in_a_shop
async def test_a_ticket_goes_into_the_holders_wallet_and_comes_back(shop: Shop) -> None:
    ticket, wallet = await in_a_wallet(shop)
    assert (ticket.wallet, ticket.holder_id) == (wallet.address, BUYER)
    returned = await shop.do(take_back(ticket))
    assert (returned.wallet, returned.holder_id, returned.custody) == (None, BUYER, ticket.custody)


@in_a_shop
async def test_it_goes_into_no_other_wallet(shop: Shop) -> None:
    ticket, theirs, was_mine = await sold(shop), await shop.wallet(FRIEND), await shop.wallet(BUYER)
    await shop.do(unlink(was_mine))
    before = shop.facts()
    for wallet in (theirs, was_mine, new_signer()):
        with pytest.raises(WalletNotLinkedError):
            await shop.do(deliver(ticket, wallet))
    assert shop.facts() == before


@in_a_shop
async def test_to_others_the_ticket_does_not_exist(shop: Shop) -> None:
    (ticket, _), theirs = await in_a_wallet(shop), await shop.wallet(FRIEND)
    for command in (deliver(ticket, theirs, FRIEND), take_back(ticket, FRIEND)):
        for foreign in (command, command.model_copy(update={"ticket_id": numbered(404)})):
            with pytest.raises(NotFoundError):
                await shop.do(foreign)


@in_a_shop
async def test_repeating_is_refused(shop: Shop) -> None:
    ticket, wallet = await in_a_wallet(shop)
    with pytest.raises(InWalletError):
        await shop.do(deliver(ticket, wallet))
    await shop.do(take_back(ticket))
    with pytest.raises(InCustodyError):
        await shop.do(take_back(ticket))


@in_a_shop
async def test_what_is_void_goes_nowhere(shop: Shop) -> None:
    ticket, wallet = await in_a_wallet(shop)
    (held,) = await shop.tickets_of(await shop.order(await shop.event_on_sale()))
    with pytest.raises(NotPaidError):
        await shop.do(deliver(held, wallet))
    assert ticket.event_id is not None
    await shop.do(CancelEvent(event_id=ticket.event_id, organizer_id=ORGANIZER, reason="the soloist is ill"))
    for command in (deliver(ticket, wallet), take_back(ticket)):
        with pytest.raises(CancelledError):
            await shop.do(command)


@in_a_shop
async def test_a_used_ticket_may_be_kept_as_a_souvenir(shop: Shop) -> None:
    ticket, wallet = await sold(shop), await shop.wallet(BUYER)
    shop.clock.now = DOORS
    await shop.do(CheckIn(code=shop.codes.sign(ticket.id, ticket.custody), gate="North", by=ORGANIZER))
    assert (await shop.do(deliver(ticket, wallet))).wallet == wallet.address


@in_a_shop
async def test_delivering_and_letting_the_wallet_go_at_once_leave_no_contradiction(shop: Shop) -> None:
    """Whichever came first: when the ticket was delivered, the wallet was the holder's."""
    for _ in range(10):
        ticket, wallet = await sold(shop), await shop.wallet(BUYER)
        await together(shop.do(deliver(ticket, wallet)), shop.do(unlink(wallet)))
        topics = [fact.topic for fact in shop.facts() if fact.topic in ("ticket.delivered", "wallet.unlinked")]
        assert topics[-1] == "wallet.unlinked"
        delivered = "ticket.delivered" in [fact.topic for fact in shop.facts(ticket.id)]
        assert (await shop.tickets([ticket.id]))[0].wallet == (wallet.address if delivered else None)


@in_a_shop
async def test_a_wallet_linked_by_another_process_just_now_will_do(shop: Shop) -> None:
    ticket, wallet = await sold(shop), await shop.wallet(BUYER)
    await shop.do(unlink(wallet))
    with pytest.raises(WalletNotLinkedError):
        await shop.do(deliver(ticket, wallet))
    async with Shop(shop.database) as other:
        await other.do(await other.proof(wallet, BUYER))
    assert (await shop.do(deliver(ticket, wallet))).wallet == wallet.address


# -- Moved on the chain. -----------------------------------------------------------------------


@in_a_shop
async def test_a_transfer_to_a_linked_wallet_has_a_new_holder_at_once(shop: Shop) -> None:
    (ticket, wallet), theirs = await in_a_wallet(shop), await shop.wallet(FRIEND)
    followed = await shop.do(moved(ticket, wallet, theirs))
    assert (followed.holder_id, followed.wallet) == (FRIEND, theirs.address)
    fact = shop.facts(ticket.id)[-1]
    assert isinstance(fact, Ticket.TransferredOnChain)
    assert (fact.from_id, fact.to, fact.at) == (BUYER, FRIEND, shop.clock.now)


@in_a_shop
async def test_a_transfer_to_an_unknown_wallet_leaves_it_without_a_holder(shop: Shop) -> None:
    ticket, stranger = await away(shop)
    assert (ticket.holder_id, ticket.wallet) == (None, stranger.address)
    for command in (
        ClaimTicket(ticket_id=ticket.id, holder_id=BUYER, attendee_name="Ada"),
        TransferTicket(ticket_id=ticket.id, holder_id=BUYER, to=FRIEND),
        take_back(ticket),
    ):
        with pytest.raises(NotFoundError):
            await shop.do(command)


@in_a_shop
async def test_the_sender_is_known_also_when_the_wallet_was_let_go(shop: Shop) -> None:
    ticket, wallet = await in_a_wallet(shop)
    await shop.do(unlink(wallet))
    await shop.do(moved(ticket, wallet, new_signer()))
    fact = shop.facts(ticket.id)[-1]
    assert isinstance(fact, Ticket.TransferredOnChain)
    assert fact.from_id == BUYER


@in_a_shop
async def test_a_transfer_is_recorded_once_however_often_it_is_heard_of(shop: Shop) -> None:
    (ticket, wallet), stranger = await in_a_wallet(shop), new_signer()
    there, back = moved(ticket, wallet, stranger), moved(ticket, stranger, wallet, block=8)
    await together(*(shop.do(there) for _ in range(10)))
    await shop.do(back)
    await together(*(shop.do(command) for command in (there, back) * 5))
    assert [fact.topic for fact in shop.facts(ticket.id)].count("ticket.transferred_on_chain") == 2
    assert (await shop.tickets([ticket.id]))[0].wallet == wallet.address


@in_a_shop
async def test_two_transfers_of_one_block_are_both_recorded(shop: Shop) -> None:
    (ticket, wallet), stranger = await in_a_wallet(shop), new_signer()
    await shop.do(moved(ticket, wallet, stranger))
    back = await shop.do(moved(ticket, stranger, wallet, log_index=1))
    assert (back.wallet, back.holder_id) == (wallet.address, BUYER)


@in_a_shop
async def test_what_was_never_sold_has_no_token(shop: Shop) -> None:
    wallet = new_signer()
    (held,) = await shop.tickets_of(await shop.order(await shop.event_on_sale()))
    for ticket in (held, Ticket(id=numbered(404))):
        with pytest.raises(NotPaidError):
            await shop.do(moved(ticket, wallet, wallet))


@in_a_shop
async def test_the_chain_is_followed_also_when_the_ledger_had_meant_otherwise(shop: Shop) -> None:
    """The holder transferred while the return was on its way to the chain."""
    (ticket, wallet), theirs = await in_a_wallet(shop), await shop.wallet(FRIEND)
    await shop.do(take_back(ticket))
    followed = await shop.do(moved(ticket, wallet, theirs))
    assert (followed.holder_id, followed.wallet) == (FRIEND, theirs.address)


@in_a_shop
async def test_old_codes_stop_working_and_those_of_the_new_holder_admit(shop: Shop) -> None:
    (ticket, wallet), theirs = await in_a_wallet(shop), await shop.wallet(FRIEND)
    old = shop.codes.sign(ticket.id, ticket.custody)
    followed = await shop.do(moved(ticket, wallet, theirs))
    shop.clock.now = DOORS
    with pytest.raises(BadCodeError):
        await shop.do(CheckIn(code=old, gate="North", by=ORGANIZER))
    new = shop.codes.sign(ticket.id, followed.custody)
    assert (await shop.do(CheckIn(code=new, gate="North", by=ORGANIZER))).status == "checked_in"


@in_a_shop
async def test_a_ticket_that_is_nobodys_is_still_refunded_to_who_paid(shop: Shop) -> None:
    event = await shop.event_on_sale()
    order: Order = await shop.bought(event)
    (ticket,) = await shop.tickets_of(order)
    wallet = await shop.wallet(BUYER)
    await shop.do(deliver(ticket, wallet))
    await shop.do(moved(ticket, wallet, new_signer()))
    await shop.do(RefundOrder(order_id=order.id, organizer_id=ORGANIZER, ticket_ids=None, reason="asked"))
    (after,) = await shop.tickets_of(order)
    assert (after.status, after.holder_id) == ("cancelled", None)


# -- Found to be somebody's. -------------------------------------------------------------------


@in_a_shop
async def test_who_links_the_wallet_is_the_holder(shop: Shop) -> None:
    ticket, stranger = await away(shop)
    await shop.do(await shop.proof(stranger, STRANGER))
    identified = await shop.do(IdentifyHolder(ticket_id=ticket.id))
    assert (identified.holder_id, identified.wallet, identified.custody) == (
        STRANGER,
        stranger.address,
        ticket.custody + 1,
    )
    assert (await shop.do(take_back(ticket, STRANGER))).wallet is None


@in_a_shop
async def test_identifying_twice_or_in_vain_adds_nothing(shop: Shop) -> None:
    ticket, stranger = await away(shop)
    bought = await sold(shop)
    before = shop.facts()
    for unidentified in (ticket, bought, Ticket(id=numbered(404))):
        await shop.do(IdentifyHolder(ticket_id=unidentified.id))
    assert shop.facts() == before
    await shop.do(await shop.proof(stranger, STRANGER))
    await together(*(shop.do(IdentifyHolder(ticket_id=ticket.id)) for _ in range(10)))
    assert [fact.topic for fact in shop.facts(ticket.id)].count("ticket.holder_identified") == 1


@in_a_shop
async def test_the_holder_is_who_has_the_wallet_whatever_happens_at_once(shop: Shop) -> None:
    """Linking, letting go and identifying race: nobody becomes the holder who had let the wallet go by then."""
    for _ in range(10):
        ticket, stranger = await away(shop)
        await shop.do(await shop.proof(stranger, STRANGER))
        outcomes = await together(shop.do(IdentifyHolder(ticket_id=ticket.id)), shop.do(unlink(stranger, STRANGER)))
        assert not [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        topics = [fact.topic for fact in shop.facts() if fact.topic in ("ticket.holder_identified", "wallet.unlinked")]
        assert topics[-1] == "wallet.unlinked"
