"""What time brings about by itself: nobody asks, nobody reads, and within a second it has happened."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.journeys.people import PAYMENT, People, floor, in_time, put_on_sale, seat, stalls

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
PUNCTUAL = timedelta(seconds=1)
REFUND_SECONDS_MAX = 10.0
POLL_SECONDS = 0.1
SLOW_PAYMENT = PAYMENT | {"token": "tok_slow"}


async def test_holds_end_within_a_second_and_the_places_are_sold_again(people: People) -> None:
    event = await put_on_sale(people, floor(2), stalls(2), hold_seconds=1)
    first, second = people.buyers[:2]
    ground, chairs = (tier["tier_id"] for tier in event["tiers"])
    items = ({"tier_id": ground, "quantity": 2}, {"tier_id": chairs, "seats": [seat(1), seat(2)]})
    order = await first.order(event, *items)
    everything = {"event_id": event["event_id"], "items": [{"tier_id": ground, "quantity": 1}]}
    assert await second.refused("POST", "/v1/orders", everything) == (409, "sold-out")

    await _sleep_until(_instant(order["expires_at"]) + PUNCTUAL)  # no request meanwhile

    again = await second.order(event, *items)
    assert {ticket["ticket_id"] for ticket in again["tickets"]} == {ticket["ticket_id"] for ticket in order["tickets"]}
    await second.pay(again)
    assert await second.availability(event) == [(2, 0, 0, 2), (2, 0, 0, 2)]
    assert (await first.ask("GET", f"/v1/orders/{order['order_id']}"))["status"] == "expired"
    late = (409, "hold-expired")
    assert await first.refused("POST", f"/v1/orders/{order['order_id']}/payments", PAYMENT) == late
    expired = await _fact(people, order["order_id"], "order.expired")
    assert expired["actor"] == "system:timekeeper"
    assert timedelta(0) <= _instant(expired["at"]) - _instant(order["expires_at"]) <= PUNCTUAL


async def test_many_holds_that_end_together_all_end_in_time(people: People) -> None:
    event = await put_on_sale(people, floor(60), hold_seconds=2)
    item = {"tier_id": event["tiers"][0]["tier_id"], "quantity": 1}
    orders = await asyncio.gather(*(people.buyers[n % 4].order(event, item) for n in range(60)))
    last = max(_instant(order["expires_at"]) for order in orders)

    await _sleep_until(last + PUNCTUAL)

    assert await people.buyers[0].availability(event) == [(60, 60, 0, 0)]


async def test_a_payment_that_takes_longer_than_the_hold_is_sent_back(people: People) -> None:
    event = await put_on_sale(people, floor(1), hold_seconds=1)
    buyer = people.buyers[0]
    order = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 1})
    payments = f"/v1/orders/{order['order_id']}/payments"

    assert await buyer.refused("POST", payments, SLOW_PAYMENT, key="slow") == (409, "hold-expired")
    assert await buyer.refused("POST", payments, SLOW_PAYMENT, key="slow") == (409, "hold-expired")

    refunded = await _fact(people, order["order_id"], "order.late_payment_refunded")
    assert refunded["data"]["amount"] == order["total"]
    assert (await buyer.ask("GET", f"/v1/orders/{order['order_id']}"))["status"] == "expired"
    assert await people.organizer.availability(event) == [(1, 1, 0, 0)]
    assert (await people.buyers[1].order(event, {"tier_id": order["tickets"][0]["tier_id"], "quantity": 1}))["tickets"]


async def test_a_slow_payment_within_the_hold_is_kept(people: People) -> None:
    event = await put_on_sale(people, floor(1), hold_seconds=60)
    buyer = people.buyers[0]
    order = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 1})
    payment = await buyer.ask("POST", f"/v1/orders/{order['order_id']}/payments", SLOW_PAYMENT)
    assert payment["status"] == "captured"
    assert await buyer.availability(event) == [(1, 0, 0, 1)]


async def test_an_event_opens_and_ends_by_itself(people: People) -> None:
    times = {"starts_at": in_time(seconds=2), "ends_at": in_time(seconds=4), "doors_open_at": in_time(seconds=1.5)}
    event = await put_on_sale(people, floor(5), **times)
    buyer, gate = people.buyers[0], people.gate
    order = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 2})
    await buyer.pay(order)
    came, stayed_away = order["tickets"]
    entry = {"code": await buyer.code(came), "gate": "North"}
    assert await gate.refused("POST", "/v1/check-ins", entry) == (409, "not-yet-open")

    await _sleep_until(_instant(event["doors_open_at"]))
    await gate.ask("POST", "/v1/check-ins", entry)
    late = {"code": await buyer.code(stayed_away), "gate": "North"}
    await _sleep_until(_instant(event["doors_open_at"]) + PUNCTUAL)
    assert (await buyer.ask("GET", f"/v1/events/{event['event_id']}"))["status"] == "live"

    await _sleep_until(_instant(event["ends_at"]) + PUNCTUAL)
    assert (await buyer.ask("GET", f"/v1/events/{event['event_id']}"))["status"] == "ended"
    assert (await buyer.ask("GET", f"/v1/orders/{order['order_id']}"))["status"] == "fulfilled"
    assert (await buyer.ask("GET", f"/v1/tickets/{came['ticket_id']}"))["status"] == "checked_in"
    assert (await buyer.ask("GET", f"/v1/tickets/{stayed_away['ticket_id']}"))["status"] == "expired"
    assert await gate.refused("POST", "/v1/check-ins", late) == (409, "doors-closed")
    one = {"event_id": event["event_id"], "items": [{"tier_id": came["tier_id"], "quantity": 1}]}
    assert await buyer.refused("POST", "/v1/orders", one) == (409, "not-on-sale")
    ended = await _fact(people, event["event_id"], "event.ended")
    assert _instant(ended["at"]) - _instant(event["ends_at"]) <= PUNCTUAL


async def test_cancelling_an_event_refunds_everybody_who_paid(people: People) -> None:
    event = await put_on_sale(people, floor(20))
    item = {"tier_id": event["tiers"][0]["tier_id"], "quantity": 3}
    orders = await asyncio.gather(*(buyer.order(event, item) for buyer in people.buyers))
    *paid, unpaid = orders
    await asyncio.gather(*(buyer.pay(order) for buyer, order in zip(people.buyers, paid, strict=False)))
    admitted = paid[0]["tickets"][0]
    code = await people.buyers[0].code(admitted)
    await people.gate.ask("POST", "/v1/check-ins", {"code": code, "gate": "North"})

    await people.organizer.ask("POST", f"/v1/events/{event['event_id']}/cancel", {"reason": "rain"})

    for buyer, order in zip(people.buyers, paid, strict=False):
        ticket = await buyer.ask("GET", f"/v1/tickets/{order['tickets'][1]['ticket_id']}")
        assert ticket["status"] == "cancelled", "at once, however long the refunds take"
    refunded = await _all_refunded(people, paid)
    assert [order["refunded"] for order in refunded] == [order["total"] for order in paid]
    assert {ticket["status"] for order in refunded for ticket in order["tickets"]} == {"cancelled", "checked_in"}
    facts = [fact for fact in await people.admin.facts() if fact["type"] == "order.refunded"]
    of_event = [fact for fact in facts if fact["stream_id"] in {order["order_id"] for order in orders}]
    assert sorted(fact["stream_id"] for fact in of_event) == sorted(order["order_id"] for order in paid)
    assert {fact["data"]["reason"] for fact in of_event} == {"rain"}
    assert (await people.buyers[-1].ask("GET", f"/v1/orders/{unpaid['order_id']}"))["refunded"]["amount"] == 0


async def _all_refunded(people: People, orders: list[Json]) -> list[Json]:
    async with asyncio.timeout(REFUND_SECONDS_MAX):
        while True:
            found = [await people.organizer.ask("GET", f"/v1/orders/{order['order_id']}") for order in orders]
            if all(order["status"] == "refunded" for order in found):
                return found
            await asyncio.sleep(POLL_SECONDS)


async def _fact(people: People, stream_id: str, kind: str) -> Json:
    """The only fact of this kind in the stream."""
    facts = await people.admin.facts()
    [fact] = [fact for fact in facts if fact["stream_id"] == stream_id and fact["type"] == kind]
    return fact


async def _sleep_until(instant: datetime) -> None:
    await asyncio.sleep(max(0.0, (instant - datetime.now(UTC)).total_seconds()))


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
