"""What an event has earned: as it was recorded, as it counts after corrections, and both as they were known then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.api.callers import Caller
from tests.api.house import House
from tests.api.scenes import Json, bought, on_sale

LAST_MONTH = datetime.now(UTC) - timedelta(days=32)
ZERO = {"tickets": 0, "revenue": 0, "refunded_tickets": 0, "refunds": 0}


@pytest.fixture
def event(organizer: Caller) -> Json:
    return on_sale(organizer)


def sales(caller: Caller, event: Json, **asked: object) -> Json:
    answer: Json = caller.get(f"/v1/events/{event['event_id']}/sales", asked).ok()
    return answer


def correct(organizer: Caller, order: Json, entry_id: str, at: datetime) -> Json:
    correction = {"entry_id": entry_id, "effective_at": at.isoformat(), "reason": "it belongs to last month"}
    answer: Json = organizer.post(f"/v1/orders/{order['order_id']}/corrections", correction).ok(201)
    return answer


def test_sales_and_refunds_are_told_apart_and_add_up(organizer: Caller, buyer: Caller, event: Json) -> None:
    assert (sales(organizer, event)["total"], sales(organizer, event)["days"]) == (ZERO, [])
    order, other = bought(buyer, event, 2), bought(buyer, event, 1)
    first, second = order["tickets"]
    organizer.post(f"/v1/orders/{order['order_id']}/refunds", {"ticket_ids": [first["ticket_id"]], "reason": "Ill"}).ok(
        201
    )
    found = sales(organizer, event)
    price = first["price"]
    assert price == second["price"] == other["total"]["amount"] > 0
    wanted = {"tickets": 3, "revenue": 3 * price, "refunded_tickets": 1, "refunds": price}
    assert found["total"] == wanted
    assert {name: sum(day[name] for day in found["days"]) for name in wanted} == wanted
    assert (found["basis"], found["currency"]) == ("recorded", order["total"]["currency"])


def test_a_corrected_refund_counts_last_month_and_stays_recorded_now(
    house: House, organizer: Caller, buyer: Caller, event: Json
) -> None:
    order = bought(buyer, event, 2)
    refunded = organizer.post(f"/v1/orders/{order['order_id']}/refunds", {"reason": "Ill"}).ok(201)
    [refund_id] = refunded["refund_ids"]
    before, recorded = house.head, sales(organizer, event)
    assert sales(organizer, event, basis="effective")["days"] == recorded["days"]
    corrected = correct(organizer, order, refund_id, LAST_MONTH)
    assert [correction["entry_id"] for correction in corrected["corrections"]] == [refund_id]

    assert sales(organizer, event) == recorded
    effective = sales(organizer, event, basis="effective")
    assert effective["total"] == recorded["total"]
    then, now = effective["days"]
    amount = order["total"]["amount"]
    assert (then["revenue"], then["refunds"], then["refunded_tickets"]) == (0, amount, 2)
    assert (now["revenue"], now["refunds"], now["tickets"]) == (amount, 0, 2)
    assert abs(datetime.fromisoformat(then["day"]).date() - LAST_MONTH.date()) <= timedelta(days=1)

    middle = (LAST_MONTH + timedelta(days=10)).isoformat()
    assert sales(organizer, event, basis="effective", to=middle)["total"]["refunds"] == amount
    assert sales(organizer, event, basis="effective", **{"from": middle})["total"]["refunds"] == 0
    assert sales(organizer, event, to=middle)["total"] == ZERO
    assert sales(organizer, event, basis="effective", as_of=before)["days"] == recorded["days"]


def test_the_latest_correction_counts_and_repeating_it_adds_nothing(
    organizer: Caller, buyer: Caller, event: Json
) -> None:
    order = buyer.get(f"/v1/orders/{bought(buyer, event, 1)['order_id']}").ok()
    correct(organizer, order, order["payment_id"], LAST_MONTH - timedelta(days=31))
    corrected = correct(organizer, order, order["payment_id"], LAST_MONTH)
    assert correct(organizer, order, order["payment_id"], LAST_MONTH) == corrected
    [day] = sales(organizer, event, basis="effective")["days"]
    assert abs(datetime.fromisoformat(day["day"]).date() - LAST_MONTH.date()) <= timedelta(days=1)
    assert day["revenue"] == order["total"]["amount"]


def test_only_what_the_order_has_can_be_corrected_and_only_by_its_organiser(
    organizer: Caller, buyer: Caller, event: Json
) -> None:
    order = buyer.get(f"/v1/orders/{bought(buyer, event, 1)['order_id']}").ok()
    path = f"/v1/orders/{order['order_id']}/corrections"
    body = {"entry_id": str(uuid4()), "effective_at": LAST_MONTH.isoformat(), "reason": "last month's"}
    organizer.post(path, body).refused(404, "not-found")
    buyer.post(path, body | {"entry_id": order["payment_id"]}).refused(403, "forbidden")
    organizer.post(path, body | {"effective_at": "last month"}).refused(422, "invalid")
    buyer.get(f"/v1/events/{event['event_id']}/sales").refused(404, "not-found")
    assert sales(organizer, event, basis="effective") == sales(organizer, event) | {"basis": "effective"}


def test_as_of_a_moment_before_the_sale_there_was_none(
    house: House, organizer: Caller, buyer: Caller, event: Json
) -> None:
    before = house.head
    bought(buyer, event, 1)
    assert sales(organizer, event, as_of=before)["total"] == ZERO
    assert sales(organizer, event)["total"]["tickets"] == 1
