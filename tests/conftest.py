"""Real parts for the tests: one PostgreSQL for the run, a fresh database for each test that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from adapters.embedded import EmbeddedPostgres
from adapters.postgres import migrate


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server that this run started and stops."""
    # Not below pytest's own directory: a second run by root would take the server's user its way in.
    with TemporaryDirectory(prefix="counterfoil-tests-") as data_dir:
        server = EmbeddedPostgres(Path(data_dir))
        url = server.start()
        yield url
        server.stop()


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f'create database "{name}"')
    yield make_conninfo(postgres, dbname=name)
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def database(empty_database: str) -> str:
    """The URL of a database of this release."""
    migrate(empty_database)
    return empty_database
