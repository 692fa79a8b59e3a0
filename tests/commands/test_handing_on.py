"""What holders do with their tickets, and how an organiser takes one away."""

from __future__ import annotations

from uuid import UUID

import pytest

from commands.event import CancelEvent, KeepTime
from commands.kernel import Command
from commands.ticket import AcceptTransfer, CheckIn, ClaimTicket, DeclineTransfer, RevokeTicket, TransferTicket
from domain.kernel import NotFoundError
from domain.ticket import Ticket
from domain.ticket_refusals import (
    AlreadyCheckedInError,
    BadCodeError,
    CancelledError,
    NotPaidError,
    NoTransferError,
    SameHolderError,
    TransferPendingError,
)
from tests.commands.shop import Shop, in_a_shop, names, together
from tests.domain.happening import BUYER, DOORS, ENDS, FRIEND, ORGANIZER, STRANGER, numbered


def claim(ticket: Ticket, name: str = "Ada") -> ClaimTicket:
    return ClaimTicket(ticket_id=ticket.id, holder_id=BUYER, attendee_name=name)


def transfer(ticket: Ticket, *, asking: bool = False) -> TransferTicket:
    return TransferTicket(ticket_id=ticket.id, holder_id=BUYER, to=FRIEND, needs_acceptance=asking)


def accept(ticket: Ticket) -> AcceptTransfer:
    return AcceptTransfer(ticket_id=ticket.id, by=FRIEND)


def decline(ticket: Ticket) -> DeclineTransfer:
    return DeclineTransfer(ticket_id=ticket.id, by=FRIEND)


def revoke(ticket: Ticket) -> RevokeTicket:
    return RevokeTicket(ticket_id=ticket.id, organizer_id=ORGANIZER, reason="sold to a tout")


def entry(code: str) -> CheckIn:
    return CheckIn(code=code, gate="North", by=ORGANIZER)


async def sold(shop: Shop) -> Ticket:
    return await shop.ticket(await shop.event_on_sale())


async def offered(shop: Shop) -> Ticket:
    ticket: Ticket = await shop.do(transfer(await sold(shop), asking=True))
    return ticket


# -- Done. -------------------------------------------------------------------------------


@in_a_shop
async def test_a_holder_names_who_comes_and_may_name_another(shop: Shop) -> None:
    ticket = await sold(shop)
    assert await shop.vault.open((await shop.do(claim(ticket))).attendee_name) == "Ada"
    assert await shop.vault.open((await shop.do(claim(ticket, "Grace"))).attendee_name) == "Grace"


@in_a_shop
async def test_the_same_name_again_adds_nothing_though_no_two_seals_are_alike(shop: Shop) -> None:
    ticket = await sold(shop)
    await shop.do(claim(ticket))
    before = len(shop.facts())
    await shop.do(claim(ticket))
    assert len(shop.facts()) == before


@in_a_shop
async def test_a_transfer_hands_the_ticket_on_at_once(shop: Shop) -> None:
    ticket = await sold(shop)
    handed_on = await shop.do(transfer(ticket))
    assert (handed_on.holder_id, handed_on.custody) == (FRIEND, ticket.custody + 1)


@in_a_shop
async def test_an_offer_hands_it_on_when_it_is_accepted(shop: Shop) -> None:
    ticket = await offered(shop)
    assert (ticket.holder_id, ticket.offered_to) == (BUYER, FRIEND)
    accepted = await shop.do(accept(ticket))
    assert (accepted.holder_id, accepted.offered_to) == (FRIEND, None)


@pytest.mark.parametrize("by", [FRIEND, BUYER])
@in_a_shop
async def test_an_offer_is_declined_or_taken_back(shop: Shop, by: UUID) -> None:
    ticket = await offered(shop)
    declined = await shop.do(DeclineTransfer(ticket_id=ticket.id, by=by))
    assert (declined.holder_id, declined.offered_to) == (BUYER, None)


@in_a_shop
async def test_the_organiser_revokes_a_ticket(shop: Shop) -> None:
    revoked = await shop.do(revoke(await sold(shop)))
    assert (revoked.status, revoked.cancel_reason) == ("cancelled", "sold to a tout")


# -- Refused. ------------------------------------------------------------------------------


@in_a_shop
async def test_to_others_a_ticket_does_not_exist(shop: Shop) -> None:
    ticket = await offered(shop)
    before = shop.facts()
    foreign: list[Command] = [
        claim(ticket).model_copy(update={"holder_id": STRANGER}),
        transfer(ticket).model_copy(update={"holder_id": STRANGER}),
        AcceptTransfer(ticket_id=ticket.id, by=STRANGER),
        DeclineTransfer(ticket_id=ticket.id, by=STRANGER),
        revoke(ticket).model_copy(update={"organizer_id": STRANGER}),
        revoke(ticket).model_copy(update={"organizer_id": BUYER}),
    ]
    unknown = [
        command.model_copy(update={"ticket_id": numbered(404)})
        for command in (claim(ticket), transfer(ticket), accept(ticket), decline(ticket), revoke(ticket))
    ]
    for command in (*foreign, *unknown):
        with pytest.raises(NotFoundError):
            await shop.do(command)
    assert shop.facts() == before


