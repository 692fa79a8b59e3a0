"""Bad input of every kind: a clear problem document, never a failure of ours, and the ledger stays where it was."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.codes import Ed25519TicketCodes
from domain.account import Role
from tests.api.callers import NOBODYS, Caller, exchange
from tests.api.house import House, fresh_database
from tests.api.scenes import (
    PAYMENT,
    STALLS,
    Json,
    code_of,
    event_request,
    on_sale,
    order_request,
    ordered,
    ticket_of,
    tonight,
)

MISSING = ...
CONTROLS = [chr(code) for code in (0, 1, 8, 11, 12, 14, 27, 31, 127)]
LONE_SURROGATE = "\ud800"


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    """Without a timekeeper: only what a test asks for can move the ledger."""
    with fresh_database(postgres) as url, House(url, timekeeper=False) as house:
        yield house


@pytest.fixture(scope="module")
def event(house: House) -> Json:
    return on_sale(house.person("olga", Role.ORGANIZER), tonight())


def changed(document: Json, pointer: str, value: object) -> Json:
    """A copy with another value at a JSON pointer; MISSING takes the member away."""
    copy: Json = json.loads(json.dumps(document))
    *path, last = pointer.removeprefix("/").split("/")
    place: Any = copy
    for part in path:
        place = place[int(part) if isinstance(place, list) else part]
    if value is MISSING:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return copy


# -- Values ------------------------------------------------------------------------------


def at(pointer: str, *values: object) -> list[tuple[str, object]]:
    return [(pointer, value) for value in values]


WRONG_IN_EVENTS: list[tuple[str, object]] = [
    *at("/title", MISSING, None, "", 7, True, [], {}, "x" * 201, LONE_SURROGATE, "\ud83d"),
    *at("/title", *(f"A{control}B" for control in CONTROLS)),
    *at("/description", 7, "\x00", "x" * 10_001, ["a"]),
    *at("/venue", MISSING, None, "Old Hall", [], {}),
    ("/venue/name", "x" * 201),
    *at("/venue/city", "", "x" * 101, "\x00", 7),
    *at("/venue/country", "", "x" * 101, "\x00", 7),
    *at("/venue/latitude", 91, -90.01, "60", True, [60]),
    *at("/venue/longitude", 181, -180.01, "5", False),
    ("/venue/floor", 3),
    *at(
        "/starts_at",
        MISSING,
        None,
        "",
        "tomorrow",
        "2035-06-01",
        "2035-06-01T20:00:00",
        "2035-02-30T20:00:00Z",
        "2035-06-01T25:00:00Z",
        "2035-06-01T20:00:00+25:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1970-12-31T00:00:00Z",
        "2200-01-01T00:00:00Z",
        "20350601T200000Z",
        "2065046400",
        2065046400,
        2065046400.5,
        True,
        -1,
        1e300,
    ),
    ("/ends_at", "2026-01-01T00:00:00Z"),
    ("/doors_open_at", "2190-01-01T00:00:00Z"),
    *at("/timezone", MISSING, "", "Mars/Olympus", "../../etc/passwd", "europe/oslo", 1, "Europe/Oslo\x00"),
    *at("/currency", MISSING, "eur", "EURO", "EU", "ÉUR", "EUR\n", 978, None),
    *at("/tags", "jazz", {}, [7], [""], ["x"] * 31, [None], ["\x00"]),
    *at("/tiers", MISSING, None, [], {}, "x"),
    ("/tiers/0/name", "\x07"),
    *at("/tiers/0/price", MISSING, -1, 10**10 + 1, 10**30, 45.5, 45.0, "45", True, None, [45]),
    *at("/tiers/0/quantity", 0, -1, 1_000_001, 10**30, 1.0, "10", True, [10]),
    *at("/tiers/0/max_tickets_per_order", 0, 101, "5", True),
    ("/tiers/0/sale_opens_at", 7),
    ("/tiers/0/benefits", ["x"] * 31),
    ("/tiers/0/colour", "red"),
    *at("/max_tickets_per_order", 0, -1, 101, "20", True, None),
    *at("/max_tickets_per_buyer", 0, -1, True),
    *at("/hold_seconds", 0, -1, 86_401, 10**20, "600", 600.5, True),
    *at("/buyer_window_seconds", 0, "1"),
    ("/display/show_remaining", 1),
    ("/display/sharing", "yes"),
    ("/display/seo_title", "\x00"),
    ("/display/seo_description", "x" * 501),
    ("/display/x", 1),
    ("/status", "published"),
    ("/event_id", NOBODYS),
    ("/__proto__", {}),
]


@pytest.mark.parametrize(("pointer", "value"), WRONG_IN_EVENTS, ids=lambda value: repr(value)[:40])
def test_an_event_with_anything_wrong_is_refused_and_the_mistake_pointed_at(
    organizer: Caller, unmoved: None, pointer: str, value: object
) -> None:
    request = changed(event_request(display={}), pointer, value)
    problem = organizer.post("/v1/events", request).refused(422, "invalid")
    pointers = [error["pointer"] for error in problem["errors"]]
    assert len(pointers) == 1
    assert pointers[0], "it points somewhere"
    assert pointers[0].startswith(pointer) or pointer.startswith(pointers[0]), pointers
    assert all(error["detail"] for error in problem["errors"])


WRONG_SEATS: list[object] = [
    [],
    [{}],
    [STALLS[0] | {"row": ""}],
    [STALLS[0] | {"row": "\x1f"}],
    [STALLS[0] | {"number": 7}],
    [STALLS[0] | {"level": 1}],
    [STALLS[0] | {"section": "x" * 33}],
    "A1",
    {"section": "A"},
]


@pytest.mark.parametrize("seats", WRONG_SEATS, ids=lambda value: repr(value)[:40])
def test_seats_that_cannot_be_meant_are_refused(organizer: Caller, unmoved: None, seats: object) -> None:
    request = event_request(tiers=[{"name": "Stalls", "price": 1, "seats": seats}])
    problem = organizer.post("/v1/events", request).refused(422, "invalid")
    assert all(error["pointer"].startswith("/tiers/0/seats") for error in problem["errors"])


WRONG_IN_ORDERS: list[tuple[str, object]] = [
    *at("/event_id", MISSING, None, 7, "", "x", [], "\x00" * 36, "0" * 31),
    *at("/items", MISSING, None, [], {}, [None], [[]], "x"),
    *at("/items/0/tier_id", MISSING, None, 7, "x", NOBODYS),
    *at("/items/0/quantity", MISSING, 0, -1, -(10**30), 101, 1.0, "1", True, [1], None),
    *at("/items/0/adjacent", 1, "true", None),
    ("/items/0/price", 1),
    ("/coupon", "free"),
]


@pytest.mark.parametrize(("pointer", "value"), WRONG_IN_ORDERS, ids=lambda value: repr(value)[:40])
def test_an_order_with_anything_wrong_is_refused(
    event: Json, buyer: Caller, unmoved: None, pointer: str, value: object
) -> None:
    buyer.post("/v1/orders", changed(order_request(event), pointer, value)).refused(422, "invalid")


def test_an_order_of_the_same_seat_twice_or_of_too_many_items(event: Json, buyer: Caller, organizer: Caller) -> None:
    seated = on_sale(organizer, event_request(tiers=[{"name": "Stalls", "price": 1, "seats": STALLS}]))
    tier_id = seated["tiers"][0]["tier_id"]
    twice = {"event_id": seated["event_id"], "items": [{"tier_id": tier_id, "seats": [STALLS[0], STALLS[0]]}]}
    buyer.post("/v1/orders", twice).invalid("/items")
    apart = {"event_id": seated["event_id"], "items": [{"tier_id": tier_id, "seats": [STALLS[0]]}] * 2}
    assert buyer.post("/v1/orders", apart).status in (409, 422)
    unknown = {"event_id": seated["event_id"], "items": [{"tier_id": tier_id, "seats": [STALLS[0] | {"row": "Z"}]}]}
    buyer.post("/v1/orders", unknown).invalid("/items")
    many = order_request(event) | {"items": order_request(event)["items"] * 101}
    buyer.post("/v1/orders", many).invalid("/items")
    by_quantity = {
        "event_id": event["event_id"],
        "items": [{"tier_id": event["tiers"][0]["tier_id"], "seats": STALLS[:1]}],
    }
    buyer.post("/v1/orders", by_quantity).invalid("/items")


SMALL_BODIES: list[tuple[str, str, Json]] = [
    ("POST", "/v1/auth/login", {"email": "a@b.test", "password": "x" * 257}),
    ("POST", "/v1/auth/login", {"email": ["a@b.test"], "password": "x"}),
    ("POST", "/v1/auth/login", {"email": LONE_SURROGATE, "password": "x"}),
    ("POST", "/v1/auth/login", {"email": "a@b.test"}),
    ("POST", "/v1/auth/register", {"email": "a\x00@b.test", "password": "long enough", "name": "A"}),
    ("POST", "/v1/auth/register", {"email": "a@b.test\n", "password": "long enough", "name": "A"}),
    ("POST", "/v1/auth/register", {"email": "@", "password": "long enough", "name": "A"}),
    ("POST", "/v1/auth/register", {"email": f"{'x' * 250}@b.test", "password": "long enough", "name": "A"}),
    ("POST", "/v1/auth/register", {"email": "a@b.test", "password": LONE_SURROGATE * 9, "name": "A"}),
    ("POST", "/v1/auth/register", {"email": "a@b.test", "password": 12345678, "name": "A"}),
    ("POST", "/v1/auth/refresh", {"refresh_token": None}),
    ("POST", "/v1/auth/refresh", {"refresh_token": "x" * 201}),
    ("POST", "/v1/auth/logout", {}),
    ("POST", "/v1/tickets/{any}/claim", {"attendee_name": ""}),
    ("POST", "/v1/tickets/{any}/claim", {"attendee_name": "A\x00"}),
    ("POST", "/v1/tickets/{any}/transfer", {"to": "nobody"}),
    ("POST", "/v1/tickets/{any}/transfer", {"to": "a@b.test", "needs_acceptance": "yes"}),
    ("POST", "/v1/tickets/{any}/transfer", {"to": "a@b.test", "price": 1}),
    ("POST", "/v1/tickets/{any}/revoke", {"reason": ""}),
    ("POST", "/v1/events/{any}/cancel", {}),
    ("POST", "/v1/events/{any}/postpone", {"starts_at": "2035-06-01T20:00:00Z"}),
    ("POST", "/v1/events/{any}/tiers", {"name": "x", "price": 1, "quantity": -5}),
    ("POST", "/v1/events/{any}/tiers/{any}/releases", {"quantity": True}),
    ("POST", "/v1/events/{any}/tiers/{any}/releases", {"on_sale_at": "2035-06-01T20:00:00Z"}),
    ("PUT", "/v1/events/{any}/gate-staff", {"user_ids": "everybody"}),
    ("PUT", "/v1/events/{any}/gate-staff", {"user_ids": [NOBODYS] * 1001}),
    ("PATCH", "/v1/events/{any}", {"tiers": []}),
    ("PATCH", "/v1/events/{any}", {"status": "published"}),
    ("POST", "/v1/orders/{any}/payments", {"provider": "sandbox"}),
    ("POST", "/v1/orders/{any}/payments", {"provider": "", "token": "tok_ok"}),
    ("POST", "/v1/orders/{any}/refunds", {"ticket_ids": [], "reason": "x"}),
    ("POST", "/v1/orders/{any}/refunds", {"ticket_ids": ["x"], "reason": "x"}),
    ("POST", "/v1/check-ins", {"code": "x" * 501, "gate": "N"}),
    ("POST", "/v1/check-ins", {"code": 7, "gate": "N"}),
    ("POST", "/v1/check-ins", {"code": "CF1.", "gate": ""}),
]


@pytest.mark.parametrize(("method", "path", "body"), SMALL_BODIES, ids=lambda value: str(value)[:50])
def test_a_body_that_cannot_be_meant_is_refused(
    organizer: Caller, unmoved: None, method: str, path: str, body: Json
) -> None:
    problem = organizer.send(method, path.replace("{any}", str(uuid4())), body).refused(422, "invalid")
    assert problem["errors"]


def test_roles_and_users_that_cannot_be_meant(house: House, buyer: Caller, unmoved: None) -> None:
    for roles in ("admin", ["root"], [7], [None], ["admin"] * 7, {"admin": True}):
        house.admin.put(f"/v1/users/{buyer.user_id}/roles", {"roles": roles}).refused(422, "invalid")
    house.admin.put("/v1/users/me/roles", {"roles": []}).invalid("/path/user_id")


QUERIES = [
    ("/v1/events", "from", "yesterday"),
    ("/v1/events", "from", "1700000000"),
    ("/v1/events", "to", "2035-06-01"),
    ("/v1/events", "status", "open"),
    ("/v1/events", "query", "\x00"),
    ("/v1/events", "query", ""),
    ("/v1/events", "query", "x" * 201),
    ("/v1/events", "city", "\x1b[2J"),
    ("/v1/events", "tag", "x" * 201),
    ("/v1/events", "limit", "1e2"),
    ("/v1/orders", "event_id", "x"),
    ("/v1/tickets", "limit", "-1"),
    ("/v1/tickets", "limit", "9" * 50),
    ("/v1/tickets", "limit", "٣"),
]


@pytest.mark.parametrize(("path", "name", "value"), QUERIES)
def test_a_query_that_cannot_be_meant_is_refused(buyer: Caller, path: str, name: str, value: str) -> None:
    buyer.get(path, {name: value}).invalid(f"/query/{name}")


@pytest.mark.parametrize(
    "words", ["'; drop table ledger.events; --", "a & | ! ( :*", '"unclosed', "-", "\\", "%_%", "' or ''='", "<->"]
)
def test_a_search_is_only_ever_words(house: House, words: str) -> None:
    for name in ("query", "city", "tag"):
        assert house.anyone.get("/v1/events", {name: words}).ok()["items"] == []


@pytest.mark.parametrize(
    "path", ["/v1/events/%ff%fe", "/v1/events/%ed%a0%80", "/v1/events/..%2f..%2fetc", "/v1/events/%00"]
)
def test_a_path_that_cannot_be_meant_is_refused(house: House, path: str) -> None:
    assert house.anyone.get(path).problem()["status"] in (404, 422)


# -- Foreign ids and forged codes ------------------------------------------------------------


def test_an_id_of_another_kind_is_unknown(
    house: House, event: Json, organizer: Caller, buyer: Caller, unmoved: None
) -> None:
    foreign = (event["event_id"], event["tiers"][0]["tier_id"], buyer.user_id, str(uuid4()), "0" * 32)
    for known in foreign:
        for path in ("/v1/orders/{}", "/v1/tickets/{}", "/v1/tickets/{}/code"):
            buyer.get(path.format(known)).refused(404, "not-found")
        buyer.post(f"/v1/orders/{known}/cancel").refused(404, "not-found")
        buyer.post(f"/v1/orders/{known}/payments", PAYMENT).refused(404, "not-found")
        buyer.post(f"/v1/tickets/{known}/claim", {"attendee_name": "A"}).refused(404, "not-found")
        organizer.post(f"/v1/tickets/{known}/revoke", {"reason": "A"}).refused(404, "not-found")
        organizer.post(f"/v1/orders/{known}/refunds", {"reason": "A"}).refused(404, "not-found")
    for known in foreign[1:]:
        house.anyone.get(f"/v1/events/{known}").refused(404, "not-found")
        organizer.post(f"/v1/events/{known}/publish").refused(404, "not-found")
        buyer.post("/v1/orders", order_request(event) | {"event_id": known}).refused(404, "not-found")


def test_a_refund_of_a_ticket_of_another_order_is_refused(event: Json, buyer: Caller, organizer: Caller) -> None:
    paid, another = ordered(buyer, event), ordered(buyer, event)
    buyer.post(f"/v1/orders/{paid['order_id']}/payments", PAYMENT).ok(201)
    wrong = {"ticket_ids": [another["tickets"][0]["ticket_id"]], "reason": "x"}
    organizer.post(f"/v1/orders/{paid['order_id']}/refunds", wrong).refused(404, "not-found")


def _flip(code: str, at: int) -> str:
    return code[:at] + ("A" if code[at] != "A" else "B") + code[at + 1 :]


def _resign(code: str) -> str:
    """Signed well, with somebody else's key."""
    body = urlsafe_b64decode(code.removeprefix("CF1."))
    return Ed25519TicketCodes(b"another secret, just as long as ours").sign(UUID(bytes=body[:16]), 1)


