"""Operations as the contract reads them, packed into batches that one transaction can carry.

Within a batch, operations are sorted by what they do: mints of one event become one run, entries that share a word of
256 serials become one store. That is only right while no token is asked to do a later thing before an earlier one; an
operation that would be out of order closes the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from adapters.chain.gas import WORD_BITS, Meter, word_of
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

FACTS_MAX = 1_000
"""In one batch."""
GAS_MAX = 12_000_000
"""Of one batch, as estimated: below EIP-7825's cap of 2^24 for a transaction, with room for an estimate that is off."""
GAS_LIMIT_MAX = 16_777_216
"""EIP-7825."""
MARGIN = Fraction(17, 16)
"""Of the gas that is asked for over what is estimated."""
RUN_MAX = 0xFFFF

RULES, ISSUE, DELIVER, MOVE, RESALE, CHECK_IN, CHECK_IN_WORD, VOID, VOID_WORD, UNDO_CHECK_IN, UNVOID = range(1, 12)
"""Operation codes of the contract."""

CUSTODY = bytes(20)


PHASES: dict[type[Operation], int] = {
    Configure: 0,
    Issue: 1,
    Unvoid: 2,
    Deliver: 3,
    Move: 3,
    Resale: 3,
    UndoCheckIn: 4,
    CheckIn: 5,
    Void: 6,
}
"""The place of each kind in a batch."""


