"""A client that does not take its answer keeps neither its connection nor what was to be sent over it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from api import http_server
from api.http_server import HANG_UP, Protocol, hang_up_of
from tests.api.callers import TIMEOUT_SECONDS, eventually

BODY = bytes(32 * 1024 * 1024)
"""More than the buffers of two sockets."""


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with everything at once, whether or not somebody takes it."""
    assert scope["type"] == "http"
    assert hang_up_of(scope) is not None
    headers = [(b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


@pytest.fixture
def server() -> Iterator[uvicorn.Server]:
    config = uvicorn.Config(large, http=Protocol, lifespan="off", log_config=None, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config.port = listener.getsockname()[1]

        def serve() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(server.serve(sockets=[listener]))

        thread = threading.Thread(target=serve, name="server")
        thread.start()
        eventually(lambda: server.started)
        yield server
        server.should_exit = True
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


def ask(server: uvicorn.Server, connection: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.config.port), TIMEOUT_SECONDS)
    client.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n".encode())
    return client


def read_all(client: socket.socket) -> bytes:
    taken = bytearray()
    while some := client.recv(1 << 20):
        taken += some
    return bytes(taken)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_what_nobody_takes_is_not_kept(
    server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    monkeypatch.setattr(http_server, "LINGER_SECONDS_MAX", 0.2)
    with ask(server, connection) as client:
        eventually(lambda: server.server_state.total_requests == 1)
        eventually(lambda: not server.server_state.connections)
        assert len(read_all(client)) < len(BODY), "what was on its way"


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_who_takes_it_late_has_all_of_it(server: uvicorn.Server, connection: str) -> None:
    with ask(server, connection) as client:
        eventually(lambda: server.server_state.total_requests == 1)
        assert read_all(client).endswith(BODY)


def test_a_server_that_is_not_ours_offers_no_way_to_hang_up() -> None:
    assert hang_up_of({"type": "http"}) is None
    assert hang_up_of({"type": "http", "extensions": {}}) is None
    assert hang_up_of({"type": "http", "extensions": {HANG_UP: {"now": print}}}) is print
