"""What happens before a test begins: events on sale, orders, tickets, an evening with its doors open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.callers import Caller
from tests.signer import Signer, new_signer

Json = dict[str, Any]
PRICE = 4500
STALLS = [{"section": "Stalls", "row": "A", "number": str(number)} for number in range(1, 7)]


def instant(**from_now: float) -> str:
    """RFC 3339, so many seconds, minutes, hours or days from now."""
    return (datetime.now(UTC) + timedelta(**from_now)).isoformat()


def event_request(**changes: object) -> Json:
    """A concert in a month with ten places, general admission."""
    request: Json = {
        "title": "An Evening of Strings",
        "venue": {"name": "Old Hall", "city": "Bergen", "country": "NO", "latitude": 60.39, "longitude": 5.32},
        "starts_at": instant(days=30),
        "ends_at": instant(days=30, hours=3),
        "timezone": "Europe/Oslo",
        "currency": "EUR",
        "tiers": [{"name": "Standing", "price": PRICE, "quantity": 10}],
    }
    return request | changes


def tonight(**changes: object) -> Json:
    """The doors are open already."""
    return event_request(starts_at=instant(hours=1), ends_at=instant(hours=4), **changes)


def seated(**changes: object) -> Json:
    return event_request(tiers=[{"name": "Stalls", "price": PRICE, "seats": STALLS}], **changes)


def drafted(organizer: Caller, request: Json | None = None) -> Json:
    event: Json = organizer.post("/v1/events", request or event_request()).ok(201)
    return event


def on_sale(organizer: Caller, request: Json | None = None) -> Json:
    event_id = drafted(organizer, request)["event_id"]
    event: Json = organizer.post(f"/v1/events/{event_id}/publish").ok()
    return event


def order_request(event: Json, quantity: int = 1) -> Json:
    return {
        "event_id": event["event_id"],
        "items": [{"tier_id": event["tiers"][0]["tier_id"], "quantity": quantity}],
    }


def seats_request(event: Json, *seats: Json) -> Json:
    return {
        "event_id": event["event_id"],
        "items": [{"tier_id": event["tiers"][0]["tier_id"], "seats": list(seats)}],
    }


def ordered(buyer: Caller, event: Json, quantity: int = 1) -> Json:
    order: Json = buyer.post("/v1/orders", order_request(event, quantity)).ok(201)
    return order


PAYMENT = {"provider": "sandbox", "token": "tok_ok"}


def bought(buyer: Caller, event: Json, quantity: int = 1) -> Json:
    """An order that has been paid for; its tickets are as they were when they were held."""
    order = ordered(buyer, event, quantity)
    buyer.post(f"/v1/orders/{order['order_id']}/payments", PAYMENT).ok(201)
    return order


def ticket_of(buyer: Caller, event: Json) -> str:
    """The id of a ticket that has been paid for."""
    ticket_id: str = bought(buyer, event)["tickets"][0]["ticket_id"]
    return ticket_id


def code_of(holder: Caller, ticket_id: str) -> str:
    code: str = holder.get(f"/v1/tickets/{ticket_id}/code").ok()["code"]
    return code


def linked_wallet(owner: Caller, wallet: Signer | None = None) -> Signer:
    """A wallet, a new one by default, that its owner has proved to be theirs."""
    wallet = wallet or new_signer()
    owner.post("/v1/wallets", proof_of(owner, wallet)).ok(201)
    return wallet


def proof_of(owner: Caller, wallet: Signer) -> Json:
    """The body of a request that links the wallet."""
    message = owner.post("/v1/wallets/challenges", {"address": wallet.address}).ok(201)["message"]
    return {"message": message, "signature": wallet.sign(message)}


def delivered_ticket(holder: Caller, event: Json, wallet: Signer) -> str:
    """The id of a ticket that is in the holder's wallet."""
    ticket_id = ticket_of(holder, event)
    holder.post(f"/v1/tickets/{ticket_id}/deliver", {"wallet": wallet.address}).ok()
    return ticket_id
