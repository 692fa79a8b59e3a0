"""`counterfoil serve --processes 2`: two processes that share a port and a ledger, and nothing in memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from api.client import Client, Response
from tests.journeys.crash_audit import Books
from tests.journeys.people import People, Person, concert, floor, in_time, put_on_sale, seat, sign_up, stalls
from tests.server import Server

pytestmark = pytest.mark.anyio

BUYERS = 6
PROCESSES = 2
STARTED_SECONDS_MAX = 60.0
CONNECTIONS_AT_ONCE = 10
"""One by one, whichever process is quicker gets them all."""
HEARD_SECONDS_MAX = 1.0
"""How long a process may not have heard of another's doings, where nothing rests on them."""
POLL_SECONDS = 0.02
STARTED = re.compile(rb"^process_start_time_seconds (\S+)$", re.MULTILINE)


class Everywhere:
    """Each person twice: once through either process."""

    def __init__(self, clients: list[Client], people: People) -> None:
        self.clients = clients
        self.people = people

    def of(self, person: Person) -> list[Person]:
        """The same person at each process, with what they have read so far."""
        twins = []
        for client in self.clients:
            twin = Person(client, person.token)
            twin.user_id, twin.email, twin.name, twin.position = (
                person.user_id, person.email, person.name, person.position,
            )  # fmt: skip
            twins.append(twin)
        return twins


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("two"), f"--processes={PROCESSES}") as server:
        yield server


@pytest.fixture(scope="module")
async def everywhere(server: Server) -> AsyncIterator[Everywhere]:
    async with AsyncExitStack() as stack:
        clients: dict[bytes, Client] = {}
        async with asyncio.timeout(STARTED_SECONDS_MAX):
            while len(clients) < PROCESSES:
                some = [await stack.enter_async_context(Client(server.url)) for _ in range(CONNECTIONS_AT_ONCE)]
                clients |= dict(zip(await asyncio.gather(*map(_process, some)), some, strict=True))
        people = await sign_up(next(iter(clients.values())), buyers=BUYERS)
        yield Everywhere(list(clients.values()), people)


async def _process(client: Client) -> bytes:
    """Which process a kept-alive connection leads to: no two were started at the same instant."""
    found = STARTED.search((await client.request("GET", "/metrics")).body)
    assert found is not None, "the metrics do not say when the process was started"
    return found[1]


