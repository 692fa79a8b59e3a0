"""Routes that declare who may call them and what they can answer, and handle repeats and errors in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from api import openapi
from api.call import Call, open_call
from api.errors import problem_of
from api.idempotency import HEADER, answer_once, check
from api.policy import Policy
from commands.kernel import Key

Handler = Callable[[HttpRequest], Coroutine[Any, Any, Response]]


class ContractRoute(APIRoute):
    """Authenticates, applies the policy, then lets FastAPI read and validate the request."""

    policy: Policy
    acts_outside: bool = False
    """The command does more than append facts: a repeat has to be recognised before it begins."""

    def get_route_handler(self) -> Handler:
        inner = super().get_route_handler()
        mutating = bool(openapi.MUTATING & (self.methods or set()))

        async def handle(request: HttpRequest) -> Response:
            try:
                call = await open_call(request, self.policy)
                if mutating and (text := call.fields.get(HEADER)) is not None:
                    return await _reveal(call, await self._answer_once(call, check(text), inner))
                return await _reveal(call, await inner(call))
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - every error is answered with a problem document
                return problem_of(error)

        return handle

    async def _answer_once(self, call: Call, text: str, inner: Handler) -> Response:
        app, scope = call.app, call.scope
        what = (scope["method"].encode(), scope["path"].encode(), scope["query_string"], await call.body())
        key = Key(app.sealer.key_id(call.caller, text), app.sealer.fingerprint(*what))
        call.key = key
        return await answer_once(
            call,
            key,
            store=app.store,
            in_flight=app.in_flight,
            look_up=app.answer_to if self.acts_outside else None,
            respond=lambda: inner(call),
        )


async def _reveal(call: Call, response: Response) -> Response:
    """Only now, behind everything that keeps answers, is opened what says who somebody is."""
    body = getattr(response, "body", b"")
    if b'"sealed":"' in body:
        response.body = await call.app.vault.reveal(bytes(body))
        response.headers["content-length"] = str(len(response.body))
    return response


class ContractRouter(APIRouter):
    """``router.on("POST", "/v1/orders", policy=SIGNED_IN, answers=(402, 409))``."""

    def __init__(self, tag: str) -> None:
        super().__init__(route_class=ContractRoute, tags=[tag])

    def on(
        self,
        method: str,
        path: str,
        *,
        policy: Policy,
        returns: Any = None,
        status: int = 200,
        answers: Sequence[int] = (),
        media: dict[int, str] | None = None,
        lines: openapi.Lines | None = None,
        acts_outside: bool = False,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a handler. ``answers`` are the statuses of this route's own refusals; the general ones are added.

        ``lines``: it answers with those, too, when it is asked to.
        """
        statuses = {401, 413, 422, 429, 500, 503, *answers}  # a bad token is refused wherever it is shown
        if policy.roles:
            statuses |= {403}
        if method in openapi.MUTATING:
            statuses |= {409}
        if "{" in path:
            statuses |= {404}

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            self.add_api_route(
                path,
                handler,
                methods=[method],
                status_code=status,
                response_model=returns,
                response_class=Response if media else JSONResponse,
                responses=openapi.responses(statuses, method=method, status=status, media=media, lines=lines),
                operation_id=handler.__name__,
                openapi_extra=openapi.operation(method, policy),
            )
            route = self.routes[-1]
            assert isinstance(route, ContractRoute)
            route.policy, route.acts_outside = policy, acts_outside
            return handler

        return register
