"""The chain's side of a reconciliation: what the contract says at one block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from adapters.chain import contract
from adapters.chain.contract import WORD, ChainEvent
from adapters.chain.deployments import Deployment
from adapters.chain.node import (
    FINALIZED,
    LATEST,
    Block,
    ChainError,
    Node,
    NodeBehindError,
    NodeUnreachableError,
    WrongChainError,
)
from projections.chain_operations import token_id

CHUNK_TOKENS = 1_000
"""Asked for by one call: about seven million gas, which every node allows, and 32 kB there and back."""
CALLS_MAX = 4
"""At once."""


class Standing(NamedTuple):
    """How far the contract had got at a block."""

    block: Block
    cursor: int
    running_hash: bytes
    events: dict[int, ChainEvent]
    """By number."""

    @property
    def issued(self) -> int:
        return sum(event.issued for event in self.events.values())


async def final_block(node: Node, confirmations: int | None) -> Block:
    """``confirmations`` None: what the chain calls finalized. Raises ChainError for a node without blocks."""
    if confirmations is None:
        block = await node.block(FINALIZED)
    else:
        block = await node.block(LATEST)
        if block is not None and confirmations:
            block = await node.block(max(0, block.number - confirmations))
    if block is None:
        raise ChainError(f"{node.name} does not say which block is final")
    return block


async def stands(node: Node, block: Block) -> bool:
    """Whether it still is part of the chain."""
    found = await node.block(block.number)
    return found is not None and found.hash == block.hash


class ChainSide:
    """One contract at one block."""

    def __init__(self, node: Node, deployment: Deployment, block: Block) -> None:
        self._node = node
        self._address = deployment.contract
        self._deployed_block = deployment.deployed_block
        self._block = block

    async def standing(self) -> Standing:
        if self._block.number < self._deployed_block:
            raise NodeBehindError(
                f"the contract {self._address} is not final yet: it came with block {self._deployed_block},"
                f" and {self._node.name} calls {self._block.number} final"
            )
        cursor = contract.number_in(await self._call(contract.SYNCED_THROUGH, WORD))
        running_hash = await self._call(contract.RUNNING_HASH, WORD)
        count = contract.number_in(await self._call(contract.EVENT_COUNT, WORD))
        events: dict[int, ChainEvent] = {}
        for start in range(1, count + 1, CALLS_MAX):
            numbers = range(start, min(start + CALLS_MAX, count + 1))
            answers = await asyncio.gather(*(self._call(contract.event_of(number), 5 * WORD) for number in numbers))
            events |= zip(numbers, map(contract.event_in, answers), strict=True)
        return Standing(self._block, cursor, running_hash, events)

    async def states(self, tokens: Sequence[int]) -> AsyncIterator[list[int]]:
        """What the contract says of each token, in order and packed (see `packed`), so many at a time."""
        window = CHUNK_TOKENS * CALLS_MAX
        for start in range(0, len(tokens), window):
            part = tokens[start : start + window]
            chunks = [part[at : at + CHUNK_TOKENS] for at in range(0, len(part), CHUNK_TOKENS)]
            yield [state for states in await asyncio.gather(*map(self._states, chunks)) for state in states]

    async def _states(self, tokens: Sequence[int]) -> list[int]:
        answer = await self._call(contract.state(tokens), (2 + len(tokens)) * WORD)
        return [int.from_bytes(answer[at : at + WORD], "big") for at in range(2 * WORD, len(answer), WORD)]

    async def _call(self, data: bytes, length: int) -> bytes:
        try:
            answer = await self._node.call(self._address, data, self._block.number)
        except (NodeUnreachableError, WrongChainError):
            raise
        except ChainError as error:
            raise ChainError(
                f"{self._node.name} does not say how the contract was at block {self._block.number}, which is final: it has"
                f" to keep the state of that block ({error})"
            ) from error
        if len(answer) != length:
            raise WrongChainError(
                f"the contract {self._address} does not answer at block {self._block.number} on {self._node.name}"
            )
        return answer


def orphans(standing: Standing, number: int, issued: int) -> range:
    """The tokens of an event that the contract has beyond those that the ledger issued."""
    event = standing.events.get(number)
    on_chain = event.issued if event is not None else 0
    return range(token_id(number, issued), token_id(number, max(issued, on_chain)))
