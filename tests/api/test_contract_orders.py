"""The contract, orders: holding tickets, paying, giving them back, and what happens when nobody pays."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from tests.api.callers import Caller, eventually
from tests.api.house import House
from tests.api.scenes import (
    PAYMENT,
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
)

AT_ONCE = 20


def path(order: Json, *more: str) -> str:
    return "/".join(("/v1/orders", order["order_id"], *more))


def available(caller: Caller, event: Json) -> int:
    tiers = caller.get(f"/v1/events/{event['event_id']}/availability").ok()["tiers"]
    count: int = tiers[0]["available"]
    return count


def test_an_order_holds_its_tickets_until_it_expires(organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    answer = buyer.post("/v1/orders", order_request(event, 2))
    order = answer.ok(201)
    assert answer.position > 0
    assert (order["event_id"], order["status"]) == (event["event_id"], "pending")
    assert order["total"] == {"amount": 2 * PRICE, "currency": "EUR"}
    assert instant(seconds=590) < order["expires_at"].replace("Z", "+00:00") < instant(seconds=610)
    assert len({UUID(ticket["ticket_id"]) for ticket in order["tickets"]}) == 2
    assert {ticket["status"] for ticket in order["tickets"]} == {"held"}
    assert {ticket["tier_id"] for ticket in order["tickets"]} == {event["tiers"][0]["tier_id"]}


def test_what_was_answered_is_what_is_found(house: House, organizer: Caller, buyer: Caller) -> None:
    order = ordered(buyer, on_sale(organizer), 2)
    assert buyer.get(path(order)).ok() == order
    assert buyer.get("/v1/orders").ok()["items"][0] == order


def test_an_order_is_seen_by_its_buyer_and_the_events_organiser(
    house: House, organizer: Caller, buyer: Caller, other: Caller
) -> None:
    event = on_sale(organizer)
    order = ordered(buyer, event)
    assert organizer.get(path(order)).ok() == order
    assert organizer.get("/v1/orders", {"event_id": event["event_id"]}).ok()["items"] == [order]
    other.get(path(order)).refused(404, "not-found")
    other.get("/v1/orders", {"event_id": event["event_id"]}).refused(404, "not-found")
    assert order["order_id"] not in [item["order_id"] for item in other.get("/v1/orders").ok()["items"]]


def test_seats_are_sold_by_name_and_only_once(organizer: Caller, buyer: Caller, other: Caller) -> None:
    event = on_sale(organizer, seated())
    order = buyer.post("/v1/orders", seats_request(event, *STALLS[:2])).ok(201)
    assert [ticket["seat"] for ticket in order["tickets"]] == STALLS[:2]
    other.post("/v1/orders", seats_request(event, STALLS[1])).refused(409, "seat-taken")


def test_an_order_is_all_or_nothing(house: House, organizer: Caller, buyer: Caller, other: Caller) -> None:
    event = on_sale(organizer, seated())
    buyer.post("/v1/orders", seats_request(event, STALLS[1])).ok(201)
    other.post("/v1/orders", seats_request(event, *STALLS[:3])).refused(409, "seat-taken")
    assert available(house.anyone, event) == 5
    other.post("/v1/orders", seats_request(event, STALLS[0], STALLS[2])).ok(201)


def test_the_best_seats_side_by_side_are_found(organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer, seated())
    request = order_request(event, 3)
    request["items"][0]["adjacent"] = True
    seats = [ticket["seat"] for ticket in buyer.post("/v1/orders", request).ok(201)["tickets"]]
    numbers = sorted(int(seat["number"]) for seat in seats)
    assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_more_than_there_are_is_sold_out_and_nothing_is_held(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    buyer.post("/v1/orders", order_request(event, 11)).refused(409, "sold-out")
    assert available(house.anyone, event) == 10
    ordered(buyer, event, 10)
    buyer.post("/v1/orders", order_request(event)).refused(409, "sold-out")


def test_what_is_wanted_by_many_at_once_is_sold_to_as_many_as_there_is(organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    with ThreadPoolExecutor(AT_ONCE) as crowd:
        answers = list(crowd.map(lambda _: buyer.post("/v1/orders", order_request(event)), range(AT_ONCE)))
    sold = [answer.ok(201)["tickets"][0]["ticket_id"] for answer in answers if answer.status == 201]
    assert len(sold) == len(set(sold)) == 10
    for answer in answers:
        if answer.status != 201:
            answer.refused(409, "sold-out")


def test_a_draft_is_not_on_sale(organizer: Caller, buyer: Caller) -> None:
    buyer.post("/v1/orders", order_request(drafted(organizer))).refused(409, "not-on-sale")


def test_an_event_that_does_not_exist_and_a_tier_of_another(organizer: Caller, buyer: Caller) -> None:
    event, another = on_sale(organizer), on_sale(organizer)
    buyer.post("/v1/orders", order_request(event) | {"event_id": str(uuid4())}).refused(404, "not-found")
    buyer.post("/v1/orders", order_request(event) | {"event_id": another["event_id"]}).invalid("/items")


@pytest.mark.parametrize(
    ("limits", "quantity"),
    [
        ({"max_tickets_per_order": 2}, 3),
        ({"max_tickets_per_buyer": 2}, 3),
        ({"tiers": [{"name": "Few", "price": 1, "quantity": 10, "max_tickets_per_order": 2}]}, 3),
    ],
)
def test_limits_of_the_organiser_are_kept(organizer: Caller, buyer: Caller, limits: Json, quantity: int) -> None:
    event = on_sale(organizer, event_request(**limits))
    buyer.post("/v1/orders", order_request(event, quantity)).refused(409, "limit-exceeded")
    ordered(buyer, event, quantity - 1)


def test_a_limit_per_buyer_counts_over_all_orders_and_gives_back_what_is_given_up(
    organizer: Caller, buyer: Caller, other: Caller
) -> None:
    event = on_sale(organizer, event_request(max_tickets_per_buyer=2))
    first = ordered(buyer, event, 2)
    buyer.post("/v1/orders", order_request(event)).refused(409, "limit-exceeded")
    ordered(other, event, 2)
    buyer.post(path(first, "cancel")).ok()
    ordered(buyer, event, 2)


def test_a_payment_makes_the_order_and_its_tickets_paid(organizer: Caller, buyer: Caller) -> None:
    order = ordered(buyer, on_sale(organizer), 2)
    answer = buyer.post(path(order, "payments"), PAYMENT)
    payment = answer.ok(201)
    assert (payment["status"], payment["order_id"], payment["amount"]) == (
        "captured",
        order["order_id"],
        order["total"],
    )
    assert answer.position > 0
    paid = buyer.get(path(order)).ok()
    assert (paid["status"], paid["payment_id"]) == ("paid", payment["payment_id"])
    assert {ticket["status"] for ticket in paid["tickets"]} == {"paid"}


def test_a_declined_payment_leaves_the_order_as_it_was(organizer: Caller, buyer: Caller) -> None:
    order = ordered(buyer, on_sale(organizer))
    declined = {"provider": "sandbox", "token": "tok_declined"}
    buyer.post(path(order, "payments"), declined).refused(402, "payment-declined")
    assert buyer.get(path(order)).ok()["status"] == "pending"
    buyer.post(path(order, "payments"), PAYMENT).ok(201)


@pytest.mark.parametrize(
    ("payment", "pointer"),
    [({"provider": "gold", "token": "tok_ok"}, "/provider"), ({"provider": "sandbox", "token": "tok_other"}, "/token")],
)
def test_a_provider_or_token_that_does_not_exist(organizer: Caller, buyer: Caller, payment: Json, pointer: str) -> None:
    order = ordered(buyer, on_sale(organizer))
    buyer.post(path(order, "payments"), payment).invalid(pointer)


def test_an_order_is_paid_once_and_only_by_its_buyer(organizer: Caller, buyer: Caller, other: Caller) -> None:
    order = ordered(buyer, on_sale(organizer))
    for stranger in (other, organizer):
        stranger.post(path(order, "payments"), PAYMENT).refused(404, "not-found")
    buyer.post(path(order, "payments"), PAYMENT).ok(201)
    buyer.post(path(order, "payments"), PAYMENT).refused(409, "order-not-pending")
    buyer.post(path(order, "cancel")).refused(409, "order-not-pending")


def test_a_cancelled_order_gives_its_tickets_back_at_once(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    order = ordered(buyer, event, 10)
    cancelled = buyer.post(path(order, "cancel")).ok()
    assert cancelled["status"] == "cancelled"
    assert {ticket["status"] for ticket in cancelled["tickets"]} == {"available"}
    assert available(house.anyone, event) == 10
    ordered(buyer, event, 10)
    buyer.post(path(order, "payments"), PAYMENT).refused(409, "order-not-pending")


def test_a_hold_that_runs_out_returns_the_tickets_by_itself(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer, event_request(hold_seconds=1))
    order = ordered(buyer, event, 10)
    eventually(lambda: available(house.anyone, event) == 10)
    assert buyer.get(path(order)).ok()["status"] == "expired"
    buyer.post(path(order, "payments"), PAYMENT).refused(409, "hold-expired")
    ordered(buyer, event, 10)


def test_a_payment_that_arrives_after_its_hold_is_sent_back(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer, event_request(hold_seconds=1))
    order = ordered(buyer, event)
    began = time.monotonic()
    buyer.post(path(order, "payments"), PAYMENT | {"token": "tok_slow"}).refused(409, "hold-expired")
    assert time.monotonic() - began > 1.0
    assert buyer.get(path(order)).ok()["payment_id"] is None
    assert available(house.anyone, event) == 10


def test_the_organiser_refunds_a_part_and_then_the_rest(organizer: Caller, buyer: Caller, other: Caller) -> None:
    order = bought(buyer, on_sale(organizer), 3)
    first = order["tickets"][0]["ticket_id"]
    other.post(path(order, "refunds"), {"reason": "Not mine"}).refused(404, "not-found")
    part = organizer.post(path(order, "refunds"), {"ticket_ids": [first], "reason": "Ill"}).ok(201)
    assert (part["status"], part["refunded"]["amount"]) == ("partly_refunded", PRICE)
    assert buyer.get(f"/v1/tickets/{first}").ok()["status"] == "cancelled"
    rest = organizer.post(path(order, "refunds"), {"reason": "All ill"}).ok(201)
    assert (rest["status"], rest["refunded"]["amount"]) == ("refunded", 3 * PRICE)
    organizer.post(path(order, "refunds"), {"reason": "Again"}).refused(409, "order-not-paid")


def test_everybody_is_refunded_when_the_event_is_cancelled(organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    order = bought(buyer, event, 2)
    organizer.post(f"/v1/events/{event['event_id']}/cancel", {"reason": "Storm"}).ok()
    ticket = buyer.get(f"/v1/tickets/{order['tickets'][0]['ticket_id']}").ok()
    assert ticket["status"] == "cancelled"
    eventually(lambda: buyer.get(path(order)).ok()["status"] == "refunded")
    assert buyer.get(path(order)).ok()["refunded"] == order["total"]


def test_the_dearest_tickets_that_can_be_ordered_together_have_a_total(organizer: Caller, buyer: Caller) -> None:
    tier = {"name": "Golden", "price": 10**10, "quantity": 100}
    event = on_sale(organizer, event_request(tiers=[tier], max_tickets_per_order=100))
    order = ordered(buyer, event, 100)
    assert order["total"]["amount"] == 10**12
    too_dear = event_request(tiers=[tier | {"price": 10**10 + 1}])
    organizer.post("/v1/events", too_dear).invalid("/tiers/0/price")
