"""The command line beside a server that runs: the past, the views, the accounts; and one line for every mistake."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import anyio
import psycopg
import pytest

from adapters.embedded import EmbeddedPostgres
from api.client import Client
from projections.registry import ALL
from tests.journeys.people import PASSWORD, Person, floor, in_time, put_on_sale, sign_in, sign_up, stalls
from tests.server import ADMIN_EMAIL, Server, verdicts

Json = dict[str, Any]


class Past(NamedTuple):
    """What happened on the server before the tests: an order was placed, then paid."""

    server: Server
    order_id: str
    placed_at: int
    """Position."""
    facts: list[Json]


@pytest.fixture(scope="module")
def past(server: Server) -> Past:
    return anyio.run(_happen, server)


async def _happen(server: Server) -> Past:
    async with Client(server.url) as client:
        people = await sign_up(client, buyers=1)
        later = {"starts_at": in_time(hours=5), "ends_at": in_time(hours=6)}  # or the opening of the doors is recorded
        event = await put_on_sale(people, floor(3), stalls(2), **later)
        [buyer] = people.buyers
        order = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 2})
        placed_at = buyer.position
        await buyer.pay(order)
        people.admin.position = buyer.position
        return Past(server, order["order_id"], placed_at, await people.admin.facts())


# -- The past. ---------------------------------------------------------------------


def test_replay_shows_one_aggregate_as_of_a_position_an_instant_and_now(past: Past) -> None:
    instant = past.facts[past.placed_at - 1]["at"]
    then, at_that_time, now = (
        json.loads(past.server.command("replay", past.order_id, *as_of).stdout)
        for as_of in (["--as-of", str(past.placed_at)], ["--as-of", instant], [])
    )
    assert (then["type"], then["as_of_position"], then["status"]) == ("order", past.placed_at, "pending")
    assert at_that_time == then
    assert (now["as_of_position"], now["status"]) == (len(past.facts), "paid")
    assert [line["price"] for line in now["lines"]] == [4_500, 4_500]


def test_replay_exports_json_lines_and_csv(past: Past) -> None:
    lines = past.server.command("replay").stdout.splitlines()
    assert [json.loads(line) for line in lines] == past.facts
    some = ("--after", "2", "--as-of", str(past.placed_at))
    part = past.server.command("replay", "--format", "csv", *some).stdout
    rows = list(csv.DictReader(io.StringIO(part)))
    wanted = past.facts[2 : past.placed_at]
    assert [int(row["position"]) for row in rows] == [fact["position"] for fact in wanted]
    assert [json.loads(row["data"]) for row in rows] == [fact["data"] for fact in wanted]
    assert [(row["stream_id"], row["type"]) for row in rows] == [(fact["stream_id"], fact["type"]) for fact in wanted]


def test_rebuild_says_that_the_views_are_as_they_were(past: Past) -> None:
    assert verdicts(past.server.command("rebuild")) == {view.name: "equal" for view in ALL}
    assert verdicts(past.server.command("rebuild", "orders")) == {"orders": "equal"}


def test_the_read_side_as_it_was_is_kept_listed_queried_and_dropped(past: Past) -> None:
    made = past.server.command("replay", "--as-of", str(past.placed_at), "--into", "audit_2018")
    assert made.returncode == 0, made.stderr
    assert f"as of position {past.placed_at}" in made.stderr
    # the embedded server runs already: to start it is to join it
    with psycopg.connect(EmbeddedPostgres(past.server.data_dir).start()) as analyst:
        rows = [analyst.execute(query.encode()) for query in made.stdout.strip().split(";\n")][-1].fetchall()
    assert rows == [("pending", 1, 9_000)]
    assert "audit_2018" in past.server.command("replay", "--list").stdout
    again = past.server.command("replay", "--into", "audit_2018")
    assert (again.returncode, again.stderr.count("kept already")) == (1, 1)
    assert past.server.command("replay", "--drop", "audit_2018").returncode == 0
    assert "audit_2018" not in past.server.command("replay", "--list").stdout


# -- Accounts. ---------------------------------------------------------------------


def test_an_operator_makes_admins_and_sets_roles(past: Past) -> None:
    email = f"{uuid4().hex}@example.com"
    made = past.server.command("admin", "create", email, "--password", PASSWORD)
    assert made.returncode == 0, made.stderr
    assert anyio.run(_roles, past.server, email) == ["attendee", "admin"]
    changed = past.server.command("admin", "roles", email, "attendee", "auditor")
    assert changed.returncode == 0, changed.stderr
    assert anyio.run(_roles, past.server, email) == ["attendee", "auditor"]


async def _roles(server: Server, email: str) -> list[str]:
    async with Client(server.url) as client:
        person = Person(client)
        await sign_in(person, email, PASSWORD)
        return list((await person.ask("GET", "/v1/me"))["roles"])


def test_status_shows_how_far_everything_is(past: Past) -> None:
    status = past.server.command("admin", "status")
    assert status.returncode == 0, status.stderr
    assert "Ledger: position " in status.stdout
    assert "Signed: position " in status.stdout
    assert all(view.name in status.stdout for view in ALL)


# -- Mistakes. ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("replay", "--as-of", "yesterday"), "neither a position nor an RFC 3339 instant"),
        (("replay", "--as-of", "999999"), "the ledger ends at position"),
        (("replay", str(uuid4())), "there was no stream"),
        (("replay", "--into", "Audit"), "no name for a replay"),
        (("replay", "--into", "orders"), "the name orders is reserved"),
        (("replay", "--drop", "orders"), "no replay is kept as orders"),
        (("replay", "--into", "audit", "--as-of", "2199-01-01T00:00:00Z"), "still to come"),
        (("replay", "--into", "audit", "--drop", "audit"), "five different wishes"),
        (("rebuild", "nonsense"), "there is no view 'nonsense'"),
        (("admin", "roles", "nobody@example.com", "gate"), "nobody is registered with this address"),
        (("admin", "create", "new@example.com", "--password", "short"), "at least 8 characters"),
        (("admin", "create", ADMIN_EMAIL, "--password", PASSWORD), "is registered already"),
        (("demo", "--data", "/no/such/file.csv"), "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(past: Past, arguments: tuple[str, ...], said: str) -> None:
    _refused(past.server, arguments, said)


@pytest.mark.parametrize(
    "arguments", [("replay", "not-an-id"), ("replay", "--format", "xml"), ("serve", "--processes", "0"), ("nonsense",)]
)
def test_what_is_not_a_command_is_answered_with_its_usage(past: Past, arguments: tuple[str, ...]) -> None:
    wrong = past.server.command(*arguments)
    assert wrong.returncode == 2
    assert "Usage:" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """One that is never started."""
    server = Server(tmp_path)
    yield server
    assert not server.data_dir.exists(), "nothing was begun"
    server.stop()


SECRET = "0123456789abcdef0123456789abcdef"
NOWHERE = "postgresql:///none?host=/no/such/directory"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"COUNTERFOIL_DATABASE_URL": NOWHERE}, "COUNTERFOIL_SECRET is required"),
        ({"COUNTERFOIL_SECRET": "too short"}, "at least 32 characters"),
        ({"COUNTERFOIL_PORT": "http"}, "COUNTERFOIL_PORT is not a port"),
        ({"COUNTERFOIL_RATE_LIMITS": "maybe"}, "COUNTERFOIL_RATE_LIMITS is either on or off"),
        ({"COUNTERFOIL_LOG_FORMAT": "xml"}, "COUNTERFOIL_LOG_FORMAT is either console or json"),
        ({"COUNTERFOIL_ADMIN_PASSWORD": ""}, "go together"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_in_one_line(
    fresh: Server, setting: dict[str, str], said: str
) -> None:
    _refused(fresh, ("serve",), said, **setting)


def test_a_database_that_does_not_answer_is_named_in_one_line(fresh: Server) -> None:
    _refused(
        fresh, ("replay",), "the database does not answer", COUNTERFOIL_DATABASE_URL=NOWHERE, COUNTERFOIL_SECRET=SECRET
    )


def test_a_port_in_use_is_the_first_thing_that_is_said(past: Past, fresh: Server) -> None:
    _refused(
        fresh, ("serve",), f"cannot listen on 127.0.0.1:{past.server.port}", COUNTERFOIL_PORT=str(past.server.port)
    )


def _refused(server: Server, arguments: tuple[str, ...], said: str, **environment: str) -> None:
    """Exit code 1, one line on standard error, nothing on standard output."""
    wrong = server.command(*arguments, **environment)
    told = f"{wrong.stdout}\n{wrong.stderr}"
    assert wrong.returncode == 1, told
    assert said in wrong.stderr, told
    assert [line for line in told.splitlines() if line.strip() and not line.startswith("error: ")] == [], told
