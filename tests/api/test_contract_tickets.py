"""The contract, tickets: what holders do with them, the codes, the gate."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from struct import unpack
from uuid import UUID, uuid4
from xml.etree import ElementTree as ET

import pytest
import segno

from domain.account import Role
from tests.api.callers import Caller, eventually
from tests.api.house import House
from tests.api.scenes import (
    STALLS,
    Json,
    bought,
    code_of,
    event_request,
    instant,
    on_sale,
    ordered,
    seated,
    seats_request,
    ticket_of,
    tonight,
)

AT_ONCE = 20
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}svg"


def path(ticket_id: str, *more: str) -> str:
    return "/".join(("/v1/tickets", ticket_id, *more))


def scan(code: str, gate: str = "North") -> Json:
    return {"code": code, "gate": gate}


def test_a_ticket_says_what_it_is_and_whose(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer, seated())
    order = buyer.post("/v1/orders", seats_request(event, STALLS[0])).ok(201)
    ticket_id = order["tickets"][0]["ticket_id"]
    ticket = buyer.get(path(ticket_id)).ok()
    assert ticket["ticket_id"] == ticket_id
    assert (ticket["event_id"], ticket["order_id"]) == (event["event_id"], order["order_id"])
    assert ticket["tier_id"] == event["tiers"][0]["tier_id"]
    assert ticket["seat"] == STALLS[0]
    assert (ticket["status"], ticket["holder_id"]) == ("held", buyer.user_id)
    assert buyer.get("/v1/tickets").ok()["items"][0] == ticket


def test_a_ticket_is_seen_by_its_holder_the_organiser_and_overseers(
    house: House, organizer: Caller, buyer: Caller, other: Caller
) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer))
    for person in (buyer, organizer, house.person("aud", Role.AUDITOR)):
        person.get(path(ticket_id)).ok()
        person.get(path(ticket_id, "history")).ok()
    other.get(path(ticket_id)).refused(404, "not-found")
    other.get(path(ticket_id, "history")).refused(404, "not-found")
    buyer.get(path(str(uuid4()))).refused(404, "not-found")


def test_the_history_tells_everything_in_order(house: House, organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer, tonight())
    ticket_id = ticket_of(buyer, event)
    buyer.post(path(ticket_id, "claim"), {"attendee_name": "Ada"}).ok()
    organizer.post("/v1/check-ins", scan(code_of(buyer, ticket_id))).ok()
    history = buyer.get(path(ticket_id, "history")).ok()["items"]
    assert [fact["type"] for fact in history] == ["ticket.held", "ticket.paid", "ticket.claimed", "ticket.checked_in"]
    assert [fact["version"] for fact in history] == [1, 2, 3, 4]
    assert [fact["actor"] for fact in history] == [*[buyer.user_id] * 3, organizer.user_id]
    assert [fact["position"] for fact in history] == sorted({fact["position"] for fact in history})
    assert [fact["at"] for fact in history] == sorted(fact["at"] for fact in history)
    assert history[2]["data"]["attendee_name"] == "Ada"


def test_claiming_names_the_attendee(organizer: Caller, buyer: Caller, other: Caller) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer))
    claimed = buyer.post(path(ticket_id, "claim"), {"attendee_name": "Ada"}).ok()
    assert (claimed["status"], claimed["attendee_name"]) == ("claimed", "Ada")
    assert buyer.post(path(ticket_id, "claim"), {"attendee_name": "Eve"}).ok()["attendee_name"] == "Eve"
    other.post(path(ticket_id, "claim"), {"attendee_name": "Mallory"}).refused(404, "not-found")


def test_what_is_only_held_can_be_neither_claimed_nor_passed_on(
    organizer: Caller, buyer: Caller, other: Caller
) -> None:
    ticket_id = ordered(buyer, on_sale(organizer))["tickets"][0]["ticket_id"]
    buyer.post(path(ticket_id, "claim"), {"attendee_name": "Ada"}).refused(409, "not-paid")
    buyer.post(path(ticket_id, "transfer"), {"to": other.email}).refused(409, "not-paid")
    for picture in ("code", "code.png", "code.svg"):
        buyer.get(path(ticket_id, picture)).refused(409, "not-paid")


def test_a_transfer_changes_hands_and_old_codes_stop_working(organizer: Caller, buyer: Caller, other: Caller) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer, tonight()))
    old = code_of(buyer, ticket_id)
    passed_on = buyer.post(path(ticket_id, "transfer"), {"to": other.email.upper()}).ok()
    assert (passed_on["holder_id"], passed_on["status"]) == (other.user_id, "paid")
    organizer.post("/v1/check-ins", scan(old)).refused(422, "bad-code")
    buyer.get(path(ticket_id)).refused(404, "not-found")
    buyer.get(path(ticket_id, "code")).refused(404, "not-found")
    assert other.get("/v1/tickets").ok()["items"][0]["ticket_id"] == ticket_id
    assert organizer.post("/v1/check-ins", scan(code_of(other, ticket_id))).ok()["status"] == "checked_in"


def test_a_transfer_needs_somebody_else_who_is_registered(organizer: Caller, buyer: Caller) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer))
    buyer.post(path(ticket_id, "transfer"), {"to": "nobody@house.test"}).invalid("/to")
    buyer.post(path(ticket_id, "transfer"), {"to": buyer.email}).refused(409, "same-holder")


def test_an_offer_changes_hands_when_it_is_accepted(organizer: Caller, buyer: Caller, other: Caller) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer))
    offer = {"to": other.email, "needs_acceptance": True}
    offered = buyer.post(path(ticket_id, "transfer"), offer).ok()
    assert (offered["holder_id"], offered["offered_to"]) == (buyer.user_id, other.user_id)
    buyer.post(path(ticket_id, "transfer"), offer).refused(409, "transfer-pending")
    organizer.post(path(ticket_id, "transfer", "accept")).refused(404, "not-found")
    buyer.post(path(ticket_id, "transfer", "accept")).refused(409, "no-transfer")
    assert other.post(path(ticket_id, "transfer", "accept")).ok()["holder_id"] == other.user_id


@pytest.mark.parametrize("by", ["buyer", "other"])
def test_an_offer_is_declined_or_taken_back(organizer: Caller, buyer: Caller, other: Caller, by: str) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer))
    buyer.post(path(ticket_id, "transfer"), {"to": other.email, "needs_acceptance": True}).ok()
    declined = {"buyer": buyer, "other": other}[by].post(path(ticket_id, "transfer", "decline")).ok()
    assert (declined["holder_id"], declined["offered_to"]) == (buyer.user_id, None)
    buyer.post(path(ticket_id, "transfer", "decline")).refused(409, "no-transfer")


def test_a_revoked_ticket_admits_nobody(organizer: Caller, buyer: Caller, other: Caller) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer, tonight()))
    code = code_of(buyer, ticket_id)
    other.post(path(ticket_id, "revoke"), {"reason": "Not mine"}).refused(404, "not-found")
    revoked = organizer.post(path(ticket_id, "revoke"), {"reason": "Fraud"}).ok()
    assert (revoked["status"], revoked["cancel_reason"]) == ("cancelled", "Fraud")
    organizer.post(path(ticket_id, "revoke"), {"reason": "Again"}).refused(409, "cancelled")
    organizer.post("/v1/check-ins", scan(code)).refused(409, "cancelled")
    buyer.get(path(ticket_id, "code")).refused(409, "cancelled")
    buyer.post(path(ticket_id, "claim"), {"attendee_name": "Ada"}).refused(409, "cancelled")


def test_the_pictures_are_the_code_as_png_and_svg(organizer: Caller, buyer: Caller) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer))
    modules = [list(row) for row in segno.make(code_of(buyer, ticket_id), error="m", micro=False).matrix]
    png = buyer.get(path(ticket_id, "code.png"))
    assert png.headers["content-type"] == "image/png"
    assert dark_modules(png.body, len(modules)) == modules
    svg = buyer.get(path(ticket_id, "code.svg"))
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert ET.fromstring(svg.body).tag == SVG
    for answer in (png, svg, buyer.get(path(ticket_id, "code"))):
        assert answer.headers["cache-control"] == "no-store"


def dark_modules(png: bytes, size: int, *, border: int = 4, scale: int = 8) -> list[list[int]]:
    """The QR symbol in a picture of one bit a pixel (black is 0), one entry a module: what a scanner would see."""
    assert png.startswith(PNG_SIGNATURE)
    chunks, at = {}, len(PNG_SIGNATURE)
    while at < len(png):
        length, kind = unpack(">I4s", png[at : at + 8])
        chunks[kind] = png[at + 8 : at + 8 + length]
        at += length + 12
    width, height, depth, colour = unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (width, height, depth, colour) == ((size + 2 * border) * scale,) * 2 + (1, 0)
    packed = zlib.decompress(chunks[b"IDAT"])
    stride = 1 + (width + 7) // 8
    above, lines = bytes(stride - 1), []
    for start in range(0, len(packed), stride):
        kind, line = packed[start], packed[start + 1 : start + stride]
        assert kind in (0, 2), "as it is, or as the difference to the line above"
        above = bytes(a + b & 255 for a, b in zip(line, above, strict=True)) if kind == 2 else line
        lines.append(above)
    middles = [(border + module) * scale + scale // 2 for module in range(size)]
    return [[1 - (lines[y][x // 8] >> (7 - x % 8) & 1) for x in middles] for y in middles]


def test_a_check_in_says_when_and_where(organizer: Caller, buyer: Caller) -> None:
    ticket_id = ticket_of(buyer, on_sale(organizer, tonight()))
    answer = organizer.post("/v1/check-ins", scan(code_of(buyer, ticket_id)))
    admitted = answer.ok()
    assert answer.position > 0
    assert (admitted["ticket_id"], admitted["status"], admitted["gate"]) == (ticket_id, "checked_in", "North")
    ticket = buyer.get(path(ticket_id)).ok()
    assert (ticket["status"], ticket["checked_in_at"]) == ("checked_in", admitted["checked_in_at"])


def test_a_ticket_admits_only_once_and_says_when_and_where_it_did(organizer: Caller, buyer: Caller) -> None:
    code = code_of(buyer, ticket_of(buyer, on_sale(organizer, tonight())))
    first = organizer.post("/v1/check-ins", scan(code, "North")).ok()
    again = organizer.post("/v1/check-ins", scan(code, "South")).refused(409, "already-checked-in")
    assert (again["checked_in_at"], again["gate"]) == (first["checked_in_at"], "North")


def test_a_ticket_that_is_shown_at_every_gate_at_once_admits_one(organizer: Caller, buyer: Caller) -> None:
    code = code_of(buyer, ticket_of(buyer, on_sale(organizer, tonight())))
    with ThreadPoolExecutor(AT_ONCE) as gates:
        answers = list(gates.map(lambda n: organizer.post("/v1/check-ins", scan(code, f"Gate {n}")), range(AT_ONCE)))
    assert sorted(answer.status for answer in answers) == [200, *[409] * (AT_ONCE - 1)]


def test_gate_staff_admits_to_its_event_only(house: House, organizer: Caller, buyer: Caller) -> None:
    gina = house.person("gina", Role.GATE)
    event, another = on_sale(organizer, tonight()), on_sale(organizer, tonight())
    ticket_id = ticket_of(buyer, event)
    code = code_of(buyer, ticket_id)
    gina.post("/v1/check-ins", scan(code)).refused(403, "forbidden")
    organizer.put(f"/v1/events/{event['event_id']}/gate-staff", {"user_ids": [gina.user_id]}).ok()
    gina.post("/v1/check-ins", scan(code_of(buyer, ticket_of(buyer, another)))).refused(403, "forbidden")
    assert gina.post("/v1/check-ins", scan(code)).ok()["ticket_id"] == ticket_id


def test_gate_staff_that_loses_the_role_admits_nobody(house: House, organizer: Caller, buyer: Caller) -> None:
    gerd = house.person("gerd", Role.GATE)
    event = on_sale(organizer, tonight())
    code = code_of(buyer, ticket_of(buyer, event))
    organizer.put(f"/v1/events/{event['event_id']}/gate-staff", {"user_ids": [gerd.user_id]}).ok()
    house.admin.put(f"/v1/users/{gerd.user_id}/roles", {"roles": ["attendee"]}).ok()
    gerd.post("/v1/check-ins", scan(code)).refused(403, "forbidden")


def test_a_ticket_for_another_event_is_named_as_such(organizer: Caller, buyer: Caller) -> None:
    event, another = on_sale(organizer, tonight()), on_sale(organizer, tonight())
    code = code_of(buyer, ticket_of(buyer, event))
    request = scan(code) | {"event_id": another["event_id"]}
    organizer.post("/v1/check-ins", request).refused(409, "wrong-event")
    organizer.post("/v1/check-ins", request | {"event_id": event["event_id"]}).ok()


def test_a_gate_that_gets_a_ticket_for_somebody_elses_event_says_so(
    organizer: Caller, buyer: Caller, other: Caller
) -> None:
    theirs = on_sale(other, tonight())
    code = code_of(buyer, ticket_of(buyer, on_sale(organizer, tonight())))
    other.post("/v1/check-ins", scan(code) | {"event_id": theirs["event_id"]}).refused(409, "wrong-event")
    other.post("/v1/check-ins", scan(code)).refused(403, "forbidden")


def test_nobody_is_admitted_before_the_doors_open(organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer)
    code = code_of(buyer, ticket_of(buyer, event))
    early = organizer.post("/v1/check-ins", scan(code)).refused(409, "not-yet-open")
    assert early["opens_at"] == event["doors_open_at"]


def test_an_unused_ticket_expires_with_its_event(organizer: Caller, buyer: Caller) -> None:
    event = on_sale(organizer, event_request(starts_at=instant(hours=-1), ends_at=instant(seconds=2)))
    order = bought(buyer, event)
    ticket_id = order["tickets"][0]["ticket_id"]
    code = code_of(buyer, ticket_id)
    eventually(lambda: buyer.get(path(ticket_id)).ok()["status"] == "expired")
    assert buyer.get(f"/v1/orders/{order['order_id']}").ok()["status"] == "fulfilled"
    organizer.post("/v1/check-ins", scan(code)).refused(409, "doors-closed")
    buyer.post(path(ticket_id, "claim"), {"attendee_name": "Ada"}).refused(409, "cancelled")


def test_a_hold_cannot_be_admitted_with_a_code_of_an_earlier_time(
    house: House, organizer: Caller, buyer: Caller
) -> None:
    """No code is given out for a hold; one that is signed for it anyway is refused as not paid."""
    ticket = ordered(buyer, on_sale(organizer, tonight()))["tickets"][0]["ticket_id"]
    signed = house.application.codes.sign(UUID(ticket), 1)
    organizer.post("/v1/check-ins", scan(signed)).refused(409, "not-paid")
