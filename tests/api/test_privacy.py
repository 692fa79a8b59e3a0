"""Taking one's data away, and being forgotten: over HTTP, in every answer that could say who somebody was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from adapters.linked_wallets import LedgerLinkedWallets
from adapters.positions import Positions
from api import privacy
from domain.account import Account, Role
from domain.wallet import Wallet, wallet_stream
from tests.api.callers import Caller
from tests.api.house import PASSWORD, House, fresh_database
from tests.api.scenes import bought, linked_wallet, on_sale, ordered, ticket_of
from tests.signer import new_signer

NAME = "Wilhelmina Featherstonehaugh"
ATTENDEE = "Bartholomew Cholmondeley"


def name_of(email: str) -> str:
    return f"Wilhelmina {email.split('@', maxsplit=1)[0]}"


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    with fresh_database(postgres) as url, House(url) as house:
        yield house


@pytest.fixture
def person(house: House) -> Caller:
    """Somebody whom nobody will miss."""
    return registered(house)


def registered(house: House) -> Caller:
    email = f"wilhelmina.{uuid4().hex}@featherstonehaugh.test"
    house.anyone.post("/v1/auth/register", {"email": email, "password": PASSWORD, "name": name_of(email)}).ok(201)
    return house.log_in(email)


@pytest.fixture
def auditor(house: House) -> Caller:
    return house.person("aud", Role.AUDITOR)


def test_people_can_take_away_everything_about_them(house: House, person: Caller, organizer: Caller) -> None:
    event = on_sale(organizer)
    ticket = ticket_of(person, event)
    person.post(f"/v1/tickets/{ticket}/claim", {"attendee_name": ATTENDEE}).ok()
    pending = ordered(person, event)
    wallet = linked_wallet(person, new_signer())
    export = person.get("/v1/me/export").ok()
    assert export["account"]["email"] == person.email
    assert export["account"]["name"] == name_of(person.email)
    assert [linked["address"] for linked in export["wallets"]] == [wallet.address]
    assert pending["order_id"] in [order["order_id"] for order in export["orders"]]
    held = {one["ticket_id"]: one for one in export["tickets"]}
    assert held[ticket]["attendee_name"] == ATTENDEE
    types = {fact["type"] for fact in export["facts"]}
    assert {
        "account.registered",
        "email.claimed",
        "wallet.linked",
        "order.placed",
        "ticket.held",
        "ticket.claimed",
    } <= types
    (proof,) = [fact["data"]["message"] for fact in export["facts"] if fact["type"] == "wallet.linked"]
    assert wallet.address in proof.lower()
    assert export["position"] == house.head


def test_the_export_holds_nothing_of_others(person: Caller, buyer: Caller, organizer: Caller) -> None:
    event = on_sale(organizer)
    ticket = ticket_of(buyer, event)
    buyer.post(f"/v1/tickets/{ticket}/claim", {"attendee_name": "Somebody else"}).ok()
    buyer.post(f"/v1/tickets/{ticket}/transfer", {"to": person.email}).ok()
    export = person.get("/v1/me/export").ok()
    assert [one["ticket_id"] for one in export["tickets"]] == [ticket]
    assert "Somebody else" not in str(export)
    assert buyer.email not in str(export)


def test_a_ticket_that_was_received_and_passed_on_is_told_of_while_it_was_the_callers(
    person: Caller, buyer: Caller, other: Caller, organizer: Caller
) -> None:
    ticket = ticket_of(buyer, on_sale(organizer))
    for holder, name, to in ((buyer, "Before Me", person), (person, ATTENDEE, other), (other, "After Me", buyer)):
        holder.post(f"/v1/tickets/{ticket}/claim", {"attendee_name": name}).ok()
        holder.post(f"/v1/tickets/{ticket}/transfer", {"to": to.email}).ok()
    export = person.get("/v1/me/export").ok()
    assert export["tickets"] == []
    told = [fact for fact in export["facts"] if fact["stream_id"] == ticket]
    assert [fact["type"] for fact in told] == ["ticket.transferred", "ticket.claimed", "ticket.transferred"]
    assert told[1]["data"]["attendee_name"] == ATTENDEE
    assert (told[0]["data"]["to"], told[2]["data"]["from_id"]) == (person.user_id, person.user_id)
    for name in ("Before Me", "After Me"):
        assert name not in str(export)


def test_what_happens_to_a_ticket_while_it_is_the_callers_is_told_whoever_did_it(
    person: Caller, organizer: Caller
) -> None:
    ticket = ticket_of(person, on_sale(organizer))
    organizer.post(f"/v1/tickets/{ticket}/revoke", {"reason": "a duplicate"}).ok()
    told = [fact for fact in person.get("/v1/me/export").ok()["facts"] if fact["stream_id"] == ticket]
    assert [fact["type"] for fact in told] == ["ticket.held", "ticket.paid", "ticket.cancelled"]


def test_a_wallet_is_told_of_to_each_who_had_it_and_only_what_was_theirs(house: House, person: Caller) -> None:
    """The second has nothing of the first: neither who it was, nor what they signed; and the first has what they undid."""
    wallet, second = linked_wallet(person, new_signer()), registered(house)
    person.delete(f"/v1/wallets/{wallet.address}")
    linked_wallet(second, wallet)
    for owner, types in ((person, ["wallet.linked", "wallet.unlinked"]), (second, ["wallet.linked"])):
        export = owner.get("/v1/me/export").ok()
        told = [fact for fact in export["facts"] if fact["type"].startswith("wallet.")]
        assert [fact["type"] for fact in told] == types
        assert {fact["data"]["account_id"] for fact in told} == {owner.user_id}
        assert [linked["address"] for linked in export["wallets"]] == ([wallet.address] if owner is second else [])
    assert person.user_id not in str(second.get("/v1/me/export").ok())
    assert second.user_id not in str(person.get("/v1/me/export").ok())


def test_a_long_stream_is_told_whole_or_not_at_all(
    house: House, person: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = 1_200

    async def change_roles() -> None:
        ledger = house.application.system_ledger("SetRoles")
        account = await ledger.load(Account, UUID(person.user_id))
        for number in range(changes):
            role = Role.GATE if number % 2 == 0 else Role.ATTENDEE
            account.set_roles(frozenset({role}), by=None, at=house.application.clock())
        await ledger.append(account)

    house.run(change_roles())
    told = [fact for fact in person.get("/v1/me/export").ok()["facts"] if fact["stream_id"] == person.user_id]
    assert [fact["version"] for fact in told] == list(range(1, changes + 2))
    monkeypatch.setattr(privacy, "ROWS_MAX", changes // 2)
    person.get("/v1/me/export").refused(503, "unavailable")


def test_an_erasure_unlinks_a_wallet_that_the_views_have_not_heard_of(
    house: House, person: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it were linked after the request had looked which there are."""
    wallet = linked_wallet(person, new_signer())
    linked = LedgerLinkedWallets(NoViews(), Positions("these views have"), house.application._reader)
    assert house.run(linked.of(UUID(person.user_id))) == {wallet.address}

    async def none_yet(*_: object) -> list[Wallet]:
        return []

    monkeypatch.setattr(privacy, "_linked", none_yet)
    assert person.delete("/v1/me").status == 204
    (now,) = house.run(house.application.store.load(Wallet, [wallet_stream(wallet.address)]))
    assert now.account_id is None


