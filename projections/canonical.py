"""The canonical bytes of a stored fact: what a leaf of the tree is the hash of, and how an export spells a row.

The layout is PostgreSQL's own for a row in binary COPY, behind a tag, so that hashing a ledger needs no conversion.
`docs/proofs.md` specifies both for those who write a verifier of their own.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is the one class of that name
from typing import Any
from uuid import UUID

TAG = b"CFE1"
COLUMNS = ("position", "stream_id", "version", "topic", "payload", "metadata", "recorded_at")
COUNT = len(COLUMNS).to_bytes(2, "big")
PREFIX_BYTES = len(TAG) + len(COUNT)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""`recorded_at` is so many microseconds later."""
ABSENT = -1
"""The length of a field that is null, which no row of ours has."""

LENGTH = Struct(">i")
POSITION = Struct(">q")
MICROSECOND = timedelta(microseconds=1)
POSITION_AT = PREFIX_BYTES + LENGTH.size
"""Where the position begins."""

Fields = Sequence[bytes | None]


def join(fields: Fields) -> bytes:
    """The canonical bytes from those of the seven columns."""
    parts = [TAG, COUNT]
    for field in fields:
        parts += (LENGTH.pack(ABSENT),) if field is None else (LENGTH.pack(len(field)), field)
    return b"".join(parts)


def split(content: bytes) -> list[bytes | None]:
    """The bytes of the seven columns. Raises ValueError for what no row can be."""
    if content[:PREFIX_BYTES] != TAG + COUNT:
        raise ValueError("not the canonical bytes of a fact")
    fields: list[bytes | None] = []
    at = PREFIX_BYTES
    for _ in COLUMNS:
        length = int.from_bytes(content[at : at + LENGTH.size], "big", signed=True)
        at += LENGTH.size
        fields.append(None if length == ABSENT else content[at : at + length])
        at += max(0, length)
    if at != len(content):
        raise ValueError("the lengths of the fields are not those of the whole")
    return fields


def canonical(
    position: int, stream_id: UUID, version: int, topic: str, payload: bytes, metadata: bytes, recorded_at: datetime
) -> bytes:
    """The canonical bytes of a row."""
    microseconds = (recorded_at - EPOCH) // MICROSECOND
    return join(
        (
            POSITION.pack(position),
            stream_id.bytes,
            LENGTH.pack(version),
            topic.encode(),
            payload,
            metadata,
            POSITION.pack(microseconds),
        )
    )


def position_of(content: bytes) -> int:
    position: int = POSITION.unpack_from(content, POSITION_AT)[0]
    return position


def at_position(content: bytes, position: int) -> bytes:
    """The same fact, had it been recorded elsewhere."""
    return content[:POSITION_AT] + POSITION.pack(position) + content[POSITION_AT + POSITION.size :]


def to_line(content: bytes) -> dict[str, Any]:
    """The same as an object for JSON, losing nothing: bytes that are no UTF-8 are named `…_base64`."""
    position, stream_id, version, topic, payload, metadata, recorded_at = split(content)
    return {
        "position": _number(position),
        "stream_id": str(UUID(bytes=stream_id)) if stream_id is not None else None,
        "version": _number(version),
        "topic": topic.decode() if topic is not None else None,
        **_text("payload", payload),
        **_text("metadata", metadata),
        "recorded_at": _instant(recorded_at),
    }


def from_line(line: dict[str, Any]) -> bytes:
    """The canonical bytes again. Raises ValueError for what `to_line` did not make."""
    try:
        recorded_at = line["recorded_at"]
        if isinstance(recorded_at, str):
            recorded_at = (datetime.fromisoformat(recorded_at) - EPOCH) // MICROSECOND
        return join(
            (
                POSITION.pack(line["position"]),
                UUID(line["stream_id"]).bytes,
                LENGTH.pack(line["version"]),
                line["topic"].encode(),
                _bytes(line, "payload"),
                _bytes(line, "metadata"),
                POSITION.pack(recorded_at),
            )
        )
    except (AttributeError, KeyError, OverflowError, TypeError, StructError) as error:
        raise ValueError("not a fact") from error


def microseconds_to_text(microseconds: int) -> str | None:
    """RFC 3339 with six decimals, always; nothing for what is in no year from 1 to 9999."""
    try:
        instant = EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _number(field: bytes | None) -> int | None:
    return None if field is None else int.from_bytes(field, "big", signed=True)


def _instant(field: bytes | None) -> int | str | None:
    number = _number(field)
    return number if number is None else microseconds_to_text(number) or number


def _text(name: str, field: bytes | None) -> dict[str, str | None]:
    try:
        return {name: field.decode() if field is not None else None}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(field or b"").decode()}


def _bytes(line: dict[str, Any], name: str) -> bytes:
    if f"{name}_base64" not in line:
        return str.encode(line[name])
    if name in line:
        raise ValueError(f"{name} is spelled twice")  # a reader of the one would be shown a proof of the other
    return b64decode(line[f"{name}_base64"], validate=True)
