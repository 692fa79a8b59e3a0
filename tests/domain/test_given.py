"""The harness itself: a sentence that is not true fails."""

from __future__ import annotations

import pytest

from domain.order import OrderNotPendingError
from domain.ticket import Ticket
from domain.ticket_refusals import NotPaidError, SeatTakenError
from tests.domain.happening import HOLD_ENDS, NOW
from tests.domain.ticket_facts import HELD, PAID, RELEASED, held
from tests.given import folded, given


class Careless(Ticket):
    """Whose decisions break the rules that every sentence checks."""

    def change_and_refuse(self) -> None:
        self.price += 1
        raise NotPaidError

    def record_and_refuse(self) -> None:
        self.record(PAID)
        raise NotPaidError

    def change_without_a_fact(self) -> None:
        self.record(PAID)
        self.gate = "North"


def test_a_decision_that_recorded_something_else_fails() -> None:
    outcome = given(Ticket, HELD).when(lambda ticket: ticket.pay(at=NOW))
    for wrong in (
        (),
        (HELD,),
        (PAID, PAID),
        (Ticket.Paid(event_id=HELD.event_id, tier_id=HELD.tier_id, at=HOLD_ENDS),),
    ):
        with pytest.raises(AssertionError):
            outcome.then(*wrong)


def test_a_refusal_is_no_decision() -> None:
    outcome = given(Ticket, HELD).when(lambda ticket: ticket.hold(held()))
    with pytest.raises(AssertionError, match="SeatTakenError"):
        outcome.then_nothing()


def test_another_refusal_fails_and_so_does_none() -> None:
    with pytest.raises(AssertionError):
        given(Ticket, HELD).when(lambda ticket: ticket.hold(held())).then_refused(OrderNotPendingError)
    with pytest.raises(AssertionError):
        given(Ticket).when(lambda ticket: ticket.hold(held())).then_refused(SeatTakenError)


def test_a_refusal_that_changed_or_recorded_something_fails() -> None:
    with pytest.raises(AssertionError):
        given(Careless, HELD).when(Careless.change_and_refuse).then_refused(NotPaidError)
    with pytest.raises(AssertionError):
        given(Careless, HELD).when(Careless.record_and_refuse).then_refused(NotPaidError)


def test_a_state_that_its_facts_do_not_give_fails() -> None:
    with pytest.raises(AssertionError):
        given(Careless, HELD).when(Careless.change_without_a_fact).then(PAID)


def test_a_refusal_that_tells_something_else_fails() -> None:
    outcome = given(Ticket, HELD).when(lambda ticket: ticket.hold(held()))
    with pytest.raises(AssertionError):
        outcome.then_refused(SeatTakenError, gate="North")


def test_an_error_that_is_no_refusal_is_not_swallowed() -> None:
    with pytest.raises(TypeError):
        given(Ticket).when(lambda _: len(7))  # type: ignore[arg-type]


def test_history_counts_as_versions() -> None:
    assert folded(Ticket).version == 0
    assert folded(Ticket, HELD, RELEASED, HELD).version == 3
