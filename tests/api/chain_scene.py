"""A chain as its mirror has written it down, in a house where none runs: a contract, a token, a reconciliation."""

from __future__ import annotations

from uuid import UUID

import psycopg

from commands.reconciliation import CompleteReconciliation, RequestReconciliation
from domain.reconciliation import Count, Finding, FindingKind, Reconciliation, Report, TokenState
from tests.api.house import House

CHAIN_ID, TOKEN = 31_337, 1 << 32
CONTRACT, SYNCER = "0x" + "c0" * 20, "0x" + "5c" * 20
HASH = "0x" + "ab" * 32


def mirrored(house: House, ticket_id: str, *, wallet: str | None = None) -> None:
    """A contract is in use, and it has this ticket, mined and final."""
    with psycopg.connect(house.database_url, autocommit=True) as conn:
        conn.execute("delete from chain.deployments")
        row = conn.execute(
            "insert into chain.deployments (chain_id, genesis, contract, syncer, deployed_block, embedded, head_number,"
            " finalized_number, contract_cursor, balance, observed_at, batch_count, planned_position)"
            " values (%s, '\\x00', %s, %s, 1, false, 9, 7, 5, 12345678901234567890, now(), 1, 5) returning id",
            (CHAIN_ID, CONTRACT, SYNCER),
        ).fetchone()
        assert row is not None
        conn.execute(
            "insert into chain.batches (deployment, number, from_seq, to_seq, to_position, facts, operations,"
            " running_hash, gas_limit, state, nonce, block_number, block_hash, transaction, gas_used)"
            " values (%s, 1, 1, 5, 5, 1, '\\x', '\\x', 100000, 'finalized', 0, 5, %s, %s, 90000)",
            (row[0], bytes(32), b"\xab" * 32),
        )
        conn.execute(
            "insert into chain.tokens values (%s, %s, %s, %s, 1, false, false, 1)",
            (row[0], TOKEN, UUID(ticket_id), wallet),
        )


def reconciled(house: House) -> str:
    """The id of a reconciliation that has found something."""
    asked: Reconciliation = house.run(
        house.application.execute(
            RequestReconciliation(chain_id=CHAIN_ID, contract=CONTRACT, repair=False, by="system:test"),
            actor="system:test",
        )
    )
    done = CompleteReconciliation(reconciliation_id=asked.id, report=report())
    house.run(house.application.execute(done, actor="system:test"))
    house.position = max(house.position, house.head)
    return str(asked.id)


def report() -> Report:
    state = TokenState(issued=True)
    finding = Finding(
        kind=FindingKind.MISMATCHING,
        token_id=TOKEN,
        ticket_id=None,
        ledger=state,
        chain=state.model_copy(update={"voided": True}),
        reason='=HYPERLINK("evil")',
    )
    return Report(
        chain_id=CHAIN_ID,
        contract=CONTRACT,
        block_number=9,
        block_hash=HASH,
        position=5,
        synced_through=5,
        tickets=1,
        equal=0,
        counts=(Count(of=FindingKind.MISMATCHING, count=1),),
        skipped=(),
        hash_equal=True,
        unexplained=1,
        findings=(finding,),
        seconds=0.1,
    )