class NoViews:
    async def fetch(self, sql: str, params: object) -> list[tuple[Any, ...]]:
        return []


def test_who_is_erased_is_nowhere_named(
    house: House, person: Caller, organizer: Caller, auditor: Caller, buyer: Caller
) -> None:
    event = on_sale(organizer)
    ticket = ticket_of(person, event)
    key = uuid4().hex
    attendee = f"{ATTENDEE} {key}"
    person.post(f"/v1/tickets/{ticket}/claim", {"attendee_name": attendee}, key=key).ok()
    before = house.head
    figures = buyer.get(f"/v1/events/{event['event_id']}/availability").ok()["tiers"]
    assert auditor.get(f"/v1/tickets/{ticket}").ok()["attendee_name"] == attendee
    assert person.delete("/v1/me").status == 204
    person.get("/v1/me").refused(401, "not-authenticated")
    house.anyone.post("/v1/auth/login", {"email": person.email, "password": PASSWORD}).refused(401, "bad-credentials")
    answers = [
        auditor.get(f"/v1/tickets/{ticket}"),
        auditor.get(f"/v1/tickets/{ticket}", {"as_of": before}),
        auditor.get(f"/v1/tickets/{ticket}/history"),
        organizer.get("/v1/orders", {"event_id": event["event_id"]}),
        house.admin.get("/v1/users"),
        house.admin.get("/v1/users", {"as_of": before}),
        auditor.get("/v1/ledger/events", {"after": 0, "limit": 200}),
    ]
    for answer in answers:
        answer.ok()
        for secret in (name_of(person.email), attendee, person.email):
            assert secret.encode() not in answer.body
    assert answers[0].json["attendee_name"] is answers[1].json["attendee_name"] is None
    (claim,) = [fact for fact in answers[2].json["items"] if fact["type"] == "ticket.claimed"]
    assert claim["data"]["attendee_name"] is None
    (user,) = [user for user in answers[4].json["items"] if user["user_id"] == person.user_id]
    assert (user["email"], user["name"], user["roles"]) == (None, None, [])
    assert buyer.get(f"/v1/events/{event['event_id']}/availability").ok()["tiers"] == figures


