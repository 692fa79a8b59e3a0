"""A head of the tree: so many facts, this root, signed at that instant. Whoever keeps one can hold the ledger to it.

The text that is signed is a C2SP tlog-checkpoint (origin, size, root) with one extension line for the instant.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from projections.merkle import EMPTY_ROOT, HASH_BYTES

ORIGIN = "counterfoil"
KEY_ID_BYTES = 16
PUBLIC_KEY_BYTES = 32
MALFORMED = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
"""What reading a document raises that is not what it should be."""
UNSIGNED = {
    "ledger_id": None,
    "tree_size": 0,
    "root": b64encode(EMPTY_ROOT).decode(),
    "at": None,
    "key_id": None,
    "signature": None,
}
"""What there is before the first head was signed."""


class HeadKey(NamedTuple):
    """A key that heads are signed with. Its id is derived from it, so that a kept head holds the ledger to its key too."""

    key_id: str
    public_key: bytes
    valid_from: datetime
    retired_at: datetime | None
    """When the next one became valid."""

    def document(self) -> dict[str, Any]:
        return {
            "key_id": self.key_id,
            "public_key": b64encode(self.public_key).decode(),
            "valid_from": text_of(self.valid_from),
            "retired_at": text_of(self.retired_at) if self.retired_at is not None else None,
        }


class SignedHead(NamedTuple):
    ledger_id: UUID
    tree_size: int
    root: bytes
    at: datetime
    key_id: str
    signature: bytes

    @property
    def signed_text(self) -> bytes:
        return signed_text(self.ledger_id, self.tree_size, self.root, self.at)

    def document(self) -> dict[str, Any]:
        return {
            "ledger_id": str(self.ledger_id),
            "tree_size": self.tree_size,
            "root": b64encode(self.root).decode(),
            "at": text_of(self.at),
            "key_id": self.key_id,
            "signature": b64encode(self.signature).decode(),
        }


def signed_text(ledger_id: UUID, tree_size: int, root: bytes, at: datetime) -> bytes:
    return f"{ORIGIN}/{ledger_id}\n{tree_size}\n{b64encode(root).decode()}\nat {text_of(at)}\n".encode()


def key_id_of(public_key: bytes) -> str:
    return sha256(public_key).digest()[:KEY_ID_BYTES].hex()


def text_of(instant: datetime) -> str:
    """RFC 3339 in UTC with six decimals, always: what is signed has one spelling."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def head_from(document: Mapping[str, Any]) -> SignedHead:
    """A head that somebody kept; members that it has besides are ignored. Raises ValueError for what is none."""
    try:
        head = SignedHead(
            UUID(document["ledger_id"]),
            _whole(document["tree_size"]),
            b64decode(document["root"], validate=True),
            _instant(document["at"]),
            str(document["key_id"]),
            b64decode(document["signature"], validate=True),
        )
    except MALFORMED as error:
        raise ValueError("this is not a signed head") from error
    if len(head.root) != HASH_BYTES or head.tree_size < 0:
        raise ValueError("this is not a signed head")
    return head


def key_from(document: Mapping[str, Any]) -> HeadKey:
    """A key as it was published. Raises ValueError for what is none, or has another's id."""
    try:
        public_key = b64decode(document["public_key"], validate=True)
        retired_at = document["retired_at"]
        key = HeadKey(
            str(document["key_id"]),
            public_key,
            _instant(document["valid_from"]),
            _instant(retired_at) if retired_at is not None else None,
        )
    except MALFORMED as error:
        raise ValueError("this is not a key") from error
    if len(public_key) != PUBLIC_KEY_BYTES or key.key_id != key_id_of(public_key):
        raise ValueError("this is not a key, or not the one it says it is")
    return key


def _whole(number: object) -> int:
    """Raises ValueError for what JSON has besides whole numbers."""
    if type(number) is not int:
        raise ValueError("not a whole number")
    return number


def _instant(text: str) -> datetime:
    """Raises ValueError for one of which nobody can tell when it was, OverflowError for one that is in no year of ours."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("an instant without its zone")
    return found.astimezone(UTC)
