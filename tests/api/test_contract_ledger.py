"""The contract, the ledger itself and what runs it: pages without gaps, the head, health, metrics, the documents."""

from __future__ import annotations

from typing import Any

import pytest

from domain.account import Role
from tests.api.callers import Caller
from tests.api.house import House
from tests.api.scenes import bought, on_sale

MEMBERS = {
    "position",
    "stream_id",
    "stream_type",
    "version",
    "type",
    "at",
    "actor",
    "command_id",
    "correlation_id",
    "causation_id",
    "data",
}


@pytest.fixture
def auditor(house: House) -> Caller:
    return house.person("aud", Role.AUDITOR)


def facts_after(caller: Caller, position: int, *, limit: int = 200) -> list[Any]:
    """Everything recorded since, by asking for what follows the last position seen."""
    facts: list[Any] = []
    while items := caller.get("/v1/ledger/events", {"after": position, "limit": limit}).ok()["items"]:
        facts += items
        position = items[-1]["position"]
    return facts


def test_every_position_is_there_once_and_in_order(
    house: House, auditor: Caller, organizer: Caller, buyer: Caller
) -> None:
    bought(buyer, on_sale(organizer), 3)
    facts = facts_after(auditor, 0, limit=7)
    assert [fact["position"] for fact in facts] == list(range(1, len(facts) + 1))
    assert facts[-1]["position"] >= house.position
    assert [fact["at"] for fact in facts] == sorted(fact["at"] for fact in facts)
    versions: dict[str, int] = {}
    for fact in facts:
        assert fact.keys() == MEMBERS
        assert fact["version"] == versions.get(fact["stream_id"], 0) + 1
        versions[fact["stream_id"]] = fact["version"]


def test_a_fact_says_who_asked_for_what(house: House, auditor: Caller, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    before = house.head
    order = bought(buyer, event, 2)
    streams = {order["order_id"], *(ticket["ticket_id"] for ticket in order["tickets"])}
    facts = [fact for fact in facts_after(auditor, before) if fact["stream_id"] in streams]
    held, paid = facts[:3], facts[3:]
    assert [fact["type"] for fact in held] == ["order.placed", *["ticket.held"] * 2]
    assert [fact["type"] for fact in paid] == ["order.paid", *["ticket.paid"] * 2]
    assert [fact["stream_type"] for fact in held] == ["order", "ticket", "ticket"]
    assert {fact["actor"] for fact in facts} == {buyer.user_id}
    assert [len({fact["command_id"] for fact in asked}) for asked in (held, paid, facts)] == [1, 1, 2]
    assert held[0]["data"]["total"] == order["total"]


def test_a_request_id_becomes_the_correlation_id(house: House, auditor: Caller, organizer: Caller) -> None:
    event_id = on_sale(organizer)["event_id"]
    before = house.head
    organizer.send("POST", f"/v1/events/{event_id}/cancel", {"reason": "Storm"}, {"x-request-id": "trace-7"})
    assert {fact["correlation_id"] for fact in facts_after(auditor, before)} == {"trace-7"}


def test_no_secret_is_ever_in_a_fact(house: House, auditor: Caller) -> None:
    house.person("lars")
    for fact in facts_after(auditor, 0):
        assert "password" not in fact["data"]


def test_the_head_is_the_last_fact(house: House, auditor: Caller, organizer: Caller) -> None:
    position = organizer.post("/v1/events", {}).headers.get("ledger-position")
    assert position is None
    on_sale(organizer)
    head = house.anyone.get("/v1/ledger/head").ok()
    (last,) = auditor.get("/v1/ledger/events", {"after": head["position"] - 1}).ok()["items"][:1]
    assert (last["position"], last["at"]) == (head["position"], head["recorded_at"])


@pytest.mark.parametrize("role", [Role.ANALYST, Role.AUDITOR, Role.ADMIN])
def test_analysts_auditors_and_admins_read_the_ledger(house: House, role: Role) -> None:
    house.person(f"reader-{role}", role).get("/v1/ledger/events").ok()


def test_what_follows_the_end_is_nothing(house: House, auditor: Caller) -> None:
    page = auditor.get("/v1/ledger/events", {"after": 2**62}).ok()
    assert page == {"items": [], "next_cursor": None, "reached": 2**62}


def test_the_process_is_alive_and_ready(house: House) -> None:
    assert house.anyone.get("/healthz").ok() == {"status": "alive"}
    assert house.anyone.get("/readyz").ok()["status"] == "ready"


def test_a_process_without_its_database_is_alive_but_not_ready(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise ConnectionError

    monkeypatch.setattr(house.application, "ledger_head", fail)
    answer = house.anyone.get("/readyz")
    answer.refused(503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    house.anyone.get("/healthz").ok()


def test_the_metrics_are_what_prometheus_reads(house: House, organizer: Caller) -> None:
    on_sale(organizer)
    answer = house.anyone.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    metrics = answer.body.decode()
    assert f"counterfoil_ledger_position {float(house.head)}" in metrics
    assert 'counterfoil_projection_lag_facts{projection="inventory"}' in metrics
    assert "counterfoil_tree_lag_facts " in metrics
    assert 'counterfoil_requests_total{method="POST",route="/v1/events/{event_id}/publish",status="200"}' in metrics


def test_the_contract_is_served_with_its_documentation(house: House) -> None:
    assert house.anyone.get("/openapi.json").ok()["openapi"].startswith("3.1")
    docs = house.anyone.get("/docs")
    assert (docs.status, docs.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "cdn.jsdelivr.net" in docs.headers["content-security-policy"]
