"""What a repair mends on our side before the contract is told anything: the plan, and where the next batch continues.

Nobody else may write for the contract meanwhile, and a mirror that was running has to begin again from what is stored.
"""

from __future__ import annotations

from uuid import UUID

import structlog
from psycopg import AsyncConnection

from adapters.chain import batches, contract, deployments, plans
from adapters.chain.chain_side import ChainSide, Standing, final_block
from adapters.chain.deployments import Deployment
from adapters.chain.ledger_side import facts
from adapters.chain.node import LATEST, ChainError, Node
from adapters.chain.told import Milestone, applied_batches, is_known, last_applied, read_record
from projections.chain_book import PlannedToken, Touched
from projections.chain_plan import Plan

CURSOR_MAX = 1 << 62
"""Half of what the contract can count: behind it there may not be room for the rest of a ledger's life."""

log = structlog.get_logger()


class NotSettledError(ChainError):
    """What the contract was told is not final yet."""


class HopelessError(ChainError):
    """The contract cannot be gone on with."""


# -- The plan. -----------------------------------------------------------------------


async def replan(conn: AsyncConnection, deployment: Deployment) -> int:
    """Make the stored plan again from the ledger, as far as it goes. How many of its rows were wrong."""
    async with conn.transaction():
        await _lock(conn, deployment)
        stored = await deployments.by_id(conn, deployment.id)
        plan = Plan(deployment.chain)
        async for recorded in facts(conn, stored.planned_position, _unheard):
            plan.follow(recorded)
        tokens = await _wrong_tokens(conn, deployment, plan)
        events = await _wrong_events(conn, deployment, plan)
        touched = Touched(
            {event for event in events if event in plan.events},
            {
                token.ticket_id
                for token in plan.tokens.values()
                if token.token in tokens and token.ticket_id is not None
            },
            {token for token in plan.disowned if token in tokens},
        )
        await _forget(conn, deployment, tokens, touched)
        await conn.execute(
            "delete from chain.events where deployment = %s and event_id = any(%s)", (deployment.id, list(events))
        )
        await plans.store(conn, deployment.id, stored.batch_count, plan, touched)
        await conn.execute(
            "update chain.deployments set event_count = %s where id = %s", (plan.event_count, deployment.id)
        )
    wrong = len(tokens) + len(events)
    if wrong:
        log.error("plan_mended", contract=deployment.contract, tokens=len(tokens), events=len(events))
    return wrong


async def _wrong_tokens(conn: AsyncConnection, deployment: Deployment, plan: Plan) -> set[int]:
    """Tokens that are stored otherwise than the plan has them, that should not be there, or that are not."""
    right = {token.token: token for token in (*plan.tokens.values(), *plan.disowned.values())}
    wrong: set[int] = set()
    seen = 0
    async with conn.cursor(name="tokens") as cursor:
        await cursor.execute(
            "select token, ticket_id, wallet, version, checked_in, voided from chain.tokens where deployment = %s",
            (deployment.id,),
        )
        async for row in cursor:
            if right.get(row[0]) == PlannedToken(*row):
                seen += 1
                del right[row[0]]
            else:
                wrong.add(row[0])
    return wrong | right.keys()


async def _wrong_events(conn: AsyncConnection, deployment: Deployment, plan: Plan) -> set[UUID]:
    stored = Plan(deployment.chain)
    await plans.load_events(conn, deployment.id, stored)
    events = stored.events.keys() | plan.events.keys()
    return {event for event in events if stored.events.get(event) != plan.events.get(event)}


async def _forget(conn: AsyncConnection, deployment: Deployment, tokens: set[int], touched: Touched) -> None:
    """By token and by ticket: two rows may have each other's."""
    await conn.execute(
        "delete from chain.tokens where deployment = %s and (token = any(%s) or ticket_id = any(%s))",
        (deployment.id, list(tokens), list(touched.tickets)),
    )


# -- The cursor. ---------------------------------------------------------------------


