"""The contract, events: what organisers offer, change, move and cancel, and what everybody may look at."""

from __future__ import annotations

from uuid import uuid4

from domain.account import Role
from tests.api.callers import Caller, eventually
from tests.api.house import House
from tests.api.scenes import (
    PRICE,
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
    seats_request,
    tonight,
)


def path(event: Json, *more: str) -> str:
    return "/".join(("/v1/events", event["event_id"], *more))


def titled(house: House, caller: Caller, **query: object) -> list[str]:
    return [event["title"] for event in caller.get("/v1/events", query).ok()["items"]]


def figures(caller: Caller, event: Json) -> list[tuple[int, int, int, int]]:
    tiers = caller.get(path(event, "availability")).ok()["tiers"]
    assert all(tier["available"] + tier["held"] + tier["sold"] == tier["capacity"] for tier in tiers)
    return [(tier["capacity"], tier["available"], tier["held"], tier["sold"]) for tier in tiers]


def test_a_new_event_is_a_draft_with_the_defaults_of_the_contract(organizer: Caller) -> None:
    request = event_request()
    event = drafted(organizer, request)
    assert event["status"] == "draft"
    assert event["organizer_id"] == organizer.user_id
    assert (event["max_tickets_per_order"], event["max_tickets_per_buyer"], event["hold_seconds"]) == (20, None, 600)
    assert event["venue"] == request["venue"]
    assert event["description"] is None
    assert event["tags"] == []
    (tier,) = event["tiers"]
    assert (tier["name"], tier["price"], tier["capacity"], tier["seated"]) == ("Standing", PRICE, 10, False)


def test_the_doors_open_two_hours_before_the_start_unless_told_otherwise(organizer: Caller) -> None:
    request = event_request(starts_at="2035-06-01T20:00:00+02:00", ends_at="2035-06-01T23:00:00+02:00")
    assert drafted(organizer, request)["doors_open_at"] == "2035-06-01T16:00:00Z"
    request["doors_open_at"] = "2035-06-01T19:30:00+02:00"
    assert drafted(organizer, request)["doors_open_at"] == "2035-06-01T17:30:00Z"


def test_instants_come_back_in_utc(organizer: Caller) -> None:
    request = event_request(starts_at="2035-06-01T20:00:00+02:00", ends_at="2035-06-01T23:00:00.5+02:00")
    event = organizer.get(path(drafted(organizer, request))).ok()
    assert (event["starts_at"], event["ends_at"]) == ("2035-06-01T18:00:00Z", "2035-06-01T21:00:00.500000Z")


def test_a_draft_exists_for_its_organiser_only(house: House, organizer: Caller, other: Caller) -> None:
    event = drafted(organizer)
    for place in ((), ("availability",), ("seats",), ("history",)):
        for stranger in (house.anyone, other):
            stranger.get(path(event, *place)).refused(404, "not-found")
        organizer.get(path(event, *place)).ok()


def test_drafts_are_listed_to_their_organiser_only(house: House, organizer: Caller, other: Caller) -> None:
    title = f"Secret {uuid4().hex}"
    event = drafted(organizer, event_request(title=title))
    assert titled(house, organizer, query=title) == [title]
    assert titled(house, organizer, query=title, status="draft") == [title]
    assert titled(house, other, query=title) == titled(house, house.anyone, query=title, status="draft") == []
    organizer.post(path(event, "publish")).ok()
    assert titled(house, other, query=title) == titled(house, house.anyone, query=title) == [title]


def test_what_an_event_was_as_a_draft_stays_with_its_organiser(house: House, organizer: Caller) -> None:
    event = drafted(organizer, event_request(title="Working title"))
    organizer.patch(path(event), {"title": "The real title"}).ok()
    organizer.post(path(event, "publish")).ok()
    shown = house.anyone.get(path(event, "history")).ok()["items"]
    assert [version["event"]["title"] for version in shown] == ["The real title"]
    assert organizer.get(path(event, "history")).ok()["items"][0]["event"]["title"] == "Working title"


def test_publishing_puts_an_event_on_sale_once(house: House, organizer: Caller) -> None:
    event = drafted(organizer)
    answer = organizer.post(path(event, "publish"))
    assert answer.ok()["status"] == "published"
    assert answer.position > 0
    organizer.post(path(event, "publish")).refused(409, "not-a-draft")
    assert house.anyone.get(path(event)).ok()["status"] == "published"


def test_the_list_and_the_single_event_say_the_same(house: House, organizer: Caller) -> None:
    title = f"Twice {uuid4().hex}"
    event = on_sale(organizer, event_request(title=title, tags=["jazz"], description="An evening.", hold_seconds=30))
    (listed,) = house.anyone.get("/v1/events", {"query": title}).ok()["items"]
    assert listed == house.anyone.get(path(event)).ok() == event


