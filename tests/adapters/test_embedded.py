"""The embedded default: a PostgreSQL and a secret that appear when they are wanted, once."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from adapters.embedded import EmbeddedPostgres, keep_secret
from adapters.postgres import migrate
from adapters.sealing import SECRET_BYTES_MIN
from tests.adapters.ledger_parts import scalar


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    # Not below pytest's own directory: another run of pytest would close that to the server's user.
    with TemporaryDirectory(prefix="counterfoil-") as data_dir:
        server = EmbeddedPostgres(Path(data_dir))
        yield server
        server.stop()


def test_it_starts_is_joined_stops_and_remembers(server: EmbeddedPostgres) -> None:
    url = server.start()
    assert migrate(url)
    assert EmbeddedPostgres(server.data_dir).start() == url, "a second process joins the server that runs"
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    server.stop()
    url = server.start()
    assert migrate(url) == []
    settings = [scalar(url, f"show {name}") for name in ("fsync", "full_page_writes", "synchronous_commit")]
    assert settings == ["on", "on", "on"]
    assert (server.data_dir / "postgres" / "postgresql.conf").read_text().count("counterfoil.conf") == 1


def test_stopping_what_never_started_does_nothing(server: EmbeddedPostgres) -> None:
    server.stop()


def test_the_secret_is_made_once_whichever_process_asks_first(tmp_path: Path) -> None:
    data_dir = tmp_path / "not" / "yet" / "there"
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as processes:
        secrets = {*processes.map(keep_secret, [data_dir] * 9), keep_secret(data_dir)}
    assert len(secrets) == 1
    assert len(secrets.pop()) >= SECRET_BYTES_MIN
    assert [path.name for path in data_dir.iterdir()] == ["secret"]
    assert stat.S_IMODE((data_dir / "secret").stat().st_mode) == 0o600
