"""The server's side of a connection: uvicorn's protocol, but for clients who do not take what they have asked for.

uvicorn closes a connection once the client has taken what is left to send. One that has stopped reading never does, and
would keep its connection and our buffers for as long as it pleases.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HANG_UP = "counterfoil.hang_up"
"""An extension of ASGI's: the connection is gone at once, with all that waits to be sent over it."""
LINGER_SECONDS_MAX = 60.0
"""For what is left to send when a connection closes."""


class Protocol(HttpToolsProtocol):
    _lingering: TimerHandle | None = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope = cast("dict[str, Any]", self.scope)
        scope["extensions"] = {HANG_UP: {"now": self.transport.abort}}

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._linger_if_closing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._linger_if_closing()

    def _linger_if_closing(self) -> None:
        if self._lingering is None and self.transport.is_closing():
            self._lingering = self.loop.call_later(LINGER_SECONDS_MAX, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)


def hang_up_of(scope: Scope) -> Callable[[], None] | None:
    """None: the server that has called us is not ours and offers no such thing."""
    extension = scope.get("extensions", {}).get(HANG_UP)
    return cast("Callable[[], None]", extension["now"]) if extension is not None else None
