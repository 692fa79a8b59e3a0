"""The contract's side of a conversation: calls to it as bytes, and what its answers and logs mean.

Signatures and selectors are those of ``contracts/src/CounterfoilTickets.sol``; a test holds them to its ABI.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from adapters.chain.node import Log

WORD = 32
NO_HASH = bytes(32)


def selector(signature: str) -> bytes:
    return keccak(text=signature)[:4]


APPLY_BATCH = selector("applyBatch(uint64,uint64,bytes)")
STATE = selector("state(uint256[])")
EVENT_OF = selector("eventOf(uint32)")
EVENT_COUNT = selector("eventCount()")
SYNCED_THROUGH = selector("syncedThrough()")
RUNNING_HASH = selector("runningHash()")
LEDGER_ID = selector("ledgerId()")
PAUSED = selector("paused()")
VERSION = selector("VERSION()")
HAS_ROLE = selector("hasRole(bytes32,address)")

SYNCER_ROLE = keccak(text="SYNCER_ROLE")

BATCH_APPLIED = keccak(text="BatchApplied(uint64,uint64,bytes32)")
OP_SKIPPED = keccak(text="OpSkipped(uint64,uint32,uint8,uint8)")
HOLDER_TRANSFER = keccak(text="HolderTransfer(uint256,address,address,uint16)")
TRANSFER = keccak(text="Transfer(address,address,uint256)")


class SkipReason(IntEnum):
    """Why the contract passed an operation over, as it says it itself."""

    UNKNOWN_EVENT = 1
    NOT_ISSUED = 2
    OUT_OF_ORDER = 3
    WRONG_VERSION = 4
    WRONG_PLACE = 5
    CHECKED_IN_ALREADY = 6
    VOIDED = 7
    ABOVE_CAP = 8
    BAD_RECEIVER = 9
    BAD_RULES = 10
    PARTIAL = 11
    VOIDED_ALREADY = 12
    NOT_CHECKED_IN = 13
    NOT_VOIDED = 14


class Skipped(NamedTuple):
    """An operation that did not apply: the ``op``-th of the batch that began with the position ``seq``."""

    seq: int
    op: int
    kind: int
    reason: int


class HolderTransfer(NamedTuple):
    """A holder's own transfer; ``version`` is the token's after it."""

    token: int
    from_wallet: str
    to_wallet: str
    version: int


class Applied(NamedTuple):
    from_seq: int
    to_seq: int
    running_hash: bytes


class OnChain(NamedTuple):
    """What the contract says of one token."""

    owner: str
    version: int
    issued: bool
    checked_in: bool
    voided: bool
    in_custody: bool


class ChainEvent(NamedTuple):
    issued: int
    ends_at: int
    price_cap: int
    royalty: int
    flags: int


# -- Calls. --------------------------------------------------------------------------


def apply_batch(from_seq: int, to_seq: int, operations: bytes) -> bytes:
    padded = operations + bytes(-len(operations) % WORD)
    return b"".join((APPLY_BATCH, _word(from_seq), _word(to_seq), _word(3 * WORD), _word(len(operations)), padded))


def state(tokens: Sequence[int]) -> bytes:
    return b"".join((STATE, _word(WORD), _word(len(tokens)), *map(_word, tokens)))


def event_of(number: int) -> bytes:
    return EVENT_OF + _word(number)


def has_role(role: bytes, address: str) -> bytes:
    return HAS_ROLE + role + _word(int(address, 16))


def constructor(
    *, name: str, symbol: str, base_uri: str, admin: str, syncer: str, pauser: str, royalty_receiver: str, ledger: bytes
) -> bytes:
    """The arguments of a deployment, to follow the contract's code."""
    kinds = ("string", "string", "string", "address", "uint48", "address", "address", "address", "bytes32")
    return encode(kinds, (name, symbol, base_uri, admin, ADMIN_DELAY_SECONDS, syncer, pauser, royalty_receiver, ledger))


ADMIN_DELAY_SECONDS = 86_400
"""Between naming a new admin and the handover: time to notice what one did not want."""


# -- Answers. ------------------------------------------------------------------------


def number_in(answer: bytes) -> int:
    return int.from_bytes(answer[:WORD], "big")


def states_in(answer: bytes) -> list[OnChain]:
    count = number_in(answer[WORD:])
    words = (answer[start : start + WORD] for start in range(2 * WORD, (2 + count) * WORD, WORD))
    return [_on_chain(int.from_bytes(word, "big")) for word in words]


def event_in(answer: bytes) -> ChainEvent:
    return ChainEvent(*(number_in(answer[start:]) for start in range(0, 5 * WORD, WORD)))


def _on_chain(packed: int) -> OnChain:
    flags = packed >> 176
    owner = f"0x{packed & (1 << 160) - 1:040x}"
    return OnChain(owner, packed >> 160 & 0xFFFF, bool(flags & 1), bool(flags & 2), bool(flags & 4), bool(flags & 8))


# -- Logs. ---------------------------------------------------------------------------


def skipped_in(logs: Sequence[Log]) -> list[Skipped]:
    return [
        Skipped(
            int.from_bytes(log.topics[1], "big"),
            int.from_bytes(log.topics[2], "big"),
            number_in(log.data),
            number_in(log.data[WORD:]),
        )
        for log in logs
        if log.topics[0] == OP_SKIPPED
    ]


def holder_transfer_in(log: Log) -> HolderTransfer:
    _, token, from_wallet, to_wallet = log.topics
    return HolderTransfer(int.from_bytes(token, "big"), _address(from_wallet), _address(to_wallet), number_in(log.data))


def applied_in(log: Log) -> Applied:
    return Applied(int.from_bytes(log.topics[1], "big"), int.from_bytes(log.topics[2], "big"), log.data[:WORD])


def running_hash(before: bytes, from_seq: int, to_seq: int, operations: bytes) -> bytes:
    """As the contract computes it: each batch is bound to all that came before."""
    return keccak(before + from_seq.to_bytes(8, "big") + to_seq.to_bytes(8, "big") + keccak(operations))


def _word(value: int) -> bytes:
    return value.to_bytes(WORD, "big")


def _address(topic: bytes) -> str:
    return "0x" + topic[12:].hex()