def _next_custody(code: str) -> str:
    body = bytearray(urlsafe_b64decode(code.removeprefix("CF1.")))
    body[19] += 1
    return "CF1." + urlsafe_b64encode(body).decode()


FORGERIES: dict[str, Callable[[str], str]] = {
    "empty": lambda code: "",
    "words": lambda code: "let me in",
    "another key": _resign,
    "a later custody": _next_custody,
    "another ticket": lambda code: "CF1." + urlsafe_b64encode(uuid4().bytes).decode()[:22] + code[26:],
    "another version": lambda code: "CF2." + code[4:],
    "no version": lambda code: code[4:],
    "lower case": str.lower,
    "cut": lambda code: code[:-1],
    "grown": lambda code: code + "A",
    "padded": lambda code: code + "=",
    "spaced": lambda code: f" {code}",
    "broken": lambda code: code[:50] + "\n" + code[50:],
    "plain base64": lambda code: code[:20] + "+/" + code[22:],
    "beyond ASCII": lambda code: "é" + code[1:],
    "a NUL": lambda code: code[:-1] + "\x00",
    "twice": lambda code: code + code,
    "the id only": lambda code: code[:26],
}


@pytest.fixture(scope="module")
def code(house: House, event: Json) -> str:
    buyer = house.person("bea")
    return code_of(buyer, ticket_of(buyer, event))


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_code_admits_nobody(organizer: Caller, code: str, unmoved: None, forge: Callable[[str], str]) -> None:
    organizer.post("/v1/check-ins", {"code": forge(code), "gate": "North"}).refused(422, "bad-code")


def test_a_code_with_any_letter_changed_admits_nobody(organizer: Caller, code: str, unmoved: None) -> None:
    for at in range(0, len(code), 3):
        organizer.post("/v1/check-ins", {"code": _flip(code, at), "gate": "North"}).refused(422, "bad-code")


def test_after_all_that_the_house_still_stands(house: House, organizer: Caller, code: str) -> None:
    organizer.post("/v1/check-ins", {"code": code, "gate": "North"}).ok()
    assert house.anyone.get("/readyz").ok()["status"] == "ready"
    assert exchange(house.port, "GET", "/healthz", None, {}).status == 200
