"""Random histories: operations that mostly could apply, some that just cannot, and some that are nonsense."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from tests.contracts import operations as op
from tests.contracts.model import HANDLERS, SERIALS_PER_WORD, Model


def _rules(number: int, ends_at: int, cap: int, royalty: int, flags: int) -> bytes:
    return op.rules(number, ends_at=ends_at, cap=cap, royalty=royalty, flags=flags)


ENCODERS: Mapping[int, Callable[..., bytes]] = {
    op.RULES: _rules,
    op.ISSUE: op.issue,
    op.DELIVER: op.deliver,
    op.MOVE: op.move,
    op.RESALE: op.resale,
    op.CHECK_IN: op.check_in,
    op.CHECK_IN_WORD: op.check_in_word,
    op.VOID: op.void,
    op.VOID_WORD: op.void_word,
    op.UNDO_CHECK_IN: op.undo_check_in,
    op.UNVOID: op.unvoid,
}
WEIGHTS = {
    op.RULES: 3,
    op.ISSUE: 12,
    op.DELIVER: 25,
    op.MOVE: 18,
    op.RESALE: 14,
    op.CHECK_IN: 12,
    op.CHECK_IN_WORD: 2,
    op.VOID: 6,
    op.VOID_WORD: 1,
    op.UNDO_CHECK_IN: 4,
    op.UNVOID: 3,
}
EVENTS_MAX = 5
ISSUED_AT_ONCE_MAX = 20

Operation = tuple[int, tuple[object, ...]]


def encoded(operation: Operation) -> bytes:
    kind, fields = operation
    return ENCODERS[kind](*fields)


class History:
    """Goes on from what the model holds when a batch is asked for, so that versions within a batch may be stale."""

    def __init__(self, seed: int, model: Model, wallets: Sequence[str], horizon: int) -> None:
        """Events end before or well after ``horizon``, never near it: no batch depends on a second."""
        self._random = random.Random(seed)
        self._model = model
        self._wallets = wallets
        self._horizon = horizon

    def batch(self, size: int) -> list[Operation]:
        kinds = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=size)
        return [(kind, getattr(self, f"_{HANDLERS[kind]}")()) for kind in kinds]

    def ticket(self) -> int:
        """Mostly one that exists, more often one that is in a wallet than chance would have it."""
        roll = self._random.random()
        if roll < 0.3 and self._model.places:
            return self._random.choice(list(self._model.places))
        if roll > 0.97:
            return self._random.choice((0, op.token(0, 5), op.token(99, 0), 2**64 - 1))
        number = self._number()
        issued = self._model.events[number].issued if number in self._model.events else 0
        return op.token(number, self._random.randrange(issued + 3))

    def wallet(self) -> str:
        return self._random.choice(self._wallets)

    def _number(self) -> int:
        return self._random.randint(1, max(1, len(self._model.events)))

    def _version(self, ticket: int) -> int:
        version = self._model._place(ticket).version
        return version if self._random.random() < 0.95 else self._random.choice((version ^ 1, 0, 2**16 - 1))

    def _receiver(self) -> str:
        roll = self._random.random()
        if roll < 0.12:
            return op.CUSTODY
        return self._model.custodian if roll > 0.98 else self.wallet()

    # -- Fields, by the names that the model gives the operations -------------------

    def _rules(self) -> tuple[object, ...]:
        number = self._random.randint(0, min(EVENTS_MAX, len(self._model.events) + 2))
        ends_at = self._random.choice((0, self._horizon // 2, self._horizon * 2, op.FOREVER, op.FOREVER))
        cap = self._random.choice((0, 1_000, op.NO_CAP))
        royalty = self._random.choice((0, 1, 750, 10_000, 10_001, 2**16 - 1))
        flags = self._random.choices((0, 1, 2, 3, 4, 255), (60, 25, 5, 5, 3, 2))[0]
        return number, ends_at, cap, royalty, flags

    def _issue(self) -> tuple[object, ...]:
        number = self._number() if self._random.random() < 0.95 else self._random.choice((0, 77))
        issued = self._model.events[number].issued if number in self._model.events else 0
        first = issued if self._random.random() < 0.9 else self._random.choice((0, issued + 1))
        return number, first, self._random.randint(0, ISSUED_AT_ONCE_MAX)

    def _deliver(self) -> tuple[object, ...]:
        ticket = self.ticket()
        return ticket, self._version(ticket), self._receiver()

    def _move(self) -> tuple[object, ...]:
        return self._deliver()

    def _resale(self) -> tuple[object, ...]:
        return *self._deliver(), self._random.choice((0, 999, 1_000, 1_001, op.NO_CAP))

    def _check_in(self) -> tuple[object, ...]:
        return (self.ticket(),)

    _undo_check_in = _void_one = _unvoid = _check_in

    def _check_in_word(self) -> tuple[object, ...]:
        """Mostly of tickets that can be marked now; the others make it partial, or void of effect."""
        number = self._number() if self._random.random() < 0.95 else self._random.choice((0, 77))
        issued = self._model.events[number].issued if number in self._model.events else 0
        word = self._random.randint(0, issued // SERIALS_PER_WORD)
        serials = range(word * SERIALS_PER_WORD, min(issued, (word + 1) * SERIALS_PER_WORD))
        spent = self._model.checked_in | self._model.void
        free = [serial for serial in serials if op.token(number, serial) not in spent]
        chosen = self._random.sample(free, min(len(free), 8))
        noise = self._random.choices((0, self._random.getrandbits(SERIALS_PER_WORD), 1 << 255), (80, 10, 10))[0]
        return number, word, noise | sum(1 << (serial % SERIALS_PER_WORD) for serial in chosen)

    _void_word = _check_in_word
