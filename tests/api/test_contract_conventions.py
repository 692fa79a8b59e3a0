"""The contract, conventions: problems, positions, pages of every list, headers, what is refused for being too much."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from adapters import committer, positions
from api import protection
from domain.account import Role
from tests.api.callers import NOBODYS, Answer, Caller
from tests.api.house import House, fresh_database
from tests.api.scenes import (
    STALLS,
    Json,
    bought,
    drafted,
    event_request,
    instant,
    on_sale,
    order_request,
    ordered,
    seated,
    ticket_of,
)

FAR = 10**15
"""A position that no test's ledger reaches."""
BURST_MAX = 300

# -- Problems ----------------------------------------------------------------------------


def test_what_does_not_exist_is_a_problem(house: House, buyer: Caller) -> None:
    house.anyone.get("/v1/nothing/here").refused(404, "not-found")
    buyer.get(f"/v1/orders/{uuid4()}").refused(404, "not-found")
    house.anyone.get(f"/v1/events/{uuid4()}").refused(404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/events", "GET, POST"),
        ("PUT", f"/v1/events/{NOBODYS}", "GET, PATCH"),
        ("POST", "/v1/me", "DELETE, GET"),
        ("POST", "/healthz", "GET"),
    ],
)
def test_a_method_that_is_not_there_is_a_problem_that_names_those_that_are(
    house: House, method: str, path: str, allowed: str
) -> None:
    answer = house.anyone.send(method, path, {})
    answer.refused(405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


def test_a_mistake_is_pointed_at(organizer: Caller) -> None:
    request = event_request(tiers=[{"name": "A", "price": 1, "quantity": 1}, {"name": "B", "price": -1, "quantity": 1}])
    problem = organizer.post("/v1/events", request).invalid("/tiers/1/price")
    assert problem["errors"][0]["detail"]


def test_every_mistake_is_listed(organizer: Caller) -> None:
    request = event_request(title="", currency="euro") | {"hats": True}
    organizer.post("/v1/events", request).invalid("/title", "/currency", "/hats")


def test_a_pointer_escapes_what_pointers_escape(buyer: Caller) -> None:
    buyer.post("/v1/orders", {"a/b~c": 1, "event_id": str(uuid4()), "items": []}).invalid("/items", "/a~1b~0c")


@pytest.mark.parametrize("path", ["/v1/orders/not-a-uuid", "/v1/tickets/1", "/v1/events/%00"])
def test_an_id_that_is_none_is_malformed(buyer: Caller, path: str) -> None:
    assert buyer.get(path).refused(422, "invalid")["errors"][0]["pointer"].startswith("/path/")


def test_who_is_not_signed_in_is_told_how(house: House) -> None:
    answer = house.anyone.get("/v1/me")
    answer.refused(401, "not-authenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


# -- Positions ---------------------------------------------------------------------------


def test_a_position_is_the_commands_last_fact(house: House, organizer: Caller, buyer: Caller) -> None:
    answer = buyer.post("/v1/orders", order_request(on_sale(organizer), 3))
    streams = {answer.ok(201)["order_id"], *(ticket["ticket_id"] for ticket in answer.json["tickets"])}
    asked = {"after": answer.position - 4, "limit": 4}
    facts = house.person("aud", Role.AUDITOR).get("/v1/ledger/events", asked).ok()["items"]
    assert {fact["stream_id"] for fact in facts} == streams
    assert facts[-1]["position"] == answer.position


def test_who_echoes_the_position_reads_the_own_write(organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    availability = f"/v1/events/{event['event_id']}/availability"
    for held in range(1, 9):
        position = buyer.post("/v1/orders", order_request(event)).position
        found = buyer.send("GET", availability, headers={"ledger-position": str(position)}).ok()
        assert found["position"] >= position
        assert found["tiers"][0]["held"] == held
        listed = buyer.send("GET", "/v1/orders?limit=1", headers={"ledger-position": str(position)}).ok()
        assert listed["items"][0]["event_id"] == event["event_id"]


def test_a_position_that_does_not_come_is_waited_for_a_bounded_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions, "WAIT_SECONDS_MAX", 0.4)
    began = time.monotonic()
    answer = house.anyone.send("GET", "/v1/events", headers={"ledger-position": str(FAR)})
    assert 0.4 <= time.monotonic() - began < 5.0
    answer.refused(503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert positions.WAIT_SECONDS_MAX < 10


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "1" * 19, "٣"])
def test_a_position_that_is_none_is_malformed(house: House, text: str) -> None:
    answer = house.anyone.send("GET", "/v1/events", headers={"ledger-position": text.encode().decode("latin-1")})
    answer.invalid("/ledger-position")


def test_only_commands_that_recorded_something_have_a_position(house: House, organizer: Caller) -> None:
    event = drafted(organizer)
    for answer in (
        organizer.get(f"/v1/events/{event['event_id']}"),
        organizer.patch(f"/v1/events/{event['event_id']}", {}),
        organizer.post(f"/v1/events/{event['event_id']}/archive"),
    ):
        assert "ledger-position" not in answer.headers


# -- Pages -------------------------------------------------------------------------------


def walk(caller: Caller, path: str, query: Json, *, limit: int) -> list[Json]:
    """All items, page by page as the cursors lead."""
    items: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        page = caller.get(path, query | {"limit": limit} | ({"cursor": cursor} if cursor else {})).ok()
        assert page.keys() - {"reached"} == {"items", "next_cursor"}  # the ledger says how far a search got
        assert len(page["items"]) <= limit
        items += page["items"]
        cursor = page["next_cursor"]
    return items


Walk = tuple[Caller, str, Json, int]
"""Who asks for which list, and how many items there are at least."""


def many_events(house: House, organizer: Caller) -> Walk:
    word = uuid4().hex
    same_start = {"starts_at": instant(days=9), "ends_at": instant(days=9, hours=1)}
    for number in range(5):
        on_sale(organizer, event_request(title=f"{word} {number}", **(same_start if number % 2 else {})))
    return house.anyone, "/v1/events", {"query": word}, 5


def many_versions(house: House, organizer: Caller) -> Walk:
    event = drafted(organizer)
    for number in range(4):
        organizer.patch(f"/v1/events/{event['event_id']}", {"title": f"Version {number}"}).ok()
    return organizer, f"/v1/events/{event['event_id']}/history", {}, 7


def many_seats(house: House, organizer: Caller) -> Walk:
    event = on_sale(organizer, seated())
    return house.anyone, f"/v1/events/{event['event_id']}/seats", {}, len(STALLS)


def many_orders(house: House, organizer: Caller) -> Walk:
    event = on_sale(organizer)
    for _ in range(5):
        ordered(house.person("otto"), event)
    return house.person("otto"), "/v1/orders", {}, 5


def many_orders_of_an_event(house: House, organizer: Caller) -> Walk:
    event = on_sale(organizer)
    for name in ("otto", "bea", "otto", "bea"):
        ordered(house.person(name), event)
    return organizer, "/v1/orders", {"event_id": event["event_id"]}, 4


def many_tickets(house: House, organizer: Caller) -> Walk:
    event = on_sale(organizer)
    bought(house.person("otto"), event, 4)
    bought(house.person("otto"), event, 1)
    return house.person("otto"), "/v1/tickets", {}, 5


def much_history(house: House, organizer: Caller) -> Walk:
    person = house.person("otto")
    ticket = f"/v1/tickets/{ticket_of(person, on_sale(organizer))}"
    for name in ("Ada", "Eve", "Ida"):
        person.post(f"{ticket}/claim", {"attendee_name": name}).ok()
    return person, f"{ticket}/history", {}, 5


def many_users(house: House, organizer: Caller) -> Walk:
    for name in ("una", "ugo", "uwe"):
        house.person(name)
    return house.admin, "/v1/users", {}, 3


def the_ledger(house: House, organizer: Caller) -> Walk:
    on_sale(organizer)
    return house.person("aud", Role.AUDITOR), "/v1/ledger/events", {"after": max(0, house.head - 9)}, 4


LISTS = [
    many_events,
    many_versions,
    many_seats,
    many_orders,
    many_orders_of_an_event,
    many_tickets,
    much_history,
    many_users,
    the_ledger,
]


@pytest.mark.parametrize("scene", LISTS)
def test_a_list_is_walked_once_through_whatever_the_limit(
    house: House, organizer: Caller, scene: Callable[[House, Caller], Walk]
) -> None:
    caller, path, query, count = scene(house, organizer)
    whole = walk(caller, path, query, limit=200)
    assert len(whole) >= count
    for limit in (1, 2, 3):
        assert walk(caller, path, query, limit=limit) == whole


@pytest.mark.parametrize("scene", [many_orders, the_ledger])
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": 0}, "/query/limit"),
        ({"limit": 201}, "/query/limit"),
        ({"limit": "1_0"}, "/query/limit"),
        ({"limit": "1.0"}, "/query/limit"),
        ({"limit": "many"}, "/query/limit"),
        ({"cursor": "made-up"}, "/query/cursor"),
        ({"cursor": "WyJ4Il0"}, "/query/cursor"),
        ({"cursor": "x" * 201}, "/query/cursor"),
        ({"cursor": "é"}, "/query/cursor"),
    ],
)
def test_a_limit_or_cursor_that_cannot_be_meant_is_refused(
    house: House, organizer: Caller, scene: Callable[[House, Caller], Walk], query: Json, pointer: str
) -> None:
    caller, path, _, _ = scene(house, organizer)
    caller.get(path, query).invalid(pointer)


