"""The two sides that `test_model.py` compares: requests to the server, and what the model says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine

from api.client import Client, Response
from tests.journeys.model import Model, Refused
from tests.journeys.model_state import Item, Ticket
from tests.journeys.people import Person, newcomer, seat, sign_up
from tests.server import Server

CAST = ("ann", "bob", "cyd")
CONNECTIONS = 4

Json = dict[str, Any]
T = TypeVar("T")


class Sent(NamedTuple):
    """A command that can be repeated, and another body that its key must not be used for."""

    who: Person
    method: str
    path: str
    body: object
    key: str
    other: object
    answer: Response


class World:
    """The server's side, for tests that are not coroutines."""

    def __init__(self, server: Server) -> None:
        self._runner = asyncio.Runner()
        self._client = Client(server.url, CONNECTIONS)
        self.people = self._run(sign_up(self._client, buyers=len(CAST)))
        self.usher = self._run(newcomer(self.people.admin, "gate"))
        self.cast = dict(zip(CAST, self.people.buyers, strict=True))

    def close(self) -> None:
        self._run(self._client.__aexit__())
        self._runner.close()

    def send(self, who: Person, method: str, path: str, body: object = None, *, key: str | None = None) -> Response:
        return self._run(who.request(method, path, body, key=key))

    def ask(self, who: Person, path: str) -> Any:
        return self._run(who.ask("GET", path))

    def sleep(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    def _run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(doing)


class Comparison(RuleBasedStateMachine):
    """One event as the server and as the model have it."""

    model: Model
    event_id: str
    path: str
    """Of the event."""
    tier_ids: dict[str, str]
    tier_names: dict[str, str]

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.people = world.people
        self.sent: list[Sent] = []
        self.codes: list[tuple[str, int, str]] = []  # ticket, custody, code
        self.remembered: dict[int, Model] = {}

    # -- Doing. -----------------------------------------------------------------------

    def command(
        self,
        who: Person,
        method: str,
        path: str,
        body: object,
        expected: Refused | None,
        *,
        other: object = None,
        remember: bool = True,
    ) -> Any:
        """Send it and compare the outcome with the model's; the answer when it was a success.

        ``remember`` what the model says now, unless there is more to come before the two sides are equal.
        """
        key = str(uuid4())
        response = self.world.send(who, method, path, body, key=key)
        self.sent.append(Sent(who, method, path, body, key, other, response))
        self.compare(who, method, path, body, response, expected)
        self.people.organizer.position = max(self.people.organizer.position, who.position)
        if remember:
            self.remember()
        return response.json() if expected is None else None

    def compare(
        self, who: Person, method: str, path: str, body: object, response: Response, expected: Refused | None
    ) -> None:
        answer = response.json()
        outcome = None if response.status < 300 else Refused(response.status, answer["code"])
        note(
            f"{who.name} {method} {path} {body} → {response.status} {outcome.code if outcome else answer.get('status')}"
        )
        assert outcome == expected, f"the server says {outcome or answer}, the model {expected or 'yes'}"

    def remember(self) -> None:
        head = self.world.ask(self.people.admin, "/v1/ledger/head")["position"]
        self.remembered[head] = self.model.copy()

    def ticket(self, order: str, number: int) -> str:
        tickets = self.model.orders[order].tickets
        return tickets[number % len(tickets)]

    def buyer_of(self, order: str, *, stranger: bool) -> Person:
        return self._person(self.model.orders[order].buyer, stranger=stranger)

    def holder_of(self, ticket_id: str, *, stranger: bool) -> Person:
        return self._person(self.model.tickets[ticket_id].holder, stranger=stranger)

    def _person(self, user_id: str | None, *, stranger: bool) -> Person:
        """The user, or with ``stranger`` somebody else; somebody, too, when there is no such user."""
        buyers = self.people.buyers
        return next((person for person in buyers if (person.user_id == user_id) is not stranger), buyers[0])

    def _item(self, item: Item) -> Json:
        if item.seats is None:
            return {"tier_id": self.tier_ids[item.tier], "quantity": item.quantity}
        return {"tier_id": self.tier_ids[item.tier], "seats": [seat(int(number)) for number in item.seats]}

    def _place(self, ticket: Json) -> tuple[str, int | str]:
        place = ticket["serial"] if ticket["seat"] is None else ticket["seat"]["number"]
        return self.tier_names[ticket["tier_id"]], place

    # -- Looking. ---------------------------------------------------------------------

    def check(self, model: Model, as_of: str) -> None:
        reader = self.people.organizer
        query = f"as_of={as_of.replace('+', '%2B')}" if as_of else ""
        event = self.world.ask(reader, f"{self.path}?{query}")
        assert event["status"] in (("published", "live") if model.status == "published" else (model.status,))
        availability = self.world.ask(reader, f"{self.path}/availability?{query}")
        figures = {tier["name"]: tier for tier in availability["tiers"]}
        expected = model.availability()
        assert {name: {key: figures[name][key] for key in expected[name]} for name in figures} == expected
        seats = self.world.ask(reader, f"{self.path}/seats?limit=200&{query}")["items"]
        taken = {t.place: model.seen(t) for t in model.tickets.values() if t.tier == "Stalls"}
        wanted = {place: taken.get(place, "available") for place in model.tiers["Stalls"].places}
        assert {item["number"]: item["status"] for item in seats} == wanted
        assert self.orders_now(query) == {order_id: model.order_document(order_id) for order_id in model.orders}

    def orders_now(self, query: str = "") -> dict[str, Json]:
        page = self.world.ask(self.people.organizer, f"/v1/orders?limit=200&event_id={self.event_id}&{query}")
        return {
            order["order_id"]: {
                "status": order["status"],
                "total": order["total"]["amount"],
                "refunded": order["refunded"]["amount"],
                "version": order["version"],
                "tickets": {ticket["ticket_id"]: ticket["status"] for ticket in order["tickets"]},
            }
            for order in page["items"]
        }

    def check_ticket(self, ticket_id: str, ticket: Ticket, model: Model, as_of: str) -> None:
        query = f"?as_of={as_of.replace('+', '%2B')}" if as_of else ""
        found = self.world.ask(self.people.organizer, f"/v1/tickets/{ticket_id}{query}")
        assert {
            "status": model.seen(ticket),
            "order_id": ticket.order,
            "holder_id": ticket.holder,
            "attendee_name": ticket.name,
            "offered_to": ticket.offered_to,
            "price": ticket.price,
            "version": len(ticket.facts),
        }.items() <= found.items()