def test_an_address_that_was_given_up_may_be_registered_again(house: House, person: Caller) -> None:
    wallet = linked_wallet(person, new_signer())
    assert person.delete("/v1/me").status == 204
    body = {"email": person.email, "password": PASSWORD, "name": "Somebody new"}
    user = house.anyone.post("/v1/auth/register", body).ok(201)
    assert user["user_id"] != person.user_id
    successor = house.log_in(person.email)
    assert linked_wallet(successor, wallet).address == wallet.address


def test_an_answer_that_is_given_again_names_nobody_either(house: House) -> None:
    """It was kept for repeats, as it was stored: sealed."""
    email, key = f"{uuid4().hex}@featherstonehaugh.test", uuid4().hex
    body = {"email": email, "password": PASSWORD, "name": NAME}
    first = house.anyone.post("/v1/auth/register", body, key=key).ok(201)
    assert (first["email"], first["name"]) == (email, NAME)
    assert house.log_in(email).delete("/v1/me").status == 204
    again = house.anyone.post("/v1/auth/register", body, key=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.ok(201) == first | {"email": None, "name": None}


def test_an_admin_erases_others_and_not_themselves(house: House, person: Caller) -> None:
    assert house.admin.delete(f"/v1/users/{person.user_id}").status == 204
    person.get("/v1/me").refused(401, "not-authenticated")
    head = house.head
    assert house.admin.delete(f"/v1/users/{person.user_id}").status == 204
    house.admin.delete(f"/v1/users/{uuid4()}").refused(404, "not-found")
    house.admin.delete("/v1/me").refused(409, "admin-erasure")
    assert house.head == head


def test_the_keys_are_destroyed_and_what_was_sealed_stays_as_it_was(
    house: House, person: Caller, organizer: Caller
) -> None:
    bought(person, on_sale(organizer))
    with psycopg.connect(house.database_url) as conn:
        before = conn.execute("select position, payload from ledger.events order by position").fetchall()
        assert person.delete("/v1/me").status == 204
        after = conn.execute("select position, payload from ledger.events order by position").fetchall()
        (key,) = conn.execute(
            "select wrapped, destroyed_at is not null from privacy.subject_keys where subject = %s", (person.user_id,)
        ).fetchall()
    assert after[: len(before)] == before
    assert key == (None, True)
