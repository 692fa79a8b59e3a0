"""Refunds: money goes back once for each ticket, and with it the right to enter."""

from __future__ import annotations

from uuid import UUID

import pytest

from commands.order import RefundOrder
from commands.ticket import CheckIn, TransferTicket
from domain.kernel import NotFoundError
from domain.order import Order, OrderNotPaidError
from tests.commands.shop import Shop, in_a_shop, names, standing, together
from tests.domain.happening import BUYER, DOORS, FRIEND, ORGANIZER, STRANGER, numbered


def refunding(order: Order, *ticket_ids: UUID, organizer_id: UUID | None = ORGANIZER) -> RefundOrder:
    """These tickets, or all that are left."""
    wanted = frozenset(ticket_ids) or None
    return RefundOrder(order_id=order.id, organizer_id=organizer_id, ticket_ids=wanted, reason="the dates clash")


# -- Done. -------------------------------------------------------------------------------


@in_a_shop
async def test_a_refunded_order_gives_all_the_money_back_and_ends_all_the_tickets(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale(), 3)
    assert (await shop.do(refunding(order))).status == "refunded"
    assert [ticket.status for ticket in await shop.tickets_of(order)] == ["cancelled"] * 3
    assert shop.payments.refunded == [(order.payment_id, 13_500)]


@in_a_shop
async def test_some_tickets_can_be_refunded_and_the_rest_later(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale(), 3)
    first = order.lines[0].ticket_id
    assert (await shop.do(refunding(order, first))).status == "partly_refunded"
    assert [ticket.status for ticket in await shop.tickets_of(order)] == ["cancelled", "paid", "paid"]
    assert (await shop.do(refunding(order))).status == "refunded"
    assert [amount for _, amount in shop.payments.refunded] == [4500, 9000]


@in_a_shop
async def test_a_ticket_that_was_handed_on_is_refunded_to_who_paid_and_ends(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale())
    ticket_id = order.lines[0].ticket_id
    await shop.do(TransferTicket(ticket_id=ticket_id, holder_id=BUYER, to=FRIEND))
    await shop.do(refunding(order))
    (ticket,) = await shop.tickets_of(order)
    assert (ticket.status, ticket.holder_id) == ("cancelled", FRIEND)
    assert shop.payments.refunded == [(order.payment_id, 4500)]


@in_a_shop
async def test_a_refunded_ticket_that_was_used_keeps_saying_so(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale(), 2)
    used, unused = (line.ticket_id for line in order.lines)
    shop.clock.now = DOORS
    await shop.do(CheckIn(code=shop.codes.sign(used, 1), gate="North", by=ORGANIZER))
    await shop.do(refunding(order))
    assert [ticket.status for ticket in await shop.tickets([used, unused])] == ["checked_in", "cancelled"]


@in_a_shop
async def test_the_system_refunds_without_being_the_organiser(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale())
    assert (await shop.do(refunding(order, organizer_id=None))).status == "refunded"


@in_a_shop
async def test_a_refunded_place_is_not_sold_again(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(2))
    order = await shop.bought(event)
    await shop.do(refunding(order))
    other = await shop.order(event, buyer_id=FRIEND)
    assert other.lines[0].ticket_id != order.lines[0].ticket_id
    outcomes = await together(shop.order(event, buyer_id=FRIEND))
    assert names(outcomes) == ["SoldOutError"]


# -- Refused. ------------------------------------------------------------------------------


@in_a_shop
async def test_refunds_are_the_organisers_business(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale())
    unknown = RefundOrder(order_id=numbered(404), organizer_id=ORGANIZER, ticket_ids=None, reason="?")
    for command in (refunding(order, organizer_id=STRANGER), refunding(order, organizer_id=BUYER), unknown):
        with pytest.raises(NotFoundError):
            await shop.do(command)
    assert shop.payments.refunded == []


@in_a_shop
async def test_only_tickets_of_the_order_are_refunded(shop: Shop) -> None:
    event = await shop.event_on_sale()
    order, other = await shop.bought(event), await shop.bought(event, buyer_id=FRIEND)
    with pytest.raises(NotFoundError):
        await shop.do(refunding(order, other.lines[0].ticket_id))
    assert [ticket.status for ticket in await shop.tickets_of(other)] == ["paid"]


@in_a_shop
async def test_what_was_not_paid_is_not_refunded(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    with pytest.raises(OrderNotPaidError):
        await shop.do(refunding(order))
    assert shop.payments.refunded == []


# -- Repeated and raced. -----------------------------------------------------------------------


@in_a_shop
async def test_an_order_is_refunded_once(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale(), 2)
    await shop.do(refunding(order))
    before = shop.facts()
    with pytest.raises(OrderNotPaidError):
        await shop.do(refunding(order))
    assert (shop.facts(), len(shop.payments.refunded)) == (before, 1)


@in_a_shop
async def test_refunds_at_once_never_give_back_more_than_was_paid(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale(), 3)
    ids = [line.ticket_id for line in order.lines]
    attempts = [refunding(order, *ids[:2]), refunding(order, *ids[1:]), refunding(order), refunding(order, ids[0])]
    async with Shop(shop.database) as elsewhere:
        outcomes = await together(*(place.do(command) for command in attempts for place in (shop, elsewhere)))
        given_back = [*shop.payments.refunded, *elsewhere.payments.refunded]
    assert set(names(outcomes)) == {"Order", "OrderNotPaidError"}
    assert sum(amount for _, amount in given_back) == order.known_total.amount
    assert (await shop.order_now(order)).refunded_amount == order.known_total.amount


@in_a_shop
async def test_a_refund_and_an_entry_at_once_are_one_after_the_other(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale())
    (line,) = order.lines
    shop.clock.now = DOORS
    entry = CheckIn(code=shop.codes.sign(line.ticket_id, 1), gate="North", by=ORGANIZER)
    outcomes = await together(shop.do(refunding(order)), shop.do(entry))
    (ticket,) = await shop.tickets_of(order)
    assert ticket.status == ("checked_in" if names(outcomes) == ["Order", "Ticket"] else "cancelled")
    assert [type(outcome).__name__ for outcome in outcomes][1] in ("Ticket", "CancelledError")
