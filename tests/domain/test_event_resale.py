"""What an organiser allows between holders: set, changed and kept until the event is over."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from domain.event import NO_RULES, Event, EventOverError
from domain.kernel import Fact
from domain.money import PRICE_MAX
from domain.resale import ROYALTY_BASIS_POINTS_MAX, ResaleRules
from tests.domain.event_facts import ARCHIVED, DRAFT, ENDED, ON_SALE, WENT_LIVE, cancelled
from tests.domain.happening import NOW
from tests.given import folded, given

STRICT = ResaleRules(price_max=9000, royalty_basis_points=500, direct_transfers=True)
SET = Event.ResaleRulesSet(rules=STRICT, at=NOW)


def test_without_rules_any_price_will_do_and_nobody_transfers_on_the_chain() -> None:
    assert folded(Event, *ON_SALE).resale_rules == ResaleRules() == NO_RULES
    assert (NO_RULES.price_max, NO_RULES.royalty_basis_points, NO_RULES.direct_transfers) == (None, 0, False)


@pytest.mark.parametrize("history", [DRAFT, ON_SALE, (*ON_SALE, WENT_LIVE)])
def test_rules_can_be_set_until_the_event_is_over(history: tuple[Fact, ...]) -> None:
    given(Event, *history).when(lambda event: event.set_resale_rules(STRICT, at=NOW)).then(SET)
    assert folded(Event, *history, SET).resale_rules == STRICT


@pytest.mark.parametrize("end", [(WENT_LIVE, ENDED), (WENT_LIVE, ENDED, ARCHIVED), (cancelled(),)])
def test_the_rules_of_what_is_over_stay_as_they_were(end: tuple[Fact, ...]) -> None:
    (
        given(Event, *ON_SALE, SET, *end)
        .when(lambda event: event.set_resale_rules(NO_RULES, at=NOW))
        .then_refused(EventOverError)
    )


@pytest.mark.parametrize(("history", "rules"), [(ON_SALE, NO_RULES), ((*ON_SALE, SET), STRICT)])
def test_setting_the_same_rules_adds_nothing(history: tuple[Fact, ...], rules: ResaleRules) -> None:
    given(Event, *history).when(lambda event: event.set_resale_rules(rules, at=NOW)).then_nothing()


@pytest.mark.parametrize(
    "rules",
    [
        {"price_max": -1},
        {"price_max": PRICE_MAX + 1},
        {"price_max": 90.5},
        {"royalty_basis_points": -1},
        {"royalty_basis_points": ROYALTY_BASIS_POINTS_MAX + 1},
        {"royalty_basis_points": True},
        {"direct_transfers": 1},
    ],
    ids=str,
)
def test_rules_that_cannot_be_meant_are_none(rules: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ResaleRules.model_validate(rules)
