"""Rules as people write them: what they may say, and on which line they cannot be meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from commands.what_if_rules import Changes, Limits, Rules, RulesError, read_rules
from domain.event import Event
from tests.domain.event_facts import drafted, tier_added
from tests.domain.happening import EVENT, OTHER_TIER, TIER, numbered

FULL = f"""
event_ids = ["{EVENT}"]

[limits]
max_tickets_per_order = 4
max_tickets_per_buyer = "none"
buyer_window_seconds = 86_400
tiers = {{ Stalls = "none", "{TIER}" = 2 }}

[holds]
seconds = 300

[prices]
"*" = {{ factor = 1.1 }}
Stalls = 5000

[events."{EVENT}".holds]
seconds = 60

[events."{EVENT}".prices]
"{TIER}" = {{ factor = 2 }}
"""


def changed(rules: str, fact: Event.Drafted | Event.TierAdded, event_id: object = EVENT) -> dict[str, object]:
    """The fields of the fact, or of its details, that differ."""
    found = Changes(read_rules(rules)).change(EVENT, fact)
    before, after = (each.details if isinstance(each, Event.Drafted) else each for each in (fact, found))
    return {name: value for name, value in dict(after).items() if getattr(before, name) != value}


def test_nothing_said_is_nothing_changed() -> None:
    assert changed("", drafted(max_tickets_per_buyer=3)) == {}
    assert changed("", tier_added()) == {}


def test_what_can_be_said_of_an_event_and_the_event_before_all() -> None:
    assert changed(FULL, drafted(max_tickets_per_buyer=3)) == {
        "max_tickets_per_order": 4,
        "max_tickets_per_buyer": None,
        "buyer_window_seconds": 86_400,
        "hold_seconds": 60,
    }
    details = drafted().details
    fact = Event.DetailsChanged(details=details, at=drafted().at)
    found = Changes(read_rules("[holds]\nseconds = 1")).change(EVENT, fact)
    assert isinstance(found, Event.DetailsChanged)
    assert found.details.hold_seconds == 1


def test_the_most_exact_name_of_a_tier_has_the_last_word() -> None:
    assert changed(FULL, tier_added(price=4_500)) == {"price": 9_000, "max_tickets_per_order": 2}
    assert changed(FULL, tier_added(OTHER_TIER, price=4_500, max_tickets_per_order=3)) == {
        "price": 5_000,
        "max_tickets_per_order": None,
    }
    assert changed('[prices]\n"*" = 1\nBalcony = 2', tier_added()) == {"price": 1}


@pytest.mark.parametrize(
    ("factor", "price", "wanted"), [("1.5", 3, 5), ("0.5", 1, 1), ("0.1", 4, 0), ("1.1", 30, 33), ("0.07", 100, 7)]
)
def test_a_factor_is_reckoned_in_decimals_and_halves_go_up(factor: str, price: int, wanted: int) -> None:
    rules = Changes(read_rules(f'[prices]\n"*" = {{ factor = {factor} }}'))
    found = rules.change(EVENT, tier_added(price=price))
    assert isinstance(found, Event.TierAdded)
    assert found.price == wanted


def test_only_the_events_that_are_named_are_concerned() -> None:
    assert Changes(read_rules(FULL)).concerns(EVENT)
    assert not Changes(read_rules(FULL)).concerns(numbered(77))
    assert Changes(read_rules("")).concerns(numbered(77))


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("[limits]\n\nmax_ticket_per_order = 1", 3, "limits.max_ticket_per_order: there is no such rule"),
        ("# all\n[limit]\nx = 1", 2, "limit: there is no such rule"),
        ("[limits]\nmax_tickets_per_order = 0", 2, "greater than or equal to 1"),
        ("[limits]\nmax_tickets_per_order = 101", 2, "less than or equal to 100"),
        ("[limits]\nmax_tickets_per_order = '4'", 2, "valid integer"),
        ("[limits]\nmax_tickets_per_order = 'none'", 2, "valid integer"),
        ("[limits]\nmax_tickets_per_buyer = 'no'", 2, "valid integer"),
        ("[limits]\nmax_tickets_per_buyer = true", 2, "valid integer"),
        ("[limits.tiers]\n'a = b' = 0", 2, "limits.tiers.a = b: Input should be greater"),
        ("[holds]\nseconds = 1.5", 2, "valid integer"),
        ("[holds]", 1, "holds: Field required"),
        ("[prices]\nx = -1", 2, "prices.x: Input should be greater"),
        ("[prices]\nx = 1.5", 2, "prices.x: Input should be a valid integer"),
        ("[prices]\ny = 1\nx = { factor = 0 }", 3, "prices.x.factor: Input should be greater than 0"),
        ("[prices]\nx = { factor = nan }", 2, "finite"),
        ("[prices]\nx = { factr = 1 }", 2, "prices.x.factr: there is no such rule"),
        ("[prices.x]\nfactor = 1001", 2, "less than or equal to 1000"),
        ("prices.x = -1", 1, "greater"),
        ("event_ids = []", 1, "at least 1"),
        ("event_ids = [\n  'x'\n]", 1, "valid UUID"),
        ("[holds]\nseconds = 1\n[events.nobody.holds]\nseconds = 1", 3, "events.nobody: Input should be a valid UUID"),
        (f"[events.'{EVENT}']\nevents = 1", 2, "there is no such rule"),
        ("[holds]\nseconds = 1\nseconds = 2\n[limits]", 3, "overwrite"),
        ("[holds\n", 1, "Expected ']'"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_line(text: str, line: int, what: str) -> None:
    with pytest.raises(RulesError) as refused:
        read_rules(text)
    assert what in str(refused.value)
    assert f"line {line}" in str(refused.value)


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(RulesError, match=r"line 1: a: .*; line 2: b: "):
        read_rules("a = 1\nb = 2")


def test_the_rules_of_the_documentation_are_rules() -> None:
    page = (Path(__file__).parents[2] / "docs" / "what-if.md").read_text(encoding="utf-8")
    first, *_ = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    rules = read_rules(first)
    assert rules.model_fields_set == set(Rules.model_fields)
    assert rules.limits.model_fields_set == set(Limits.model_fields)
