"""Reading what holders did from a contract's logs, from nodes that refuse, repeat themselves and leave things out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import structlog
from eth_utils.crypto import keccak

from adapters.chain import contract
from adapters.chain.node import Block, ChainError, Log, Node, RangeRefusedError

SPAN_FIRST, SPAN_MAX = 2_000, 10_000
"""Blocks asked for at once. Providers allow between some hundreds and ten thousand; what one allows is found out."""
GROWTH = 8
"""After an answer the span grows by this part of itself: slowly, so that most questions are not refused."""
LOGS_WANTED_MAX = 5_000
"""An answer with more makes the next span half as long: it is all held in memory."""
LOOKS_MAX = 3
"""At a block whose filter says that there may be logs, while the node gives none."""

BLOOM_BITS = 2_048
BLOOM_HASHES = 3

log = structlog.get_logger()


class Seen(NamedTuple):
    """A holder's own transfer, where it was seen. Blocks and transactions are hashes; ``version`` is the token's after it."""

    block_hash: bytes
    log_index: int
    block_number: int
    transaction: bytes
    token: int
    from_wallet: str
    to_wallet: str
    version: int


class LogReader:
    """Of the transfers of one contract."""

    def __init__(self, node: Node, address: str) -> None:
        self.span = SPAN_FIRST
        self._node = node
        self._address = address
        self._filter = bloom_of((bytes.fromhex(address.removeprefix("0x")), contract.HOLDER_TRANSFER))
        self._doubted = b""
        self._looks = 0

    async def of_range(self, first: int, last: int) -> tuple[list[Seen], int]:
        """The transfers in the blocks from ``first`` on, and up to which block they were read: ``last``, or sooner.

        Raises RangeRefusedError when a single block is refused.
        """
        while True:
            until = min(last, first + self.span - 1)
            try:
                logs = await self._node.logs(self._address, (contract.HOLDER_TRANSFER,), first, until)
            except RangeRefusedError:
                if until == first:
                    raise
                self.span = (until - first + 1) // 2
                continue
            seen = seen_in(logs)
            if any(not first <= transfer.block_number <= until for transfer in seen):
                raise ChainError(f"{self._node.name} gives logs of other blocks than {first} to {until}")
            self._adapt(len(logs))
            return seen, until

    def _adapt(self, logs: int) -> None:
        if logs > LOGS_WANTED_MAX:
            self.span = max(1, self.span // 2)
        else:
            self.span = min(SPAN_MAX, self.span + self.span // GROWTH + 1)

    async def of_block(self, block: Block) -> list[Seen] | None:
        """The transfers in one block. None: there should perhaps be some, look again.

        A filter may say so without reason, and of a full block of a busy chain often does, so it is believed only a few
        times; what a node still hides then is looked for again once the block is final.
        """
        logs = await self._node.logs_of_block(self._address, (contract.HOLDER_TRANSFER,), block.hash)
        seen = seen_in(logs)
        if any(transfer.block_hash != block.hash for transfer in seen):
            raise ChainError(
                f"{self._node.name} gives logs of another block than {block.number} (0x{block.hash.hex()})"
            )
        if seen or not self._may_hold(block) or self._seen_enough(block):
            self._doubted = b""
            return seen
        return None

    def _may_hold(self, block: Block) -> bool:
        return int.from_bytes(block.bloom, "big") & self._filter == self._filter

    def _seen_enough(self, block: Block) -> bool:
        self._looks = self._looks + 1 if block.hash == self._doubted else 1
        self._doubted = block.hash
        return self._looks >= LOOKS_MAX


def seen_in(logs: Iterable[Log]) -> list[Seen]:
    """Each transfer once, however often a node gives it. Raises ChainError for a log that no contract of ours writes."""
    found: dict[tuple[bytes, int], Seen] = {}
    for entry in logs:
        try:
            transfer = contract.holder_transfer_in(entry)
        except ValueError as error:
            raise ChainError(f"a log in 0x{entry.transaction.hex()} cannot be understood") from error
        found[entry.block_hash, entry.log_index] = Seen(
            entry.block_hash, entry.log_index, entry.block_number, entry.transaction, *transfer
        )
    return list(found.values())


def bloom_of(values: Iterable[bytes]) -> int:
    """The bits that a block's filter has when its logs name all of these (Yellow Paper, 4.3.1)."""
    bits = 0
    for value in values:
        digest = keccak(value)
        for pair in range(0, 2 * BLOOM_HASHES, 2):
            bits |= 1 << (int.from_bytes(digest[pair : pair + 2], "big") % BLOOM_BITS)
    return bits
