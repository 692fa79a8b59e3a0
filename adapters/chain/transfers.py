"""What the watcher keeps: how far it has followed a chain, and the transfers that it has seen there.

provisional ──► recorded | refused     once their block is final
     │              │
 orphaned       vanished               when their block has gone; the latter should never be
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from adapters.chain.log_reader import Seen
from adapters.chain.node import Block


class Place(NamedTuple):
    """A block of a chain."""

    number: int
    hash: bytes


class Checkpoint(NamedTuple):
    """The last block that was followed, and the last of those that are final and were read to the end."""

    last: Place
    settled: Place


class Due(NamedTuple):
    """A transfer whose block is final. ``ticket_id`` None: the ledger knows nothing of the token."""

    block_hash: bytes
    log_index: int
    block_number: int
    transaction: bytes
    token: int
    from_wallet: str
    to_wallet: str
    version: int
    ticket_id: UUID | None


# -- How far. ------------------------------------------------------------------------


async def checkpoint(conn: AsyncConnection, deployment: int) -> Checkpoint | None:
    """None: nothing has been followed yet."""
    cursor = await conn.execute(
        "select d.watched_number, d.watched_hash, coalesce(b.number - 1, d.watched_number),"
        " coalesce(b.parent, d.watched_hash) from chain.deployments d left join lateral (select number, parent"
        " from chain.blocks where deployment = d.id order by number limit 1) b on true"
        " where d.id = %s and d.watched_number is not null",
        (deployment,),
    )
    row = await cursor.fetchone()
    return Checkpoint(Place(*row[:2]), Place(*row[2:])) if row is not None else None


async def follow(
    conn: AsyncConnection, deployment: int, last: Place, seen: Sequence[Seen], *, unsettled: Block | None = None
) -> None:
    """The chain was followed to ``last``; ``unsettled`` is that block while it may still go."""
    async with conn.transaction():
        await _insert(conn, deployment, seen)
        if unsettled is not None:
            await conn.execute(
                "insert into chain.blocks (deployment, number, hash, parent) values (%s, %s, %s, %s)",
                (deployment, unsettled.number, unsettled.hash, unsettled.parent),
            )
        await _move(conn, deployment, last)


async def settle(conn: AsyncConnection, deployment: int, through: int, seen: Sequence[Seen]) -> int:
    """The blocks up to this one are final and have been read once more. How many transfers only that brought to light."""
    async with conn.transaction():
        late = await _insert(conn, deployment, seen)
        await conn.execute("delete from chain.blocks where deployment = %s and number <= %s", (deployment, through))
    return late


async def take_back(conn: AsyncConnection, deployment: int, fork: Place, *, final: bool) -> int:
    """What came after ``fork`` is no longer part of the chain. ``final``: although some of it was called final.

    How many transfers are orphaned, or of those that were final have vanished.
    """
    async with conn.transaction():
        lost = await conn.execute(
            "update chain.transfers set state = 'orphaned' where deployment = %s and block_number > %s"
            " and state = 'provisional'",
            (deployment, fork.number),
        )
        if final:
            lost = await conn.execute(
                "update chain.transfers set state = case state when 'recorded' then 'vanished' else 'orphaned' end"
                " where deployment = %s and block_number > %s and state in ('recorded', 'refused')",
                (deployment, fork.number),
            )
        await conn.execute("delete from chain.blocks where deployment = %s and number > %s", (deployment, fork.number))
        await _move(conn, deployment, fork)
    return lost.rowcount


async def _move(conn: AsyncConnection, deployment: int, last: Place) -> None:
    await conn.execute(
        "update chain.deployments set watched_number = %s, watched_hash = %s where id = %s", (*last, deployment)
    )


async def _insert(conn: AsyncConnection, deployment: int, seen: Sequence[Seen]) -> int:
    """How many are new. A transfer whose block had gone and is back again is what it was before."""
    if not seen:
        return 0
    cursor = await conn.execute(
        "insert into chain.transfers (deployment, block_hash, log_index, block_number, transaction, token, from_wallet,"
        " to_wallet, version, state) select %s, t.*, 'provisional' from unnest(%s::bytea[], %s::integer[], %s::bigint[],"
        " %s::bytea[], %s::bigint[], %s::text[], %s::text[], %s::integer[]) t"
        " on conflict (deployment, block_hash, log_index) do update"
        " set state = case transfers.state when 'vanished' then 'recorded' else 'provisional' end"
        " where transfers.state in ('orphaned', 'vanished')",
        (deployment, *map(list, zip(*seen, strict=True))),
    )
    return cursor.rowcount


# -- Blocks that may go. -------------------------------------------------------------


async def unsettled(conn: AsyncConnection, deployment: int, *, through: int, limit: int) -> list[Place]:
    """The first of those up to ``through``, in order."""
    return await _places(
        conn,
        "select number, hash from chain.blocks where deployment = %s and number <= %s order by number limit %s",
        (deployment, through, limit),
    )


async def newest(conn: AsyncConnection, deployment: int, *, through: int, limit: int) -> list[Place]:
    """The last of those up to ``through``, latest first."""
    return await _places(
        conn,
        "select number, hash from chain.blocks where deployment = %s and number <= %s order by number desc limit %s",
        (deployment, through, limit),
    )


async def with_transfers(conn: AsyncConnection, deployment: int, *, through: int, limit: int) -> list[Place]:
    """Blocks in which transfers were seen, settled ones too, latest first."""
    return await _places(
        conn,
        "select distinct block_number, block_hash from chain.transfers where deployment = %s and block_number <= %s"
        " and state not in ('orphaned', 'vanished') order by block_number desc limit %s",
        (deployment, through, limit),
    )


async def _places(conn: AsyncConnection, sql: str, parameters: tuple[int, int, int]) -> list[Place]:
    cursor = await conn.execute(sql.encode(), parameters)
    return [Place(*row) for row in await cursor.fetchall()]


# -- What becomes of transfers. --------------------------------------------------------


async def due(conn: AsyncConnection, deployment: int, *, through: int, limit: int) -> list[Due]:
    """Those in the blocks up to ``through`` that the ledger has not heard of, in the chain's order."""
    async with conn.cursor(row_factory=class_row(Due)) as cursor:
        await cursor.execute(
            "select t.block_hash, t.log_index, t.block_number, t.transaction, t.token, t.from_wallet, t.to_wallet,"
            " t.version, k.ticket_id from chain.transfers t left join chain.tokens k using (deployment, token)"
            " where t.deployment = %s and t.state = 'provisional' and t.block_number <= %s"
            " order by t.block_number, t.log_index limit %s",
            (deployment, through, limit),
        )
        return await cursor.fetchall()


async def mark(conn: AsyncConnection, deployment: int, those: Iterable[Due], state: str) -> None:
    keys = [(transfer.block_hash, transfer.log_index) for transfer in those]
    if keys:
        await conn.execute(
            "update chain.transfers t set state = %s from unnest(%s::bytea[], %s::integer[]) k (block_hash, log_index)"
            " where t.deployment = %s and t.block_hash = k.block_hash and t.log_index = k.log_index",
            (state, *map(list, zip(*keys, strict=True)), deployment),
        )
