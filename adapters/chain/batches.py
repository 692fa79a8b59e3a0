"""Batches and their transactions, as the database keeps them: stored with their signed bytes before they are sent.

built ──► signed ──► sent ──► mined ──► finalized
  ▲         │          ▲        │            │
  └─────────┴──────────┴────────┴────────────┘   a reorganisation or a used nonce sends them back
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row

from adapters.chain import plans
from adapters.chain.contract import Skipped
from adapters.chain.node import Receipt
from adapters.chain.packing import steps_in
from projections.chain_book import Touched
from projections.chain_plan import Plan


class NewBatch(NamedTuple):
    number: int
    from_seq: int
    to_seq: int
    to_position: int
    facts: int
    operations: bytes
    running_hash: bytes
    gas_limit: int


class Attempt(NamedTuple):
    """One signed transaction. Fees are in wei for a unit of gas."""

    transaction: bytes
    batch: int
    nonce: int
    raw: bytes
    max_fee: int
    priority_fee: int


class OpenBatch(NamedTuple):
    """One that is not final yet."""

    number: int
    from_seq: int
    to_seq: int
    state: str
    nonce: int | None
    gas_limit: int
    running_hash: bytes
    block_number: int | None
    block_hash: bytes | None


async def store(
    conn: AsyncConnection, deployment: int, batch: NewBatch, attempt: Attempt, plan: Plan, touched: Touched
) -> None:
    """The batch, its signed bytes and what the plan has become, in one transaction: all of it or none."""
    async with conn.transaction(), conn.pipeline():
        await conn.execute(
            "insert into chain.batches (deployment, number, from_seq, to_seq, to_position, facts, operations,"
            " running_hash, gas_limit, state, nonce) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, 'signed', %s)",
            (deployment, *batch, attempt.nonce),
        )
        await _insert_attempt(conn, deployment, attempt)
        await plans.store(conn, deployment, batch.number, plan, touched)
        await conn.execute(
            "update chain.deployments set planned_position = %s, planned_seq = %s, planned_hash = %s,"
            " planned_facts = planned_facts + %s, event_count = %s, batch_count = %s where id = %s",
            (
                batch.to_position,
                batch.to_seq,
                batch.running_hash,
                batch.facts,
                plan.event_count,
                batch.number,
                deployment,
            ),
        )


# -- What becomes of them. -----------------------------------------------------------


async def open_batches(conn: AsyncConnection, deployment: int) -> list[OpenBatch]:
    async with conn.cursor(row_factory=class_row(OpenBatch)) as cursor:
        await cursor.execute(
            "select number, from_seq, to_seq, state, nonce, gas_limit, running_hash, block_number, block_hash"
            " from chain.batches where deployment = %s and state <> 'finalized' order by number",
            (deployment,),
        )
        return await cursor.fetchall()


async def last_finalized(conn: AsyncConnection, deployment: int, *, before: int | None = None) -> OpenBatch | None:
    async with conn.cursor(row_factory=class_row(OpenBatch)) as cursor:
        await cursor.execute(
            "select number, from_seq, to_seq, state, nonce, gas_limit, running_hash, block_number, block_hash"
            " from chain.batches where deployment = %s and state = 'finalized' and number < coalesce(%s, 2147483647)"
            " order by number desc limit 1",
            (deployment, before),
        )
        return await cursor.fetchone()


async def attempts(conn: AsyncConnection, deployment: int, batches: Sequence[int]) -> dict[int, list[Attempt]]:
    """The transactions signed for these batches, with the lowest offer first."""
    found: dict[int, list[Attempt]] = {number: [] for number in batches}
    async with conn.cursor(row_factory=class_row(Attempt)) as cursor:
        await cursor.execute(
            "select transaction, batch, nonce, raw, max_fee::numeric, priority_fee from chain.attempts"
            " where deployment = %s and batch = any(%s) order by nonce, max_fee",
            (deployment, list(batches)),
        )
        async for attempt in cursor:
            found[attempt.batch].append(
                attempt._replace(max_fee=int(attempt.max_fee), priority_fee=int(attempt.priority_fee))
            )
    return found


def current(batch: OpenBatch, attempts: Sequence[Attempt]) -> Attempt:
    """The one to be sent: of those at the batch's nonce, the one that offers most. No clock says which is the latest."""
    return max((attempt for attempt in attempts if attempt.nonce == batch.nonce), key=lambda a: a.max_fee)


class Refusals(NamedTuple):
    times: int
    seconds_ago: float
    """The last one."""


async def refusals(conn: AsyncConnection, deployment: int, number: int) -> Refusals:
    """How often the contract did not take a batch although it was its turn."""
    cursor = await conn.execute(
        "select count(*), coalesce(extract(epoch from now() - max(refused_at)), 0)::float8 from chain.attempts"
        " where deployment = %s and batch = %s and refused_at is not null",
        (deployment, number),
    )
    row = await cursor.fetchone()
    assert row is not None
    return Refusals(*row)


