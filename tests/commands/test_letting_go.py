"""Orders that are not paid: cancelled by their buyer or expired by the clock, and their places are free again."""

from __future__ import annotations

import pytest

from commands.order import CancelOrder, ExpireOrder
from domain.allowance import allowance_id
from domain.kernel import NotFoundError
from domain.order import Order, OrderNotPendingError
from domain.ticket import Ticket
from tests.commands.shop import Shop, in_a_shop, names, seated, standing, together
from tests.domain.event_facts import seat
from tests.domain.happening import BUYER, FRIEND, HOLD_ENDS, MOMENT, STRANGER, numbered


def cancelling(order: Order) -> CancelOrder:
    return CancelOrder(order_id=order.id, buyer_id=BUYER)


def expiring(order: Order) -> ExpireOrder:
    return ExpireOrder(order_id=order.id)


# -- Done. -------------------------------------------------------------------------------


@in_a_shop
async def test_a_cancelled_orders_places_return_at_once(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(2))
    order = await shop.order(event, 2)
    assert (await shop.do(cancelling(order))).status == "cancelled"
    assert [ticket.status for ticket in await shop.tickets_of(order)] == ["available", "available"]
    again = await shop.order(event, 2, buyer_id=FRIEND)
    assert {line.ticket_id for line in again.lines} == {line.ticket_id for line in order.lines}


@in_a_shop
async def test_an_expired_orders_places_return(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale(), 2)
    shop.clock.now = HOLD_ENDS
    assert (await shop.do(expiring(order))).status == "expired"
    released = [fact for fact in shop.facts() if isinstance(fact, Ticket.Released)]
    assert [(fact.cause, fact.event_id, fact.at) for fact in released] == [("expired", order.event_id, HOLD_ENDS)] * 2


@in_a_shop
async def test_a_returned_seat_can_be_chosen_again(shop: Shop) -> None:
    event = await shop.event_on_sale(seated(seat(1), seat(2)))
    await shop.do(cancelling(await shop.seats(event, seat(1))))
    order = await shop.seats(event, seat(1), seat(2), buyer_id=FRIEND)
    assert [ticket.version for ticket in await shop.tickets_of(order)] == [3, 1]


@pytest.mark.parametrize("let_go", [cancelling, expiring])
@in_a_shop
async def test_what_is_let_go_no_longer_counts_against_the_buyers_limit(shop: Shop, let_go: type) -> None:
    event = await shop.event_on_sale(max_tickets_per_buyer=2)
    order = await shop.order(event, 2)
    shop.clock.now = HOLD_ENDS
    await shop.do(let_go(order))
    assert [fact.topic for fact in shop.facts(allowance_id(event.id, BUYER))] == [
        "allowance.taken",
        "allowance.returned",
    ]
    assert len((await shop.order(event, 2)).lines) == 2


# -- Refused. ------------------------------------------------------------------------------


@in_a_shop
async def test_an_order_is_cancelled_by_its_buyer(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    for command in (
        CancelOrder(order_id=order.id, buyer_id=STRANGER),
        CancelOrder(order_id=numbered(404), buyer_id=BUYER),
    ):
        with pytest.raises(NotFoundError):
            await shop.do(command)


@in_a_shop
async def test_a_paid_order_cannot_be_cancelled(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale())
    with pytest.raises(OrderNotPendingError):
        await shop.do(cancelling(order))
    assert [ticket.status for ticket in await shop.tickets_of(order)] == ["paid"]


# -- Repeated. -------------------------------------------------------------------------------


@in_a_shop
async def test_an_order_is_cancelled_once(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    await shop.do(cancelling(order))
    before = shop.facts()
    with pytest.raises(OrderNotPendingError):
        await shop.do(cancelling(order))
    assert shop.facts() == before


@in_a_shop
async def test_expiring_too_early_too_late_or_what_never_was_changes_nothing(shop: Shop) -> None:
    event = await shop.event_on_sale()
    pending, paid, cancelled = await shop.order(event), await shop.bought(event), await shop.order(event)
    await shop.do(cancelling(cancelled))
    before = shop.facts()
    shop.clock.now = HOLD_ENDS - MOMENT
    await shop.do(expiring(pending))
    shop.clock.now = HOLD_ENDS
    for order in (paid, cancelled):
        await shop.do(expiring(order))
    await shop.do(ExpireOrder(order_id=numbered(404)))
    assert shop.facts() == before
    await shop.do(expiring(pending))
    await shop.do(expiring(pending))
    assert len(shop.facts()) == len(before) + 2


# -- Raced. ----------------------------------------------------------------------------------


@in_a_shop
async def test_many_timekeepers_expire_an_order_once(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale(), 2)
    shop.clock.now = HOLD_ENDS
    async with Shop(shop.database) as elsewhere:
        elsewhere.clock.now = HOLD_ENDS
        outcomes = await together(*(place.do(expiring(order)) for place in (shop, elsewhere) for _ in range(5)))
    assert names(outcomes) == ["Order"] * 10
    assert [fact.topic for fact in shop.facts(order.id)] == ["order.placed", "order.expired"]
    assert len([fact for fact in shop.facts() if isinstance(fact, Ticket.Released)]) == 2


@in_a_shop
async def test_expiry_and_cancellation_at_once_free_the_places_once(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale(), 2)
    shop.clock.now = HOLD_ENDS
    outcomes = await together(shop.do(cancelling(order)), shop.do(expiring(order)))
    assert "Order" in names(outcomes)
    assert [ticket.version for ticket in await shop.tickets_of(order)] == [2, 2]
    assert len(shop.facts(order.id)) == 2


@in_a_shop
async def test_a_late_expiry_does_not_free_a_place_that_somebody_else_has_by_now(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1))
    order = await shop.order(event)
    await shop.do(cancelling(order))
    theirs = await shop.order(event, buyer_id=FRIEND)
    shop.clock.now = HOLD_ENDS
    await shop.do(expiring(order))
    assert [ticket.order_id for ticket in await shop.tickets_of(theirs)] == [theirs.id]
