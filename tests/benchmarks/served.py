"""Servers under load: processes of their own, on free ports of the loopback interface."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from api.client import Client, ConnectionLost
from tests.benchmarks.harness import Bench, BenchError

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.1
LOG_CHARACTERS = 2_000
ADMIN = ("admin@bench.invalid", "a password for the bench")


@asynccontextmanager
async def served(bench: Bench, database_url: str, **more: str) -> AsyncIterator[str]:
    """The base URL of a server on this database, ready; stopped at the end. Raises BenchError.

    ``more`` are settings that differ from those of `environment`.
    """
    async with _served(bench, database_url, (), more) as server:
        yield server.base_url


class Server(NamedTuple):
    base_url: str
    pid: int


@asynccontextmanager
async def served_alone(bench: Bench, database_url: str) -> AsyncIterator[Server]:
    """As `served`, the API and nothing beside it: the process is one whose memory tells what answers take."""
    async with _served(bench, database_url, ("--no-worker",), {}) as server:
        yield server


@asynccontextmanager
async def _served(
    bench: Bench, database_url: str, options: tuple[str, ...], more: dict[str, str]
) -> AsyncIterator[Server]:
    port = _free_port()
    log = bench.directory / f"server-{port}.log"
    with _process(options, environment(bench, database_url, port) | more, log) as process:
        base_url = f"http://127.0.0.1:{port}"
        if not await _becomes_ready(base_url, process):
            raise BenchError(f"the server did not become ready: {_tail(log)}")
        yield Server(base_url, process.pid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _process(options: tuple[str, ...], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """It reads a pipe of ours, which ends when we do, however we do."""
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.server", *options],
            env=env,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


async def _becomes_ready(base_url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = monotonic() + START_SECONDS_MAX
    async with Client(base_url) as client:
        while monotonic() < deadline and process.poll() is None:
            try:
                if (await client.request("GET", "/readyz")).status == 200:
                    return True
            except ConnectionLost:
                pass
            await asyncio.sleep(POLL_SECONDS)
    return False


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_CHARACTERS:]


def environment(bench: Bench, database_url: str, port: int) -> dict[str, str]:
    """Nothing of the caller's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERFOIL_", "OTEL_"))}
    email, password = ADMIN
    return kept | {
        "COUNTERFOIL_DATABASE_URL": database_url,
        "COUNTERFOIL_SECRET": bench.secret.decode(),
        "COUNTERFOIL_DATA_DIR": str(bench.directory),
        "COUNTERFOIL_PORT": str(port),
        "COUNTERFOIL_ADMIN_EMAIL": email,
        "COUNTERFOIL_ADMIN_PASSWORD": password,
        "COUNTERFOIL_RATE_LIMITS": "off",
        "COUNTERFOIL_CHAIN_URL": "off",
    }
