"""Which places are free: in memory, filled from the ticket view once and kept up to date by the follower."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from adapters.follower import Followed, Follower
from adapters.pools import Pool, SeatPool, SerialPool
from commands.order import Pick
from domain.event import Event, Tier
from domain.ticket import Ticket

POOLS_MAX = 5_000
BUFFERED_MAX = 1_000_000


class Taken(NamedTuple):
    """A place whose ticket has a stream already."""

    place: int | str
    """Serial, or seat key."""
    ticket_id: UUID
    version: int
    free: bool


TakenOfTier = Callable[[UUID, UUID, int], Awaitable[Sequence[Taken]]]
"""(event, tier, position) → its tickets that have a stream, from a view that has reached the position."""


class TicketLoader(Protocol):
    async def __call__(self, ticket_ids: Sequence[UUID]) -> list[Ticket]: ...


class PooledInventory:
    """`commands.order.Inventory`. One per process; each process offers places in an order of its own."""

    def __init__(self, follower: Follower, taken_of_tier: TakenOfTier, load_tickets: TicketLoader) -> None:
        self._follower = follower
        self._taken_of_tier = taken_of_tier
        self._load_tickets = load_tickets
        self._pools: OrderedDict[UUID, Pool] = OrderedDict()
        self._filling: dict[UUID, asyncio.Task[Pool]] = {}
        self._arriving: dict[UUID, list[Followed]] = {}
        self._random = random.Random()  # noqa: S311 - it spreads buyers, it guards nothing
        follower.listen(self._hear)

    async def pick(self, event: Event, tier: Tier, quantity: int, *, adjacent: bool, at: datetime) -> list[Pick]:
        pool = self._pools.get(tier.tier_id) or await self._fill(event, tier)
        pool.offer(tier, at=at)
        picks = pool.take(quantity, adjacent=adjacent)
        try:
            return await self._confirm(pool, picks, quantity, adjacent=adjacent)
        except BaseException:
            pool.put_back(picks)
            raise

    async def _confirm(self, pool: Pool, picks: list[Pick], quantity: int, *, adjacent: bool) -> list[Pick]:
        """Look up the places of which it is not known what became of them, until enough are known to be free."""
        while doubtful := [pick for pick in picks if pick.version < 0]:
            tickets = await self._load_tickets([pick.ticket_id for pick in doubtful])
            for pick, ticket in zip(doubtful, tickets, strict=True):
                picks.remove(pick)
                if pool.found(pick, ticket):
                    picks.append(pick._replace(version=ticket.version))
            if len(picks) < quantity and adjacent:  # those that are left may have no free neighbours: begin anew
                pool.put_back(picks)
                picks[:] = pool.take(quantity, adjacent=True)
            elif len(picks) < quantity:
                picks.extend(pool.take(quantity - len(picks), adjacent=False))
        return picks

    def put_back(self, event_id: UUID, tier_id: UUID, picks: Sequence[Pick]) -> None:  # noqa: ARG002 - the port's shape
        pool = self._pools.get(tier_id)
        if pool is not None:
            pool.put_back([pick._replace(version=-1) for pick in picks])

    async def _fill(self, event: Event, tier: Tier) -> Pool:
        filling = self._filling.get(tier.tier_id)
        if filling is None:
            filling = asyncio.create_task(self._new_pool(event, tier))
            self._filling[tier.tier_id] = filling
        return await asyncio.shield(filling)

    async def _new_pool(self, event: Event, tier: Tier) -> Pool:
        """The view up to a position, then what has been followed since; a fact that both have counts once."""
        arriving = self._arriving[tier.tier_id] = []
        try:
            taken = await self._taken_of_tier(event.id, tier.tier_id, self._follower.position)
            pool: Pool = (SeatPool if tier.seated else SerialPool)(event.id, tier.tier_id, self._random)
            versions = {}
            for row in taken:
                versions[row.ticket_id] = row.version
                pool.know(row.place, row.ticket_id, row.version, free=row.free)
            for followed in arriving:
                if followed.version > versions.get(followed.stream_id, 0):
                    pool.hear(followed)
            self._pools[tier.tier_id] = pool
            while len(self._pools) > POOLS_MAX:
                self._pools.popitem(last=False)
            return pool
        finally:
            del self._arriving[tier.tier_id], self._filling[tier.tier_id]

    def _hear(self, batch: Sequence[Followed]) -> None:
        for followed in batch:
            fact = followed.fact
            if isinstance(fact, Ticket.Held | Ticket.Released | Ticket.Paid):
                if (pool := self._pools.get(fact.tier_id)) is not None:
                    pool.hear(followed)
                elif (arriving := self._arriving.get(fact.tier_id)) is not None and len(arriving) < BUFFERED_MAX:
                    arriving.append(followed)
