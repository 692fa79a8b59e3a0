"""A database of another release: brought to this one by whoever serves it, and by nobody who only reads."""

from __future__ import annotations

import psycopg
import pytest

from adapters.postgres import OtherReleaseError, expect_release, migrate
from tests.adapters.ledger_parts import SECRET
from tests.server import counterfoil

CANNOT_TELL = 2


def migrations(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("select name from public.counterfoil_migrations")}


def change(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def earlier(database: str) -> str:
    """As a release left it that did not have the newest migration."""
    change(
        database,
        "delete from public.counterfoil_migrations where name = (select max(name) from counterfoil_migrations)",
    )
    return database


def test_a_database_of_this_release_is_taken_as_it_is(database: str) -> None:
    ours = migrations(database)
    expect_release(database)
    assert migrations(database) == ours


def test_one_of_an_earlier_release_is_refused_with_what_it_lacks(earlier: str) -> None:
    before = migrations(earlier)
    with pytest.raises(OtherReleaseError, match=r"earlier release: it lacks 00\d\d_\w+\.sql\. Reading does not"):
        expect_release(earlier, begin=True)
    assert migrations(earlier) == before


def test_one_of_a_later_release_is_refused_with_what_is_not_known(database: str) -> None:
    change(database, "insert into public.counterfoil_migrations (name) values ('9999_to_come.sql')")
    with pytest.raises(OtherReleaseError, match=r"later release, with 9999_to_come\.sql, which this one does not know"):
        expect_release(database)


def test_one_that_is_empty_is_begun_only_where_it_is_ours(empty_database: str) -> None:
    with pytest.raises(OtherReleaseError, match="no ledger in this database"):
        expect_release(empty_database)
    expect_release(empty_database, begin=True)
    assert migrate(empty_database) == []


@pytest.mark.parametrize(("command", "code"), [("verify", CANNOT_TELL), ("replay", 1)])
def test_commands_that_read_migrate_nothing(earlier: str, command: str, code: int) -> None:
    before = migrations(earlier)
    environment = {"COUNTERFOIL_DATABASE_URL": earlier, "COUNTERFOIL_SECRET": SECRET.decode()}
    ran = counterfoil(command, environment=environment)
    assert ran.returncode == code
    assert "error: the database is of an earlier release: it lacks" in ran.stderr
    assert migrations(earlier) == before
