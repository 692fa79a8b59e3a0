"""An order waits for its payment until its hold ends; money that comes later goes back."""

from __future__ import annotations

from datetime import datetime

import pytest

from domain.kernel import Fact, NotFoundError, Refusal
from domain.order import HoldExpiredError, Order, OrderNotPendingError
from tests.domain.happening import BUYER, EVENT, HOLD_ENDS, MOMENT, NOW, PAYMENT, numbered
from tests.domain.order_facts import CANCELLED, DECLINED, EXPIRED, LATE, PAID, PLACED, TICKETS, paid, placed, refunded
from tests.given import folded, given

NO_LONGER_PENDING: list[tuple[type[Refusal], tuple[Fact, ...]]] = [
    (OrderNotPendingError, (PAID,)),
    (OrderNotPendingError, (CANCELLED,)),
    (OrderNotPendingError, (PAID, refunded(TICKETS[0], amount=4500))),
    (OrderNotPendingError, (PAID, refunded(*TICKETS, amount=10_250))),
    (HoldExpiredError, (EXPIRED,)),
]


def pay(order: Order, *, at: datetime = NOW) -> None:
    order.pay(payment_id=PAYMENT, provider="sandbox", at=at)


def test_an_order_is_placed_for_all_its_tickets_together() -> None:
    given(Order).when(lambda order: order.place(PLACED)).then(PLACED)
    order = folded(Order, PLACED)
    assert (order.status, order.buyer_id, order.event_id) == ("pending", BUYER, EVENT)
    assert (order.known_total.amount, order.known_expires_at) == (10_250, HOLD_ENDS)


def test_an_order_is_paid_with_exactly_its_total() -> None:
    given(Order, PLACED).when(pay).then(PAID)
    assert folded(Order, PLACED, PAID).payment_id == PAYMENT


def test_an_order_that_costs_nothing_is_paid_like_any_other() -> None:
    given(Order, placed(0, 0)).when(pay).then(paid(amount=0))


def test_a_declined_card_leaves_the_hold_as_it_is() -> None:
    (
        given(Order, PLACED)
        .when(
            lambda order: order.decline(payment_id=PAYMENT, provider="sandbox", reason="the card was declined", at=NOW)
        )
        .then(DECLINED)
    )
    assert folded(Order, PLACED, DECLINED).status == "pending"


def test_after_a_declined_card_another_may_be_tried() -> None:
    given(Order, PLACED, DECLINED).when(pay).then(PAID)


@pytest.mark.parametrize(("error", "since"), NO_LONGER_PENDING)
def test_only_a_pending_order_can_be_paid(error: type[Refusal], since: tuple[Fact, ...]) -> None:
    given(Order, PLACED, *since).when(pay).then_refused(error)


def test_a_hold_is_good_until_its_last_moment() -> None:
    given(Order, PLACED).when(lambda order: pay(order, at=HOLD_ENDS - MOMENT)).then(
        Order.Paid(payment_id=PAYMENT, provider="sandbox", amount=PAID.amount, at=HOLD_ENDS - MOMENT)
    )


def test_a_hold_that_has_run_out_cannot_be_paid_even_before_anyone_recorded_it() -> None:
    given(Order, PLACED).when(lambda order: pay(order, at=HOLD_ENDS)).then_refused(HoldExpiredError)


def test_an_order_paid_in_time_is_not_told_that_its_hold_ran_out() -> None:
    given(Order, PLACED, PAID).when(lambda order: pay(order, at=HOLD_ENDS)).then_refused(OrderNotPendingError)


@pytest.mark.parametrize("since", [(), (EXPIRED,), (CANCELLED,), (paid(payment_id=numbered(77)),)])
def test_money_that_came_too_late_goes_back_and_the_order_stays_what_it_was(since: tuple[Fact, ...]) -> None:
    (
        given(Order, PLACED, *since)
        .when(lambda order: order.refund_late_payment(payment_id=PAYMENT, provider="sandbox", at=HOLD_ENDS))
        .then(LATE)
    )
    assert folded(Order, PLACED, *since, LATE).status == folded(Order, PLACED, *since).status


def test_one_late_payment_goes_back_once() -> None:
    (
        given(Order, PLACED, EXPIRED, LATE)
        .when(lambda order: order.refund_late_payment(payment_id=PAYMENT, provider="sandbox", at=HOLD_ENDS))
        .then_nothing()
    )


def test_another_late_payment_goes_back_too() -> None:
    other = Order.LatePaymentRefunded(payment_id=numbered(77), provider="sandbox", amount=LATE.amount, at=HOLD_ENDS)
    (
        given(Order, PLACED, EXPIRED, LATE)
        .when(lambda order: order.refund_late_payment(payment_id=numbered(77), provider="sandbox", at=HOLD_ENDS))
        .then(other)
    )


def test_what_was_never_placed_has_no_total_and_no_deadline() -> None:
    given(Order).when(pay).then_refused(NotFoundError)
    with pytest.raises(NotFoundError):
        _ = folded(Order).known_total
