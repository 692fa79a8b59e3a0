"""The contracts that this ledger is mirrored to: where each is, and what was last seen of its chain."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from projections.chain_book import ChainRef

FIELDS = (
    "id, chain_id, genesis, contract, syncer, deployed_block, embedded, planned_position, planned_seq, planned_hash,"
    " planned_facts, event_count, batch_count, watched_number, watched_hash"
)


class Deployment(NamedTuple):
    id: int
    chain_id: int
    genesis: bytes
    """The hash of the chain's first block: two development chains with one id are two chains."""
    contract: str
    syncer: str
    deployed_block: int
    embedded: bool
    planned_position: int
    planned_seq: int
    planned_hash: bytes
    planned_facts: int
    event_count: int
    batch_count: int
    watched_number: int | None
    watched_hash: bytes | None

    @property
    def chain(self) -> ChainRef:
        return ChainRef(self.chain_id, self.contract)


class NewDeployment(NamedTuple):
    chain_id: int
    genesis: bytes
    contract: str
    syncer: str
    deployed_block: int
    embedded: bool


async def ledger_id(conn: AsyncConnection) -> bytes:
    """The 32 bytes by which a contract says whose it is."""
    cursor = await conn.execute("select ledger_id from chain.identity")
    row = await cursor.fetchone()
    assert row is not None
    identity: UUID = row[0]
    return identity.bytes.rjust(32, b"\0")


async def active(conn: AsyncConnection, chain_id: int, genesis: bytes) -> Deployment | None:
    """The contract in use on a chain."""
    where = "chain_id = %s and genesis = %s and retired_at is null"
    return await _one(conn, where, (chain_id, genesis))


async def by_id(conn: AsyncConnection, deployment: int) -> Deployment:
    found = await _one(conn, "id = %s", (deployment,))
    assert found is not None
    return found


async def known(conn: AsyncConnection) -> list[Deployment]:
    """All contracts in use."""
    async with conn.cursor(row_factory=class_row(Deployment)) as cursor:
        await cursor.execute(f"select {FIELDS} from chain.deployments where retired_at is null order by id".encode())
        return await cursor.fetchall()


async def enter(conn: AsyncConnection, new: NewDeployment) -> Deployment:
    """A fresh contract takes the place of the one in use on its chain.

    What was kept of an earlier EVM of a process is deleted: nothing of it exists any more.
    """
    async with conn.transaction():
        await conn.execute(
            "update chain.deployments set retired_at = now() where chain_id = %s and genesis = %s and retired_at is null",
            (new.chain_id, new.genesis),
        )
        if new.embedded:
            await conn.execute("delete from chain.deployments where embedded and retired_at is null")
        cursor = await conn.execute(
            "insert into chain.deployments (chain_id, genesis, contract, syncer, deployed_block, embedded)"
            " values (%s, %s, %s, %s, %s, %s) returning id",
            new,
        )
        row = await cursor.fetchone()
    assert row is not None
    return await by_id(conn, row[0])


async def change_syncer(conn: AsyncConnection, deployment: int, address: str) -> None:
    """Another account signs. The nonces of the one before it say nothing any more: what was on its way is signed again."""
    async with conn.transaction():
        await conn.execute("update chain.deployments set syncer = %s where id = %s", (address, deployment))
        await conn.execute(
            "update chain.batches set nonce = null, state = case when state in ('mined', 'finalized') then state else 'built'"
            " end where deployment = %s and nonce is not null",
            (deployment,),
        )


async def is_retired(conn: AsyncConnection, deployment: int) -> bool:
    """Whether another contract has taken its place on its chain."""
    cursor = await conn.execute("select retired_at is not null from chain.deployments where id = %s", (deployment,))
    return await cursor.fetchone() != (False,)


async def observe(
    conn: AsyncConnection, deployment: int, *, head: int, finalized: int, cursor: int, balance: int
) -> None:
    await conn.execute(
        "update chain.deployments set head_number = %s, finalized_number = %s, contract_cursor = %s, balance = %s,"
        " observed_at = now() where id = %s",
        (head, finalized, cursor, balance, deployment),
    )


async def set_problem(conn: AsyncConnection, deployment: int, problem: str | None) -> None:
    """Why the mirror does not go on, for the status; None: it does."""
    await conn.execute(
        "update chain.deployments set problem = %s where id = %s and problem is distinct from %s",
        (problem, deployment, problem),
    )


async def note_progress(conn: AsyncConnection, reconciliation: UUID, done: int, total: int) -> None:
    await conn.execute(
        "insert into chain.progress (reconciliation, done, total) values (%s, %s, %s) on conflict (reconciliation)"
        " do update set done = excluded.done, total = excluded.total, at = now()",
        (reconciliation, done, total),
    )


async def _one(conn: AsyncConnection, where: str, parameters: tuple[Any, ...]) -> Deployment | None:
    async with conn.cursor(row_factory=class_row(Deployment)) as cursor:
        await cursor.execute(f"select {FIELDS} from chain.deployments where {where}".encode(), parameters)
        return await cursor.fetchone()
