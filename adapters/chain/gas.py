"""What a batch will take at most: an estimate made while it is filled, so that nobody has to be asked.

Measured on the contract for the dearest case of each operation (cold storage, a wallet's first ticket, a lock that is
said to open), before refunds: those come only at the end, and the gas must be there until then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from projections.chain_operations import (
    SERIAL_BITS,
    CheckIn,
    Configure,
    Deliver,
    Issue,
    Move,
    Operation,
    Resale,
    UndoCheckIn,
    Unvoid,
    Void,
    event_number,
)

TRANSACTION = 80_000
"""The transaction itself, cursor, hash and counters."""
CONFIGURE = 32_000
ISSUE, FIRST_ISSUE = 2_000, 12_000
"""The first of an event in a batch pays for its counter."""
TO_NEW_SLOT, TO_WALLET, TO_CUSTODY, WITHIN_CUSTODY = 56_000, 46_000, 26_000, 12_000
"""A ticket that leaves custody for the first time needs a word of storage."""
RESALE = 2_000
"""Beside what a move takes."""
MARK, NEXT_MARK, FIRST_OF_WORD = 9_000, 300, 24_000
"""Marks of tickets in custody that share a word of 256 serials are one store; the first pays for it."""

WORD_BITS = 256
SERIALS = (1 << SERIAL_BITS) - 1

Paid = tuple[str, int, int]
"""What the first of its kind in a batch pays for."""


def word_of(token: int) -> tuple[int, int]:
    """An event's number, and which 256 of its serials."""
    return event_number(token), (token & SERIALS) // WORD_BITS


@dataclass(slots=True)
class Meter:
    """Of one batch."""

    gas: int = TRANSACTION
    _paid: set[Paid] = field(default_factory=set)

    def add(self, operation: Operation) -> None:
        gas, pays_for = self._cost(operation)
        self.gas += gas
        self._paid.update(pays_for)

    def would_take(self, operation: Operation) -> int:
        """If it were added now."""
        return self._cost(operation)[0]

    def _cost(self, operation: Operation) -> tuple[int, tuple[Paid, ...]]:
        """And what it pays for those to come."""
        match operation:
            case Configure():
                return CONFIGURE, ()
            case Issue(token):
                counter = ("counter", event_number(token), 0)
                return ISSUE + (0 if counter in self._paid else FIRST_ISSUE), (counter,)
            case Deliver() | Move() | Resale():
                sold = RESALE if isinstance(operation, Resale) else 0
                return sold + _move(operation.version, operation.wallet), ()
            case CheckIn() | UndoCheckIn() | Void() | Unvoid():
                return self._mark(operation)

    def _mark(self, operation: CheckIn | UndoCheckIn | Void | Unvoid) -> tuple[int, tuple[Paid, ...]]:
        word = word_of(operation.token)
        stores: list[Paid] = [("spent", *word)]
        if isinstance(operation, Void | Unvoid):
            stores.append(("void", *word))
        gas = sum(FIRST_OF_WORD for store in stores if store not in self._paid)
        if not (isinstance(operation, CheckIn | Void) and operation.in_custody):
            return gas + MARK, tuple(stores)
        told_together = (type(operation).__name__, *word)
        return gas + (NEXT_MARK if told_together in self._paid else MARK), (*stores, told_together)


def _move(version: int, wallet: str | None) -> int:
    never_left = version == 0
    if wallet is None:
        return WITHIN_CUSTODY if never_left else TO_CUSTODY
    return TO_NEW_SLOT if never_left else TO_WALLET
