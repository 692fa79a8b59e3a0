"""The HTTP client against real sockets: what it sends, what it accepts, and how it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

import api.client
from api.client import Caller, Client, ConnectionLost, NotConnected, Response
from tests.api.scripted_server import OK, Request, Server, replying


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, timeout=20))


def exchange(answer: bytes, *, body: object = None, headers: dict[str, str] | None = None) -> Response:
    async def once() -> Response:
        async with Server(replying(answer)) as server, Client(server.url) as client:
            return await client.request("POST", "/", body, headers or {})

    return asyncio.run(once())


def sent(method: str, *, body: object = None, headers: dict[str, str] | None = None) -> Request:
    async def once() -> Request:
        async with Server(replying(OK)) as server, Client(server.url + "/prefix/") as client:
            await client.request(method, "/v1/orders", body, headers or {})
            return server.requests[0]

    return asyncio.run(once())


def test_an_object_is_sent_as_json() -> None:
    request = sent("POST", body={"quantity": 2}, headers={"x-a": "b"})
    assert request.line == "POST /prefix/v1/orders HTTP/1.1"
    assert request.body == b'{"quantity":2}'
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-a"] == "b"
    assert request.headers["host"].startswith("127.0.0.1:")


def test_bytes_are_sent_as_they_are_under_the_callers_content_type() -> None:
    request = sent("POST", body=b"\x00broken", headers={"Content-Type": "text/plain"})
    assert request.body == b"\x00broken"
    assert request.headers["Content-Type"] == "text/plain"
    assert "content-type" not in request.headers


def test_a_get_carries_no_length_and_a_post_without_a_body_says_so() -> None:
    assert "content-length" not in sent("GET").headers
    assert sent("POST").headers["content-length"] == "0"


@pytest.mark.parametrize("where", ["path", "header"])
def test_a_line_break_is_refused_before_anything_is_sent(where: str) -> None:
    async def test() -> None:
        async with Server(replying(OK)) as server, Client(server.url) as client:
            forged = "x\r\nforged: yes"
            with pytest.raises(ValueError, match="line break"):
                await client.request(
                    "GET",
                    f"/{forged if where == 'path' else ''}",
                    headers={"a": forged} if where == "header" else {},
                )
            assert server.connections == 0

    run(test())


def test_an_answer_has_its_status_lower_case_headers_and_body() -> None:
    response = exchange(b'HTTP/1.1 409 Conflict\r\nLedger-Position: 7\r\nContent-Length: 19\r\n\r\n{"code":"sold-out"}')
    assert response.status == 409
    assert response.headers["ledger-position"] == "7"
    assert response.json() == {"code": "sold-out"}


def test_a_chunked_answer_is_put_together() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert exchange(head + b"3\r\n[1,\r\n4\r\n2,3]\r\n0\r\n\r\n").json() == [1, 2, 3]


def test_an_interim_answer_is_not_the_answer() -> None:
    assert exchange(b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n" + OK).status == 200


def test_an_answer_without_content_is_complete() -> None:
    assert exchange(b"HTTP/1.1 204 No Content\r\n\r\n").body == b""


def test_connections_are_kept_alive_and_bounded() -> None:
    busy = 0
    busiest = 0

    async def slowly(_: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal busy, busiest
        busy += 1
        busiest = max(busiest, busy)
        await asyncio.sleep(0.002)
        busy -= 1
        writer.write(OK)

    async def test() -> None:
        async with Server(slowly) as server, Client(server.url, connections=3) as client:
            answers = await asyncio.gather(*(client.request("GET", f"/{n}") for n in range(40)))
            assert [answer.status for answer in answers] == [200] * 40
            assert busiest == 3
            assert server.connections == 3
            assert len(server.requests) == 40

    run(test())


def test_a_connection_that_the_server_wants_closed_is_not_used_again() -> None:
    async def test() -> None:
        closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        async with Server(replying(closing)) as server, Client(server.url) as client:
            await client.request("GET", "/")
            await client.request("GET", "/")
            assert server.connections == 2

    run(test())


def test_a_connection_that_the_server_closed_while_idle_is_replaced() -> None:
    async def answer_and_leave(_: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async def test() -> None:
        async with Server(answer_and_leave) as server, Client(server.url) as client:
            await client.request("GET", "/")
            await asyncio.sleep(0.05)
            assert (await client.request("GET", "/")).status == 200

    run(test())


def test_a_server_that_speaks_unasked_loses_the_connection_not_an_answer() -> None:
    stray = OK.replace(b"200 OK", b"500 No")

    async def test() -> None:
        async with Server(replying(OK + stray, OK)) as server, Client(server.url) as client:
            assert (await client.request("GET", "/")).status == 200
            assert (await client.request("GET", "/")).status == 200

    run(test())


@pytest.mark.parametrize(
    "half",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"],
    ids=["before", "in the headers", "in the body"],
)
@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
def test_a_broken_off_exchange_is_lost_and_the_next_one_reconnects(half: bytes, *, reset: bool) -> None:
    async def break_off(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("GET"):
            writer.write(OK)
            return
        writer.write(half)
        await writer.drain()
        writer.transport.abort() if reset else writer.close()

    async def test() -> None:
        async with Server(break_off) as server, Client(server.url) as client:
            with pytest.raises(ConnectionLost) as lost:
                await client.request("POST", "/")
            assert not isinstance(lost.value, NotConnected)
            assert (await client.request("GET", "/")).status == 200
            assert server.connections == 2

    run(test())


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_late_answer_never_meets_the_next_request(how: str) -> None:
    async def late(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.line.startswith("POST"):
            await asyncio.sleep(0.1)
            writer.write(OK.replace(b"200 OK", b"201 Late"))
        else:
            writer.write(OK)

    async def test() -> None:
        async with Server(late) as server, Client(server.url) as client:
            if how == "timeout":
                with pytest.raises(ConnectionLost, match="no answer within"):
                    await client.request("POST", "/", timeout=0.02)
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.request("POST", "/"), 0.02)
            assert (await client.request("GET", "/")).status == 200
            await asyncio.sleep(0.15)
            assert (await client.request("GET", "/")).status == 200

    run(test())


def test_what_is_not_http_is_lost() -> None:
    with pytest.raises(ConnectionLost, match="not HTTP"):
        exchange(b"SSH-2.0-OpenSSH_9.9\r\n")


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.client, "BODY_BYTES_MAX", 1000)
    with pytest.raises(ConnectionLost, match="longer than 1000 bytes"):
        exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1001)


def test_a_server_that_is_not_there_was_sent_nothing() -> None:
    async def test() -> None:
        async with Server(replying(OK)) as server:
            url = server.url
        async with Client(url) as client:
            with pytest.raises(NotConnected):
                await client.request("GET", "/")

    run(test())


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://"])
def test_an_address_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        Client(url)


def test_a_caller_sends_its_token_and_the_key_of_the_request() -> None:
    async def test() -> None:
        async with Server(replying(OK)) as server, Client(server.url) as client:
            caller = Caller(client, "secret")
            await caller.request("POST", "/v1/orders", {}, key="k-1")
            await Caller(client).request("POST", "/v1/auth/login", {})
            first, second = server.requests
            assert first.headers["authorization"] == "Bearer secret"
            assert first.headers["idempotency-key"] == "k-1"
            assert "authorization" not in second.headers
            assert "idempotency-key" not in second.headers

    run(test())


def test_a_caller_reads_at_its_latest_position_and_never_at_an_earlier_one() -> None:
    at_9 = OK.replace(b"\r\n\r\n", b"\r\nLedger-Position: 9\r\n\r\n")
    at_4 = at_9.replace(b": 9", b": 4")

    async def test() -> None:
        async with Server(replying(at_9, at_4, OK)) as server, Client(server.url) as client:
            caller = Caller(client)
            for method in ("POST", "POST", "GET"):
                await caller.request(method, "/")
            assert [request.headers.get("ledger-position") for request in server.requests] == [
                None,
                None,
                "9",
            ]

    run(test())