async def test_buyers_at_both_processes_never_oversell(everywhere: Everywhere) -> None:
    people = everywhere.people
    event = await put_on_sale(people, floor(60), stalls(20))
    buyers = [twin for buyer in people.buyers for twin in everywhere.of(buyer)]

    async def buy(buyer: Person, number: int) -> None:
        """Until it is said twice that nothing is left; each process begins at the same seat."""
        ground, chairs = (tier["tier_id"] for tier in event["tiers"])
        refusals = 0
        for attempt in range(40):
            by_seat = {"tier_id": chairs, "seats": [seat((attempt + number // 4) % 20 + 1)]}
            item = by_seat if attempt % 2 else {"tier_id": ground, "quantity": 1 + attempt % 3}
            order = await buyer.request("POST", "/v1/orders", {"event_id": event["event_id"], "items": [item]})
            if order.status == 201:
                await buyer.pay(order.json())
                continue
            assert order.json()["code"] in ("sold-out", "seat-taken")
            refusals += 1
        assert refusals, "there was enough for everybody"

    await asyncio.gather(*(buy(buyer, number) for number, buyer in enumerate(buyers)))

    admin = people.admin
    admin.position = await admin.head()
    books = Books.of(await admin.facts())
    assert [availability[3] for availability in await admin.availability(event)] == [60, 20]
    for tier in event["tiers"]:
        figures = books.figures()[tier["tier_id"]]
        assert (figures["sold"], figures["available"]) == (figures["capacity"], 0)
    one = {"event_id": event["event_id"], "items": [{"tier_id": event["tiers"][0]["tier_id"], "quantity": 1}]}
    for twin in everywhere.of(people.buyers[0]):
        assert await twin.refused("POST", "/v1/orders", one) == (409, "sold-out")


async def test_a_repeat_at_the_other_process_gets_the_first_answer(everywhere: Everywhere) -> None:
    event = await put_on_sale(everywhere.people, floor(10))
    body = {"event_id": event["event_id"], "items": [{"tier_id": event["tiers"][0]["tier_id"], "quantity": 1}]}
    for _ in range(10):
        key = uuid4().hex
        both = everywhere.of(everywhere.people.buyers[0])
        answers = await asyncio.gather(*(twin.request("POST", "/v1/orders", body, key=key) for twin in both))
        assert [answer.status for answer in answers] == [201, 201]
        assert answers[0].body == answers[1].body
        assert sorted("idempotent-replayed" in answer.headers for answer in answers) == [False, True]
    people = everywhere.people
    people.admin.position = await people.admin.head()
    assert await people.admin.availability(event) == [(10, 0, 10, 0)]


async def test_one_ticket_admits_once_whichever_gate_asks(everywhere: Everywhere) -> None:
    people = everywhere.people
    event = await put_on_sale(people, floor(10))
    buyer = people.buyers[0]
    order = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 10})
    await buyer.pay(order)
    for ticket in order["tickets"]:
        entry = {"code": await buyer.code(ticket), "gate": "North"}
        gates = everywhere.of(people.gate)
        answers = await asyncio.gather(*(gate.request("POST", "/v1/check-ins", entry) for gate in gates))
        assert sorted(map(_outcome, answers)) == ["already-checked-in", "checked_in"]


async def test_a_change_of_the_event_binds_the_other_process_at_once(everywhere: Everywhere) -> None:
    """An order rests on the event: a process that has not heard of the change cannot record it."""
    people = everywhere.people
    here, there = everywhere.of(people.organizer)
    buyers = everywhere.of(people.buyers[0])
    for organizer, buyer in ((here, buyers[1]), (there, buyers[0])):
        event = await put_on_sale(people, floor(5))
        wish: dict[str, Any] = {
            "event_id": event["event_id"],
            "items": [{"tier_id": event["tiers"][0]["tier_id"], "quantity": 1}],
        }
        order = await buyer.ask("POST", "/v1/orders", wish)
        await organizer.ask("PATCH", f"/v1/events/{event['event_id']}", {"max_tickets_per_order": 2})
        wish["items"][0]["quantity"] = 3
        assert await buyer.refused("POST", "/v1/orders", wish) == (409, "limit-exceeded")
        wish["items"][0]["quantity"] = 2
        await organizer.ask("POST", f"/v1/events/{event['event_id']}/cancel", {"reason": "fog"})
        assert await buyer.refused("POST", "/v1/orders", wish) == (409, "not-on-sale")
        assert order["status"] == "pending"


async def test_closing_the_doors_binds_the_gate_of_the_other_process_at_once(everywhere: Everywhere) -> None:
    people = everywhere.people
    event = await put_on_sale(people, floor(1), starts_at=in_time(hours=3), ends_at=in_time(hours=4))
    buyer = people.buyers[0]
    order = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 1})
    await buyer.pay(order)
    entry = {"code": await buyer.code(order["tickets"][0]), "gate": "North"}
    here, there = everywhere.of(people.organizer)
    assert await there.refused("POST", "/v1/check-ins", entry) == (409, "not-yet-open")
    await here.ask("PUT", f"/v1/events/{event['event_id']}/gate-staff", {"user_ids": []})
    await here.ask("PATCH", f"/v1/events/{event['event_id']}", {"doors_open_at": in_time(hours=-1)})
    away = everywhere.of(people.gate)[1]
    await _soon(away, "POST", "/v1/check-ins", entry, (403, "forbidden"))
    assert (await there.ask("POST", "/v1/check-ins", entry))["status"] == "checked_in"


async def test_a_change_of_roles_is_heard_by_the_other_process(everywhere: Everywhere) -> None:
    people = everywhere.people
    here, _ = everywhere.of(people.admin)
    [*_, newcomer] = people.buyers
    _, there = everywhere.of(newcomer)
    body = concert(floor(1))
    assert await there.refused("POST", "/v1/events", body) == (403, "forbidden")
    path = f"/v1/users/{newcomer.user_id}/roles"
    await here.ask("PUT", path, {"roles": ["attendee", "organizer"]})
    await _soon(there, "POST", "/v1/events", body, (201, "draft"))
    await here.ask("PUT", path, {"roles": ["attendee"]})
    await _soon(there, "POST", "/v1/events", body, (403, "forbidden"))


async def _soon(who: Person, method: str, path: str, body: object, outcome: tuple[int, str]) -> None:
    """Within HEARD_SECONDS_MAX that is the outcome."""
    async with asyncio.timeout(HEARD_SECONDS_MAX):
        while True:
            response = await who.request(method, path, body)
            if (response.status, _outcome(response)) == outcome:
                return
            await asyncio.sleep(POLL_SECONDS)


def _outcome(response: Response) -> str:
    """The status of what was answered, or the code of the refusal."""
    answer = response.json()
    return str(answer["code"] if response.status >= 400 else answer["status"])