def test_events_are_found_by_words_city_tag_date_and_status(house: House, organizer: Caller) -> None:
    word = uuid4().hex
    request = event_request(title=f"Fado {word}", tags=["fado", "portugal"], venue={"name": "Casa", "city": "Porto"})
    event = on_sale(organizer, request | {"starts_at": "2041-03-01T20:00:00Z", "ends_at": "2041-03-01T22:00:00Z"})
    fitting: list[Json] = [
        {"city": "porto"},
        {"tag": "fado"},
        {"status": "published"},
        {"from": "2041-03-01T20:00:00Z"},
        {"to": "2041-03-01T20:00:01Z"},
        {"from": "2041-02-01T00:00:00Z", "to": "2041-04-01T00:00:00Z", "city": "PORTO", "tag": "portugal"},
    ]
    for query in fitting:
        assert titled(house, house.anyone, query=word, **query) == [event["title"]], query
    failing: list[Json] = [
        {"city": "Lisbon"},
        {"tag": "rock"},
        {"status": "cancelled"},
        {"from": "2041-03-01T20:00:01Z"},
        {"to": "2041-03-01T20:00:00Z"},
    ]
    for query in failing:
        assert titled(house, house.anyone, query=word, **query) == [], query


def test_details_change_and_what_is_not_named_stays(house: House, organizer: Caller) -> None:
    event = on_sale(organizer)
    answer = organizer.patch(path(event), {"title": "Another evening", "tags": ["late"]})
    changed = answer.ok()
    assert answer.position > 0
    assert changed == event | {"title": "Another evening", "tags": ["late"], "version": event["version"] + 1}
    assert house.anyone.get(path(event)).ok() == changed


def test_naming_null_clears_what_may_be_empty(organizer: Caller) -> None:
    event = drafted(organizer, event_request(description="Soon", max_tickets_per_buyer=4))
    cleared = organizer.patch(path(event), {"description": None, "max_tickets_per_buyer": None}).ok()
    assert (cleared["description"], cleared["max_tickets_per_buyer"]) == (None, None)
    organizer.patch(path(event), {"title": None}).invalid("/title")
    assert organizer.patch(path(event), {"venue": None}).status == 422


def test_a_change_that_changes_nothing_records_nothing(organizer: Caller) -> None:
    event = drafted(organizer)
    answer = organizer.patch(path(event), {"title": event["title"]})
    assert answer.ok() == event
    assert "ledger-position" not in answer.headers


def test_if_match_lets_only_the_version_that_was_looked_at_be_changed(house: House, organizer: Caller) -> None:
    event = on_sale(organizer)
    etag = house.anyone.get(path(event)).headers["etag"]
    organizer.patch(path(event), {"title": "First"}, {"if-match": etag}).ok()
    organizer.patch(path(event), {"title": "Second"}, {"if-match": etag}).refused(412, "precondition-failed")
    assert house.anyone.get(path(event)).ok()["title"] == "First"
    organizer.patch(path(event), {"title": "Second"}, {"if-match": "*"}).ok()
    assert house.anyone.get(path(event)).headers["etag"] != etag
    assert organizer.patch(path(event), {"title": "Third"}, {"if-match": "nonsense"}).status == 422


def test_postponing_moves_the_doors_along(organizer: Caller) -> None:
    event = on_sale(organizer)
    moved = {"starts_at": "2036-01-10T20:00:00Z", "ends_at": "2036-01-10T23:00:00Z"}
    postponed = organizer.post(path(event, "postpone"), moved).ok()
    assert {name: postponed[name] for name in moved} == moved
    assert postponed["doors_open_at"] == "2036-01-10T18:00:00Z"
    assert postponed["status"] == "published"


def test_an_event_cannot_be_moved_into_the_past_or_turned_around(organizer: Caller) -> None:
    event = on_sale(organizer)
    past = {"starts_at": "2020-01-10T20:00:00Z", "ends_at": "2020-01-10T23:00:00Z"}
    organizer.post(path(event, "postpone"), past).invalid("/ends_at")
    turned = {"starts_at": "2036-01-10T20:00:00Z", "ends_at": "2036-01-10T19:00:00Z"}
    organizer.post(path(event, "postpone"), turned).invalid("/ends_at")
    organizer.patch(path(event), turned).invalid("/ends_at")


