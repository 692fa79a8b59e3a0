"""The small types that requests and answers share."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import orjson
from eth_utils.address import is_checksum_address
from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from domain.kernel import InvalidError

T = TypeVar("T")

PAGE_DEFAULT = 50
PAGE_MAX = 200
YEAR_MIN, YEAR_MAX = 1970, 2200


RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _as_text(value: object) -> object:
    """Pydantic would also take a number, written or not, for the seconds since 1970."""
    if not isinstance(value, str) or RFC_3339.fullmatch(value) is None:
        raise ValueError("an RFC 3339 instant with an offset, such as 2026-09-16T19:00:00Z")
    return value


def _sane(instant: datetime) -> datetime:
    if not YEAR_MIN < instant.year < YEAR_MAX:  # with a year to spare for the offset
        raise ValueError(f"years after {YEAR_MIN} and before {YEAR_MAX}")
    return instant.astimezone(UTC)


AnyInstant = Annotated[AwareDatetime, BeforeValidator(_as_text)]
"""RFC 3339 with an offset."""
Instant = Annotated[AnyInstant, AfterValidator(_sane), Field(json_schema_extra={"format": "date-time"})]
"""An instant at which something may be planned; kept in UTC."""

NO_CONTROLS = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_CONTROLS)]
ShortText = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_CONTROLS)]
LongText = Annotated[str, Field(max_length=10_000, pattern=NO_CONTROLS)]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+$")]


def _lower_case(address: str) -> str:
    """ERC-55: the case of the letters is a checksum, unless they are all of one."""
    digits = address[2:]
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(address):
        raise ValueError("the checksum in the address (ERC-55) is wrong")
    return address.lower()


WalletAddress = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$"), AfterValidator(_lower_case)]


def _distinct(items: object) -> object:
    if isinstance(items, list) and len({str(item) for item in items}) != len(items):
        raise ValueError("something is named twice")
    return items


Distinct = BeforeValidator(_distinct)
"""For sets: to name something twice is a mistake, not a way of saying it once."""


class Body(BaseModel):
    """A request: unknown fields are refused, and nothing is converted from one type to another."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Page(BaseModel, Generic[T]):
    items: list[T]
    next_cursor: str | None


def _digits(text: object) -> object:
    """Pydantic would also take ``+5``, ``5.0`` and ``1_0`` in a query."""
    if isinstance(text, str) and not (text.isascii() and text.isdigit()):
        raise ValueError("a whole number")
    return text


WholeNumber = Annotated[int, BeforeValidator(_digits)]
Limit = Annotated[WholeNumber, Query(ge=1, le=PAGE_MAX)]
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
        return datetime.fromisoformat(part).astimezone(UTC)
    raise ValueError("a part of the wrong kind")


def to_json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)
