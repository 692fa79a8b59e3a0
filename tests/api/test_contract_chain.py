"""The contract, chains: how far the mirror is, a ticket as a contract has it, reconciliations and their files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from domain.account import Role
from tests.api.callers import Caller
from tests.api.chain_scene import CHAIN_ID, CONTRACT, TOKEN, mirrored, reconciled
from tests.api.house import House, fresh_database
from tests.api.scenes import on_sale, ticket_of

WALLET = "0x" + "1a" * 20


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    """One whose chain is what these tests say it is."""
    with fresh_database(postgres) as url, House(url) as house:
        yield house


@pytest.fixture
def auditor(house: House) -> Caller:
    return house.person("aud", Role.AUDITOR)


@pytest.fixture
def event(organizer: Caller) -> Any:
    return on_sale(organizer)


@pytest.fixture
def ticket(buyer: Caller, event: Any) -> str:
    return ticket_of(buyer, event)


def test_without_a_chain_there_is_nothing_to_say(house: House, buyer: Caller, auditor: Caller, ticket: str) -> None:
    with psycopg.connect(house.database_url, autocommit=True) as conn:
        conn.execute("delete from chain.deployments")
    assert buyer.get("/v1/chain/status").ok()["chains"] == []
    assert buyer.get(f"/v1/tickets/{ticket}").ok()["chain"] is None
    assert buyer.get(f"/v1/tickets/{ticket}/chain").ok() == {"ticket_id": ticket, "tokens": []}
    auditor.post("/v1/chain/reconciliations", {}).refused(422, "invalid")


def test_the_status_says_how_far_the_mirror_is(house: House, buyer: Caller, ticket: str) -> None:
    mirrored(house, ticket)
    status = buyer.get("/v1/chain/status").ok()
    (chain,) = status["chains"]
    assert status["ledger_position"] == chain["ledger_position"] == house.head
    assert (chain["chain_id"], chain["contract"]) == (CHAIN_ID, CONTRACT)
    assert chain["finalized_position"] <= chain["mined_position"] <= chain["mirrored_position"] <= house.head
    assert chain["lag_events"] > 0
    assert chain["lag_seconds"] > 0
    assert chain["balance"] == "12345678901234567890"
    assert (chain["pending_transactions"], chain["skipped_operations"], chain["problem"]) == (0, 0, None)


@pytest.mark.parametrize("wallet", [None, WALLET])
def test_a_ticket_says_what_a_contract_has_of_it(house: House, buyer: Caller, ticket: str, wallet: str | None) -> None:
    mirrored(house, ticket, wallet=wallet)
    (token,) = buyer.get(f"/v1/tickets/{ticket}/chain").ok()["tokens"]
    assert (token["token_id"], token["owner"], token["in_custody"]) == (str(TOKEN), wallet or CONTRACT, wallet is None)
    assert (token["finality"], token["transaction"], token["block_number"]) == ("finalized", "0x" + "ab" * 32, 5)
    on_ticket = buyer.get(f"/v1/tickets/{ticket}").ok()["chain"]
    assert on_ticket == {name: token[name] for name in on_ticket}


def test_what_a_ticket_was_says_nothing_of_what_a_chain_has_now(house: House, buyer: Caller, ticket: str) -> None:
    mirrored(house, ticket)
    assert buyer.get(f"/v1/tickets/{ticket}", {"as_of": house.head}).ok()["chain"] is None


def test_a_token_has_metadata_that_names_nobody(house: House, buyer: Caller, event: Any, ticket: str) -> None:
    mirrored(house, ticket)
    metadata = house.anyone.get(f"/v1/chains/{CHAIN_ID}/tokens/{TOKEN}").ok()
    assert metadata["name"] == event["title"]
    assert {"trait_type": "Status", "value": "paid"} in metadata["attributes"]
    assert buyer.user_id not in str(metadata)
    house.anyone.get(f"/v1/chains/{CHAIN_ID}/tokens/{TOKEN + 1}").refused(404, "not-found")
    house.anyone.get(f"/v1/chains/1/tokens/{TOKEN}").refused(404, "not-found")


def test_a_reconciliation_is_asked_for_once_and_waits(house: House, auditor: Caller, ticket: str) -> None:
    mirrored(house, ticket)
    key = uuid4().hex
    asked = auditor.post("/v1/chain/reconciliations", {"chain_id": CHAIN_ID}, key=key).ok(202)
    again = auditor.post("/v1/chain/reconciliations", {"chain_id": CHAIN_ID}, key=key).ok(202)
    assert again == asked
    assert (asked["status"], asked["report"], asked["requested_by"]) == ("requested", None, auditor.user_id)
    one = f"/v1/chain/reconciliations/{asked['reconciliation_id']}"
    assert auditor.get(one).ok() == asked
    auditor.get(f"{one}/report.json").refused(404, "not-found")
    auditor.get(f"{one}/report.csv").refused(404, "not-found")
    auditor.post("/v1/chain/reconciliations", {"chain_id": 1}).refused(422, "invalid")


def test_only_an_admin_may_have_it_repaired(house: House, auditor: Caller, buyer: Caller, ticket: str) -> None:
    mirrored(house, ticket)
    auditor.post("/v1/chain/reconciliations", {"repair": True}).refused(403, "forbidden")
    buyer.post("/v1/chain/reconciliations", {}).refused(403, "forbidden")
    assert house.admin.post("/v1/chain/reconciliations", {"repair": True}).ok(202)["repair"]


def test_a_report_can_be_kept(house: House, auditor: Caller, ticket: str) -> None:
    mirrored(house, ticket)
    one = f"/v1/chain/reconciliations/{reconciled(house)}"
    found = auditor.get(one).ok()
    assert (found["status"], found["clean"], found["unexplained"]) == ("completed", False, 1)
    assert auditor.get(f"{one}/report.json").ok()["report"] == found["report"]
    answer = auditor.get(f"{one}/report.csv")
    heading, row = list(csv.reader(answer.body.decode().splitlines()))
    assert dict(zip(heading, row, strict=True))["kind"] == "mismatching"
    assert row[-1].startswith("'="), "no spreadsheet is to run it"
    listed = auditor.get("/v1/chain/reconciliations").ok()["items"]
    assert listed[0]["reconciliation_id"] == found["reconciliation_id"]
    assert listed[0]["clean"] is False
