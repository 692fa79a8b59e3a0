"""What every answer carries and every request must keep to: security headers and a bound on bodies."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem, problem_of

BODY_BYTES_MAX = 4 * 1024 * 1024
"""Enough for the largest seat map that one request may release."""

UNDER_WAY_MAX = 4_000
"""Requests under way in one process. One more would only wait: it is told to come again."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
}
DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline'"
    " https://cdn.jsdelivr.net; img-src https://fastapi.tiangolo.com data:; connect-src 'self'; frame-ancestors 'none'"
)
RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Protected:
    """Pure ASGI: it runs for every request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *RAW_HEADERS]
                if scope["path"] == "/docs":
                    MutableHeaders(raw=message["headers"])["content-security-policy"] = DOCS_POLICY
            await send(message)

        if self._under_way >= UNDER_WAY_MAX:
            await _overloaded()(scope, receive, guarded)
            return
        self._under_way += 1
        try:
            await self._handle(scope, receive, guarded)
        finally:
            self._under_way -= 1

    async def _handle(self, scope: Scope, receive: Receive, guarded: Send) -> None:
        length, chunked = _body(scope)
        if length > BODY_BYTES_MAX:
            await problem_of(_too_large())(scope, receive, guarded)
        elif chunked:
            await self._bounded(scope, receive, guarded)
        else:  # the server holds the client to the length it declared
            await self._app(scope, receive, guarded)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A body that declares no length is counted as it comes."""
        taken = 0
        started = False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES_MAX:
                raise _too_large()
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except HTTPException as error:  # nobody on the way has answered it
            if not started:
                await problem_of(error)(scope, receive, send)


def _overloaded() -> ASGIApp:
    detail = "too many requests are under way"
    return problem(503, "unavailable", detail, headers={"Retry-After": "1", "Connection": "close"})


def _too_large() -> HTTPException:
    return HTTPException(413, f"a request has at most {BODY_BYTES_MAX} bytes", {"Connection": "close"})


def _body(scope: Scope) -> tuple[int, bool]:
    """The declared length, and whether the body comes in chunks of which nobody knows how many."""
    length, chunked = 0, False
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"transfer-encoding":
            chunked = True
    return length, chunked
