"""A lean HTTP/1.1 client for JSON over kept-alive connections, for the demo, benchmarks and crash tests.

It exists because a load generator must cost far less than the server that it loads: no cookies, redirects,
proxies or streaming; one request in flight per connection; the parser is C.

Errors
    ConnectionLost          the exchange broke off; whether the server acted is unknown
      NotConnected          no connection was made, so nothing was sent
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Self, cast
from urllib.parse import urlsplit

import orjson
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

TIMEOUT_SECONDS = 30.0
BODY_BYTES_MAX = 64 * 1024 * 1024
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class ConnectionLost(Exception):  # noqa: N818 - an outcome to journal as "unknown", not a mistake
    """The connection was reset, ended or timed out before the answer was complete: the outcome is unknown."""


class NotConnected(ConnectionLost):
    """No connection could be made: the request was never sent, the outcome is known to be nothing."""


class Response(NamedTuple):
    """A complete answer. Header names are lower-cased; of a repeated header the last value counts."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body; raises ``orjson.JSONDecodeError`` (a ``ValueError``) when it is not JSON."""
        return orjson.loads(self.body)


class Client:
    """A bounded pool of connections to one server; an ``async with`` block closes them.

    ``base_url`` is ``http[s]://host[:port][/prefix]``. At most ``connections`` requests are in flight; the
    others wait their turn.
    """

    def __init__(self, base_url: str, connections: int = 1) -> None:
        url = urlsplit(base_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"{base_url!r} is not an http:// or https:// address")
        self._tls = url.scheme == "https"
        self._address = (url.hostname, url.port or (443 if self._tls else 80))
        self._prefix = url.path.rstrip("/")
        self._host_line = f"host: {url.netloc.rpartition('@')[2]}"
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 - a timer per exchange costs less than a cancel scope
    ) -> Response:
        """Send one request and return its answer, whatever its status.

        ``body`` is sent as it is when it is bytes, else as JSON. ``timeout`` (seconds) bounds connecting and,
        again, the wait for the whole answer. Raises ConnectionLost, and ValueError for a line break in
        ``path`` or ``headers``. A lost connection is replaced by the next request that needs it.
        """
        message = self._encode(method, path, body, headers)
        async with self._slots:
            connection = self._take_idle() or await self._connect(timeout)
            try:
                return await connection.exchange(message, timeout)
            finally:
                if self._closed:
                    connection.close()
                elif connection.usable:
                    self._idle.append(connection)

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:  # a server may end an idle connection at any time
                return connection
        return None

    async def _connect(self, timeout_seconds: float) -> _Connection:
        loop = asyncio.get_running_loop()
        host, port = self._address
        try:
            async with asyncio.timeout(timeout_seconds):
                _, connection = await loop.create_connection(_Connection, host, port, ssl=self._tls or None)
        except OSError as error:  # TimeoutError is one of them
            raise NotConnected(f"{host}:{port}: {str(error) or 'timed out'}") from error
        return connection

    def _encode(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", self._host_line]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is None:
            payload = b""
        else:
            payload = body if isinstance(body, bytes) else orjson.dumps(body)
            if not any(name.lower() == "content-type" for name in headers):
                lines.append("content-type: application/json")
        if body is not None or method != "GET":
            lines.append(f"content-length: {len(payload)}")
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1:
            raise ValueError("a line break in the path or in a header would forge another header")
        return f"{head}\r\n\r\n".encode("latin-1") + payload


class Caller:
    """One person's view of the API: their bearer token, and always reading their own writes."""

    def __init__(self, client: Client, token: str | None = None) -> None:
        self.client = client
        self.token = token
        self.position = 0  # of the last fact that this caller caused, from Ledger-Position

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 - handed on to Client
    ) -> Response:
        """As ``Client.request``; ``key`` becomes the Idempotency-Key of the request."""
        headers: dict[str, str] = {}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        if key is not None:
            headers["idempotency-key"] = key
        if self.position and method == "GET":
            headers["ledger-position"] = str(self.position)
        response = await self.client.request(method, path, body, headers, timeout)
        position = response.headers.get("ledger-position")
        if position is not None:
            self.position = max(self.position, int(position))
        return response


class _Connection(asyncio.Protocol):
    """One socket, one exchange at a time."""

    def __init__(self) -> None:
        self.usable = False
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Response] | None = None
        self._parser = HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._body_bytes = 0

    async def exchange(self, message: bytes, timeout_seconds: float) -> Response:
        """Raises ConnectionLost; after that, or when cancelled half-way, the connection is not usable."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Response] = loop.create_future()
        self._answer = answer
        timer = loop.call_later(timeout_seconds, self._lose, f"no answer within {timeout_seconds} s")
        self._transport.write(message)
        try:
            return await answer
        finally:
            timer.cancel()
            if self._answer is not None:  # cancelled: the late answer must not meet the next request
                self._lose("cancelled")

    def close(self) -> None:
        self.usable = False
        self._transport.close()

    def _lose(self, reason: str) -> None:
        self.usable = False
        self._transport.abort()
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(ConnectionLost(reason))

    # -- Called by the event loop. ---------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by behaviour, not by class
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            self._lose("the server spoke unasked")
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._lose(f"not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(str(exc) if exc else "the server closed the connection")

    # -- Called by the parser. -------------------------------------------------

    def on_message_begin(self) -> None:
        self._headers = {}
        self._chunks = []
        self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._body_bytes += len(chunk)
        if self._body_bytes > BODY_BYTES_MAX:
            self._lose(f"the answer is longer than {BODY_BYTES_MAX} bytes")

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._answer is None:
            return
        if not self._parser.should_keep_alive():
            self.close()
        answer, self._answer = self._answer, None
        if not answer.done():
            answer.set_result(Response(status, self._headers, b"".join(self._chunks)))
