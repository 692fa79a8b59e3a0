"""What is recorded stays: the application lacks the rights to change it, and the database refuses everybody else."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, RestrictViolation

from adapters.ledger import PostgresLedger
from adapters.postgres import Role, conninfo
from tests.adapters.ledger_parts import appending, rows_of

CHANGES = (
    "update ledger.events set payload = 'forged'",
    "update ledger.events set position = position + 1",
    "delete from ledger.events",
    "truncate ledger.events",
)
BEHIND_ITS_BACK = (
    "insert into ledger.events values (2, gen_random_uuid(), 1, 'ticket.held', '', '', now())",
    "update ledger.head set position = 0",
    "delete from ledger.head",
    "truncate ledger.head",
    "update ledger.answers set body = ''",
    "alter table ledger.events disable trigger append_only",
    "drop trigger append_only on ledger.events",
    "drop table ledger.events",
    "create or replace function ledger.refuse_change() returns trigger language plpgsql as 'begin return old; end'",
    "set session_replication_role = replica",
)


@pytest.fixture
async def one_fact(ledger: PostgresLedger, database: str) -> str:
    await ledger.append(appending())
    return database


@pytest.mark.anyio
@pytest.mark.parametrize("role", ["counterfoil_app", "counterfoil_projector", "counterfoil_reader"])
async def test_the_application_lacks_the_right(one_fact: str, role: Role) -> None:
    before = rows_of(one_fact)
    with psycopg.connect(conninfo(one_fact, role), autocommit=True) as conn:
        for change in (*CHANGES, *BEHIND_ITS_BACK):
            with pytest.raises(InsufficientPrivilege):
                conn.execute(change.encode())
    assert rows_of(one_fact) == before


@pytest.mark.anyio
@pytest.mark.parametrize("session", ["origin", "replica"])
async def test_even_a_superuser_is_refused(one_fact: str, session: str) -> None:
    before = rows_of(one_fact)
    with psycopg.connect(one_fact, autocommit=True) as conn:
        conn.execute(f"set session_replication_role = {session}".encode())  # replica silences ordinary triggers
        for change in CHANGES:
            with pytest.raises(RestrictViolation, match="append-only"):
                conn.execute(change.encode())
    assert rows_of(one_fact) == before
