"""What was true then: every answer of an evening, recorded as it was given, is given again by ``as_of``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID

import pytest

from commands.event import KeepTime
from commands.order import ExpireOrder
from domain.account import Role
from tests.api.callers import NOBODYS, Caller
from tests.api.house import House, fresh_database
from tests.api.scenes import (
    PAYMENT,
    STALLS,
    Json,
    bought,
    code_of,
    drafted,
    event_request,
    instant,
    on_sale,
    order_request,
    ordered,
    tonight,
)

NOT_OF_THE_MOMENT = ("position",)
"""Availability names the position it is of, which the views may have passed when the figures were asked for."""


class Moment(NamedTuple):
    """What somebody was answered when the ledger had come to a position."""

    position: int
    caller: Caller
    path: str
    status: int
    body: Json


class Recorder:
    """Asks everybody everything after each step of a story."""

    def __init__(self, house: House, callers: list[Caller]) -> None:
        self.house = house
        self.callers = callers
        self.paths: list[str] = []
        self.moments: list[Moment] = []

    def step(self, *more: str) -> None:
        """The ledger stands still meanwhile: nobody else is in this house."""
        self.paths += more
        self.house.position = position = self.house.head
        for caller in self.callers:
            for path in self.paths:
                answer = caller.get(path)
                self.moments.append(Moment(position, caller, path, answer.status, told(answer.json)))


def told(document: Json) -> Json:
    return {name: value for name, value in document.items() if name not in NOT_OF_THE_MOMENT}


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    """Without a timekeeper: the tests move the clock's facts themselves."""
    with fresh_database(postgres) as url, House(url, timekeeper=False) as house:
        yield house


@pytest.fixture(scope="module")
def evening(house: House) -> list[Moment]:
    """From the draft to the archive, with every way in which a ticket can end."""
    organizer = house.person("olga", Role.ATTENDEE, Role.ORGANIZER)
    buyer, friend = house.person("bea"), house.person("finn")
    auditor = house.person("aud", Role.AUDITOR)
    record = Recorder(house, [house.anyone, organizer, buyer, friend, auditor, house.admin])
    record.step("/v1/events", "/v1/orders", "/v1/tickets", "/v1/me", "/v1/users", "/v1/ledger/events?after=20")

    event = drafted(organizer, event_request(title="Evening", doors_open_at=instant(hours=-1)))
    event_id, path = event["event_id"], f"/v1/events/{event['event_id']}"
    record.step(path, f"{path}/availability", f"{path}/seats", f"{path}/history", f"/v1/orders?event_id={event_id}")
    organizer.post(f"{path}/publish").ok()
    record.step()
    organizer.post(f"{path}/tiers", {"name": "Stalls", "price": 9000, "seats": STALLS}).ok(201)
    organizer.patch(path, {"title": "A Better Evening", "tags": ["strings"]}).ok()
    record.step("/v1/events?query=better", "/v1/events?status=published")

    order = ordered(buyer, event, 3)
    first, second, third = (f"/v1/tickets/{ticket['ticket_id']}" for ticket in order["tickets"])
    record.step(f"/v1/orders/{order['order_id']}", first, f"{first}/history", second, third)
    lost = ordered(friend, event, 2)
    record.step(f"/v1/orders/{lost['order_id']}", f"/v1/tickets/{lost['tickets'][0]['ticket_id']}")
    friend.post(f"/v1/orders/{lost['order_id']}/cancel").ok()
    record.step()
    buyer.post(f"/v1/orders/{order['order_id']}/payments", PAYMENT).ok(201)
    record.step()
    buyer.post(f"{first}/claim", {"attendee_name": "Ada"}).ok()
    buyer.post(f"{second}/transfer", {"to": friend.email, "needs_acceptance": True}).ok()
    record.step()
    friend.post(f"{second}/transfer/accept").ok()
    record.step()
    organizer.post("/v1/check-ins", {"code": code_of(buyer, first.rpartition("/")[2]), "gate": "North"}).ok()
    organizer.post(f"{third}/revoke", {"reason": "Fraud"}).ok()
    record.step()
    house.run(house.application.execute(KeepTime(event_id=UUID(event_id)), actor="system:test"))
    record.step()
    house.admin.put(f"/v1/users/{friend.user_id}/roles", {"roles": ["attendee", "gate"]}).ok()
    organizer.post(f"/v1/orders/{order['order_id']}/refunds", {"reason": "Sorry"}).ok(201)
    record.step()
    organizer.post(f"{path}/postpone", {"starts_at": instant(days=40), "ends_at": instant(days=41)}).ok()
    record.step()
    organizer.post(f"{path}/cancel", {"reason": "Storm"}).ok()
    record.step()
    organizer.post(f"{path}/archive").ok()
    record.step()
    return record.moments


