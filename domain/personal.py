"""What says who somebody is. It lies in the ledger sealed with a key of that person's own; without the key it is nobody's.

A fact declares such a field as `Personal`. Decisions are handed values that are sealed already, so that whatever is
folded, cached, snapshotted or projected holds no more than the ledger does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Sealed:
    """Text that only the key of ``subject`` opens. Stored as ``{"subject": …, "sealed": …}``."""

    subject: UUID
    """The account whose erasure makes it unreadable."""
    sealed: str
    """Unpadded base64url of a nonce of 12 bytes and AES-256-GCM's output; the associated data is the subject's 16 bytes."""


Personal: TypeAlias = Sealed | str
"""Sealed; plain only in ledgers that were written before there were keys."""


def stored_text(value: Personal) -> str:
    """What a view may hold: what is sealed stays so."""
    return value.sealed if isinstance(value, Sealed) else value
