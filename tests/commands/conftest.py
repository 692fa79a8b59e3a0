"""One ledger for all scenarios: each begins where the one before it ended, and looks only at what it recorded itself."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from adapters.postgres import migrate


@pytest.fixture(scope="session")
def shop_database(postgres: str) -> Iterator[str]:
    """The URL of the database that the scenarios share: making one for each would take longer than they do."""
    name = f"shop_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f'create database "{name}"')
    url = make_conninfo(postgres, dbname=name)
    migrate(url)
    yield url
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f'drop database "{name}" with (force)')
