"""What the mirror has written down of each chain: how far it is, and what a contract has of a ticket.

Not a view of the ledger alone: where a transaction was mined is something that only the chain can say.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from projections.chain_plan import HANDLERS
from projections.kernel import Views

SCAN_FACTS_MAX = 100_000
"""How far a lag is counted. Further behind is told as at least this."""

TOPICS = [fact.topic for fact in HANDLERS]


class Deployment(NamedTuple):
    """A contract in use."""

    id: int
    chain_id: int
    contract: str
    embedded: bool
    deployed_at: datetime


class ChainStatus(NamedTuple):
    """Positions are the ledger's. ``balance`` is the syncer's, in wei; amounts of facts are those a contract hears of."""

    chain_id: int
    contract: str
    syncer: str
    embedded: bool
    ledger_position: int
    mirrored_position: int
    """Stored in batches, signed and on their way."""
    mined_position: int
    finalized_position: int
    lag_events: int
    lag_seconds: float
    pending_transactions: int
    skipped_operations: int
    provisional_transfers: int
    balance: int | None
    head_block: int | None
    finalized_block: int | None
    watched_block: int | None
    problem: str | None
    observed_at: datetime | None


class TokenOnChain(NamedTuple):
    """A ticket as one contract has it once its batch is mined; ``finality`` says how sure that is."""

    chain_id: int
    contract: str
    token_id: int
    wallet: str | None
    """None: in custody, the contract itself is the owner."""
    version: int
    checked_in: bool
    voided: bool
    finality: str
    """``pending``, ``mined`` or ``finalized``."""
    transaction: bytes | None
    block_number: int | None
    deployment: int

    @property
    def owner(self) -> str:
        return self.wallet or self.contract


class SkippedOperation(NamedTuple):
    kind: int
    reason: int
    batch: int


class SeenTransfer(NamedTuple):
    """A transfer that a holder made on the chain; ``state`` is ``provisional`` until its block is final."""

    from_wallet: str
    to_wallet: str
    version: int
    state: str
    block_number: int
    transaction: bytes


DEPLOYMENTS = """
    select id, chain_id, contract, embedded, deployed_at from chain.deployments where retired_at is null order by id"""

STATUS = """
    select d.chain_id, d.contract, d.syncer, d.embedded, h.position, d.planned_position,
           coalesce((select max(b.to_position) from chain.batches b where b.deployment = d.id
                     and b.number < coalesce(f.unmined, 2147483647)), 0) as mined,
           coalesce((select max(b.to_position) from chain.batches b where b.deployment = d.id
                     and b.number < coalesce(f.unfinal, 2147483647)), 0) as finalized,
           coalesce(f.facts, 0), w.facts,
           greatest(0, extract(epoch from now() - least(
               (select e.recorded_at from chain.batches b join ledger.events e on e.position = b.from_seq
                 where b.deployment = d.id and b.number = f.unmined), w.since)))::float8,
           coalesce(f.unfinal_count, 0), coalesce(f.sent, 0),
           (select count(*) from chain.skipped s where s.deployment = d.id),
           (select count(*) from chain.transfers t where t.deployment = d.id and t.state = 'provisional'),
           d.balance, d.head_number, d.finalized_number, d.watched_number, d.problem, d.observed_at
      from chain.deployments d cross join ledger.head h
      left join lateral (
           select min(b.number) filter (where b.state in ('built', 'signed', 'sent')) as unmined, min(b.number) as unfinal,
                  sum(b.facts) filter (where b.state in ('built', 'signed', 'sent')) as facts,
                  count(*) as unfinal_count,
                  count(*) filter (where b.state in ('built', 'signed', 'sent')) as sent
             from chain.batches b where b.deployment = d.id and b.state <> 'finalized') f on true
      left join lateral (
           select count(*) as facts, min(recorded_at) as since from (
               select topic, recorded_at from ledger.events
                where position > d.planned_position order by position limit %(most)s) e
            where split_part(e.topic, '@', 1) = any(%(topics)s)) w on true
     where d.retired_at is null order by d.id"""

MIRRORED = """
    select d.chain_id, d.contract, t.token, t.wallet, t.version, t.checked_in, t.voided,
           case b.state when 'mined' then 'mined' when 'finalized' then 'finalized' else 'pending' end,
           b.transaction, b.block_number, d.id
      from chain.deployments d
      join chain.tokens t on t.deployment = d.id and t.ticket_id = %(ticket)s
      left join chain.batches b on b.deployment = d.id and b.number = t.batch
     where d.retired_at is null order by d.id"""


async def deployments(views: Views) -> list[Deployment]:
    return [Deployment(*row) for row in await views.fetch(DEPLOYMENTS, {})]


async def status(views: Views) -> list[ChainStatus]:
    """Of every contract in use."""
    rows = await views.fetch(STATUS, {"most": SCAN_FACTS_MAX, "topics": TOPICS})
    return [_status(*row) for row in rows]


def _status(*row: Any) -> ChainStatus:
    """Facts of which a contract does not hear are mirrored as soon as those before them are."""
    chain_id, contract, syncer, embedded, head, planned, mined, finalized, unmined_facts, waiting, *more = row
    lag_seconds, unfinal, pending, skipped, provisional, balance, *seen = more
    mirrored = planned if waiting else head
    mined = mined if pending else mirrored
    finalized = finalized if unfinal else mirrored
    return ChainStatus(
        chain_id,
        contract,
        syncer,
        embedded,
        head,
        mirrored,
        mined,
        finalized,
        unmined_facts + waiting,
        lag_seconds or 0.0,
        pending,
        skipped,
        provisional,
        int(balance) if balance is not None else None,
        *seen,
    )


async def tokens_of(views: Views, ticket_id: UUID) -> list[TokenOnChain]:
    """A ticket on each chain; none before it is paid for, and for a moment after."""
    return [TokenOnChain(*row) for row in await views.fetch(MIRRORED, {"ticket": ticket_id})]


async def ticket_of(views: Views, chain_id: int, token_id: int) -> UUID | None:
    sql = """
        select t.ticket_id from chain.deployments d join chain.tokens t on t.deployment = d.id and t.token = %(token)s
         where d.chain_id = %(chain)s and d.retired_at is null order by d.id desc limit 1"""
    rows = await views.fetch(sql, {"chain": chain_id, "token": token_id})
    return rows[0][0] if rows else None


async def skipped_of(views: Views, token: TokenOnChain, *, limit: int) -> list[SkippedOperation]:
    """What the contract passed over of this token, latest first."""
    sql = """
        select kind, reason, batch from chain.skipped
         where deployment = %(deployment)s and tokens @> array[%(token)s::bigint] order by batch desc, op desc
         limit %(limit)s"""
    params = {"deployment": token.deployment, "token": token.token_id, "limit": limit}
    return [SkippedOperation(*row) for row in await views.fetch(sql, params)]


async def transfers_of(views: Views, token: TokenOnChain, *, limit: int) -> list[SeenTransfer]:
    """What its holders did on the chain by themselves, latest first."""
    sql = """
        select from_wallet, to_wallet, version, state, block_number, transaction from chain.transfers
         where deployment = %(deployment)s and token = %(token)s and state not in ('orphaned', 'vanished')
         order by block_number desc, log_index desc limit %(limit)s"""
    params = {"deployment": token.deployment, "token": token.token_id, "limit": limit}
    return [SeenTransfer(*row) for row in await views.fetch(sql, params)]


async def progress_of(views: Views, reconciliation_id: UUID) -> tuple[int, int] | None:
    """How many tickets of how many have been compared."""
    sql = "select done, total from chain.progress where reconciliation = %(id)s"
    rows = await views.fetch(sql, {"id": reconciliation_id})
    return (rows[0][0], rows[0][1]) if rows else None