def test_a_page_has_fifty_items_by_default(house: House, organizer: Caller) -> None:
    for _ in range(17):
        on_sale(organizer)
    assert len(house.person("aud", Role.AUDITOR).get("/v1/ledger/events").ok()["items"]) == 50


# -- Headers -----------------------------------------------------------------------------


def test_every_answer_tells_browsers_to_be_careful(house: House) -> None:
    for path in ("/v1/events", "/v1/me", "/v1/nothing", "/healthz", "/openapi.json"):
        headers = house.anyone.get(path).headers
        assert headers.items() >= protection.HEADERS.items()


# -- Too much ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(postgres: str) -> Iterator[House]:
    with fresh_database(postgres) as url, House(url, rate_limits=True) as house:
        yield house


def burst(ask: Callable[[], Answer]) -> Answer:
    """The first answer that says that it is enough."""
    for _ in range(BURST_MAX):
        answer = ask()
        if answer.status == 429:
            return answer
    pytest.fail("nobody ever said that it is enough")


def test_who_asks_too_often_is_told_when_to_come_again(limited: House) -> None:
    answer = burst(lambda: limited.anyone.post("/v1/auth/refresh", {"refresh_token": "x"}))
    answer.refused(429, "too-many-requests")
    seconds = int(answer.headers["retry-after"])
    assert 1 <= seconds <= 10
    time.sleep(seconds)
    limited.anyone.post("/v1/auth/refresh", {"refresh_token": "x"}).refused(401, "bad-token")


