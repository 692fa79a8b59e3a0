"""Where the organiser limits it, one buyer has so many tickets of an event and no more."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from domain.allowance import Allowance, LimitExceededError, allowance_id
from tests.domain.happening import BUYER, EVENT, FRIEND, MOMENT, NOW, ORDER, numbered
from tests.given import folded, given

HOUR = timedelta(hours=1)
OTHER_ORDER = numbered(98)


def taken(quantity: int, *, order_id: UUID = ORDER) -> Allowance.Taken:
    return Allowance.Taken(order_id=order_id, quantity=quantity, at=NOW)


RETURNED = Allowance.Returned(order_id=ORDER, at=NOW)


def test_a_buyer_may_take_up_to_the_limit_at_once() -> None:
    given(Allowance).when(lambda mine: mine.take(ORDER, 4, limit=4, window=None, at=NOW)).then(taken(4))


def test_or_one_order_after_the_other() -> None:
    (
        given(Allowance, taken(3))
        .when(lambda mine: mine.take(OTHER_ORDER, 1, limit=4, window=None, at=NOW))
        .then(taken(1, order_id=OTHER_ORDER))
    )


def test_not_one_more() -> None:
    (
        given(Allowance, taken(3))
        .when(lambda mine: mine.take(OTHER_ORDER, 2, limit=4, window=None, at=NOW))
        .then_refused(LimitExceededError, limit=4, used=3)
    )
    given(Allowance).when(lambda mine: mine.take(ORDER, 5, limit=4, window=None, at=NOW)).then_refused(
        LimitExceededError
    )


def test_a_limit_that_was_lowered_counts_what_was_taken_before() -> None:
    (
        given(Allowance, taken(4))
        .when(lambda mine: mine.take(OTHER_ORDER, 1, limit=2, window=None, at=NOW))
        .then_refused(LimitExceededError, limit=2, used=4)
    )


def test_with_a_window_only_recent_tickets_count() -> None:
    again = NOW + HOUR
    fact = Allowance.Taken(order_id=OTHER_ORDER, quantity=4, at=again)
    (given(Allowance, taken(4)).when(lambda mine: mine.take(OTHER_ORDER, 4, limit=4, window=HOUR, at=again)).then(fact))
    (
        given(Allowance, taken(4))
        .when(lambda mine: mine.take(OTHER_ORDER, 1, limit=4, window=HOUR, at=again - MOMENT))
        .then_refused(LimitExceededError)
    )


def test_what_an_order_let_go_may_be_taken_again() -> None:
    given(Allowance, taken(4)).when(lambda mine: mine.give_back(ORDER, at=NOW)).then(RETURNED)
    (
        given(Allowance, taken(4), RETURNED)
        .when(lambda mine: mine.take(OTHER_ORDER, 4, limit=4, window=None, at=NOW))
        .then(taken(4, order_id=OTHER_ORDER))
    )


def test_giving_back_twice_or_what_was_never_taken_adds_nothing() -> None:
    given(Allowance, taken(4), RETURNED).when(lambda mine: mine.give_back(ORDER, at=NOW)).then_nothing()
    given(Allowance, taken(4)).when(lambda mine: mine.give_back(OTHER_ORDER, at=NOW)).then_nothing()


def test_each_buyer_of_each_event_has_an_allowance_of_their_own() -> None:
    ids = {allowance_id(event, buyer) for event in (EVENT, numbered(97)) for buyer in (BUYER, FRIEND)}
    assert len(ids) == 4
    assert allowance_id(EVENT, BUYER) in ids


def test_the_state_says_which_order_took_how_many_and_when() -> None:
    assert folded(Allowance, taken(3), taken(1, order_id=OTHER_ORDER)).taken == {ORDER: (3, NOW), OTHER_ORDER: (1, NOW)}
