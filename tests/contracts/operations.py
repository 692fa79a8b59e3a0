"""The bytes of a batch, written by the contract's specification and not by the mirror that is to be held to it."""

from __future__ import annotations

from collections.abc import Callable

from eth_hash.auto import keccak

RULES, ISSUE, DELIVER, MOVE, RESALE, CHECK_IN, CHECK_IN_WORD, VOID, VOID_WORD, UNDO_CHECK_IN, UNVOID = range(1, 12)

UNKNOWN_EVENT, NOT_ISSUED, OUT_OF_ORDER, WRONG_VERSION, WRONG_PLACE, CHECKED_IN_ALREADY, VOIDED = range(1, 8)
ABOVE_CAP, BAD_RECEIVER, BAD_RULES, PARTIAL, VOIDED_ALREADY, NOT_CHECKED_IN, NOT_VOIDED, LOCKED = range(8, 16)

OnTicket = Callable[[int], bytes]
OnWord = Callable[[int, int, int], bytes]

TRANSFERS_OPEN = 1
CANCELLED = 2
NO_CAP = 2**64 - 1
CUSTODY = "0x" + "00" * 20
FOREVER = 2**40 - 1


def token(number: int, serial: int) -> int:
    return number << 32 | serial


def rules(number: int, *, ends_at: int = FOREVER, cap: int = NO_CAP, royalty: int = 0, flags: int = 0) -> bytes:
    return _op(RULES, (number, 4), (ends_at, 5), (cap, 8), (royalty, 2), (flags, 1))


def issue(number: int, first: int, count: int) -> bytes:
    return _op(ISSUE, (number, 4), (first, 4), (count, 2))


def deliver(ticket: int, version: int, to: str) -> bytes:
    return _op(DELIVER, (ticket, 8), (version, 2), (int(to, 16), 20))


def move(ticket: int, version: int, to: str) -> bytes:
    return _op(MOVE, (ticket, 8), (version, 2), (int(to, 16), 20))


def resale(ticket: int, version: int, to: str, price: int) -> bytes:
    return _op(RESALE, (ticket, 8), (version, 2), (int(to, 16), 20), (price, 8))


def check_in(ticket: int) -> bytes:
    return _op(CHECK_IN, (ticket, 8))


def check_in_word(number: int, word: int, mask: int) -> bytes:
    return _op(CHECK_IN_WORD, (number, 4), (word, 3), (mask, 32))


def void(ticket: int) -> bytes:
    return _op(VOID, (ticket, 8))


def void_word(number: int, word: int, mask: int) -> bytes:
    return _op(VOID_WORD, (number, 4), (word, 3), (mask, 32))


def undo_check_in(ticket: int) -> bytes:
    return _op(UNDO_CHECK_IN, (ticket, 8))


def unvoid(ticket: int) -> bytes:
    return _op(UNVOID, (ticket, 8))


def next_hash(running: bytes, from_seq: int, to_seq: int, ops: bytes) -> bytes:
    """The hash of all batches after this one."""
    return keccak(running + from_seq.to_bytes(8, "big") + to_seq.to_bytes(8, "big") + keccak(ops))


def _op(kind: int, *fields: tuple[int, int]) -> bytes:
    """Each field is a number and its size in bytes."""
    return bytes([kind]) + b"".join(value.to_bytes(size, "big") for value, size in fields)
