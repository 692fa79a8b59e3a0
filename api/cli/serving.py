"""``counterfoil serve`` and ``counterfoil worker``."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
from enum import StrEnum
from secrets import token_urlsafe
from typing import Annotated

import typer
import uvicorn
import uvloop

from api.app import create_app
from api.bootstrap import Application, prepare
from api.children import STOP_SECONDS_MAX, Child, Children, die_with_parent
from api.cli.console import clear_errors, err, out, settings
from api.http_server import Protocol
from api.mirror import run_mirror
from api.relay import relay_until_stopped
from api.settings import Settings
from api.worker import run_worker

BACKLOG = 2048
GC_THRESHOLDS = (20_000, 25, 25)
CHILD = "_COUNTERFOIL_CHILD"
LISTENER = "_COUNTERFOIL_LISTENER"
"""Between `serve` and the processes it starts."""
KEEP_ALIVE_SECONDS = 75


def serve(
    *,
    with_worker: Annotated[
        bool,
        typer.Option("--worker/--no-worker", help="Also run the projectors, the timekeeper, the mirror and the relay."),
    ] = True,
    processes: Annotated[int, typer.Option(min=1, max=64, help="API processes sharing the port.")] = 1,
) -> None:
    """Serve the API. Without COUNTERFOIL_DATABASE_URL, on a PostgreSQL of its own under the data directory."""
    with clear_errors():
        config = settings("counterfoil-api")
        listener = _listen(config)
        err.print("Starting the database …" if config.embedded else "Migrating the database …", highlight=False)
        url, secret, server = prepare(config)
        duties = _duties(config) if with_worker else []
        children = _children(url, secret, listener, duties, more=processes - 1)
        stopping = threading.Event()
        if server is not None:
            threading.Thread(target=server.keep_running, args=(stopping,), name="postgres-watch", daemon=True).start()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the server hands the signal on when it has shut down
        try:
            uvloop.run(_serve(config, url, secret, listener))
        except KeyboardInterrupt:
            err.print("Stopping …", highlight=False)
        finally:
            children.stop()
            stopping.set()
            if server is not None:
                server.stop()


class Duty(StrEnum):
    VIEWS = "views"
    MIRROR = "mirror"
    RELAY = "relay"


def worker(
    duty: Annotated[
        Duty, typer.Argument(help="views: projectors and timekeeper; mirror: the chain; relay: Kafka.")
    ] = Duty.VIEWS,
) -> None:
    """Keep the views, the chain or Kafka level with the ledger. Several may run; one leads, the others stand by."""
    with clear_errors():
        config = settings(f"counterfoil-{duty}")
        if os.environ.get(CHILD):
            die_with_parent()
        url, secret, _ = prepare(config)
        if duty is Duty.MIRROR:
            uvloop.run(run_mirror(config, url, secret))
        elif duty is Duty.RELAY:
            relay_until_stopped(config, url, secret)
        else:
            uvloop.run(run_worker(config, url, secret, threading.Event()))


def child_api() -> None:
    """One more API process of `serve --processes`, on the socket it inherited."""
    config = settings("counterfoil-api")
    die_with_parent()
    listener = socket.socket(fileno=int(os.environ[LISTENER]))
    url, secret, _ = prepare(config)
    uvloop.run(_serve(config, url, secret, listener, first=False))


def _listen(config: Settings) -> socket.socket:
    """Bind before anything is started: a port in use is the first thing an operator wants to hear of."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
    except OSError as error:
        err.print(
            f"[bold red]error:[/] cannot listen on {config.host}:{config.port}: {error.strerror}",
            soft_wrap=True,
            highlight=False,
        )
        raise typer.Exit(1) from error
    listener.listen(BACKLOG)
    return listener


async def _serve(config: Settings, url: str, secret: bytes, listener: socket.socket, *, first: bool = True) -> None:
    if first:
        await _introduce(config, url, secret)
    application = Application(config, database_url=url, secret=secret)
    # Much is alive for ever once everything is imported, and little of what a request makes outlives it: looking for
    # garbage in all of it every few hundred allocations is what the slowest requests would wait for.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(application),
            http=Protocol,
            lifespan="on",
            access_log=False,
            log_level="warning",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS_MAX,
            server_header=False,
        )
    )
    await server.serve(sockets=[listener])


async def _introduce(config: Settings, url: str, secret: bytes) -> None:
    """Say where we listen, and at the first start of the embedded default who the admin is."""
    where = f"http://{config.host}:{config.port}"
    out.print(
        f"Counterfoil listens on [bold]{where}[/]  ·  documentation at {where}/docs", highlight=False, soft_wrap=True
    )
    shown = config.data_dir / "admin-shown"
    if not config.embedded or config.admin_email is not None or shown.exists():
        return
    email, password = "admin@counterfoil.local", token_urlsafe(12)
    async with Application(config, database_url=url, secret=secret) as application:
        await application.make_admin(email, password, replace_password=True)
    out.print(
        f"Admin (shown only this once): [bold]{email}[/]  password: [bold]{password}[/]",
        highlight=False,
        soft_wrap=True,
    )
    shown.touch()


def _duties(config: Settings) -> list[Duty]:
    """What there is to do beside serving."""
    duties = [Duty.VIEWS]
    if config.chain_urls != ():
        duties.append(Duty.MIRROR)
    if config.kafka_bootstrap:
        duties.append(Duty.RELAY)
    return duties


def _children(url: str, secret: bytes, listener: socket.socket, duties: list[Duty], *, more: int) -> Children:
    env = os.environ | {
        "COUNTERFOIL_DATABASE_URL": url,
        "COUNTERFOIL_SECRET": secret.decode(),
        CHILD: "1",
        LISTENER: str(listener.fileno()),
    }
    serving = [Child("child-api", (listener.fileno(),))] * more
    workers = [Child(f"worker {duty}") for duty in duties]
    return Children(workers + serving, env)
