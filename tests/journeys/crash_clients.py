"""Clients of a server that keeps dying: every command is journaled, and repeated until its outcome is known."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from api.client import ConnectionLost, NotConnected, Response
from tests.journeys.people import PASSWORD, PAYMENT, People, Person, concert, floor, seat, stalls

ATTEMPT_SECONDS_MAX = 15.0
ANSWER_SECONDS_MAX = 150.0
"""Longer than any outage: two starts of the server and a recovery of the database."""
RETRY_SECONDS = 0.1
THINK_SECONDS = 0.02
HOLD_SECONDS = 2
FLOOR, STALLS = 90, 30
MORE = 10
ORDER_TICKETS = 3
IN_USE = b'"idempotency-key-in-use"'


@dataclass(slots=True)
class Command:
    """One intention. Its key is also its correlation id, by which its facts are found in the ledger."""

    who: Person
    method: str
    path: str
    body: object
    key: str = field(default_factory=lambda: uuid4().hex)
    unknown: int = 0
    """Attempts of which it is not known whether the server acted."""
    recovered: bool = False
    """One of those had been acted upon, as the answer to a later one told."""
    status: int = 0
    answer: bytes = b""
    position: int = 0

    @property
    def acknowledged(self) -> bool:
        return 200 <= self.status < 300

    @property
    def headers(self) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self.who.token}",
            "idempotency-key": self.key,
            "x-request-id": self.key,
        }


class Journal:
    """What was asked and answered. Nobody gives up on a command before its outcome is known."""

    def __init__(self) -> None:
        self.commands: list[Command] = []

    async def send(self, who: Person, method: str, path: str, body: object = None) -> Response:
        command = Command(who, method, path, body)
        self.commands.append(command)
        response = await insist(command)
        command.status, command.answer = response.status, response.body
        command.position = int(response.headers.get("ledger-position", 0))
        command.recovered = "idempotent-replayed" in response.headers
        return response


async def insist(command: Command) -> Response:
    """The answer, of the server or, after it has died, of the next one. Raises TimeoutError and AssertionError."""
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        while True:
            response = await _attempt(command)
            if response is not None:
                return response
            await asyncio.sleep(RETRY_SECONDS)


async def _attempt(command: Command) -> Response | None:
    who = command.who
    try:
        response = await who.client.request(
            command.method, command.path, command.body, command.headers, ATTEMPT_SECONDS_MAX
        )
        if response.status == 401:  # a long run outlives its tokens
            await renew(who)
            return None
    except NotConnected:
        return None
    except ConnectionLost:
        command.unknown += 1
        return None
    assert response.status != 500, f"{command.method} {command.path}: {response.body.decode()}"
    if response.status == 503 or IN_USE in response.body:
        command.unknown += 1
        return None
    return response


async def renew(who: Person) -> None:
    body = {"email": who.email, "password": PASSWORD}
    response = await who.client.request("POST", "/v1/auth/login", body, timeout=ATTEMPT_SECONDS_MAX)
    if response.status == 200:
        who.token = response.json()["access_token"]


class Rush:
    """One event after the other goes on sale; each is sold out in moments, and again when holds run out."""

    def __init__(self, people: People, seed: int) -> None:
        self.people = people
        self.journal = Journal()
        self.events: list[dict[str, Any]] = []
        self.stopping = False
        self.served = asyncio.Event()
        """An order was placed or refused."""
        self._random = random.Random(seed)

    # -- The organiser. ------------------------------------------------------------

    async def announce(self) -> None:
        """The next event, with more of the floor released after its publication."""
        who = self.people.organizer
        body = concert(floor(FLOOR), stalls(STALLS), hold_seconds=HOLD_SECONDS)
        event = await self.must(who, "POST", "/v1/events", body)
        path = f"/v1/events/{event['event_id']}"
        await self.must(who, "PUT", f"{path}/gate-staff", {"user_ids": [self.people.gate.user_id]})
        await self.must(who, "POST", f"{path}/publish")
        release = f"{path}/tiers/{event['tiers'][0]['tier_id']}/releases"
        await self.must(who, "POST", release, {"quantity": MORE})
        self.events.append(event)

    async def must(self, who: Person, method: str, path: str, body: object = None) -> Any:
        response = await self.journal.send(who, method, path, body)
        assert response.status < 300, f"{method} {path}: {response.body.decode()}"
        return response.json()

    # -- Buyers. -------------------------------------------------------------------

    async def shop(self, buyer: Person) -> None:
        while not self.stopping:
            event = self.events[-1]
            response = await self.journal.send(buyer, "POST", "/v1/orders", self._wish(event))
            self.served.set()
            if response.status == 201:
                await self._decide(buyer, response.json())
            await asyncio.sleep(THINK_SECONDS * self._random.random())

    def _wish(self, event: dict[str, Any]) -> dict[str, Any]:
        ground, chairs = (tier["tier_id"] for tier in event["tiers"])
        if self._random.random() < 0.3:
            numbers = self._random.sample(range(1, STALLS + 1), 2)
            items = [{"tier_id": chairs, "seats": [seat(number) for number in numbers]}]
        else:
            items = [{"tier_id": ground, "quantity": self._random.randint(1, ORDER_TICKETS)}]
            if self._random.random() < 0.2:
                items.append({"tier_id": chairs, "quantity": 1})
        return {"event_id": event["event_id"], "items": items}

    async def _decide(self, buyer: Person, order: dict[str, Any]) -> None:
        """Most pay; some cancel, some have no money at first, some forget, some enter."""
        path = f"/v1/orders/{order['order_id']}"
        chance = self._random.random()
        if chance < 0.1:
            return
        if chance < 0.2:
            await self.journal.send(buyer, "POST", f"{path}/cancel")
            return
        if chance < 0.35:
            await self.journal.send(buyer, "POST", f"{path}/payments", PAYMENT | {"token": "tok_declined"})
        paid = await self.journal.send(buyer, "POST", f"{path}/payments", PAYMENT)
        if paid.status == 201 and chance > 0.5:
            await self._enter(buyer, order["tickets"][0])

    async def _enter(self, holder: Person, ticket: dict[str, Any]) -> None:
        """Sometimes with a copy of the ticket at another gate at the same moment."""
        reading = Command(holder, "GET", f"/v1/tickets/{ticket['ticket_id']}/code", None)
        code = (await insist(reading)).json()["code"]
        gates = ["North", "South"] if self._random.random() < 0.4 else ["North"]
        entries = [
            self.journal.send(self.people.gate, "POST", "/v1/check-ins", {"code": code, "gate": gate}) for gate in gates
        ]
        outcomes = sorted(response.status for response in await asyncio.gather(*entries))
        assert outcomes == [200, 409][: len(gates)], f"one ticket, {len(gates)} gates: {outcomes}"
