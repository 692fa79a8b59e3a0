"""What a contract was told, and by whom: our stored batches held against its running hash, and against its own logs."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import class_row

from adapters.chain import contract
from adapters.chain.chain_side import Standing
from adapters.chain.contract import BATCH_APPLIED, HOLDER_TRANSFER, NO_HASH, OP_SKIPPED, Applied, SkipReason
from adapters.chain.deployments import Deployment
from adapters.chain.log_reader import GROWTH, SPAN_FIRST, SPAN_MAX
from adapters.chain.node import ChainError, Log, Node, RangeRefusedError
from adapters.chain.replay import Replay

PAGE_BATCHES = 64
"""About thirty thousand bytes each."""
TOPICS = (BATCH_APPLIED, OP_SKIPPED, HOLDER_TRANSFER)


class Batch(NamedTuple):
    number: int
    from_seq: int
    to_seq: int
    to_position: int
    operations: bytes


class Milestone(NamedTuple):
    """Cursor and hash that the contract has once a batch is applied, and what it has then been told of the ledger."""

    seq: int
    running_hash: bytes
    batch: int
    position: int


NOTHING_TOLD = Milestone(0, NO_HASH, 0, 0)


class Told(NamedTuple):
    """How far the contract had been told the ledger's facts."""

    position: int
    hash_equal: bool
    """Whether its running hash is the one that our batches come to."""
    adopted: int
    """How often we went on from what somebody else had told it."""


async def told(conn: AsyncConnection, node: Node, deployment: Deployment, standing: Standing) -> Told:
    """By the running hash; where somebody else has spoken, by the contract's own logs of what it applied."""
    count, planned_position = await _planned(conn, deployment)
    adoptions = await _adoptions(conn, deployment)
    last = await _matching(conn, deployment, adoptions, standing)
    hash_equal = last is not None
    if last is None:
        last = last_applied(await applied_batches(conn, deployment, await read_record(node, deployment, standing)))
    # Facts behind the last batch of all were nothing that the contract had to hear of.
    position = max(last.position, planned_position) if last.batch >= count else last.position
    return Told(position, hash_equal, len(adoptions))


async def is_known(conn: AsyncConnection, deployment: Deployment, standing: Standing) -> bool:
    """Whether the contract was told nothing but what we know of."""
    return await _matching(conn, deployment, await _adoptions(conn, deployment), standing) is not None


async def _matching(
    conn: AsyncConnection, deployment: Deployment, adoptions: deque[Milestone], standing: Standing
) -> Milestone | None:
    wanted = standing.cursor, standing.running_hash
    async for milestone in _milestones(conn, deployment, adoptions):
        if (milestone.seq, milestone.running_hash) == wanted:
            return milestone
    return None


async def _milestones(
    conn: AsyncConnection, deployment: Deployment, adoptions: deque[Milestone]
) -> AsyncIterator[Milestone]:
    """The hash is computed from what the batches say, not taken from what was noted beside them."""
    at, waiting = NOTHING_TOLD, deque(adoptions)
    yield at
    async for batch in batches(conn, deployment):
        while waiting and waiting[0].seq < batch.from_seq:
            at = waiting.popleft()
            yield at
        running_hash = contract.running_hash(at.running_hash, batch.from_seq, batch.to_seq, batch.operations)
        at = Milestone(batch.to_seq, running_hash, batch.number, batch.to_position)
        yield at
    for adoption in waiting:
        yield adoption


# -- By its logs. ------------------------------------------------------------------------


