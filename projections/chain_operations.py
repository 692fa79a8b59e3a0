"""What the mirror tells a contract to do, one operation at a time."""

from __future__ import annotations

from typing import NamedTuple

SERIAL_BITS = 32
NO_PRICE_CAP = (1 << 64) - 1
DIRECT_TRANSFERS, CANCELLED = 1, 2
"""Flags of an event."""


class Configure(NamedTuple):
    """An event's rules. ``ends_at`` is in seconds since 1970, ``price_cap`` in minor units."""

    number: int
    ends_at: int
    price_cap: int
    royalty: int
    flags: int


class Issue(NamedTuple):
    token: int


class Deliver(NamedTuple):
    """Out of custody. ``version`` is what the token has before."""

    token: int
    version: int
    wallet: str


class Move(NamedTuple):
    """From a wallet to another or into custody (``wallet`` None); within custody a record of a change of hands."""

    token: int
    version: int
    wallet: str | None


class Resale(NamedTuple):
    token: int
    version: int
    wallet: str | None
    price: int


class CheckIn(NamedTuple):
    token: int
    in_custody: bool


class UndoCheckIn(NamedTuple):
    token: int


class Void(NamedTuple):
    token: int
    in_custody: bool


class Unvoid(NamedTuple):
    token: int


Operation = Configure | Issue | Deliver | Move | Resale | CheckIn | UndoCheckIn | Void | Unvoid


def token_id(number: int, serial: int) -> int:
    return number << SERIAL_BITS | serial


def event_number(token: int) -> int:
    return token >> SERIAL_BITS
