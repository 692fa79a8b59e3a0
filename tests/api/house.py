"""A whole Counterfoil in this process: the API on a free port, the projectors, the tree and the timekeeper on threads beside it.

They are the parts that production runs, put together by the same composition root, on a real PostgreSQL.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import psycopg
import uvicorn
import uvloop
from fastapi import FastAPI
from psycopg.conninfo import make_conninfo

from adapters.postgres import migrate
from api.app import create_app
from api.bootstrap import Application, grow_tree, run_projectors
from api.http_server import Protocol
from api.settings import Settings
from api.timekeeper import Timekeeper
from domain.account import Role
from tests.api.callers import Caller
from tests.api.document import Document

SECRET = b"a secret for the tests, long enough"
ADMIN_EMAIL, PASSWORD = "root@house.test", "correct horse"
START_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 20.0

T = TypeVar("T")


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """The URL of a database of this release, gone after the block. For what outlives one test."""
    name = f"house_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as conn:
        conn.execute(f'create database "{name}"')
    url = make_conninfo(server_url, dbname=name)
    try:
        migrate(url)
        yield url
    finally:
        with psycopg.connect(server_url, autocommit=True) as conn:
            conn.execute(f'drop database "{name}" with (force)')


def unserved_app() -> FastAPI:
    """The application as it is put together, connected to nothing: for what its routes say of themselves."""
    return create_app(Application(Settings.from_environment({}), database_url="", secret=SECRET))


class House:
    """``rate_limits`` are off unless they are what is tested; without a ``timekeeper`` nothing happens by itself."""

    def __init__(self, database_url: str, *, rate_limits: bool = False, timekeeper: bool = True) -> None:
        self.database_url = database_url
        self.port = 0
        self.position = 0
        self._settings = Settings.from_environment(
            {
                "COUNTERFOIL_ADMIN_EMAIL": ADMIN_EMAIL,
                "COUNTERFOIL_ADMIN_PASSWORD": PASSWORD,
                "COUNTERFOIL_RATE_LIMITS": "on" if rate_limits else "off",
            }
        )
        self._keeps_time = timekeeper
        self._known: dict[str, Caller] = {}
        self._stop = threading.Event()
        self._followers = (
            threading.Thread(target=run_projectors, args=(database_url, self._settings, self._stop), name="projectors"),
            threading.Thread(target=grow_tree, args=(database_url, SECRET, self._stop), name="tree"),
        )

    def __enter__(self) -> Self:
        for thread in self._followers:
            thread.start()
        self._start_api()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_api()
        self._stop.set()
        for thread in self._followers:
            thread.join(STOP_SECONDS_MAX)
            assert not thread.is_alive()

    def restart(self) -> None:
        """The API process ends and another one begins, on the same database."""
        self._stop_api()
        self._start_api()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done on the API's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS_MAX)

    # -- People ----------------------------------------------------------------------

    @property
    def anyone(self) -> Caller:
        """Somebody who is not signed in."""
        return Caller(self)

    @property
    def admin(self) -> Caller:
        if "admin" not in self._known:
            self._known["admin"] = self.log_in(ADMIN_EMAIL)
        return self._known["admin"]

    def person(self, name: str, *roles: Role) -> Caller:
        """Registered, given the roles and logged in at the first mention of the name; the same caller ever after."""
        if name not in self._known:
            email = f"{name}@house.test"
            user = {"email": email, "password": PASSWORD, "name": name.title()}
            user_id = self.anyone.post("/v1/auth/register", user).ok(201)["user_id"]
            if roles:
                self.admin.put(f"/v1/users/{user_id}/roles", {"roles": list(roles)}).ok()
            self._known[name] = self.log_in(email)
        return self._known[name]

    def log_in(self, email: str) -> Caller:
        tokens = self.anyone.post("/v1/auth/login", {"email": email, "password": PASSWORD}).ok()
        caller = Caller(self, tokens["access_token"], email=email)
        caller.user_id = caller.get("/v1/me").ok()["user_id"]
        return caller

    @property
    def head(self) -> int:
        """The position of the ledger's last fact; the route waits for a signed head, up to a second."""
        return self.run(self.application.head())

    # -- The API's thread --------------------------------------------------------------

    def _start_api(self) -> None:
        self.application = Application(self._settings, database_url=self.database_url, secret=SECRET)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        app = create_app(self.application)
        self.document = Document(app.openapi())
        config = uvicorn.Config(app, http=Protocol, lifespan="on", log_config=None)
        self._server = uvicorn.Server(config)
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(listener, ready), name="api")
        self._thread.start()
        assert ready.wait(START_SECONDS_MAX), "the API did not start"

    def _serve(self, listener: socket.socket, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, listener:
            self._loop = runner.get_loop()
            runner.run(self._serve_until_stopped(listener, ready))

    async def _serve_until_stopped(self, listener: socket.socket, ready: threading.Event) -> None:
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers nothing to wait for
            await asyncio.sleep(0.01)
        keeping = asyncio.create_task(Timekeeper(self.application).run()) if self._keeps_time else None
        ready.set()
        await serving
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    def _stop_api(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS_MAX)
        assert not self._thread.is_alive()
