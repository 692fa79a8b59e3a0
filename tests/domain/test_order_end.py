"""How an order ends: let go before it was paid, or refunded afterwards, each ticket once."""

from __future__ import annotations

from uuid import UUID

import pytest

from domain.event import Event
from domain.kernel import Fact, NotFoundError
from domain.money import Money
from domain.order import Order, OrderNotPaidError, OrderNotPendingError
from tests.domain.event_facts import ARCHIVED, ENDED, ON_SALE, WENT_LIVE
from tests.domain.event_facts import cancelled as event_cancelled
from tests.domain.happening import ENDS, HOLD_ENDS, MOMENT, NOW, numbered
from tests.domain.order_facts import (
    CANCELLED,
    DECLINED,
    EXPIRED,
    FIRST,
    PAID,
    PLACED,
    REFUND,
    SECOND,
    THIRD,
    eur,
    paid,
    placed,
    refunded,
)
from tests.given import folded, given

PARTLY = refunded(FIRST, amount=4500)
WHOLLY = refunded(FIRST, SECOND, THIRD, amount=10_250)


def refund(order: Order, *ticket_ids: UUID) -> Money:
    """These tickets, or all that are left."""
    return order.refund(refund_id=REFUND, ticket_ids=frozenset(ticket_ids) or None, reason="the dates clash", at=NOW)


# -- Before the payment. ---------------------------------------------------------------


@pytest.mark.parametrize("since", [(), (DECLINED,)])
def test_a_pending_order_can_be_cancelled(since: tuple[Fact, ...]) -> None:
    given(Order, PLACED, *since).when(lambda order: order.cancel(at=NOW)).then(CANCELLED)


@pytest.mark.parametrize("since", [(PAID,), (CANCELLED,), (EXPIRED,), (PAID, PARTLY), (PAID, WHOLLY)])
def test_only_a_pending_order_can_be_cancelled_and_only_once(since: tuple[Fact, ...]) -> None:
    given(Order, PLACED, *since).when(lambda order: order.cancel(at=NOW)).then_refused(OrderNotPendingError)


def test_a_pending_order_expires_when_its_hold_ends() -> None:
    given(Order, PLACED).when(lambda order: order.expire(at=HOLD_ENDS)).then(EXPIRED)
    given(Order, PLACED).when(lambda order: order.expire(at=HOLD_ENDS - MOMENT)).then_nothing()


@pytest.mark.parametrize("since", [(PAID,), (CANCELLED,), (EXPIRED,), (PAID, PARTLY)])
def test_an_expiry_that_comes_after_a_payment_a_cancellation_or_another_adds_nothing(since: tuple[Fact, ...]) -> None:
    given(Order, PLACED, *since).when(lambda order: order.expire(at=ENDS)).then_nothing()


# -- After it. ---------------------------------------------------------------------------


def test_a_ticket_is_refunded_at_the_price_it_was_sold_for() -> None:
    given(Order, PLACED, PAID).when(lambda order: refund(order, THIRD)).then(refunded(THIRD, amount=1250)).answering(
        eur(1250)
    )


def test_an_order_is_refunded_as_a_whole_unless_tickets_are_named() -> None:
    given(Order, PLACED, PAID).when(refund).then(WHOLLY).answering(eur(10_250))


def test_what_was_refunded_before_is_not_refunded_again_with_the_rest() -> None:
    rest = refunded(SECOND, THIRD, amount=5750)
    given(Order, PLACED, PAID, PARTLY).when(refund).then(rest).answering(eur(5750))
    given(Order, PLACED, PAID, PARTLY).when(lambda order: refund(order, FIRST, SECOND, THIRD)).then(rest)


def test_an_order_is_partly_refunded_until_its_last_ticket_is() -> None:
    first, rest = refunded(FIRST, SECOND, amount=9000), refunded(THIRD, amount=1250)
    assert folded(Order, PLACED, PAID, first).status == "partly_refunded"
    order = folded(Order, PLACED, PAID, first, rest)
    assert (order.status, order.refunded_amount) == ("refunded", order.known_total.amount)


def test_tickets_that_cost_nothing_are_refunded_with_nothing() -> None:
    free = placed(0)
    given(Order, free, paid(amount=0)).when(refund).then(refunded(FIRST, amount=0)).answering(eur(0))


def test_a_ticket_is_refunded_once() -> None:
    given(Order, PLACED, PAID, PARTLY).when(lambda order: refund(order, FIRST)).then_refused(OrderNotPaidError)


@pytest.mark.parametrize("since", [(), (CANCELLED,), (EXPIRED,), (PAID, WHOLLY)])
def test_only_what_was_paid_and_is_left_can_be_refunded(since: tuple[Fact, ...]) -> None:
    given(Order, PLACED, *since).when(refund).then_refused(OrderNotPaidError)


def test_an_order_refunds_only_its_own_tickets() -> None:
    given(Order, PLACED, PAID).when(lambda order: refund(order, FIRST, numbered(99))).then_refused(NotFoundError)


# -- What the event makes of it. -----------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "seen"),
    [
        ((), "paid"),
        ((WENT_LIVE,), "paid"),
        ((WENT_LIVE, ENDED), "fulfilled"),
        ((WENT_LIVE, ENDED, ARCHIVED), "fulfilled"),
        ((event_cancelled(),), "paid"),
        ((event_cancelled(), ARCHIVED), "paid"),
    ],
)
def test_what_was_paid_is_fulfilled_once_the_event_has_been(since: tuple[Fact, ...], seen: str) -> None:
    assert folded(Order, PLACED, PAID).status_during(folded(Event, *ON_SALE, *since)) == seen


@pytest.mark.parametrize("since", [(), (CANCELLED,), (EXPIRED,), (PAID, PARTLY), (PAID, WHOLLY)])
def test_nothing_else_is_fulfilled(since: tuple[Fact, ...]) -> None:
    order = folded(Order, PLACED, *since)
    assert order.status_during(folded(Event, *ON_SALE, WENT_LIVE, ENDED)) is order.status
