"""What went wrong, as RFC 9457 problem details. The only place that knows which refusal has which status.

Errors a client can meet:

- `domain.kernel.Refusal` — the state or the role forbids it: its ``code`` decides the status (409 unless listed here)
- `fastapi.exceptions.RequestValidationError` — 422, with a JSON pointer for each mistake
- `commands.kernel.OverloadedError`, `psycopg.OperationalError` — 503 with ``Retry-After``
- anything else — 500, logged, saying nothing of what is inside
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import psycopg
import sentry_sdk
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from commands.kernel import KeyReusedError, OverloadedError
from domain.kernel import InvalidError, Refusal

STATUS_OF_CODE = {
    "not-authenticated": 401,
    "bad-credentials": 401,
    "bad-token": 401,
    "payment-declined": 402,
    "forbidden": 403,
    "not-found": 404,
    "precondition-failed": 412,
    "invalid": 422,
    "bad-code": 422,
    "bad-proof": 422,
    "key-reused": 422,
    "too-many-requests": 429,
}
"""Every code that is not 409."""

TITLES = {
    400: "The request could not be read",
    401: "Not authenticated",
    402: "The payment was declined",
    403: "Your role does not allow this",
    404: "There is no such thing, or it is not yours",
    405: "This method is not allowed here",
    409: "The state forbids it",
    412: "It has changed since you looked",
    413: "The request is too large",
    415: "Send application/json",
    422: "The request is not valid",
    429: "Too many requests",
    500: "Something went wrong on our side",
    503: "Overloaded, or a dependency is down",
}
ERRORS_MAX = 50
"""Mistakes listed in one answer."""
ECHO_LENGTH_MAX = 200
"""Characters of what the client sent that an answer repeats."""

log = structlog.get_logger()


class NotAuthenticatedError(Refusal):
    code = "not-authenticated"
    title = "Send a valid access token"


class TooManyRequestsError(Refusal):
    code = "too-many-requests"
    title = "Too many requests"


class KeyInUseError(Refusal):
    code = "idempotency-key-in-use"
    title = "The first request with this Idempotency-Key is still being handled"


def problem(
    status: int,
    code: str,
    detail: str = "",
    *,
    title: str = "",
    more: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An `application/problem+json` response (RFC 9457)."""
    body: dict[str, object] = {
        "type": f"/problems/{code}",
        "title": title or TITLES.get(status, "Refused"),
        "status": status,
        "detail": detail or title or TITLES.get(status, ""),
        "code": code,
        **(more or {}),
    }
    content = orjson.dumps(body, default=str, option=orjson.OPT_UTC_Z)
    return Response(content, status, dict(headers or {}), media_type="application/problem+json")


def problem_of(error: Exception) -> Response:  # noqa: PLR0911 - one line for each kind
    """The answer to an error. Never raises."""
    match error:
        case InvalidError():
            mistakes = [{"pointer": error.pointer, "detail": error.detail}]
            return problem(422, error.code, error.detail, title=error.title, more={"errors": mistakes})
        case Refusal():
            return _refused(error)
        case RequestValidationError():
            return _invalid(error.errors())
        case KeyReusedError():
            return problem(422, "idempotency-key-reused", "this Idempotency-Key was used for a different request")
        case OverloadedError():
            headers = {"Retry-After": str(error.retry_after_seconds)}
            return problem(503, "unavailable", str(error), headers=headers)
        case psycopg.OperationalError():
            log.warning("database_unavailable", error=str(error).strip())
            return problem(503, "unavailable", "the database does not answer", headers={"Retry-After": "1"})
        case HTTPException():
            return problem(error.status_code, _http_code(error), str(error.detail), headers=error.headers)
        case _:
            log.error("request_failed", exc_info=error)
            sentry_sdk.capture_exception(error)
            return problem(500, "internal-error", "the error was logged")


def _refused(error: Refusal) -> Response:
    status = STATUS_OF_CODE.get(error.code, 409)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status == 429:
        headers["Retry-After"] = str(error.facts.get("retry_after_seconds", 1))
    return problem(status, error.code, error.detail, title=error.title, more=error.facts, headers=headers)


def _invalid(mistakes: Sequence[Any]) -> Response:
    within = {mistake["loc"][:depth] for mistake in mistakes for depth in range(len(mistake["loc"]))}
    told = [m for m in mistakes if m["type"] != "too_short" or m["loc"] not in within]  # the bad items are missing
    errors = [_mistake(mistake) for mistake in told[:ERRORS_MAX]]
    return problem(422, "invalid", "the request is not valid; see errors", more={"errors": errors})


def _mistake(mistake: Mapping[str, Any]) -> dict[str, str]:
    location, detail = mistake["loc"], str(mistake["msg"])
    if mistake["type"] == "json_invalid":  # its location is an offset, and no pointer leads to what cannot be read
        location, detail = ("body",), f"this is not JSON: {mistake['ctx']['error']}"
    elif location == ("body",) and isinstance(mistake["input"], bytes):
        detail = "send the body with Content-Type: application/json"
    return {"pointer": _pointer(location), "detail": _printable(detail), "in": str(location[0])}


def _pointer(location: Sequence[str | int]) -> str:
    """RFC 6901. The first part says where (body, query, path, header) and is not in the document."""
    parts = location[1:] if location and location[0] == "body" else location
    return _printable("".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts))


def _printable(text: str) -> str:
    """Names of unknown fields are the client's, and may be anything that JSON can spell, lone surrogates included."""
    return text[:ECHO_LENGTH_MAX].encode(errors="replace").decode()


def _http_code(error: HTTPException) -> str:
    names = {400: "unreadable", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "not-json"}
    return names.get(error.status_code, "refused")


def _allowed(request: Request) -> list[str]:
    """The methods of all routes at this path; Starlette names those of the first one only."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    here = [route for route in routes if route.path_regex.match(request.url.path)]
    return sorted({method for route in here for method in route.methods or ()})


def install(app: FastAPI) -> None:
    """Answer every error, also those of Starlette's own routing, with a problem document."""

    async def answer(request: Request, error: Exception) -> Response:
        response = problem_of(error)
        if response.status_code == 405:
            response.headers["Allow"] = ", ".join(_allowed(request))
        return response

    for kind in (HTTPException, RequestValidationError, Refusal, KeyReusedError, OverloadedError, Exception):
        app.add_exception_handler(kind, answer)