@in_a_shop
async def test_a_ticket_that_is_only_held_is_not_handed_on(shop: Shop) -> None:
    (ticket,) = await shop.tickets_of(await shop.order(await shop.event_on_sale()))
    for command in (claim(ticket), transfer(ticket), transfer(ticket, asking=True), revoke(ticket)):
        with pytest.raises(NotPaidError):
            await shop.do(command)


@in_a_shop
async def test_a_ticket_that_was_revoked_is_not_handed_on(shop: Shop) -> None:
    ticket = await sold(shop)
    await shop.do(revoke(ticket))
    for command in (claim(ticket), transfer(ticket), transfer(ticket, asking=True), revoke(ticket)):
        with pytest.raises(CancelledError):
            await shop.do(command)


@in_a_shop
async def test_a_ticket_of_a_cancelled_event_is_not_handed_on(shop: Shop) -> None:
    ticket = await offered(shop)
    assert ticket.event_id is not None
    cancel = CancelEvent(event_id=ticket.event_id, organizer_id=ORGANIZER, reason="the soloist is ill")
    await shop.do(cancel)
    for command in (claim(ticket), transfer(ticket), transfer(ticket, asking=True), accept(ticket)):
        with pytest.raises(CancelledError):
            await shop.do(command)


@in_a_shop
async def test_a_ticket_of_an_event_that_has_been_is_not_handed_on(shop: Shop) -> None:
    ticket = await offered(shop)
    assert ticket.event_id is not None
    shop.clock.now = ENDS
    await shop.do(KeepTime(event_id=ticket.event_id))
    for command in (claim(ticket), transfer(ticket), accept(ticket)):
        with pytest.raises(CancelledError, match="over"):
            await shop.do(command)


@in_a_shop
async def test_a_holder_is_no_recipient(shop: Shop) -> None:
    ticket = await sold(shop)
    for asking in (True, False):
        with pytest.raises(SameHolderError):
            await shop.do(transfer(ticket, asking=asking).model_copy(update={"to": BUYER}))


@in_a_shop
async def test_only_who_was_asked_can_accept(shop: Shop) -> None:
    ticket = await offered(shop)
    with pytest.raises(NoTransferError):
        await shop.do(AcceptTransfer(ticket_id=ticket.id, by=BUYER))


# -- Repeated. -------------------------------------------------------------------------------


@in_a_shop
async def test_repeating_changes_nothing(shop: Shop) -> None:
    ticket = await sold(shop)
    await shop.do(claim(ticket))
    before = shop.facts()
    await shop.do(claim(ticket))
    assert shop.facts() == before
    await shop.do(transfer(ticket, asking=True))
    with pytest.raises(TransferPendingError):
        await shop.do(transfer(ticket, asking=True))
    await shop.do(accept(ticket))
    after = shop.facts()
    with pytest.raises(NoTransferError):
        await shop.do(accept(ticket))
    with pytest.raises(NotFoundError):
        await shop.do(transfer(ticket))
    with pytest.raises(NoTransferError):
        await shop.do(decline(ticket))
    assert shop.facts() == after


# -- Raced. ----------------------------------------------------------------------------------


@in_a_shop
async def test_of_two_transfers_at_once_one_is_made(shop: Shop) -> None:
    ticket = await sold(shop)
    others = [numbered(1000 + number) for number in range(10)]
    outcomes = await together(*(shop.do(transfer(ticket).model_copy(update={"to": other})) for other in others))
    assert names(outcomes) == ["NotFoundError"] * 9 + ["Ticket"]
    assert [fact.topic for fact in shop.facts(ticket.id)].count("ticket.transferred") == 1


@in_a_shop
async def test_of_accepting_and_taking_back_at_once_one_happens(shop: Shop) -> None:
    ticket = await offered(shop)
    take_back = DeclineTransfer(ticket_id=ticket.id, by=BUYER)
    outcomes = await together(shop.do(accept(ticket)), shop.do(take_back))
    assert names(outcomes).count("Ticket") == 1
    assert isinstance(next(each for each in outcomes if not isinstance(each, Ticket)), NoTransferError | NotFoundError)


@in_a_shop
async def test_of_handing_on_and_revoking_at_once_the_revoking_lasts(shop: Shop) -> None:
    ticket = await sold(shop)
    await together(shop.do(transfer(ticket)), shop.do(revoke(ticket)))
    assert (await shop.tickets([ticket.id]))[0].status == "cancelled"


@in_a_shop
async def test_old_codes_stop_working_with_each_change_of_hands(shop: Shop) -> None:
    ticket = await sold(shop)
    old = shop.codes.sign(ticket.id, ticket.custody)
    handed_on = await shop.do(transfer(ticket))
    shop.clock.now = DOORS
    with pytest.raises(BadCodeError):
        await shop.do(entry(old))
    assert (await shop.do(entry(shop.codes.sign(ticket.id, handed_on.custody)))).status == "checked_in"
    with pytest.raises(AlreadyCheckedInError):
        await shop.do(revoke(ticket))
