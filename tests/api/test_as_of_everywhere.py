"""Whatever is derived from the ledger can be asked for as of then; what cannot is listed here, and says why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from commands.reconciliation import CompleteReconciliation, RequestReconciliation
from domain.account import Role
from domain.reconciliation import Reconciliation
from tests.api.callers import Caller
from tests.api.chain_scene import CHAIN_ID, CONTRACT, TOKEN, mirrored, report
from tests.api.house import House, fresh_database, unserved_app
from tests.api.scenes import bought, on_sale

PATHS: dict[str, Any] = unserved_app().openapi()["paths"]
READS = {path: methods["get"] for path, methods in PATHS.items() if path.startswith("/v1/") and "get" in methods}
NOT_DERIVED = {
    "/v1/me/export": "what is kept about somebody now; the facts in it say what was",
    "/v1/chain/status": "what was last seen of the chains, which the ledger does not record",
    "/v1/tickets/{ticket_id}/chain": "as the chains have it at the block that was last seen",
    "/v1/ledger/keys": "each key says from when to when it signed",
    "/v1/ledger/proofs/inclusion": "`tree_size` says as of when",
    "/v1/ledger/proofs/consistency": "`from` and `to` say as of when",
    "/v1/tickets/{ticket_id}/code": "admits now; one of the past admits nobody",
    "/v1/tickets/{ticket_id}/code.png": "admits now; one of the past admits nobody",
    "/v1/tickets/{ticket_id}/code.svg": "admits now; one of the past admits nobody",
}


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    with fresh_database(postgres) as url, House(url, timekeeper=False) as house:
        yield house


@pytest.fixture
def auditor(house: House) -> Caller:
    return house.person("aud", Role.AUDITOR)


@pytest.mark.parametrize("path", READS)
def test_whatever_is_read_can_be_asked_for_as_of_then(path: str) -> None:
    asked = {parameter["name"] for parameter in READS[path].get("parameters", [])}
    assert ("as_of" in asked) is not (path in NOT_DERIVED)


def test_what_is_listed_as_not_derived_is_there() -> None:
    assert NOT_DERIVED.keys() <= READS.keys()


def test_a_reconciliation_is_listed_and_shown_as_it_was(house: House, auditor: Caller) -> None:
    path = "/v1/chain/reconciliations"
    before = house.head
    asked: Reconciliation = house.run(
        house.application.execute(
            RequestReconciliation(chain_id=CHAIN_ID, contract=CONTRACT, repair=False, by="system:test"),
            actor="system:test",
        )
    )
    requested = house.position = house.head
    listed_then, shown_then = auditor.get(path).ok(), auditor.get(f"{path}/{asked.id}").ok()
    done = CompleteReconciliation(reconciliation_id=asked.id, report=report())
    house.run(house.application.execute(done, actor="system:test"))
    house.position = house.head
    assert listed_then["items"][0]["status"] == "requested"
    assert auditor.get(path).ok()["items"][0]["status"] == "completed"
    assert auditor.get(path, {"as_of": requested}).ok() == listed_then
    assert auditor.get(f"{path}/{asked.id}", {"as_of": requested}).ok() == shown_then
    assert auditor.get(path, {"as_of": house.head}).ok() == auditor.get(path).ok()
    assert auditor.get(path, {"as_of": before}).ok()["items"] == []
    auditor.get(f"{path}/{asked.id}", {"as_of": before}).refused(404, "not-found")
    for form in ("json", "csv"):
        auditor.get(f"{path}/{asked.id}/report.{form}", {"as_of": requested}).refused(404, "not-found")
        assert auditor.get(f"{path}/{asked.id}/report.{form}", {"as_of": house.head}).status == 200


def test_a_tokens_metadata_are_those_of_the_ticket_as_it_was(house: House) -> None:
    organizer, buyer = house.person("olga", Role.ATTENDEE, Role.ORGANIZER), house.person("bea")
    before = house.head
    event = on_sale(organizer)
    ticket_id = bought(buyer, event, 1)["tickets"][0]["ticket_id"]
    mirrored(house, ticket_id)
    then = house.head
    path = f"/v1/chains/{CHAIN_ID}/tokens/{TOKEN}"
    metadata = house.anyone.get(path).ok()
    organizer.post(f"/v1/tickets/{ticket_id}/revoke", {"reason": "Fraud"}).ok()
    assert house.anyone.get(path).ok() != metadata
    assert house.anyone.get(path, {"as_of": then}).ok() == metadata
    house.anyone.get(path, {"as_of": before}).refused(404, "not-found")


def test_the_head_as_of_then_is_of_nothing_later(house: House, auditor: Caller) -> None:
    buyer, organizer = house.person("bea"), house.person("olga", Role.ATTENDEE, Role.ORGANIZER)
    event = on_sale(organizer)
    for _ in range(3):
        bought(buyer, event, 1)
        covered = str(house.head)
        house.anyone.send("GET", "/v1/ledger/head", headers={"ledger-position": covered}).ok()
    facts = auditor.get("/v1/ledger/events", {"limit": 200}).ok()["items"]
    heads = house.anyone.get("/v1/ledger/heads", {"limit": 200}).ok()["items"]
    assert len({head["tree_size"] for head in heads}) >= 3
    for fact in facts[:: max(1, len(facts) // 20)]:
        position = fact["position"]
        signed_by_then = [head for head in heads if head["tree_size"] <= position]
        for as_of in (position, fact["at"]):
            head = house.anyone.get("/v1/ledger/head", {"as_of": as_of}).ok()
            last = next(f for f in facts if f["position"] == head["position"])
            assert (head["recorded_at"], head["position"] >= position) == (last["at"], True)
            assert head["tree_size"] <= head["position"]
        head = house.anyone.get("/v1/ledger/head", {"as_of": position}).ok()
        assert head["position"] == position
        if signed_by_then:
            assert head["signature"] == signed_by_then[-1]["signature"]
        else:
            assert head["tree_size"] == 0, "that of the empty tree is not listed"
        listed = house.anyone.get("/v1/ledger/heads", {"as_of": position, "limit": 200}).ok()["items"]
        assert listed == signed_by_then
    nothing = house.anyone.get("/v1/ledger/head", {"as_of": 0}).ok()
    assert (nothing["position"], nothing["recorded_at"], nothing["tree_size"]) == (0, None, 0)


def test_a_tickets_proof_ends_with_what_had_happened_by_then(house: House) -> None:
    organizer, buyer = house.person("olga", Role.ATTENDEE, Role.ORGANIZER), house.person("bea")
    ticket_id = bought(buyer, on_sale(organizer), 1)["tickets"][0]["ticket_id"]
    then = house.head
    buyer.post(f"/v1/tickets/{UUID(ticket_id)}/claim", {"attendee_name": "Ada"}).ok()
    path = f"/v1/tickets/{ticket_id}/proof"
    now, as_it_was = buyer.get(path).ok(), buyer.get(path, {"as_of": then}).ok()
    assert [fact["topic"] for fact in now["facts"]][:-1] == [fact["topic"] for fact in as_it_was["facts"]]
    assert all(fact["position"] <= then for fact in as_it_was["facts"])
    assert now["facts"][-1]["position"] > then
