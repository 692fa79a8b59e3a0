"""Paying: the tickets are the buyer's, or the money goes back; never one without the other."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from commands.kernel import ConflictError, OverloadedError, Request
from commands.order import CancelOrder, ExpireOrder, PayOrder
from domain.kernel import Fact, InvalidError, NotFoundError
from domain.order import HoldExpiredError, Order, OrderNotPendingError, PaymentDeclinedError
from tests.commands.shop import Shop, in_a_shop, names, standing, together
from tests.domain.happening import BUYER, FRIEND, HOLD_ENDS, MOMENT, STRANGER, numbered


def kinds(facts: Sequence[Fact]) -> list[str]:
    return [fact.topic for fact in facts]


def paying(order: Order, **changes: object) -> PayOrder:
    return PayOrder(order_id=order.id, buyer_id=BUYER, provider="sandbox", token="tok_ok").model_copy(update=changes)


async def never_half_paid(shop: Shop, order: Order) -> Order:
    """The order now: paid together with all of its tickets, or not paid and the money sent back."""
    now = await shop.order_now(order)
    tickets = await shop.tickets_of(now)
    sold = [ticket.order_id == order.id and ticket.status == "paid" for ticket in tickets]
    assert all(sold) if now.status == "paid" else not any(sold)
    kept = {now.payment_id} if now.status == "paid" else set()
    assert set(shop.payments.captured) - {payment for payment, _ in shop.payments.refunded} == kept
    assert {payment for payment, _ in shop.payments.refunded} == set(now.late_payments)
    return now


# -- Done. -------------------------------------------------------------------------------


@in_a_shop
async def test_a_payment_makes_the_order_and_all_its_tickets_paid(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale(), 3)
    paid = await shop.pay(order)
    assert (paid.status, paid.payment_id) == ("paid", shop.payments.captured[0])
    assert kinds(shop.facts())[-4:] == ["order.paid", "ticket.paid", "ticket.paid", "ticket.paid"]
    assert [(t.status, t.holder_id, t.held_until) for t in await shop.tickets_of(order)] == [("paid", BUYER, None)] * 3
    await never_half_paid(shop, order)


@in_a_shop
async def test_a_hold_can_be_paid_until_its_last_moment(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    shop.clock.now = HOLD_ENDS - MOMENT
    assert (await shop.pay(order)).status == "paid"


@in_a_shop
async def test_after_a_declined_card_another_one_pays(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    with pytest.raises(PaymentDeclinedError):
        await shop.pay(order, "tok_declined")
    assert (await shop.order_now(order)).status == "pending"
    await shop.pay(order)
    assert kinds(shop.facts(order.id)) == ["order.placed", "order.payment_declined", "order.paid"]
    await never_half_paid(shop, order)


# -- Refused. ------------------------------------------------------------------------------


@in_a_shop
async def test_an_order_is_paid_by_its_buyer(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    for command in (paying(order, buyer_id=STRANGER), paying(order, order_id=numbered(404))):
        with pytest.raises(NotFoundError):
            await shop.do(command)
    assert not shop.payments.captured


@in_a_shop
async def test_a_payment_names_a_provider_and_a_token_that_exist(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    for command in (paying(order, provider="piggy bank"), paying(order, token="tok_imagined")):
        with pytest.raises(InvalidError):
            await shop.do(command)
    assert kinds(shop.facts(order.id)) == ["order.placed"]


@in_a_shop
async def test_a_hold_that_has_run_out_takes_no_money(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    shop.clock.now = HOLD_ENDS
    with pytest.raises(HoldExpiredError):
        await shop.pay(order)
    await shop.do(ExpireOrder(order_id=order.id))
    with pytest.raises(HoldExpiredError):
        await shop.pay(order)
    assert not shop.payments.captured


@in_a_shop
async def test_a_cancelled_order_takes_no_money(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    await shop.do(CancelOrder(order_id=order.id, buyer_id=BUYER))
    with pytest.raises(OrderNotPendingError):
        await shop.pay(order)
    assert not shop.payments.captured


# -- Repeated. -------------------------------------------------------------------------------


@in_a_shop
async def test_paying_again_takes_no_money_and_sends_none_back(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    await shop.pay(order)
    with pytest.raises(OrderNotPendingError):
        await shop.pay(order)
    assert (len(shop.payments.captured), shop.payments.refunded) == (1, [])


@in_a_shop
async def test_one_payment_sent_many_times_at_once_is_one_payment(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    outcomes = await together(*(shop.pay(order) for _ in range(10)))
    assert names(outcomes) == ["Order"] + ["OrderNotPendingError"] * 9
    assert len(set(shop.payments.captured)) == 1, "the provider takes a payment with a known id once"
    assert shop.payments.refunded == []
    await never_half_paid(shop, order)


# -- Raced. ----------------------------------------------------------------------------------


@in_a_shop
async def test_a_payment_slower_than_the_hold_goes_back(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale(), 2)

    async def the_hold_runs_out() -> None:
        shop.clock.now = HOLD_ENDS

    shop.payments.meanwhile = the_hold_runs_out
    with pytest.raises(HoldExpiredError):
        await shop.pay(order)
    late = shop.facts(order.id)[-1]
    assert isinstance(late, Order.LatePaymentRefunded)
    assert (late.payment_id, late.amount) == (shop.payments.captured[0], order.known_total)
    assert shop.payments.refunded == [(late.payment_id, 9000)]
    await never_half_paid(shop, order)


@in_a_shop
async def test_one_payment_that_comes_too_late_many_times_goes_back_once(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    shop.payments.meanwhile = lambda: time_passes(shop)
    outcomes = await together(*(shop.pay(order) for _ in range(5)))
    assert names(outcomes) == ["HoldExpiredError"] * 5
    assert len(shop.payments.refunded) == 1
    await never_half_paid(shop, order)


@in_a_shop
async def test_a_payment_that_the_expiry_overtook_goes_back(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())

    async def expire() -> None:
        shop.clock.now = HOLD_ENDS
        await shop.do(ExpireOrder(order_id=order.id))

    shop.payments.meanwhile = expire
    with pytest.raises(HoldExpiredError):
        await shop.pay(order)
    assert kinds(shop.facts(order.id)) == ["order.placed", "order.expired", "order.late_payment_refunded"]
    await never_half_paid(shop, order)


@in_a_shop
async def test_even_when_the_place_has_a_new_buyer_by_then(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1))
    order = await shop.order(event)

    async def sell_to_somebody_else() -> None:
        shop.clock.now = HOLD_ENDS
        await shop.do(ExpireOrder(order_id=order.id))
        await shop.bought(event, buyer_id=FRIEND)

    shop.payments.meanwhile = sell_to_somebody_else
    with pytest.raises(HoldExpiredError):
        await shop.pay(order)
    (ticket,) = await shop.tickets_of(order)
    assert (ticket.holder_id, ticket.status) == (FRIEND, "paid")
    assert [amount for _, amount in shop.payments.refunded] == [4500]


@in_a_shop
async def test_a_payment_that_the_buyers_cancellation_overtook_goes_back(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    cancel = CancelOrder(order_id=order.id, buyer_id=BUYER)
    shop.payments.meanwhile = lambda: shop.do(cancel)
    with pytest.raises(OrderNotPendingError):
        await shop.pay(order)
    assert kinds(shop.facts(order.id)) == ["order.placed", "order.cancelled", "order.late_payment_refunded"]
    await never_half_paid(shop, order)


@in_a_shop
async def test_of_two_payments_with_different_cards_one_goes_back(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    shop.payments.meanwhile = lambda: shop.pay(order)
    with pytest.raises(OrderNotPendingError):
        await shop.pay(order, "tok_slow")
    paid = await never_half_paid(shop, order)
    assert (paid.status, len(set(shop.payments.captured)), len(shop.payments.refunded)) == ("paid", 2, 1)


@in_a_shop
async def test_a_card_declined_after_another_one_paid_changes_nothing(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    shop.payments.meanwhile = lambda: shop.pay(order)
    with pytest.raises(OrderNotPendingError):
        await shop.pay(order, "tok_declined")
    assert kinds(shop.facts(order.id)) == ["order.placed", "order.paid"]


@in_a_shop
async def test_who_is_told_to_come_again_and_does_pays_once(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale())
    really = shop.store.append

    async def somebody_else_is_always_first(request: Request) -> int:
        raise ConflictError([new.stream_id for new in request.facts])

    async def bad_luck() -> None:
        shop.store.append = somebody_else_is_always_first  # type: ignore[method-assign]

    shop.payments.meanwhile = bad_luck
    with pytest.raises(OverloadedError):
        await shop.pay(order)
    shop.store.append = really  # type: ignore[method-assign]
    assert (await shop.pay(order)).status == "paid"
    assert len(set(shop.payments.captured)) == 1, "the provider takes a payment with a known id once"
    await never_half_paid(shop, order)


@in_a_shop
async def test_payments_expiries_and_cancellations_at_once_leave_no_order_half_paid(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(40))
    orders = [await shop.order(event, 2) for _ in range(20)]
    shop.clock.now = HOLD_ENDS - MOMENT
    attempts = []
    for number, order in enumerate(orders):
        attempts.append(shop.pay(order))
        rival = ExpireOrder(order_id=order.id) if number % 2 else CancelOrder(order_id=order.id, buyer_id=BUYER)
        attempts.append(shop.do(rival))
    shop.payments.meanwhile = lambda: time_passes(shop)
    outcomes = await together(*attempts)
    assert {type(each) for each in outcomes} <= {Order, HoldExpiredError, OrderNotPendingError}
    states = {order.id: await shop.order_now(order) for order in orders}
    for order in states.values():
        sold = [t.order_id == order.id and t.status == "paid" for t in await shop.tickets_of(order)]
        assert all(sold) if order.status == "paid" else not any(sold)
    sent_back = {payment for order in states.values() for payment in order.late_payments}
    kept = {order.payment_id for order in states.values() if order.payment_id is not None}
    assert set(shop.payments.captured) == sent_back | kept
    assert {payment for payment, _ in shop.payments.refunded} == sent_back


async def time_passes(shop: Shop) -> None:
    shop.clock.now = HOLD_ENDS
