"""Repeats: the first answer to an Idempotency-Key is given again, whatever it was, and nothing happens twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from adapters import committer
from api import idempotency
from domain.account import Role
from tests.api.callers import Answer, Caller
from tests.api.house import PASSWORD, House, fresh_database
from tests.api.scenes import (
    PAYMENT,
    Json,
    bought,
    code_of,
    drafted,
    event_request,
    on_sale,
    order_request,
    ordered,
    ticket_of,
    tonight,
)

AT_ONCE = 20


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    """Without a timekeeper: the ledger stands still unless a test moves it."""
    with fresh_database(postgres) as url, House(url, timekeeper=False) as house:
        yield house


@pytest.fixture
def key() -> str:
    return uuid4().hex


def same(first: Answer, repeat: Answer) -> None:
    assert not first.replayed
    assert repeat.replayed
    assert (repeat.status, repeat.body) == (first.status, first.body)
    assert repeat.headers.get("content-type") == first.headers.get("content-type")
    assert repeat.headers.get("ledger-position") == first.headers.get("ledger-position")


def test_every_kind_of_command_can_be_repeated(house: House, organizer: Caller, buyer: Caller, other: Caller) -> None:
    """A sale from the draft to the refund, each step asked for twice."""

    def twice(caller: Caller, method: str, path: str, body: object = None) -> Json:
        headers = {"idempotency-key": uuid4().hex}
        first = caller.send(method, path, body, headers)
        head = house.head
        same(first, caller.send(method, path, body, headers))
        assert house.head == head
        assert first.status < 300, first.body
        answer: Json = first.json
        return answer

    event = twice(organizer, "POST", "/v1/events", tonight())
    event_path = f"/v1/events/{event['event_id']}"
    tier_path = f"{event_path}/tiers/{event['tiers'][0]['tier_id']}"
    twice(organizer, "PATCH", event_path, {"title": "Repeated"})
    twice(organizer, "POST", f"{event_path}/publish")
    twice(organizer, "POST", f"{event_path}/tiers", {"name": "Balcony", "price": 1, "quantity": 1})
    twice(organizer, "POST", f"{tier_path}/releases", {"quantity": 5})
    gate = house.person("gina", Role.GATE)
    twice(organizer, "PUT", f"{event_path}/gate-staff", {"user_ids": [gate.user_id]})
    twice(house.admin, "PUT", f"/v1/users/{other.user_id}/roles", {"roles": ["organizer"]})
    order = twice(buyer, "POST", "/v1/orders", order_request(event, 3))
    twice(buyer, "POST", f"/v1/orders/{order['order_id']}/payments", PAYMENT)
    first, second, third = (f"/v1/tickets/{ticket['ticket_id']}" for ticket in order["tickets"])
    twice(buyer, "POST", f"{first}/claim", {"attendee_name": "Ada"})
    twice(buyer, "POST", f"{first}/transfer", {"to": other.email, "needs_acceptance": True})
    twice(buyer, "POST", f"{first}/transfer/decline")
    code = code_of(buyer, order["tickets"][0]["ticket_id"])
    twice(gate, "POST", "/v1/check-ins", {"code": code, "gate": "North"})
    twice(organizer, "POST", f"{second}/revoke", {"reason": "Fraud"})
    twice(organizer, "POST", f"/v1/orders/{order['order_id']}/refunds", {"reason": "Sorry"})
    twice(buyer, "POST", f"/v1/orders/{ordered(buyer, event)['order_id']}/cancel")
    moved = {"starts_at": "2036-01-10T20:00:00Z", "ends_at": "2036-01-10T23:00:00Z"}
    twice(organizer, "POST", f"{event_path}/postpone", moved)
    twice(organizer, "POST", f"{event_path}/cancel", {"reason": "Storm"})
    twice(organizer, "POST", f"{event_path}/archive")
    assert third


def test_without_a_key_nothing_is_remembered(organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    assert ordered(buyer, event)["order_id"] != ordered(buyer, event)["order_id"]


# -- Refusals --------------------------------------------------------------------------


def test_a_refusal_is_repeated_even_when_it_would_be_granted_now(organizer: Caller, buyer: Caller, key: str) -> None:
    event = drafted(organizer)
    first = buyer.post("/v1/orders", order_request(event), key=key)
    first.refused(409, "not-on-sale")
    organizer.post(f"/v1/events/{event['event_id']}/publish").ok()
    same(first, buyer.post("/v1/orders", order_request(event), key=key))
    buyer.post("/v1/orders", order_request(event), key=uuid4().hex).ok(201)


def test_what_is_unknown_or_malformed_is_refused_alike_again(buyer: Caller) -> None:
    for path, body in (
        (f"/v1/orders/{uuid4()}/cancel", None),
        ("/v1/orders", {"items": []}),
        ("/v1/orders", b"{broken"),
    ):
        key = uuid4().hex
        first = buyer.post(path, body, key=key)
        assert first.status in (404, 422)
        same(first, buyer.post(path, body, key=key))


def test_a_declined_payment_is_repeated_without_trying_again(
    house: House, organizer: Caller, buyer: Caller, key: str
) -> None:
    order = ordered(buyer, on_sale(organizer))
    declined = {"provider": "sandbox", "token": "tok_declined"}
    first = buyer.post(f"/v1/orders/{order['order_id']}/payments", declined, key=key)
    first.refused(402, "payment-declined")
    head = house.head
    same(first, buyer.post(f"/v1/orders/{order['order_id']}/payments", declined, key=key))
    assert house.head == head


def test_overload_is_not_remembered(
    organizer: Caller, buyer: Caller, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = on_sale(organizer)
    with monkeypatch.context() as overloaded:
        overloaded.setattr(committer, "QUEUE_MAX", 0)
        buyer.post("/v1/orders", order_request(event), key=key).refused(503, "unavailable")
    again = buyer.post("/v1/orders", order_request(event), key=key)
    again.ok(201)
    assert not again.replayed


def test_a_failure_of_ours_is_not_remembered(
    house: House, organizer: Caller, buyer: Caller, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = ordered(buyer, on_sale(organizer))
    payments = f"/v1/orders/{order['order_id']}/payments"

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(house.application.providers["sandbox"], "capture", fail)
        problem = buyer.post(payments, PAYMENT, key=key).refused(500, "internal-error")
        assert "ZeroDivision" not in str(problem)
    again = buyer.post(payments, PAYMENT, key=key)
    again.ok(201)
    assert not again.replayed


def test_wrong_credentials_are_not_remembered(house: House, key: str) -> None:
    person = house.person("lars")
    credentials = {"email": person.email, "password": "wrong password"}
    for _ in range(2):
        answer = house.anyone.post("/v1/auth/login", credentials, key=key)
        answer.refused(401, "bad-credentials")
        assert not answer.replayed
    house.anyone.post("/v1/auth/login", credentials | {"password": PASSWORD}, key=key).ok()


def test_a_caller_without_a_valid_token_learns_nothing_of_the_answer(organizer: Caller, key: str) -> None:
    organizer.post("/v1/events", event_request(), key=key).ok(201)
    Caller(organizer.house, "forged").post("/v1/events", event_request(), key=key).refused(401, "not-authenticated")


# -- Keys ------------------------------------------------------------------------------


def test_a_key_is_for_one_request_only(organizer: Caller, buyer: Caller, key: str) -> None:
    event = on_sale(organizer)
    order = buyer.post("/v1/orders", order_request(event), key=key).ok(201)
    others: list[tuple[str, str, object]] = [
        ("POST", "/v1/orders", order_request(event, 2)),
        ("POST", "/v1/orders?x=1", order_request(event)),
        ("POST", f"/v1/orders/{order['order_id']}/cancel", None),
        ("POST", "/v1/auth/logout", {"refresh_token": "x"}),
    ]
    for method, path, body in others:
        answer = buyer.send(method, path, body, {"idempotency-key": key})
        answer.refused(422, "idempotency-key-reused")
        assert not answer.replayed
    assert buyer.get(f"/v1/orders/{order['order_id']}").ok()["status"] == "pending"


def test_callers_do_not_share_keys(organizer: Caller, buyer: Caller, other: Caller, key: str) -> None:
    event = on_sale(organizer)
    first = buyer.post("/v1/orders", order_request(event), key=key)
    second = other.post("/v1/orders", order_request(event), key=key)
    assert first.ok(201)["order_id"] != second.ok(201)["order_id"]
    assert not second.replayed


@pytest.mark.parametrize("key", ["", "x" * 256, "spaces inside", "umläut", "tab\there"])
def test_a_key_that_is_none_is_refused(house: House, organizer: Caller, key: str) -> None:
    head = house.head
    organizer.post("/v1/events", event_request(), key=key).invalid("/idempotency-key")
    assert house.head == head


@pytest.mark.parametrize("key", ["x", "x" * 255, "!~,;=\"'\\"])
def test_a_key_may_be_any_visible_ascii(organizer: Caller, key: str) -> None:
    request = event_request()
    same(organizer.post("/v1/events", request, key=key), organizer.post("/v1/events", request, key=key))


def test_a_key_on_a_get_means_nothing(house: House, key: str) -> None:
    for _ in range(2):
        answer = house.anyone.get("/v1/ledger/head", headers={"idempotency-key": key})
        answer.ok()
        assert not answer.replayed


def test_registering_and_logging_in_take_keys(house: House, key: str) -> None:
    user = {"email": f"{key}@house.test", "password": PASSWORD, "name": "Kay"}
    same(
        house.anyone.post("/v1/auth/register", user, key=key),
        house.anyone.post("/v1/auth/register", user, key=key),
    )
    credentials = {"email": user["email"], "password": PASSWORD}
    first = house.anyone.post("/v1/auth/login", credentials, key=f"login-{key}")
    same(first, house.anyone.post("/v1/auth/login", credentials, key=f"login-{key}"))
    Caller(house, first.json["access_token"]).get("/v1/me").ok()


def test_refreshing_and_logging_out_take_keys(house: House, key: str) -> None:
    credentials = {"email": house.person("lars").email, "password": PASSWORD}
    token = {"refresh_token": house.anyone.post("/v1/auth/login", credentials).ok()["refresh_token"]}
    first = house.anyone.post("/v1/auth/refresh", token, key=key)
    same(first, house.anyone.post("/v1/auth/refresh", token, key=key))
    fresh = {"refresh_token": first.json["refresh_token"]}
    out = house.anyone.post("/v1/auth/logout", fresh, key=f"out-{key}")
    assert (out.status, out.body) == (204, b"")
    same(out, house.anyone.post("/v1/auth/logout", fresh, key=f"out-{key}"))


# -- Races and restarts ------------------------------------------------------------------


def at_once(ask: object, *arguments: object) -> list[Answer]:
    with ThreadPoolExecutor(AT_ONCE) as crowd:
        return list(crowd.map(lambda _: ask(*arguments), range(AT_ONCE)))  # type: ignore[operator]


def test_many_repeats_at_once_have_one_effect_and_one_answer(
    house: House, organizer: Caller, buyer: Caller, key: str
) -> None:
    event = on_sale(organizer)
    head = house.head
    answers = at_once(lambda: buyer.post("/v1/orders", order_request(event, 2), key=key))
    assert {(answer.status, answer.body) for answer in answers} == {(201, answers[0].body)}
    assert {answer.position for answer in answers} == {head + 3}
    assert [answer.replayed for answer in answers].count(False) == 1
    assert house.head == head + 3


def test_many_different_requests_with_one_key_at_once_have_one_effect(
    organizer: Caller, buyer: Caller, key: str
) -> None:
    event = on_sale(organizer)
    with ThreadPoolExecutor(AT_ONCE) as crowd:
        ask = lambda n: buyer.post("/v1/orders", order_request(event, 1 + n % 2), key=key)  # noqa: E731
        answers = list(crowd.map(ask, range(AT_ONCE)))
    done = {answer.body for answer in answers if answer.status == 201}
    assert len(done) == 1
    for answer in answers:
        if answer.status != 201:
            answer.refused(422, "idempotency-key-reused")


def test_a_repeat_that_would_wait_too_long_is_told_so(
    organizer: Caller, buyer: Caller, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "WAIT_SECONDS_MAX", 0.2)
    order = ordered(buyer, on_sale(organizer))
    slow = PAYMENT | {"token": "tok_slow"}
    with ThreadPoolExecutor(2) as both:
        asked = [both.submit(buyer.post, f"/v1/orders/{order['order_id']}/payments", slow, key=key) for _ in range(2)]
    answers = sorted((answer.result() for answer in asked), key=lambda answer: answer.status)
    answers[0].ok(201)
    answers[1].refused(409, "idempotency-key-in-use")
    same(answers[0], buyer.post(f"/v1/orders/{order['order_id']}/payments", slow, key=key))


def test_answers_outlive_the_process(house: House, organizer: Caller, buyer: Caller, key: str) -> None:
    event = on_sale(organizer, tonight())
    code = code_of(buyer, ticket_of(buyer, event))
    placed = buyer.post("/v1/orders", order_request(event), key=key)
    refused = buyer.post("/v1/orders", order_request(event, 50), key=f"refused-{key}")
    admitted = organizer.post("/v1/check-ins", {"code": code, "gate": "North"}, key=key)
    house.restart()
    same(placed, buyer.post("/v1/orders", order_request(event), key=key))
    same(refused, buyer.post("/v1/orders", order_request(event, 50), key=f"refused-{key}"))
    same(admitted, organizer.post("/v1/check-ins", {"code": code, "gate": "North"}, key=key))
    buyer.post("/v1/orders", order_request(event, 2), key=key).refused(422, "idempotency-key-reused")
    assert bought(buyer, event)
