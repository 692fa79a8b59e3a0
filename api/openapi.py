"""What the OpenAPI document says of every route: its refusals, and the headers of the contract."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel

from api.errors import TITLES
from api.policy import Policy

MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A repeat with the same key, by the same caller, is given the first answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
AT_LEAST = {
    "name": "Ledger-Position",
    "in": "header",
    "required": False,
    "description": "The answer is to reflect at least this position.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
}
POSITION = {
    "description": "The position of the last fact that was recorded; absent when nothing was.",
    "schema": {"type": "integer", "minimum": 1},
}
REPLAYED = {"description": "`true` when this is the answer to an earlier request.", "schema": {"type": "string"}}
RETRY_AFTER = {
    "description": "Seconds after which another attempt is welcome.",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[dict[str, str]] | None = None


class Lines(NamedTuple):
    """What a route answers with, besides JSON, to those who ask for it."""

    media_type: str
    description: str


def problem_response(status: int) -> dict[str, Any]:
    """A refusal."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    content = {"application/problem+json": {"schema": schema}}
    headers = {"headers": {"Retry-After": RETRY_AFTER}} if status in (429, 503) else {}
    return {"description": TITLES[status], "content": content} | headers


def responses(
    refusals: set[int], *, method: str, status: int, media: dict[int, str] | None, lines: Lines | None
) -> dict[int | str, dict[str, Any]]:
    """Of a route that answers with ``status`` when all is well."""
    described: dict[int | str, dict[str, Any]] = {refusal: problem_response(refusal) for refusal in sorted(refusals)}
    if method in MUTATING:
        described[status] = {"headers": {"Ledger-Position": POSITION, "Idempotent-Replayed": REPLAYED}}
    for code, kind in (media or {}).items():
        described[code] = {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}
    if lines is not None:
        content = {lines.media_type: {"schema": {"type": "string", "description": lines.description}}}
        described[status] = {"content": content}
    return described


def operation(method: str, policy: Policy) -> dict[str, Any]:
    """What FastAPI does not know of an operation."""
    described: dict[str, Any] = {"x-policy": policy.name, "parameters": [KEY if method in MUTATING else AT_LEAST]}
    if not policy.anyone:
        described["security"] = [{"bearer": []}]
    return described