def test_cancelling_says_why_and_is_final(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    cancelled = organizer.post(path(event, "cancel"), {"reason": "Storm"}).ok()
    assert (cancelled["status"], cancelled["cancel_reason"]) == ("cancelled", "Storm")
    assert house.anyone.get(path(event)).ok()["status"] == "cancelled"
    organizer.post(path(event, "cancel"), {"reason": "Again"}).refused(409, "event-over")
    organizer.patch(path(event), {"title": "Too late"}).refused(409, "event-over")
    buyer.post("/v1/orders", order_request(event)).refused(409, "not-on-sale")
    assert organizer.post(path(event, "archive")).ok()["status"] == "archived"


def test_only_what_is_over_can_be_archived(organizer: Caller) -> None:
    organizer.post(path(on_sale(organizer), "archive")).refused(409, "not-ended")


def test_a_tier_is_added_and_more_of_it_released(organizer: Caller) -> None:
    event = on_sale(organizer)
    added = organizer.post(path(event, "tiers"), {"name": "Balcony", "price": 9000, "quantity": 5}).ok(201)
    standing, balcony = added["tiers"]
    assert (balcony["name"], balcony["price"], balcony["capacity"]) == ("Balcony", 9000, 5)
    more = organizer.post(path(event, "tiers", standing["tier_id"], "releases"), {"quantity": 7}).ok(201)
    assert [tier["capacity"] for tier in more["tiers"]] == [17, 5]
    assert figures(organizer, event) == [(17, 17, 0, 0), (5, 5, 0, 0)]
    organizer.post(path(event, "tiers", str(uuid4()), "releases"), {"quantity": 7}).refused(404, "not-found")


def test_a_tier_is_sold_by_seats_or_by_quantity_never_both(organizer: Caller) -> None:
    event = drafted(organizer, seated())
    tier_id = event["tiers"][0]["tier_id"]
    assert organizer.post(path(event, "tiers", tier_id, "releases"), {"quantity": 5}).status == 422
    organizer.post(path(event, "tiers", tier_id, "releases"), {"seats": STALLS[:1]}).refused(409, "seat-exists")
    both = {"name": "Both", "price": 1, "quantity": 1, "seats": STALLS}
    assert organizer.post(path(event, "tiers"), both).status == 422
    assert organizer.post(path(event, "tiers"), {"name": "Neither", "price": 1}).status == 422


def test_gate_staff_needs_the_role_and_is_named_by_the_organiser(
    house: House, organizer: Caller, buyer: Caller
) -> None:
    event = on_sale(organizer)
    gina = house.person("gina", Role.GATE)
    staffed = organizer.put(path(event, "gate-staff"), {"user_ids": [gina.user_id]}).ok()
    assert staffed["user_ids"] == [gina.user_id]
    refused = {"user_ids": [gina.user_id, buyer.user_id]}
    organizer.put(path(event, "gate-staff"), refused).invalid("/user_ids/1")
    organizer.put(path(event, "gate-staff"), {"user_ids": [str(uuid4())]}).invalid("/user_ids/0")
    assert organizer.put(path(event, "gate-staff"), {"user_ids": []}).ok()["user_ids"] == []


def test_availability_follows_every_ticket_and_always_adds_up(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    assert figures(house.anyone, event) == [(10, 10, 0, 0)]
    order = ordered(buyer, event, 3)
    assert figures(house.anyone, event) == [(10, 7, 3, 0)]
    bought(buyer, event, 2)
    assert figures(house.anyone, event) == [(10, 5, 3, 2)]
    buyer.post(f"/v1/orders/{order['order_id']}/cancel").ok()
    assert figures(house.anyone, event) == [(10, 8, 0, 2)]


def test_availability_names_its_tiers_and_the_position_it_is_of(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    ordered(buyer, event)
    found = house.anyone.get(path(event, "availability")).ok()
    assert found["event_id"] == event["event_id"]
    assert found["position"] >= house.position
    (tier,) = found["tiers"]
    assert (tier["tier_id"], tier["name"], tier["price"]) == (event["tiers"][0]["tier_id"], "Standing", PRICE)


def test_the_seat_map_shows_every_seat_and_what_became_of_it(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer, seated())
    buyer.post("/v1/orders", seats_request(event, STALLS[1])).ok(201)
    seats = house.anyone.get(path(event, "seats")).ok()["items"]
    assert [{name: seat[name] for name in ("section", "row", "number")} for seat in seats] == STALLS
    assert {seat["tier_id"] for seat in seats} == {event["tiers"][0]["tier_id"]}
    assert [seat["status"] for seat in seats] == ["available", "held", *["available"] * 4]


def test_an_event_goes_live_when_its_doors_open_and_ends_at_its_end(house: House, organizer: Caller) -> None:
    request = event_request(starts_at=instant(hours=-1), ends_at=instant(seconds=1.5))
    event = on_sale(organizer, request)
    eventually(lambda: house.anyone.get(path(event)).ok()["status"] == "live")
    eventually(lambda: house.anyone.get(path(event)).ok()["status"] == "ended")


def test_a_tier_sells_within_its_window_only(organizer: Caller, buyer: Caller) -> None:
    tier = {"name": "Early", "price": 1, "quantity": 5, "sale_opens_at": instant(days=1)}
    event = on_sale(organizer, tonight(tiers=[tier]))
    buyer.post("/v1/orders", order_request(event)).refused(409, "not-on-sale")
