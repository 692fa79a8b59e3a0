"""What the contract must have made of everything it was told, of what it passed over and of what holders did.

A difference between ledger and chain is explained when this comes to what the chain has: then the contract did what it
was built for, and what it passed over, or what a holder did, is the cause. A model of the contract for a few tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from adapters.chain.contract import SkipReason, holder_transfer_in
from adapters.chain.node import Log
from adapters.chain.packed import NOTHING, VOIDED, pack
from adapters.chain.packing import (
    CHECK_IN,
    CHECK_IN_WORD,
    DELIVER,
    ISSUE,
    MOVE,
    RESALE,
    RULES,
    SIZES,
    UNDO_CHECK_IN,
    UNVOID,
    VOID,
    VOID_WORD,
    steps_in,
)
from projections.chain_book import VERSIONS
from projections.chain_operations import CANCELLED, SERIAL_BITS, Configure, event_number

SERIALS = (1 << SERIAL_BITS) - 1
PARTS = {
    ISSUE: "issued",
    DELIVER: "owner",
    MOVE: "owner",
    RESALE: "owner",
    CHECK_IN: "checked_in",
    CHECK_IN_WORD: "checked_in",
    UNDO_CHECK_IN: "checked_in",
    VOID: "void",
    VOID_WORD: "void",
    UNVOID: "void",
}
"""What of a token each operation is about."""
RULES_FIELDS = ((0, 4), (4, 9), (9, 17), (17, 19), (19, 20))
OWNER_VERSION, OWNER_TO = slice(8, 10), slice(10, 30)


@dataclass(slots=True)
class Made:
    """What has become of one token. ``wallet`` None: in custody."""

    wallet: str | None = None
    version: int = 0
    checked_in: bool = False
    voided: bool = False
    skipped: dict[str, SkipReason] = field(default_factory=dict)
    """Part → why an operation on it was passed over, the last one that was."""
    unheard: list[Log] = field(default_factory=list)
    """Transfers by its holders that the ledger does not know, since the last change of owner that it does."""
    lost: SkipReason | None = None
    """Why a change of owner was passed over that came after such a transfer."""


class Replay:
    """For the tokens named, and all events."""

    def __init__(self, tokens: Iterable[int]) -> None:
        self.tokens = {token: Made() for token in tokens}
        self.rules: dict[int, Configure] = {}
        """What was last told and applied, by event."""
        self.rules_skipped: dict[int, SkipReason] = {}
        self._issued: dict[int, int] = {}

    # -- What happened, in the contract's order. -----------------------------------------

    def transfer(self, entry: Log, *, heard: bool) -> None:
        """By its holder. ``heard``: the ledger knows of it."""
        transfer = holder_transfer_in(entry)
        made = self.tokens.get(transfer.token)
        if made is not None:
            made.wallet, made.version = transfer.to_wallet, transfer.version
            made.unheard = [] if heard else [*made.unheard, entry]
            made.lost = None

    def apply(self, operations: bytes, skipped: Mapping[int, SkipReason]) -> None:
        """A batch, and which of its operations were passed over."""
        at = 0
        for index, step in enumerate(steps_in(operations)):
            body = operations[at + 1 : at + SIZES[step.kind]]
            at += SIZES[step.kind]
            reason = skipped.get(index)
            if step.kind == RULES:
                self._configure(body, reason)
            elif step.kind == ISSUE and reason is None:
                self._issued[event_number(step.tokens[0])] = (step.tokens[-1] & SERIALS) + 1
            else:
                for token in self.tokens.keys() & set(step.tokens):
                    self._one(token, step.kind, body, reason)

    def _configure(self, body: bytes, reason: SkipReason | None) -> None:
        rules = Configure(*(int.from_bytes(body[start:end], "big") for start, end in RULES_FIELDS))
        if reason is None:
            self.rules[rules.number] = rules
            self.rules_skipped.pop(rules.number, None)
        else:
            self.rules_skipped[rules.number] = reason

    def _one(self, token: int, kind: int, body: bytes, reason: SkipReason | None) -> None:
        made = self.tokens[token]
        if reason is SkipReason.PARTIAL and self._fits(token, kind):
            reason = None  # of the word's bits, this one applied
        if reason is not None:
            made.skipped[PARTS[kind]] = reason
            if made.unheard and PARTS[kind] == "owner":
                made.lost = reason
            return
        match kind:
            case _ if PARTS[kind] == "owner":
                _change_owner(made, body)
            case _ if PARTS[kind] == "checked_in":
                made.checked_in = kind != UNDO_CHECK_IN
            case _:
                made.voided = kind != UNVOID

    def _fits(self, token: int, kind: int) -> bool:
        """Whether an entry, or a cancellation, could be made of a token: it exists and is neither yet."""
        made, number = self.tokens[token], event_number(token)
        spent = made.checked_in or made.voided
        return self._exists(token) and not spent and (kind == VOID_WORD or not self._cancelled(number))

    # -- What it has come to. --------------------------------------------------------------

    def state_of(self, token: int, *, custodian: int) -> int:
        """Packed as the contract does (see `packed`)."""
        if not self._exists(token):
            return NOTHING
        made = self.tokens[token]
        state = pack(
            custodian=custodian,
            wallet=made.wallet,
            version=made.version,
            checked_in=made.checked_in,
            voided=made.voided,
        )
        return state | (VOIDED if self._cancelled(event_number(token)) else 0)

    def _exists(self, token: int) -> bool:
        return token & SERIALS < self._issued.get(event_number(token), 0)

    def _cancelled(self, number: int) -> bool:
        rules = self.rules.get(number)
        return rules is not None and bool(rules.flags & CANCELLED)


def _change_owner(made: Made, body: bytes) -> None:
    """Within custody it is only a record. The operation says the version that it found, or it would not have applied."""
    to = body[OWNER_TO]
    wallet = "0x" + to.hex() if any(to) else None
    if made.wallet is not None or wallet is not None:
        made.wallet, made.unheard, made.lost = wallet, [], None
        made.version = (int.from_bytes(body[OWNER_VERSION], "big") + 1) % VERSIONS
