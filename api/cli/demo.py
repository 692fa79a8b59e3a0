"""``counterfoil demo``: a real Broadway week, sold and admitted through the HTTP API."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.request import urlopen

import typer
import uvloop

from api.cli.console import err, fail, out
from api.demo.people import DemoError
from api.demo.play import run
from api.demo.week import Week, WeekDataError, load_week

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
ADMIN_EMAIL = "admin@demo.example"


def demo(
    *,
    url: Annotated[
        str, typer.Option(help="A running server to play on. Default: one of its own, thrown away after.")
    ] = "",
    scale: Annotated[float, typer.Option(min=0.0001, max=1.0, help="The share of the week to play.")] = 1.0,
    data: Annotated[
        Path | None, typer.Option(help="A CSV file of show weeks. Default: the week ending 2018-09-16.")
    ] = None,
    week: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The week in --data, by its last day.")
    ] = None,
    chain: Annotated[
        str, typer.Option(help="Mirror the week and reconcile it: “embedded”, or the address of a node.")
    ] = "",
    concurrency: Annotated[int, typer.Option(min=1, max=512, help="Requests under way at once.")] = 64,
) -> None:
    """Sell and admit a Broadway week, and compare the ledger with the published figures, to the ticket and the cent."""
    try:
        played = load_week(data, week.date() if week is not None else None) if data is not None else load_week()
        if url:
            email = os.environ.get("COUNTERFOIL_ADMIN_EMAIL", "")
            password = os.environ.get("COUNTERFOIL_ADMIN_PASSWORD", "")
            if not email or not password:
                fail("with --url, COUNTERFOIL_ADMIN_EMAIL and COUNTERFOIL_ADMIN_PASSWORD name the server's admin")
            equal = _play(url, email, password, played, scale, concurrency, mirrored=bool(chain))
        else:
            with _private_server(chain) as (base_url, password):
                equal = _play(base_url, ADMIN_EMAIL, password, played, scale, concurrency, mirrored=bool(chain))
    except (DemoError, WeekDataError) as error:
        fail(str(error))
    raise typer.Exit(0 if equal else 1)


def _play(
    base_url: str, email: str, password: str, week: Week, scale: float, concurrency: int, *, mirrored: bool
) -> bool:
    return uvloop.run(
        run(
            base_url,
            email,
            password,
            week=week,
            scale=scale,
            concurrency=concurrency,
            console=out,
            mirrored=mirrored,
        )
    )


@contextmanager
def _private_server(chain: str) -> Iterator[tuple[str, str]]:
    """A server on a free port with an empty ledger: ``(URL, the admin's password)``. Both go when the block ends.

    ``chain`` is the node to mirror to, ``embedded``, or empty for none. On a node it deploys a contract first.
    """
    directory = Path(tempfile.mkdtemp(prefix="counterfoil-demo-"))
    password = secrets.token_urlsafe(12)
    port = _free_port()
    env = os.environ | {
        "COUNTERFOIL_DATA_DIR": str(directory),
        "COUNTERFOIL_HOST": "127.0.0.1",
        "COUNTERFOIL_PORT": str(port),
        "COUNTERFOIL_ADMIN_EMAIL": ADMIN_EMAIL,
        "COUNTERFOIL_ADMIN_PASSWORD": password,
        "COUNTERFOIL_RATE_LIMITS": "off",
    }
    env["COUNTERFOIL_CHAIN_URL"] = {"": "off", "embedded": ""}.get(chain, chain)
    env.pop("COUNTERFOIL_DATABASE_URL", None)
    if env["COUNTERFOIL_CHAIN_URL"] not in ("", "off"):
        _deploy(env, directory)
    err.print("Starting a server for the demo …", highlight=False)
    log = directory / "server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [sys.executable, "-m", "api", "serve"], env=env, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", server, log)
        yield f"http://127.0.0.1:{port}", password
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _deploy(env: dict[str, str], directory: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "api", "chain", "deploy"], env=env, capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        shutil.rmtree(directory, ignore_errors=True)
        fail(made.stderr.strip().removeprefix("error: "))
    out.print(made.stdout.strip(), highlight=False)


def _wait_until_ready(base_url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if server.poll() is not None:
            fail(f"the server ended: {log.read_text()[-2000:]}")
        try:
            with urlopen(f"{base_url}/readyz", timeout=1) as answer:  # noqa: S310 - our own address
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    fail("the server did not become ready")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
