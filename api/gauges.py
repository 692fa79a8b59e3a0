"""The gauges of `/metrics`, brought up to date for a scrape from what the process and the views know."""

from __future__ import annotations

from api import observability
from api.bootstrap import Application
from projections import chain, relay
from projections.progress import lag

WEI_IN_ETHER = 10**18


async def refresh(app: Application) -> None:
    head, signed = await app.head(), await app.tree.latest()
    observability.HEAD.set(head)
    observability.TREE_LAG.set(max(0, head - (signed.tree_size if signed is not None else 0)))
    observability.VIEWS.set(app.view_positions.position)
    observability.BATCHES.set(app.store.committer.batches)
    observability.COMMANDS.set(app.store.committer.requests)
    for view in await lag(app.views):
        observability.LAG.labels(view.name).set(view.facts)
        observability.LAG_SECONDS.labels(view.name).set(view.seconds)
        observability.DEAD_LETTERS.labels(view.name).set(view.dead_streams)
    await _relay(app)
    await _chain(app)


async def _relay(app: Application) -> None:
    if (told := await relay.status(app.views)) is not None:
        observability.RELAY_LAG.set(told.facts)
        observability.RELAY_LAG_SECONDS.set(told.seconds)
        observability.RELAY_PROBLEM.set(told.problem is not None)


async def _chain(app: Application) -> None:
    for contract in await chain.status(app.views):
        name = str(contract.chain_id)
        observability.CHAIN_LAG.labels(name).set(contract.lag_events)
        observability.CHAIN_LAG_SECONDS.labels(name).set(contract.lag_seconds)
        observability.CHAIN_PENDING.labels(name).set(contract.pending_transactions)
        observability.CHAIN_SKIPPED.labels(name).set(contract.skipped_operations)
        observability.CHAIN_BALANCE.labels(name).set((contract.balance or 0) / WEI_IN_ETHER)
        observability.CHAIN_PROBLEM.labels(name).set(contract.problem is not None)