def ask(moment: Moment, as_of: object) -> tuple[int, Json]:
    path, _, query = moment.path.partition("?")
    given = dict(part.split("=") for part in query.split("&") if part)
    answer = moment.caller.get(path, given | {"as_of": as_of})
    return answer.status, told(answer.json)


def test_the_evening_was_seen_from_every_side(evening: list[Moment]) -> None:
    assert {moment.status for moment in evening} == {200, 401, 403, 404}
    statuses = {m.body["status"] for m in evening if m.path.startswith("/v1/tickets/") and "status" in m.body}
    assert statuses >= {"held", "available", "paid", "claimed", "checked_in", "cancelled"}


def test_every_answer_is_given_again_as_of_its_position(evening: list[Moment]) -> None:
    for moment in evening:
        assert ask(moment, moment.position) == (moment.status, moment.body), moment


def test_every_answer_is_given_again_as_of_its_instant(house: House, evening: list[Moment]) -> None:
    auditor = house.person("aud")
    facts = auditor.get("/v1/ledger/events", {"limit": 200}).ok()["items"]
    at = {fact["position"]: fact["at"] for fact in facts}
    for moment in evening[:: max(1, len(evening) // 150)]:
        assert ask(moment, at[moment.position]) == (moment.status, moment.body), moment


def test_an_instant_between_two_facts_is_the_earlier_one(house: House, evening: list[Moment]) -> None:
    facts = house.person("aud").get("/v1/ledger/events", {"limit": 200}).ok()["items"]
    position = next(a["position"] for a, b in pairwise(facts) if a["at"] < b["at"])
    before = datetime.fromisoformat(facts[position]["at"]) - timedelta(microseconds=1)
    for text in (before.isoformat(), before.isoformat().replace("+00:00", "Z")):
        items = house.person("aud").get("/v1/ledger/events", {"as_of": text, "limit": 200}).ok()["items"]
        assert [fact["position"] for fact in items] == list(range(1, position + 1))


def test_pages_of_the_past_are_walked_like_those_of_the_present(house: House) -> None:
    organizer = house.person("olga")
    buyer = house.person("walker")
    event = on_sale(organizer)
    orders = [ordered(buyer, event)["order_id"] for _ in range(5)]
    then = house.head
    for _ in range(3):
        ordered(buyer, event)
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = buyer.get("/v1/orders", {"as_of": then, "limit": 2} | ({"cursor": cursor} if cursor else {})).ok()
        seen += [order["order_id"] for order in page["items"]]
        cursor = page["next_cursor"]
    assert seen == orders[::-1]


def test_before_it_existed_there_is_nothing(house: House) -> None:
    organizer, buyer = house.person("olga"), house.person("bea")
    before = house.head
    event = on_sale(organizer)
    order = bought(buyer, event)
    ticket_id = order["tickets"][0]["ticket_id"]
    for caller, path in (
        (house.anyone, f"/v1/events/{event['event_id']}"),
        (house.anyone, f"/v1/events/{event['event_id']}/availability"),
        (house.anyone, f"/v1/events/{event['event_id']}/seats"),
        (buyer, f"/v1/orders/{order['order_id']}"),
        (buyer, f"/v1/tickets/{ticket_id}"),
        (buyer, f"/v1/tickets/{ticket_id}/history"),
    ):
        for as_of in (before, 0, "2001-01-01T00:00:00Z"):
            caller.get(path, {"as_of": as_of}).refused(404, "not-found")
        caller.get(path, {"as_of": house.head}).ok()
    assert house.person("bea").get("/v1/orders", {"as_of": 0}).ok() == {"items": [], "next_cursor": None}


def test_who_held_a_ticket_then_may_see_it_as_it_was_then_and_not_later(house: House) -> None:
    organizer, buyer, friend = house.person("olga"), house.person("bea"), house.person("finn")
    ticket = f"/v1/tickets/{bought(buyer, on_sale(organizer))['tickets'][0]['ticket_id']}"
    then = house.head
    buyer.post(f"{ticket}/transfer", {"to": friend.email}).ok()
    assert buyer.get(ticket, {"as_of": then}).ok()["holder_id"] == buyer.user_id
    buyer.get(ticket).refused(404, "not-found")
    friend.get(ticket, {"as_of": then}).refused(404, "not-found")
    assert friend.get(ticket).ok()["holder_id"] == friend.user_id


def test_a_hold_that_ended_was_a_hold_then(house: House) -> None:
    organizer, buyer = house.person("olga"), house.person("bea")
    event = on_sale(organizer, tonight(hold_seconds=1))
    order = ordered(buyer, event)
    then = house.head
    while buyer.get(f"/v1/orders/{order['order_id']}").ok()["status"] == "pending":
        command = ExpireOrder(order_id=UUID(order["order_id"]))
        house.run(house.application.execute(command, actor="system:test"))
    assert buyer.get(f"/v1/orders/{order['order_id']}", {"as_of": then}).ok()["status"] == "pending"
    ticket_id = order["tickets"][0]["ticket_id"]
    assert buyer.get(f"/v1/tickets/{ticket_id}", {"as_of": then}).ok()["status"] == "held"
    tiers = house.anyone.get(f"/v1/events/{event['event_id']}/availability", {"as_of": then}).ok()["tiers"]
    assert (tiers[0]["available"], tiers[0]["held"]) == (9, 1)


def test_the_past_is_right_at_once_after_a_write(house: House) -> None:
    """Nobody sends a position here: what is read from views waits for them by itself."""
    organizer, buyer = house.person("olga"), house.person("bea")
    event = on_sale(organizer)
    for held in range(1, 11):
        position = buyer.post("/v1/orders", order_request(event)).position
        asked = f"/v1/events/{event['event_id']}/availability?as_of={position}"
        tiers = house.anyone.send("GET", asked).ok()["tiers"]
        assert tiers[0]["held"] == held
        listed = buyer.send("GET", f"/v1/orders?limit=1&as_of={position}").ok()["items"]
        assert listed[0]["event_id"] == event["event_id"]


@pytest.mark.parametrize(
    "as_of",
    [
        "",
        "-1",
        "1.5",
        "now",
        "9" * 18,
        "9" * 40,
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+99:00",
        "2026-01-01T00:00Z",
        "1e3",
        "0x10",
        "٣",
        "2026-01-01T00:00:00Z; drop table",
    ],
)
@pytest.mark.parametrize("path", ["/v1/events", f"/v1/events/{NOBODYS}", "/v1/tickets", "/v1/me"])
def test_what_is_neither_a_position_nor_an_instant_is_refused(house: House, path: str, as_of: str) -> None:
    house.person("bea").get(path, {"as_of": as_of}).invalid("/query/as_of")


def test_a_position_that_is_still_to_come_is_refused(house: House) -> None:
    house.anyone.get("/v1/events", {"as_of": house.head}).ok()
    house.anyone.get("/v1/events", {"as_of": house.head + 1}).invalid("/query/as_of")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_the_ends_of_the_calendar_are_instants_like_others(house: House, text: str) -> None:
    found = house.anyone.get("/v1/events", {"as_of": text}).ok()["items"]
    assert (found == []) == text.startswith("0001")
