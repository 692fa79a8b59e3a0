"""The plan for a contract, as the database keeps it: what the contract will say once every stored batch is applied."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from psycopg import AsyncConnection

from projections.chain_book import PlannedEvent, PlannedToken, Touched
from projections.chain_plan import Plan


async def load_events(conn: AsyncConnection, deployment: int, plan: Plan) -> None:
    """All events; tokens are loaded as they are needed."""
    cursor = await conn.execute(
        "select event_id, number, issued, ends_at, price_cap, royalty, flags from chain.events where deployment = %s",
        (deployment,),
    )
    async for event_id, number, issued, ends_at, price_cap, royalty, flags in cursor:
        plan.events[event_id] = PlannedEvent(event_id, number, issued, ends_at, int(price_cap), royalty, flags)


async def load_tokens(conn: AsyncConnection, deployment: int, plan: Plan, tickets: Iterable[UUID]) -> None:
    wanted = [ticket for ticket in tickets if ticket not in plan.tokens]
    if not wanted:
        return
    cursor = await conn.execute(
        "select token, ticket_id, wallet, version, checked_in, voided from chain.tokens"
        " where deployment = %s and ticket_id = any(%s)",
        (deployment, wanted),
    )
    async for row in cursor:
        plan.tokens[row[1]] = PlannedToken(*row)


async def store(conn: AsyncConnection, deployment: int, batch: int, plan: Plan, touched: Touched) -> None:
    """In the transaction of the caller. ``batch`` 0: the contract has nothing to do because of it."""
    tokens = [plan.tokens[ticket] for ticket in touched.tickets if ticket in plan.tokens]
    tokens += [plan.disowned[token] for token in touched.disowned]
    if tokens:
        await conn.execute(
            "insert into chain.tokens (deployment, token, ticket_id, wallet, version, checked_in, voided, batch)"
            " select %s, t.*, %s from unnest(%s::bigint[], %s::uuid[], %s::text[], %s::integer[], %s::boolean[],"
            " %s::boolean[]) t on conflict (deployment, token) do update set wallet = excluded.wallet,"
            " version = excluded.version, checked_in = excluded.checked_in, voided = excluded.voided,"
            " batch = greatest(chain.tokens.batch, excluded.batch)",
            (
                deployment,
                batch,
                [token.token for token in tokens],
                [token.ticket_id for token in tokens],
                [token.wallet for token in tokens],
                [token.version for token in tokens],
                [token.checked_in for token in tokens],
                [token.voided for token in tokens],
            ),
        )
    for event_id in touched.events:
        event = plan.events[event_id]
        await conn.execute(
            "insert into chain.events values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict (deployment, event_id)"
            " do update set number = excluded.number, issued = excluded.issued, ends_at = excluded.ends_at,"
            " price_cap = excluded.price_cap, royalty = excluded.royalty, flags = excluded.flags",
            (
                deployment,
                event_id,
                event.number,
                event.issued,
                event.ends_at,
                event.price_cap,
                event.royalty,
                event.flags,
            ),
        )


async def store_unsent(conn: AsyncConnection, deployment: int, position: int, plan: Plan, touched: Touched) -> None:
    """Facts that change the plan and give the contract nothing to do, such as the draft of an event."""
    async with conn.transaction():
        await store(conn, deployment, 0, plan, touched)
        await conn.execute(
            "update chain.deployments set planned_position = %s, event_count = %s where id = %s",
            (position, plan.event_count, deployment),
        )
