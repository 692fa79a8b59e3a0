"""The demo's people against a server that is busy, forgetful or gone; and their reading of the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from api.client import Client
from api.demo import people
from api.demo.figures import Figures, LedgerReader, pages
from api.demo.people import DemoError, Person
from tests.api.scripted_server import OK, Request, Server

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
LIMITED = BUSY.replace(b"503 Service Unavailable", b"429 Too Many Requests")
IN_USE = b'HTTP/1.1 409 Conflict\r\nContent-Length: 33\r\n\r\n{"code":"idempotency-key-in-use"}'
REFUSED = b'HTTP/1.1 409 Conflict\r\nContent-Length: 19\r\n\r\n{"code":"sold-out"}'
GONE = b""


def as_json(answer: object) -> bytes:
    body = orjson.dumps(answer)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def played(script: list[bytes], test: Callable[[Person], Awaitable[Any]], *, expires_in: int = 900) -> list[Request]:
    """Run ``test`` against a server that answers sign-ins and then from ``script``; what it was asked."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("POST /v1/auth/login "):
            writer.write(as_json({"access_token": "t", "expires_in": expires_in}))
            return
        scripted = script.pop(0)
        if scripted == GONE:
            writer.transport.abort()
        writer.write(scripted)

    async def play() -> list[Request]:
        async with Server(answer) as server, Client(server.url, connections=4) as client:
            await test(Person(client, "buyer@example.com", "secret"))
            return server.requests

    return asyncio.run(asyncio.wait_for(play(), 20))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "PAUSE_SECONDS", 0.001)


@pytest.mark.parametrize("trouble", [BUSY, LIMITED, IN_USE, GONE], ids=["busy", "limited", "in use", "gone"])
def test_a_command_is_repeated_under_the_same_key(trouble: bytes) -> None:
    requests = played([trouble, trouble, OK], lambda person: person.ask("POST", "/v1/orders", {"a": 1}))
    orders = [request for request in requests if "/v1/orders" in request.line]
    assert len(orders) == 3
    assert len({(request.headers["idempotency-key"], request.body) for request in orders}) == 1


def test_two_commands_have_two_keys() -> None:
    async def twice(person: Person) -> None:
        await person.ask("POST", "/v1/orders")
        await person.ask("POST", "/v1/orders")

    requests = played([OK, OK], twice)
    assert len({request.headers["idempotency-key"] for request in requests if "orders" in request.line}) == 2


def test_a_refusal_is_not_repeated_but_told() -> None:
    async def refused(person: Person) -> None:
        with pytest.raises(DemoError, match=r"POST /v1/orders answered 409.*sold-out"):
            await person.ask("POST", "/v1/orders")

    assert len(played([REFUSED], refused)) == 2


def test_a_server_that_stays_busy_is_given_up() -> None:
    async def give_up(person: Person) -> None:
        with pytest.raises(DemoError, match=f"{people.ATTEMPTS_MAX} times: 503"):
            await person.ask("GET", "/v1/me")

    assert len(played([BUSY] * people.ATTEMPTS_MAX, give_up)) == 1 + people.ATTEMPTS_MAX


def test_one_sign_in_serves_all_requests_at_once_and_is_renewed_when_it_runs_out() -> None:
    async def four_at_once(person: Person) -> None:
        await asyncio.gather(*(person.ask("GET", "/v1/me") for _ in range(4)))

    def sign_ins(requests: list[Request]) -> int:
        return Counter(request.line for request in requests)["POST /v1/auth/login HTTP/1.1"]

    assert sign_ins(played([OK] * 4, four_at_once)) == 1
    assert sign_ins(played([OK] * 4, four_at_once, expires_in=0)) == 4


# -- The ledger -------------------------------------------------------------------


def ledger(*facts: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"position": position, "type": fact, "stream_id": stream, "data": data}
        for position, (fact, stream, data) in enumerate(facts, start=1)
    ]


def usd(cents: int, currency: str = "USD") -> dict[str, Any]:
    return {"amount": {"amount": cents, "currency": currency}}


def read(*page_bounds: tuple[int, int], facts: list[dict[str, Any]]) -> Figures:
    figures = Figures()

    async def read_pages(person: Person) -> None:
        reader = LedgerReader(person, {"ours": figures})
        for bounds in page_bounds:
            await reader.add_page(bounds)
        reader.add_takings()

    played([as_json({"items": facts[after:last]}) for after, last in page_bounds], read_pages)
    return figures


SALE = ledger(
    ("order.placed", "order-1", {"event_id": "ours"}),
    ("order.placed", "order-2", {"event_id": "theirs"}),
    ("order.paid", "order-2", usd(900)),
    ("order.paid", "order-1", usd(700)),
    ("ticket.checked_in", "ticket-1", {"event_id": "ours"}),
    ("ticket.checked_in", "ticket-2", {"event_id": "theirs"}),
    ("order.refunded", "order-1", usd(300)),
)


def test_only_our_events_count_and_refunds_are_taken_off() -> None:
    assert read((0, 7), facts=SALE) == Figures(admitted=1, gross_cents=400)


def test_the_order_of_the_pages_does_not_matter() -> None:
    assert read((4, 7), (2, 4), (0, 2), facts=SALE) == Figures(admitted=1, gross_cents=400)


def test_a_page_with_a_gap_is_not_believed() -> None:
    gap = [*SALE[:3], *SALE[4:]]
    with pytest.raises(DemoError, match="every position from 1 to 6"):
        read((0, 6), facts=gap)


def test_another_currency_is_not_added_to_dollars() -> None:
    foreign = ledger(("order.paid", "order-1", usd(700, "EUR")))
    with pytest.raises(DemoError, match="the demo sold in USD"):
        read((0, 1), facts=foreign)


def test_pages_cover_every_position_once() -> None:
    assert list(pages(10, 450)) == [(10, 210), (210, 410), (410, 450)]
    assert list(pages(10, 10)) == []