async def read_record(node: Node, deployment: Deployment, standing: Standing) -> list[Log]:
    """The contract's own account of everything up to a block, in order. Raises ChainError when it does not add up.

    It is as long as the contract is old, so it is read only where the comparison leaves a question open.
    """
    found: dict[tuple[int, int], Log] = {}
    first, span, last = deployment.deployed_block, SPAN_FIRST, standing.block.number
    while first <= last:
        until = min(last, first + span - 1)
        try:
            logs = await node.logs(deployment.contract, TOPICS, first, until)
        except RangeRefusedError:
            if until == first:
                raise
            span = (until - first + 1) // 2
            continue
        found |= {(entry.block_number, entry.log_index): entry for entry in logs}
        first, span = until + 1, min(SPAN_MAX, span + span // GROWTH + 1)
    record = [found[place] for place in sorted(found)]
    _refuse_gaps(record, node, standing)
    return record


def _refuse_gaps(record: list[Log], node: Node, standing: Standing) -> None:
    """Each batch begins where the one before it ended, and the last is the one that the contract stands at."""
    at = 0, NO_HASH
    for entry in record:
        if entry.topics[0] == BATCH_APPLIED:
            applied = contract.applied_in(entry)
            if applied.from_seq != at[0] + 1:
                break
            at = applied.to_seq, applied.running_hash
    if at != (standing.cursor, standing.running_hash):
        raise ChainError(f"{node.name} leaves out logs of the contract: what it gives ends at {at[0]}")


async def applied_batches(conn: AsyncConnection, deployment: Deployment, record: list[Log]) -> list[Milestone]:
    """Our batches that the contract has applied as they are stored, with the hashes that it then had."""
    steps = _steps_in(record)
    return [
        Milestone(batch.to_seq, steps[batch.to_seq].applied.running_hash, batch.number, batch.to_position)
        async for batch in batches(conn, deployment)
        if _is(batch, steps.get(batch.to_seq))
    ]


def last_applied(applied: list[Milestone]) -> Milestone:
    """By our numbers."""
    return max(applied, key=lambda milestone: milestone.batch, default=NOTHING_TOLD)


async def retell(
    conn: AsyncConnection, deployment: Deployment, record: list[Log], replay: Replay, heard: Collection[tuple[str, int]]
) -> None:
    """Everything that the record and our batches say, in the contract's order. What others told it nobody knows.

    ``heard`` are the transfers that the ledger knows, by block hash and log index.
    """
    skipped: defaultdict[int, dict[int, SkipReason]] = defaultdict(dict)
    for skip in contract.skipped_in(record):
        skipped[skip.seq][skip.op] = SkipReason(skip.reason)
    stored = batches(conn, deployment)
    batch = await anext(stored, None)
    steps = _steps_in(record)
    for entry in record:
        if entry.topics[0] == HOLDER_TRANSFER:
            place = f"0x{entry.block_hash.hex()}", entry.log_index
            replay.transfer(entry, heard=place in heard)
        elif entry.topics[0] == BATCH_APPLIED:
            seq = contract.applied_in(entry).to_seq
            while batch is not None and batch.to_seq < seq:
                batch = await anext(stored, None)
            if batch is not None and _is(batch, steps[seq]):
                replay.apply(batch.operations, skipped[batch.from_seq])


class Step(NamedTuple):
    """A batch that the contract has applied, as it says it itself."""

    applied: Applied
    before: bytes
    """The running hash that it continued."""


def _steps_in(record: list[Log]) -> dict[int, Step]:
    """By the cursor after it."""
    found: dict[int, Step] = {}
    before = NO_HASH
    for entry in record:
        if entry.topics[0] == BATCH_APPLIED:
            applied = contract.applied_in(entry)
            found[applied.to_seq] = Step(applied, before)
            before = applied.running_hash
    return found


def _is(batch: Batch, step: Step | None) -> bool:
    """Whether what the contract has applied there is what we have stored."""
    if step is None or batch.from_seq != step.applied.from_seq:
        return False
    hashed = contract.running_hash(step.before, batch.from_seq, batch.to_seq, batch.operations)
    return hashed == step.applied.running_hash


# -- What is stored. ---------------------------------------------------------------------


async def batches(conn: AsyncConnection, deployment: Deployment) -> AsyncIterator[Batch]:
    """In the order in which the contract is to apply them, a page at a time."""
    after = 0
    while True:
        async with conn.cursor(row_factory=class_row(Batch)) as cursor:
            await cursor.execute(
                "select number, from_seq, to_seq, to_position, operations from chain.batches"
                " where deployment = %s and to_seq > %s order by to_seq limit %s",
                (deployment.id, after, PAGE_BATCHES),
            )
            page = await cursor.fetchall()
        for batch in page:
            yield batch
        if len(page) < PAGE_BATCHES:
            return
        after = page[-1].to_seq


async def _adoptions(conn: AsyncConnection, deployment: Deployment) -> deque[Milestone]:
    async with conn.cursor(row_factory=class_row(Milestone)) as cursor:
        await cursor.execute(
            "select seq, running_hash, after_batch as batch, position from chain.adoptions"
            " where deployment = %s order by seq",
            (deployment.id,),
        )
        return deque(await cursor.fetchall())


async def _planned(conn: AsyncConnection, deployment: Deployment) -> tuple[int, int]:
    """How many batches there are, and up to which position of the ledger they go, read at one moment."""
    cursor = await conn.execute(
        "select batch_count, planned_position from chain.deployments where id = %s", (deployment.id,)
    )
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]
