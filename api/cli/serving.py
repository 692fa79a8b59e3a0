"""``counterfoil serve`` and ``counterfoil worker``."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from secrets import token_urlsafe
from typing import Annotated

import typer
import uvicorn

from api import observability
from api.app import create_app
from api.bootstrap import Application, prepare
from api.cli.console import clear_errors, err, out, settings
from api.settings import Settings
from api.worker import run_worker

BACKLOG = 2048
STOP_SECONDS_MAX = 15
"""How long a process may take to finish what it has begun."""
KEEP_ALIVE_SECONDS = 75
BUSY_REQUESTS_MAX = 4_000
"""Requests under way in one process; above that 503."""


def serve(
    *,
    with_worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Also run the projectors and the timekeeper.")
    ] = True,
    processes: Annotated[int, typer.Option(min=1, max=64, help="API processes sharing the port.")] = 1,
) -> None:
    """Serve the API. Without COUNTERFOIL_DATABASE_URL, on a PostgreSQL of its own under the data directory."""
    with clear_errors():
        config = settings()
        observability.set_up(log_format=config.log_format, sentry_dsn=config.sentry_dsn, service="counterfoil-api")
        listener = _listen(config)
        err.print("Starting the database …" if config.embedded else "Migrating the database …", highlight=False)
        url, secret, server = prepare(config)
        children = _children(url, secret, listener, with_worker=with_worker, more=processes - 1)
        try:
            asyncio.run(_serve(config, url, secret, listener))
        finally:
            _end(children)
            if server is not None:
                server.stop()


def worker() -> None:
    """Run the projectors and the timekeeper. Several may run; one leads, the others stand by."""
    with clear_errors():
        config = settings()
        observability.set_up(log_format=config.log_format, sentry_dsn=config.sentry_dsn, service="counterfoil-worker")
        stop = threading.Event()
        if os.environ.get("COUNTERFOIL_PARENT_PIPE"):
            _die_with_parent()
        url, secret, _ = prepare(config)
        asyncio.run(run_worker(config, url, secret, stop))


def child_api() -> None:
    """One more API process of `serve --processes`, on the socket it inherited."""
    config = settings()
    observability.set_up(log_format=config.log_format, sentry_dsn=config.sentry_dsn, service="counterfoil-api")
    _die_with_parent()
    listener = socket.socket(fileno=int(os.environ["COUNTERFOIL_LISTENER"]))
    url, secret, _ = prepare(config)
    asyncio.run(_serve(config, url, secret, listener, first=False))


def _listen(config: Settings) -> socket.socket:
    """Bind before anything is started: a port in use is the first thing an operator wants to hear of."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        err.print(f"[bold red]error:[/] cannot listen on {config.host}:{config.port}: {error.strerror}")
        raise typer.Exit(1) from error
    listener.listen(BACKLOG)
    return listener


async def _serve(config: Settings, url: str, secret: bytes, listener: socket.socket, *, first: bool = True) -> None:
    if first:
        await _introduce(config, url, secret)
    application = Application(config, database_url=url, secret=secret)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(application),
            loop="uvloop",
            http="httptools",
            lifespan="on",
            access_log=False,
            log_level="warning",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS_MAX,
            limit_concurrency=BUSY_REQUESTS_MAX,
            server_header=False,
        )
    )
    await server.serve(sockets=[listener])


async def _introduce(config: Settings, url: str, secret: bytes) -> None:
    """Say where we listen, and at the first start of the embedded default who the admin is."""
    where = f"http://{config.host}:{config.port}"
    out.print(f"Counterfoil listens on [bold]{where}[/]  ·  documentation at {where}/docs", highlight=False)
    shown = config.data_dir / "admin-shown"
    if not config.embedded or config.admin_email is not None or shown.exists():
        return
    email, password = "admin@counterfoil.local", token_urlsafe(12)
    async with Application(config, database_url=url, secret=secret) as application:
        await application.make_admin(email, password, replace_password=True)
    out.print(f"Admin (shown only this once): [bold]{email}[/]  password: [bold]{password}[/]", highlight=False)
    shown.touch()


def _children(
    url: str, secret: bytes, listener: socket.socket, *, with_worker: bool, more: int
) -> list[subprocess.Popen[bytes]]:
    """Helpers that end when we do, however we end: they watch a pipe that only our death closes."""
    env = os.environ | {
        "COUNTERFOIL_DATABASE_URL": url,
        "COUNTERFOIL_SECRET": secret.decode(),
        "COUNTERFOIL_PARENT_PIPE": "1",
        "COUNTERFOIL_LISTENER": str(listener.fileno()),
    }
    commands = [["worker"]] if with_worker else []
    starts = [[sys.executable, "-m", "api", *command] for command in commands]
    starts += [[sys.executable, "-m", "api", "child-api"]] * more
    return [
        subprocess.Popen(start, env=env, stdin=subprocess.PIPE, pass_fds=(listener.fileno(),), start_new_session=True)  # noqa: S603 - ourselves
        for start in starts
    ]


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _die_with_parent() -> None:
    def watch() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(STOP_SECONDS_MAX)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