@dataclass(slots=True)
class Draft:
    """A batch that is being filled."""

    operations: list[Operation] = field(default_factory=list)
    facts: int = 0
    _meter: Meter = field(default_factory=Meter)
    _phases: dict[int, int] = field(default_factory=dict)
    """The latest phase of each token, and of each event (negative)."""

    def takes(self, operations: Sequence[Operation]) -> bool:
        """Whether these, which belong to one fact, may join. An empty batch takes everything."""
        if not self.operations:
            return True
        if self.facts >= FACTS_MAX or self.gas + sum(map(self._meter.would_take, operations)) > GAS_MAX:
            return False
        return all(PHASES[type(operation)] >= self._phase_of(operation) for operation in operations)

    def add(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            self._meter.add(operation)
            phase = PHASES[type(operation)]
            for key in _keys_of(operation):
                self._phases[key] = max(phase, self._phases.get(key, 0))
        self.operations += operations
        self.facts += 1

    @property
    def gas(self) -> int:
        """What it takes at most."""
        return self._meter.gas

    @property
    def gas_limit(self) -> int:
        """The estimate is an upper bound already, and blocks are filled by limits, not by what is used: a small margin.

        A batch that runs out of it, because a chain has changed its prices, is sent again with more.
        """
        return min(int(self.gas * MARGIN), GAS_LIMIT_MAX)

    def _phase_of(self, operation: Operation) -> int:
        """The earliest that this may be: not before what its token, or for rules its event, has in the batch."""
        if isinstance(operation, Configure):
            later = self._phases.get(-operation.number, 0)
            return later if later > PHASES[Issue] else 0
        return self._phases.get(operation.token, 0)


def encode(operations: Iterable[Operation]) -> bytes:
    """The bytes of a batch, in the order in which the contract shall apply them."""
    by_phase: defaultdict[int, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_phase[PHASES[type(operation)]].append(operation)
    parts: list[bytes] = []
    for phase in sorted(by_phase):
        match by_phase[phase][0]:
            case Issue():
                parts += _runs(sorted(operation.token for operation in by_phase[phase] if isinstance(operation, Issue)))
            case CheckIn() | Void():
                parts += _marks([o for o in by_phase[phase] if isinstance(o, CheckIn | Void)])
            case _:
                parts += [_one(operation) for operation in by_phase[phase]]
    return b"".join(parts)


def _runs(tokens: Sequence[int]) -> list[bytes]:
    """Consecutive serials of one event as one operation."""
    parts: list[bytes] = []
    start = 0
    for index in range(1, len(tokens) + 1):
        ended = index == len(tokens) or tokens[index] != tokens[index - 1] + 1 or index - start == RUN_MAX
        if ended:
            parts.append(_byte(ISSUE) + tokens[start].to_bytes(8, "big") + (index - start).to_bytes(2, "big"))
            start = index
    return parts


def _marks(operations: Sequence[CheckIn | Void]) -> list[bytes]:
    """Tokens in custody by words; those in wallets one by one, because each is to say that its lock has changed."""
    single, of_word = (CHECK_IN, CHECK_IN_WORD) if isinstance(operations[0], CheckIn) else (VOID, VOID_WORD)
    masks: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    alone = [operation.token for operation in operations if not operation.in_custody]
    for operation in operations:
        if operation.in_custody:
            masks[word_of(operation.token)].append(operation.token)
    parts = []
    for (number, word), tokens in sorted(masks.items()):
        if len(tokens) == 1:
            alone.append(tokens[0])
            continue
        mask = sum(1 << (token & WORD_BITS - 1) for token in set(tokens))
        parts.append(_byte(of_word) + number.to_bytes(4, "big") + word.to_bytes(3, "big") + mask.to_bytes(32, "big"))
    return [*parts, *(_byte(single) + token.to_bytes(8, "big") for token in alone)]


def _one(operation: Operation) -> bytes:
    match operation:
        case Configure(number, ends_at, price_cap, royalty, flags):
            head = _byte(RULES) + number.to_bytes(4, "big") + ends_at.to_bytes(5, "big")
            return head + price_cap.to_bytes(8, "big") + royalty.to_bytes(2, "big") + _byte(flags)
        case Deliver(token, version, wallet):
            return _byte(DELIVER) + _change(token, version, wallet)
        case Move(token, version, wallet):
            return _byte(MOVE) + _change(token, version, wallet)
        case Resale(token, version, wallet, price):
            return _byte(RESALE) + _change(token, version, wallet) + price.to_bytes(8, "big")
        case UndoCheckIn(token):
            return _byte(UNDO_CHECK_IN) + token.to_bytes(8, "big")
        case Unvoid(token):
            return _byte(UNVOID) + token.to_bytes(8, "big")
        case _:
            raise TypeError(f"{type(operation).__name__} is packed with others of its kind")


def _change(token: int, version: int, wallet: str | None) -> bytes:
    to = bytes.fromhex(wallet[2:]) if wallet is not None else CUSTODY
    return token.to_bytes(8, "big") + version.to_bytes(2, "big") + to


def _keys_of(operation: Operation) -> tuple[int, ...]:
    if isinstance(operation, Configure):
        return (-operation.number,)
    return operation.token, -event_number(operation.token)


def _byte(value: int) -> bytes:
    return value.to_bytes(1, "big")


class Step(NamedTuple):
    """One operation as the contract reads it: which tokens it is about. For what a skipped one meant."""

    kind: int
    tokens: tuple[int, ...]


def steps_in(operations: bytes) -> list[Step]:
    """The operations of a stored batch, numbered as the contract numbers them."""
    steps: list[Step] = []
    at = 0
    while at < len(operations):
        kind = operations[at]
        body = operations[at + 1 : at + SIZES[kind]]
        steps.append(Step(kind, _tokens_of(kind, body)))
        at += SIZES[kind]
    return steps


SIZES = {
    RULES: 21,
    ISSUE: 11,
    DELIVER: 31,
    MOVE: 31,
    RESALE: 39,
    CHECK_IN: 9,
    CHECK_IN_WORD: 40,
    VOID: 9,
    VOID_WORD: 40,
    UNDO_CHECK_IN: 9,
    UNVOID: 9,
}
"""Bytes of each operation, its code included."""


def _tokens_of(kind: int, body: bytes) -> tuple[int, ...]:
    if kind == RULES:
        return ()
    if kind == ISSUE:
        first = int.from_bytes(body[:8], "big")
        return tuple(range(first, first + int.from_bytes(body[8:10], "big")))
    if kind in (CHECK_IN_WORD, VOID_WORD):
        base = int.from_bytes(body[:4], "big") << SERIAL_BITS | int.from_bytes(body[4:7], "big") * WORD_BITS
        mask = int.from_bytes(body[7:39], "big")
        return tuple(base + bit for bit in range(WORD_BITS) if mask >> bit & 1)
    return (int.from_bytes(body[:8], "big"),)
