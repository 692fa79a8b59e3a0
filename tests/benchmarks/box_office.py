"""The people and the events of a run, brought about through the API like anybody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from secrets import token_hex
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson

from adapters.codes import Ed25519TicketCodes
from api.client import Caller, Client
from tests.benchmarks.harness import BenchError
from tests.benchmarks.http_load import Shot
from tests.benchmarks.served import ADMIN

BUYERS = 8
ORDER_TICKETS = 100
ORDERS_AT_ONCE = 16
HOLD_SECONDS = 86_400
"""No hold of a run ends within it."""
PASSWORD = "correct horse battery"


class OnSale(NamedTuple):
    event_id: str
    tier_ids: tuple[str, ...]


class BoxOffice:
    def __init__(self, client: Client, admin: Caller, organizer: Caller, buyers: Sequence[Caller]) -> None:
        self.client = client
        self.admin = admin
        self.organizer = organizer
        self.buyers = buyers
        self._keys = (f"{run}-{number}" for run in (token_hex(8),) for number in count())

    @classmethod
    async def opened(cls, client: Client) -> Self:
        admin = await signed_in(client, *ADMIN)
        everybody = await asyncio.gather(*(_registered(client, admin, number) for number in range(BUYERS + 1)))
        return cls(client, admin, everybody[0], everybody[1:])

    async def put_on_sale(self, *, quantity: int, tiers: int = 2) -> OnSale:
        """An event with its doors open and ``quantity`` places in each tier."""
        now = datetime.now(UTC)
        body = {
            "title": "An evening at the bench",
            "venue": {"name": "The Bench", "city": "Berlin"},
            "starts_at": (now + timedelta(hours=1)).isoformat(),
            "ends_at": (now + timedelta(hours=24)).isoformat(),
            "doors_open_at": (now - timedelta(hours=1)).isoformat(),
            "timezone": "Europe/Berlin",
            "currency": "EUR",
            "tiers": [{"name": f"Tier {n}", "price": 4500 + n, "quantity": quantity} for n in range(tiers)],
            "max_tickets_per_order": ORDER_TICKETS,
            "hold_seconds": HOLD_SECONDS,
        }
        event = await ask(self.organizer, "POST", "/v1/events", body)
        await ask(self.organizer, "POST", f"/v1/events/{event['event_id']}/publish")
        return OnSale(event["event_id"], tuple(tier["tier_id"] for tier in event["tiers"]))

    def orders(self, events: Sequence[OnSale], path: str = "/v1/orders") -> Iterator[Shot]:
        """One ticket each, by every buyer in turn, for every tier of every event; without end."""
        bodies = [
            orjson.dumps({"event_id": event.event_id, "items": [{"tier_id": tier_id, "quantity": 1}]})
            for event in events
            for tier_id in event.tier_ids
        ]
        buyers = [_bearer(buyer) for buyer in self.buyers]
        for bearer, body, key in zip(cycle(buyers), _in_turns(bodies, len(buyers)), self._keys, strict=False):
            yield Shot("POST", path, body, {**bearer, "idempotency-key": key})

    def check_ins(self, codes: Iterable[str], path: str = "/v1/check-ins") -> Iterator[Shot]:
        bearer = _bearer(self.organizer)
        for code, key in zip(codes, self._keys, strict=False):
            body = orjson.dumps({"code": code, "gate": "North"})
            yield Shot("POST", path, body, {**bearer, "idempotency-key": key})

    async def sell(self, event: OnSale, tickets: int) -> list[str]:
        """The ids of that many tickets, paid for."""
        buyers = cycle(self.buyers)
        orders = iter([next(buyers) for _ in range(-(-tickets // ORDER_TICKETS))])
        sold: list[str] = []

        async def sell_orders() -> None:
            for buyer in orders:
                items = [{"tier_id": event.tier_ids[0], "quantity": ORDER_TICKETS}]
                order = await ask(buyer, "POST", "/v1/orders", {"event_id": event.event_id, "items": items})
                payment = {"provider": "sandbox", "token": "tok_ok"}
                await ask(buyer, "POST", f"/v1/orders/{order['order_id']}/payments", payment)
                sold.extend(ticket["ticket_id"] for ticket in order["tickets"])

        await asyncio.gather(*(sell_orders() for _ in range(ORDERS_AT_ONCE)))
        return sold[:tickets]


def codes_of(ticket_ids: Iterable[str], secret: bytes) -> list[str]:
    """The codes of tickets that never changed hands, signed here: fetching them is not what is measured."""
    signer = Ed25519TicketCodes(secret)
    return [signer.sign(UUID(ticket_id), custody=1) for ticket_id in ticket_ids]


async def ask(caller: Caller, method: str, path: str, body: object = None) -> Any:
    """The decoded answer. Raises BenchError unless it is a success."""
    response = await caller.request(method, path, body, key=None if method == "GET" else token_hex(16))
    if not 200 <= response.status < 300:
        raise BenchError(f"{method} {path} answered {response.status}: {response.body[:300]!r}")
    return response.json()


async def _registered(client: Client, admin: Caller, number: int) -> Caller:
    """The first is an organiser, the others buy."""
    email = f"{token_hex(6)}@bench.invalid"
    user = await ask(Caller(client), "POST", "/v1/auth/register", {"email": email, "password": PASSWORD, "name": email})
    if number == 0:
        roles = {"roles": ["attendee", "organizer"]}
        await ask(admin, "PUT", f"/v1/users/{user['user_id']}/roles", roles)
    return await signed_in(client, email, PASSWORD)


async def signed_in(client: Client, email: str, password: str) -> Caller:
    tokens = await ask(Caller(client), "POST", "/v1/auth/login", {"email": email, "password": password})
    return Caller(client, tokens["access_token"])


def _bearer(caller: Caller) -> dict[str, str]:
    return {"authorization": f"Bearer {caller.token}"}


def _in_turns(bodies: Sequence[bytes], times: int) -> Iterator[bytes]:
    """Each body for every buyer before the next body's turn, again and again."""
    return (body for body in cycle(bodies) for _ in range(times))
