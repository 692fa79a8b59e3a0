"""The contract, resale: what an organiser allows between holders."""

from __future__ import annotations

from uuid import uuid4

import pytest

from domain.account import Role
from tests.api.callers import Caller
from tests.api.house import House
from tests.api.scenes import on_sale

RULES = {"price_max": 9000, "royalty_basis_points": 500, "direct_transfers": True}
NO_RULES = {"price_max": None, "royalty_basis_points": 0, "direct_transfers": False}


def test_an_organiser_sets_the_resale_rules(organizer: Caller, other: Caller) -> None:
    event = on_sale(organizer)
    path = f"/v1/events/{event['event_id']}"
    assert event["resale_rules"] == NO_RULES
    changed = organizer.put(f"{path}/resale-rules", RULES).ok()
    assert (changed["resale_rules"], changed["version"]) == (RULES, event["version"] + 1)
    assert organizer.get(path).ok() == changed
    assert organizer.get(path, {"as_of": organizer.house.position - 1}).ok()["resale_rules"] == NO_RULES
    assert organizer.get("/v1/events", {"query": "Strings", "limit": 200}).ok()["items"].count(changed) == 1
    versions = organizer.get(f"{path}/history").ok()["items"]
    assert [version["event"]["resale_rules"] for version in versions[-2:]] == [NO_RULES, RULES]
    other.put(f"{path}/resale-rules", RULES).refused(404, "not-found")
    assert organizer.put(f"{path}/resale-rules", {}).ok()["resale_rules"] == NO_RULES
    organizer.post(f"{path}/cancel", {"reason": "Storm"}).ok()
    organizer.put(f"{path}/resale-rules", RULES).refused(409, "event-over")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("price_max", value) for value in (-1, 10**10 + 1, 90.5, "9000", True, [1])),
        *(("royalty_basis_points", value) for value in (-1, 10_001, 0.5, "500", True, None)),
        *(("direct_transfers", value) for value in (1, "yes", None)),
        ("currency", "EUR"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(organizer: Caller, name: str, value: object) -> None:
    organizer.put(f"/v1/events/{uuid4()}/resale-rules", {name: value}).invalid(f"/{name}")


def test_only_organisers_set_rules(house: House) -> None:
    path = f"/v1/events/{uuid4()}/resale-rules"
    house.person("gina", Role.GATE).put(path, RULES).refused(403, "forbidden")