async def adopt(conn: AsyncConnection, node: Node, deployment: Deployment, *, confirmations: int | None = None) -> bool:
    """Go on from where somebody else, with the syncer's key, has brought the contract. False: nobody has.

    Batches that it can no longer apply as they are get their place behind that, unless it has applied a later one: what
    they were for is then found missing, and ordered again. Raises ChainError, HopelessError when nothing can be done.
    """
    standing = await ChainSide(node, deployment, await final_block(node, confirmations)).standing()
    if await is_known(conn, deployment, standing):
        return False
    await _refuse(node, deployment, standing)
    applied = await applied_batches(conn, deployment, await read_record(node, deployment, standing))
    last = last_applied(applied)
    async with conn.transaction():
        await _lock(conn, deployment)
        await _enter(conn, deployment, standing, last)
        await _confirm(conn, deployment, applied)
        await _give_up(conn, deployment, last, [milestone.batch for milestone in applied])
        await _continue(conn, deployment, standing, last)
    log.error("contract_adopted", contract=deployment.contract, cursor=standing.cursor, after_batch=last.batch)
    return True


async def _refuse(node: Node, deployment: Deployment, standing: Standing) -> None:
    if standing.cursor > CURSOR_MAX:
        raise HopelessError(
            f"somebody has moved the cursor of the contract {deployment.contract} to {standing.cursor}, and there is no"
            " room behind it: `counterfoil chain migrate` fills another contract"
        )
    at_head = contract.number_in(await node.call(deployment.contract, contract.SYNCED_THROUGH, LATEST))
    if at_head != standing.cursor:
        raise NotSettledError(
            f"the contract {deployment.contract} has got to {at_head}, of which only {standing.cursor} is final"
        )


async def _enter(conn: AsyncConnection, deployment: Deployment, standing: Standing, last: Milestone) -> None:
    await conn.execute(
        "insert into chain.adoptions (deployment, seq, running_hash, after_batch, position, block_number, block_hash)"
        " values (%s, %s, %s, %s, %s, %s, %s) on conflict (deployment, seq) do update set"  # a chain that took a block back
        " running_hash = excluded.running_hash, after_batch = excluded.after_batch, position = excluded.position,"
        " block_number = excluded.block_number, block_hash = excluded.block_hash, adopted_at = now()",
        (
            deployment.id,
            standing.cursor,
            standing.running_hash,
            last.batch,
            last.position,
            standing.block.number,
            standing.block.hash,
        ),
    )


async def _confirm(conn: AsyncConnection, deployment: Deployment, applied: list[Milestone]) -> None:
    """Batches that were applied behind somebody else's have another hash than the one that was expected."""
    await conn.execute(
        "update chain.batches b set running_hash = a.running_hash from unnest(%s::integer[], %s::bytea[])"
        " a (number, running_hash) where b.deployment = %s and b.number = a.number"
        " and b.running_hash <> a.running_hash",
        ([m.batch for m in applied], [m.running_hash for m in applied], deployment.id),
    )


async def _give_up(conn: AsyncConnection, deployment: Deployment, last: Milestone, applied: list[int]) -> None:
    """Batches before the last one that was applied are out of their order now, and would undo what came after."""
    await conn.execute(
        "delete from chain.batches where deployment = %s and number < %s and number <> all(%s)",
        (deployment.id, last.batch, applied),
    )


async def _continue(conn: AsyncConnection, deployment: Deployment, standing: Standing, last: Milestone) -> None:
    """The batches that are left follow on the contract's cursor, and the next one on them."""
    cursor = await conn.execute(
        "select number, to_position from chain.batches where deployment = %s and number > %s order by number",
        (deployment.id, last.batch),
    )
    lost = await cursor.fetchall()
    numbers = [number for number, _ in lost]
    await batches.mark_gone(conn, deployment.id, numbers, state="built")
    await conn.execute(  # what was signed for them says another place
        "delete from chain.attempts where deployment = %s and batch = any(%s)", (deployment.id, numbers)
    )
    seq, running_hash = standing.cursor, standing.running_hash
    for number, position in lost:
        _, _, operations = await batches.operations_of(conn, deployment.id, number)
        first, seq = seq + 1, max(seq + 1, position)
        running_hash = contract.running_hash(running_hash, first, seq, operations)
        await conn.execute(
            "update chain.batches set from_seq = %s, to_seq = %s, running_hash = %s"
            " where deployment = %s and number = %s",
            (first, seq, running_hash, deployment.id, number),
        )
    await conn.execute(
        "update chain.deployments set planned_seq = %s, planned_hash = %s where id = %s",
        (seq, running_hash, deployment.id),
    )


async def _lock(conn: AsyncConnection, deployment: Deployment) -> None:
    await conn.execute("select from chain.deployments where id = %s for update", (deployment.id,))


async def _unheard(_: int) -> None:
    """Nobody listens how far the ledger has been read."""
