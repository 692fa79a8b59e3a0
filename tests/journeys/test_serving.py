"""`counterfoil serve` and `worker` from their first start to their end, and beside each other."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from api.client import Client
from tests.journeys.people import Person, sign_in, sign_up
from tests.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server, postmaster, terminate, wait_until_gone

pytestmark = pytest.mark.anyio

ORPHAN_SECONDS_MAX = 20.0
JOINED_SECONDS_MAX = 20.0
RETRY_SECONDS = 0.2
SECRET = "0123456789abcdef0123456789abcdef"
ADMIN = {"email": ADMIN_EMAIL, "password": ADMIN_PASSWORD}
SHOWN_ONCE = re.compile(r"Admin \(shown only this once\): (\S+)  password: (\S+)")


async def test_the_first_start_shows_an_admin_once_and_the_end_leaves_nothing_running(tmp_path: Path) -> None:
    with Server(tmp_path, COUNTERFOIL_ADMIN_EMAIL=None, COUNTERFOIL_ADMIN_PASSWORD=None) as server:
        assert f"Counterfoil listens on {server.url}" in server.tail()
        [(email, password)] = SHOWN_ONCE.findall(server.tail())
        worker, database = server.worker_pid, postmaster(server.data_dir)
        async with Client(server.url) as client:
            await sign_in(Person(client), email, password)
        assert server.shut_down() == 0
        assert wait_until_gone(worker, 0.5)
        assert database is not None
        assert wait_until_gone(database, 0.5)

        server.start()
        server.wait_until_ready()
        assert len(SHOWN_ONCE.findall(server.tail())) == 1
        async with Client(server.url) as client:
            await sign_in(Person(client), email, password)


async def test_after_a_kill_the_worker_ends_and_the_next_server_goes_on(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        async with Client(server.url) as client:
            people = await sign_up(client, buyers=0)
            head = await people.admin.head()
        worker = server.worker_pid
        server.kill_api()
        server.start()  # at once: the port is free, whatever else is still ending
        server.wait_until_ready()
        assert wait_until_gone(worker, ORPHAN_SECONDS_MAX)
        async with Client(server.url) as client:
            admin = Person(client, people.admin.token)
            assert await admin.head() == head
            assert (await admin.ask("GET", "/v1/me"))["email"] == ADMIN_EMAIL


async def test_a_command_on_a_stopped_ledger_starts_the_database_and_stops_it_again(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        server.shut_down()
        exported = server.command("replay")
        assert exported.returncode == 0, exported.stderr
        assert '"type":"account.registered"' in exported.stdout
        assert postmaster(server.data_dir) is None


async def test_a_command_beside_a_server_leaves_its_database_running(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        database = postmaster(server.data_dir)
        assert server.command("admin", "status").returncode == 0
        assert postmaster(server.data_dir) == database


async def test_two_servers_on_one_data_directory_are_one_ledger(tmp_path: Path) -> None:
    with ExitStack() as servers:
        first = servers.enter_context(Server(tmp_path))
        second = servers.enter_context(Server(tmp_path))
        async with Client(first.url) as one, Client(second.url) as other:
            people = await sign_up(one, buyers=1)
            same = Person(other, people.buyers[0].token)
            assert (await same.ask("GET", "/v1/me"))["email"] == people.buyers[0].email
            second.shut_down()
            await _until_answered(Person(one), "POST", "/v1/auth/login", ADMIN)


async def test_the_worker_may_run_by_itself(tmp_path: Path) -> None:
    with Server(tmp_path, "--no-worker") as server:
        async with Client(server.url) as client:
            admin = Person(client)
            await sign_in(admin, ADMIN_EMAIL, ADMIN_PASSWORD)
            admin.position = await admin.head()
            assert await admin.refused("GET", "/v1/users") == (503, "unavailable"), "nobody keeps the views"
            worker = server.spawn("worker")
            await _until_answered(admin, "GET", "/v1/users")
            assert terminate(worker) == 0


async def test_it_serves_on_a_database_of_the_operators(tmp_path: Path, database: str) -> None:
    with Server(tmp_path, COUNTERFOIL_DATABASE_URL=database, COUNTERFOIL_SECRET=SECRET) as server:
        async with Client(server.url) as client:
            admin = Person(client)
            await sign_in(admin, ADMIN_EMAIL, ADMIN_PASSWORD)
            admin.position = await admin.head()
            assert [user["email"] for user in (await admin.ask("GET", "/v1/users"))["items"]] == [ADMIN_EMAIL]
        assert server.shut_down() == 0
        assert not (server.data_dir / "postgres").exists()


async def _until_answered(who: Person, method: str, path: str, body: object = None) -> None:
    """A database or a worker that has just gone is missed for a moment."""
    with anyio.fail_after(JOINED_SECONDS_MAX):
        while (await who.request(method, path, body)).status != 200:  # noqa: ASYNC110 - another process's doing
            await anyio.sleep(RETRY_SECONDS)