async def mark_refused(conn: AsyncConnection, deployment: int, transaction: bytes) -> None:
    await conn.execute(
        "update chain.attempts set refused_at = now() where deployment = %s and transaction = %s",
        (deployment, transaction),
    )


async def is_ours(conn: AsyncConnection, deployment: int, cursor: int, running_hash: bytes) -> bool:
    """Whether a contract that has got so far, with this hash, was told nothing but what is stored here."""
    found = await conn.execute(
        "select exists (select from chain.batches where deployment = %(d)s and to_seq = %(c)s and running_hash = %(h)s)"
        " or exists (select from chain.deployments where id = %(d)s and planned_seq = %(c)s and planned_hash = %(h)s)"
        " or exists (select from chain.adoptions where deployment = %(d)s and seq = %(c)s and running_hash = %(h)s)"
        " or (%(c)s = 0 and %(h)s = decode(repeat('00', 32), 'hex'))",
        {"d": deployment, "c": cursor, "h": running_hash},
    )
    row = await found.fetchone()
    return row is not None and bool(row[0])


async def operations_of(conn: AsyncConnection, deployment: int, number: int) -> tuple[int, int, bytes]:
    """Where a batch begins and ends, and what it says."""
    cursor = await conn.execute(
        "select from_seq, to_seq, operations from chain.batches where deployment = %s and number = %s",
        (deployment, number),
    )
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1], row[2]


async def add_attempt(conn: AsyncConnection, deployment: int, attempt: Attempt, gas_limit: int) -> None:
    """Signed again: with more to pay at the same nonce, or at another nonce."""
    async with conn.transaction():
        await _insert_attempt(conn, deployment, attempt)
        await conn.execute(
            "update chain.batches set state = 'signed', nonce = %s, gas_limit = %s where deployment = %s and number = %s",
            (attempt.nonce, gas_limit, deployment, attempt.batch),
        )


async def mark_sent(conn: AsyncConnection, deployment: int, attempt: Attempt) -> None:
    async with conn.transaction():
        await conn.execute(
            "update chain.attempts set sent_at = now() where deployment = %s and transaction = %s",
            (deployment, attempt.transaction),
        )
        await conn.execute(
            "update chain.batches set state = 'sent' where deployment = %s and number = %s and state = 'signed'",
            (deployment, attempt.batch),
        )


async def mark_mined(
    conn: AsyncConnection, deployment: int, number: int, receipt: Receipt, skipped: Sequence[Skipped]
) -> None:
    async with conn.transaction():
        await conn.execute(
            "update chain.batches set state = 'mined', block_number = %s, block_hash = %s,"
            " transaction = %s, gas_used = %s, mined_at = now(), nonce = (select a.nonce from chain.attempts a"
            " where a.deployment = batches.deployment and a.transaction = %s) where deployment = %s and number = %s",
            (
                receipt.block_number,
                receipt.block_hash,
                receipt.transaction,
                receipt.gas_used,
                receipt.transaction,
                deployment,
                number,
            ),
        )
        await _store_skipped(conn, deployment, number, skipped)


async def mark_finalized(conn: AsyncConnection, deployment: int, numbers: Sequence[int]) -> None:
    await conn.execute(
        "update chain.batches set state = 'finalized', finalized_at = now() where deployment = %s and number = any(%s)",
        (deployment, list(numbers)),
    )


async def mark_gone(conn: AsyncConnection, deployment: int, numbers: Sequence[int], *, state: str = "sent") -> None:
    """Their block is no longer part of the chain (``sent``), or their nonce was used by something else (``built``)."""
    async with conn.transaction():
        await conn.execute(
            "update chain.batches set state = case when nonce is null then 'built' else %s end, block_number = null,"
            " block_hash = null, transaction = null, gas_used = null, mined_at = null, finalized_at = null,"
            " nonce = case when %s = 'built' then null else nonce end"
            " where deployment = %s and number = any(%s)",
            (state, state, deployment, list(numbers)),
        )
        await conn.execute(
            "delete from chain.skipped where deployment = %s and batch = any(%s)", (deployment, list(numbers))
        )


async def _insert_attempt(conn: AsyncConnection, deployment: int, attempt: Attempt) -> None:
    await conn.execute(
        "insert into chain.attempts (deployment, transaction, batch, nonce, raw, max_fee, priority_fee)"
        " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
        (deployment, *attempt),
    )


async def _store_skipped(conn: AsyncConnection, deployment: int, number: int, skipped: Sequence[Skipped]) -> None:
    if not skipped:
        return
    steps = steps_in((await operations_of(conn, deployment, number))[2])
    for skip in skipped:
        await conn.execute(
            "insert into chain.skipped values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
            (deployment, number, skip.op, skip.kind, skip.reason, list(steps[skip.op].tokens)),
        )
