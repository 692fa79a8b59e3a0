"""A node that cannot be trusted: it passes questions on to a real one, and spoils the answers as it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from adapters.chain.node import (
    FINALIZED,
    LATEST,
    Block,
    Log,
    Node,
    NodeUnreachableError,
    RangeRefusedError,
    Receipt,
)

Spoil = Callable[[list[Log]], list[Log]]


def honest(logs: list[Log]) -> list[Log]:
    return logs


def doubled(logs: list[Log]) -> list[Log]:
    """Each log twice, the repetitions out of order."""
    return [*logs, *reversed(logs)]


def emptied(_: list[Log]) -> list[Log]:
    return []


@dataclass
class LyingNode:
    """See `Node`. Honest until it is told otherwise."""

    node: Node
    spoil_ranges: Spoil = honest
    """What it makes of the logs of a range."""
    spoil_blocks: Spoil = honest
    """What it makes of the logs of one block."""
    span_max: int | None = None
    """More blocks at once are refused."""
    lag: int = 0
    """It knows nothing of so many of the latest blocks."""
    down: bool = False
    fails_at: int | None = None
    """The question of this number, counted from 1, is not answered."""
    before: Callable[[int], None] | None = None
    """Hears of each question, by its number, before it is asked."""
    hides_receipts: bool = False
    nonce_lag: int = 0
    asked: list[str] = field(default_factory=list)
    """Every question, oldest first."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """The ranges asked for, refused ones included."""

    @property
    def name(self) -> str:
        return self.node.name

    async def close(self) -> None:
        await self.node.close()

    async def chain_id(self) -> int:
        self._ask("chain_id")
        return await self.node.chain_id()

    async def block(self, which: int | str) -> Block | None:
        self._ask("block")
        if which == LATEST:
            return await self.node.block(await self._head()) if self.lag else await self.node.block(LATEST)
        found = await self.node.block(which)
        if found is None or not self.lag or found.number <= await self._head():
            return found
        return await self.node.block(await self._head()) if which == FINALIZED else None

    async def blocks(self, numbers: Sequence[int]) -> list[Block | None]:
        self._ask("blocks")
        found = await self.node.blocks(numbers)
        if not self.lag:
            return found
        head = await self._head()
        return [block if block is not None and block.number <= head else None for block in found]

    async def code(self, address: str) -> bytes:
        self._ask("code")
        return await self.node.code(address)

    async def balance(self, address: str) -> int:
        self._ask("balance")
        return await self.node.balance(address)

    async def nonce(self, address: str) -> int:
        self._ask("nonce")
        return max(0, await self.node.nonce(address) - self.nonce_lag)

    async def call(self, to: str, data: bytes, block: int | str = LATEST) -> bytes:
        self._ask("call")
        return await self.node.call(to, data, block)

    async def tip(self) -> int:
        self._ask("tip")
        return await self.node.tip()

    async def send(self, raw: bytes) -> None:
        self._ask("send")
        await self.node.send(raw)

    async def receipts(self, transactions: Sequence[bytes]) -> list[Receipt | None]:
        self._ask("receipts")
        if self.hides_receipts:
            return [None] * len(transactions)
        return await self.node.receipts(transactions)

    async def logs(self, address: str, topics: Sequence[bytes], first: int, last: int) -> list[Log]:
        self._ask("logs")
        self.spans.append((first, last))
        if self.span_max is not None and last - first + 1 > self.span_max:
            raise RangeRefusedError(f"at most {self.span_max} blocks")
        return self.spoil_ranges(await self.node.logs(address, topics, first, last))

    async def logs_of_block(self, address: str, topics: Sequence[bytes], block_hash: bytes) -> list[Log]:
        self._ask("logs_of_block")
        return self.spoil_blocks(await self.node.logs_of_block(address, topics, block_hash))

    def _ask(self, question: str) -> None:
        self.asked.append(question)
        if self.before is not None:
            self.before(len(self.asked))
        if self.down or len(self.asked) == self.fails_at:
            raise NodeUnreachableError(f"{self.name} cannot be reached")

    async def _head(self) -> int:
        head = await self.node.block(LATEST)
        assert head is not None
        return max(0, head.number - self.lag)