def test_being_told_to_come_again_is_not_remembered(limited: House) -> None:
    key = uuid4().hex
    answer = burst(lambda: limited.anyone.post("/v1/auth/refresh", {"refresh_token": "x"}, key=key))
    time.sleep(int(answer.headers["retry-after"]))
    again = limited.anyone.post("/v1/auth/refresh", {"refresh_token": "x"}, key=key)
    again.refused(401, "bad-token")
    assert not again.replayed


def test_trying_out_tokens_counts_as_asking(limited: House) -> None:
    answer = burst(lambda: Caller(limited, "forged").post("/v1/auth/logout", {"refresh_token": "x"}))
    answer.refused(429, "too-many-requests")


def test_too_many_commands_at_once_are_told_to_come_again(
    house: House, organizer: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = drafted(organizer)
    monkeypatch.setattr(committer, "QUEUE_MAX", 0)
    answer = organizer.post(f"/v1/events/{event['event_id']}/publish")
    answer.refused(503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    monkeypatch.undo()
    assert organizer.post(f"/v1/events/{event['event_id']}/publish").ok()["status"] == "published"


def test_too_many_requests_at_once_are_told_to_come_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protection, "UNDER_WAY_MAX", 0)
    answer = house.anyone.get("/v1/events")
    answer.refused(503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
