"""Where the chain that the watcher has followed and the chain as it is now part from each other."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import structlog
from psycopg import AsyncConnection

from adapters.chain import transfers
from adapters.chain.deployments import Deployment
from adapters.chain.node import Block, Node, NodeBehindError
from adapters.chain.transfers import Checkpoint, Place

PAGE_BLOCKS = 64
"""Held against the chain at once. How many pages there are is bounded by finality."""

log = structlog.get_logger()


class Found(Enum):
    """What became of the blocks that were followed."""

    STANDING = "they are part of the chain"
    AHEAD = "the node has not seen all of them yet"
    TAKEN_BACK = "some are not part of the chain any more, and their transfers are taken back"


class Forks:
    """For one deployment."""

    def __init__(self, conn: AsyncConnection, node: Node, deployment: Deployment) -> None:
        self._conn = conn
        self._node = node
        self._deployment = deployment

    async def start(self, final: int) -> Place:
        """The block after which a contract's logs begin; a final one, so that it stays."""
        number = max(0, min(self._deployment.deployed_block - 1, final))
        return Place(number, (await self._there([number]))[0].hash)

    async def look(self, at: Checkpoint, head: Block, final: int) -> Found:
        """Go back to where the chain has forked, if it has. Raises NodeBehindError."""
        if head.number < at.settled.number:
            raise NodeBehindError(
                f"{self._node.name} is at block {head.number}; block {at.settled.number} is known to be final"
            )
        if head.number < at.last.number:
            if await self._followed(at, Place(head.number, head.hash)):
                return Found.AHEAD
        elif await self.stands(at.last):
            return Found.STANDING
        await self._go_back(at, head, final)
        return Found.TAKEN_BACK

    async def stands(self, place: Place) -> bool:
        """Whether this block is part of the chain."""
        return await self._first_standing([place]) is not None

    async def _followed(self, at: Checkpoint, place: Place) -> bool:
        known = await transfers.newest(self._conn, self._deployment.id, through=place.number, limit=1)
        return place in (*known, at.settled)

    async def _go_back(self, at: Checkpoint, head: Block, final: int) -> None:
        fork = await self._fork(at, head)
        if fork is not None:
            lost = await transfers.take_back(self._conn, self._deployment.id, fork, final=False)
            log.warning(
                "reorganised",
                chain=self._node.name,
                blocks=at.last.number - fork.number,
                fork=fork.number,
                orphaned=lost,
            )
            return
        fork = await self._fork_below_finality(head) or await self.start(final)
        lost = await transfers.take_back(self._conn, self._deployment.id, fork, final=True)
        log.error(
            "finality_violated", chain=self._node.name, settled=at.settled.number, fork=fork.number, vanished=lost
        )

    async def _fork(self, at: Checkpoint, head: Block) -> Place | None:
        """The last block that was followed and still stands. None: not even what was final does."""
        through = min(at.last.number, head.number)
        while page := await transfers.newest(self._conn, self._deployment.id, through=through, limit=PAGE_BLOCKS):
            if (standing := await self._first_standing(page)) is not None:
                return standing
            through = page[-1].number - 1
        return await self._first_standing([at.settled])

    async def _fork_below_finality(self, head: Block) -> Place | None:
        """Of final blocks only those with transfers are known: the last of them that stands."""
        through = head.number
        while page := await transfers.with_transfers(
            self._conn, self._deployment.id, through=through, limit=PAGE_BLOCKS
        ):
            if (standing := await self._first_standing(page)) is not None:
                return standing
            through = page[-1].number - 1
        return None

    async def _first_standing(self, places: Sequence[Place]) -> Place | None:
        blocks = await self._there([place.number for place in places])
        return next((place for place, block in zip(places, blocks, strict=True) if place.hash == block.hash), None)

    async def _there(self, numbers: Sequence[int]) -> list[Block]:
        """Blocks that the node has said to have: several machines behind one address may know differently much."""
        blocks = [block for block in await self._node.blocks(numbers) if block is not None]
        if len(blocks) < len(numbers):
            raise NodeBehindError(f"{self._node.name} does not know all blocks up to the head that it has named")
        return blocks
