"""Who takes part in a journey: people with accounts, roles and tokens, and what they say first."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from api.client import Caller, Client
from tests.server import ADMIN_EMAIL, ADMIN_PASSWORD

PASSWORD = "correct horse battery staple"
PAYMENT = {"provider": "sandbox", "token": "tok_ok"}
PAGE_FACTS = 200
AVAILABILITY = ("capacity", "available", "held", "sold")


class Person(Caller):
    """Somebody signed in, who always reads their own writes and is surprised by every answer but the expected one."""

    user_id = ""
    email = ""
    name = ""

    async def ask(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Any:
        """What a request that must succeed is answered."""
        response = await self.request(method, path, body, key=key)
        assert response.status < 300, f"{method} {path}: {response.status} {response.body.decode()}"
        return response.json() if response.body else None

    async def refused(self, method: str, path: str, body: object = None, *, key: str | None = None) -> tuple[int, str]:
        """The status and the code of a request that must not succeed."""
        response = await self.request(method, path, body, key=key)
        assert response.status >= 400, f"{method} {path}: {response.status} {response.body.decode()}"
        return response.status, response.json()["code"]

    # -- What everybody does. -----------------------------------------------------

    async def order(self, event: dict[str, Any], *items: dict[str, Any]) -> Any:
        return await self.ask("POST", "/v1/orders", {"event_id": event["event_id"], "items": items})

    async def pay(self, order: dict[str, Any]) -> Any:
        return await self.ask("POST", f"/v1/orders/{order['order_id']}/payments", PAYMENT)

    async def code(self, ticket: dict[str, Any]) -> str:
        answer = await self.ask("GET", f"/v1/tickets/{ticket['ticket_id']}/code")
        return str(answer["code"])

    async def availability(self, event: dict[str, Any]) -> list[tuple[int, ...]]:
        """(capacity, available, held, sold) of each tier, in the order of the tiers."""
        answer = await self.ask("GET", f"/v1/events/{event['event_id']}/availability")
        return [tuple(tier[name] for name in AVAILABILITY) for tier in answer["tiers"]]

    async def facts(self, *, after: int = 0) -> list[dict[str, Any]]:
        """All the ledger says after a position, in order; for overseers."""
        facts: list[dict[str, Any]] = []
        while True:
            page = await self.ask("GET", f"/v1/ledger/events?after={after}&limit={PAGE_FACTS}")
            facts += page["items"]
            if len(page["items"]) < PAGE_FACTS:
                return facts
            after = facts[-1]["position"]

    async def head(self) -> int:
        answer = await self.ask("GET", "/v1/ledger/head")
        return int(answer["position"])


@dataclass(frozen=True, slots=True)
class People:
    admin: Person
    organizer: Person
    gate: Person
    buyers: list[Person]


async def sign_up(client: Client, *, buyers: int) -> People:
    """An organiser, somebody for the gate and buyers, all new; the admin is known already."""
    admin = Person(client)
    await sign_in(admin, ADMIN_EMAIL, ADMIN_PASSWORD)
    organizer, gate, *others = await asyncio.gather(
        newcomer(admin, "organizer"), newcomer(admin, "gate"), *(newcomer(admin) for _ in range(buyers))
    )
    return People(admin, organizer, gate, others)


async def newcomer(admin: Person, *roles: str) -> Person:
    """Somebody new who has these roles besides being an attendee."""
    person = Person(admin.client)
    name = f"{'-'.join(roles) or 'buyer'}-{secrets.token_hex(6)}"
    email = f"{name}@example.com"
    body = {"email": email, "password": PASSWORD, "name": name}
    await person.ask("POST", "/v1/auth/register", body)
    await sign_in(person, email, PASSWORD)
    if roles:
        await admin.ask("PUT", f"/v1/users/{person.user_id}/roles", {"roles": ["attendee", *roles]})
    return person


async def sign_in(person: Person, email: str, password: str) -> None:
    person.token = (await person.ask("POST", "/v1/auth/login", {"email": email, "password": password}))["access_token"]
    me = await person.ask("GET", "/v1/me")
    person.user_id, person.email, person.name = me["user_id"], me["email"], me["name"]


# -- Events. -------------------------------------------------------------------------


def in_time(**span: float) -> str:
    """RFC 3339, this far from now."""
    return (datetime.now(UTC) + timedelta(**span)).isoformat()


def floor(quantity: int, price: int = 4_500) -> dict[str, Any]:
    """A tier of general admission."""
    return {"name": "Floor", "price": price, "quantity": quantity}


def stalls(quantity: int, price: int = 9_000) -> dict[str, Any]:
    """A tier of numbered seats, all in one row."""
    return {"name": "Stalls", "price": price, "seats": [seat(number) for number in range(1, quantity + 1)]}


def seat(number: int) -> dict[str, str]:
    return {"section": "Stalls", "row": "A", "number": str(number)}


def concert(*tiers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of an event that has its doors open and its start an hour ahead, unless ``more`` says otherwise."""
    return {
        "title": "A Concert",
        "venue": {"name": "The Old Hall", "city": "Leipzig", "country": "DE"},
        "starts_at": in_time(hours=1),
        "ends_at": in_time(hours=5),
        "timezone": "Europe/Berlin",
        "currency": "EUR",
        "tiers": tiers,
        **more,
    }


async def put_on_sale(people: People, *tiers: dict[str, Any], **more: Any) -> Any:
    """A published event with somebody at the gate."""
    ask = people.organizer.ask
    event = await ask("POST", "/v1/events", concert(*tiers, **more))
    path = f"/v1/events/{event['event_id']}"
    await ask("PUT", f"{path}/gate-staff", {"user_ids": [people.gate.user_id]})
    return await ask("POST", f"{path}/publish")
