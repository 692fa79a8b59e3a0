"""Whatever is asked of an order or an allowance: no refund beyond what was paid, no ticket beyond the limit."""

from __future__ import annotations

import operator
from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain.allowance import Allowance
from domain.kernel import Refusal
from domain.order import Order, OrderStatus
from tests.domain.happening import HOLD_ENDS, NOW, PAYMENT, numbered
from tests.domain.order_facts import REFUND, placed
from tests.given import STREAM, stored

Decision = Callable[[Order], object]

PRICES = st.lists(st.integers(0, 10**6), min_size=1, max_size=5)
TICKETS = st.frozensets(st.integers(21, 26).map(numbered), min_size=1)
"""The tickets of an order of five, and one that is not in it."""
PAYMENTS = st.sampled_from([PAYMENT, numbered(42)])
TIMES = st.sampled_from([NOW, HOLD_ENDS])

DECISIONS: st.SearchStrategy[Decision] = st.one_of(
    st.builds(lambda payment, at: lambda o: o.pay(payment_id=payment, provider="sandbox", at=at), PAYMENTS, TIMES),
    st.builds(
        lambda payment: lambda o: o.decline(payment_id=payment, provider="sandbox", reason="no", at=NOW), PAYMENTS
    ),
    st.builds(
        lambda payment: lambda o: o.refund_late_payment(payment_id=payment, provider="sandbox", at=HOLD_ENDS), PAYMENTS
    ),
    st.just(lambda o: o.cancel(at=NOW)),
    st.builds(lambda at: lambda o: o.expire(at=at), TIMES),
    st.builds(
        lambda ids: lambda o: o.refund(refund_id=REFUND, ticket_ids=ids, reason="no", at=NOW), st.none() | TICKETS
    ),
)
PAID_FOR: list[Decision] = [lambda o: o.pay(payment_id=PAYMENT, provider="sandbox", at=NOW)]
SEQUENCES = st.builds(operator.add, st.sampled_from([PAID_FOR, []]), st.lists(DECISIONS, min_size=4, max_size=25))

PENDING, PAID, PARTLY_REFUNDED = OrderStatus.PENDING, OrderStatus.PAID, OrderStatus.PARTLY_REFUNDED
CANCELLED, EXPIRED, REFUNDED = OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REFUNDED

STEPS = {
    PENDING: {PENDING, PAID, CANCELLED, EXPIRED},
    PAID: {PAID, PARTLY_REFUNDED, REFUNDED},
    PARTLY_REFUNDED: {PARTLY_REFUNDED, REFUNDED},
    REFUNDED: {REFUNDED},
    CANCELLED: {CANCELLED},
    EXPIRED: {EXPIRED},
}


def lives(prices: list[int], sequence: list[Decision]) -> list[Order]:
    """The order after each decision, allowed or not, and a check that refusals changed nothing."""
    order = Order(id=STREAM)
    order.place(placed(*prices))
    states = [deepcopy(order)]
    for decide in sequence:
        try:
            decide(order)
        except Refusal:
            assert order == states[-1]
            assert order.pending == states[-1].pending
        states.append(deepcopy(order))
    return states


@settings(max_examples=200)
@for_all(PRICES, SEQUENCES)
def test_refunds_never_exceed_what_was_paid(prices: list[int], sequence: list[Decision]) -> None:
    order = lives(prices, sequence)[-1]
    paid = sum(fact.amount.amount for fact in order.pending if isinstance(fact, Order.Paid))
    refunds = [fact for fact in order.pending if isinstance(fact, Order.Refunded)]
    assert order.refunded_amount == sum(fact.amount.amount for fact in refunds) <= paid <= order.known_total.amount


@settings(max_examples=200)
@for_all(PRICES, SEQUENCES)
def test_each_ticket_is_refunded_at_most_once_and_at_its_price(prices: list[int], sequence: list[Decision]) -> None:
    order = lives(prices, sequence)[-1]
    refunded = [ticket for fact in order.pending if isinstance(fact, Order.Refunded) for ticket in fact.ticket_ids]
    assert len(refunded) == len(set(refunded))
    price = {line.ticket_id: line.price for line in order.lines}
    assert order.refunded_amount == sum(price[ticket] for ticket in refunded)
    assert (order.status is REFUNDED) == (len(refunded) == len(order.lines))


@settings(max_examples=200)
@for_all(PRICES, SEQUENCES)
def test_an_order_moves_only_forward_and_is_paid_once(prices: list[int], sequence: list[Decision]) -> None:
    states = lives(prices, sequence)
    assert all(after.status in STEPS[before.status] for before, after in pairwise(states))
    assert sum(isinstance(fact, Order.Paid) for fact in states[-1].pending) <= 1
    assert all(
        (order.payment_id is not None) == (order.status in (PAID, PARTLY_REFUNDED, REFUNDED)) for order in states
    )


@settings(max_examples=200)
@for_all(PRICES, SEQUENCES)
def test_each_late_payment_is_sent_back_once(prices: list[int], sequence: list[Decision]) -> None:
    facts = lives(prices, sequence)[-1].pending
    sent_back = [fact.payment_id for fact in facts if isinstance(fact, Order.LatePaymentRefunded)]
    assert len(sent_back) == len(set(sent_back))


@for_all(PRICES, SEQUENCES, st.integers(0, 25))
def test_any_part_of_a_history_folds_into_the_state_of_that_moment(
    prices: list[int], sequence: list[Decision], length: int
) -> None:
    states = lives(prices, sequence)
    then = states[min(length, len(states) - 1)]
    assert Order(id=STREAM).fold(stored(states[-1].pending[: then.version])) == then


# -- Allowances. ---------------------------------------------------------------------------

LIMIT, WINDOW = 6, timedelta(hours=1)
STEP = timedelta(minutes=20)
TAKES = st.lists(
    st.tuples(st.booleans(), st.integers(51, 60).map(numbered), st.integers(1, LIMIT + 1), st.integers(0, 2)),
    max_size=40,
)
"""Whether to take or to give back, for which order, how many, and how many steps of time later."""


@settings(max_examples=200)
@for_all(TAKES, st.booleans())
def test_nobody_ever_has_more_than_the_limit(takes: list[tuple[bool, UUID, int, int]], windowed: bool) -> None:
    window, at = WINDOW if windowed else None, NOW
    allowance = Allowance(id=STREAM)
    for taking, order_id, quantity, steps in takes:
        at += steps * STEP
        try:
            if taking and order_id not in allowance.taken:
                allowance.take(order_id, quantity, limit=LIMIT, window=window, at=at)
            else:
                allowance.give_back(order_id, at=at)
        except Refusal:
            pass
        recent = [count for count, when in allowance.taken.values() if window is None or at - when < window]
        assert sum(recent) <= LIMIT
    assert Allowance(id=STREAM).fold(stored(allowance.pending)) == allowance
