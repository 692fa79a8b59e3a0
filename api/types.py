"""The small types that requests and answers share."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import orjson
from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from domain.kernel import InvalidError

T = TypeVar("T")

PAGE_DEFAULT = 50
PAGE_MAX = 200
YEAR_MIN, YEAR_MAX = 1970, 2200


def _sane(instant: datetime) -> datetime:
    if not YEAR_MIN <= instant.year <= YEAR_MAX:
        raise ValueError(f"years from {YEAR_MIN} to {YEAR_MAX}")
    return instant.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_sane), Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 with an offset; kept in UTC."""

NO_CONTROLS = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_CONTROLS)]
LongText = Annotated[str, Field(max_length=10_000, pattern=NO_CONTROLS)]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$")]


class Body(BaseModel):
    """A request: unknown fields are refused, and nothing is converted from one type to another."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Page(BaseModel, Generic[T]):
    items: list[T]
    next_cursor: str | None


Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]


def to_cursor(*parts: object) -> str:
    return urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def from_cursor(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """Raises InvalidError for a cursor that no page of this list gave out."""
    if cursor is None:
        return None
    try:
        parts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return tuple(_part(part, kind) for part, kind in zip(parts, kinds, strict=True))
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidError("this cursor is not one of ours", pointer="/query/cursor") from error


def _part(part: object, kind: type) -> object:
    if kind is int and isinstance(part, int) and 0 <= part < 2**63:
        return part
    if kind is UUID and isinstance(part, str):
        return UUID(part)
    if kind is datetime and isinstance(part, str):
        return _sane(datetime.fromisoformat(part))
    raise ValueError("a part of the wrong kind")


def to_json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)
