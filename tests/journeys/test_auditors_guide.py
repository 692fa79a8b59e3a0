"""`docs/auditors.md`, run as it is written: every command, in order, against a real server, and what it is to print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import anyio
import pytest

from adapters.embedded import PROGRAMS, EmbeddedPostgres
from api.client import Client
from projections.tampering import Kind
from tests.journeys.people import People, Person, floor, in_time, newcomer, put_on_sale, sign_up
from tests.server import COMMAND_SECONDS_MAX, Server

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "auditors.md").read_text()
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TICKETS = 12
PRICE = 4_500

BLANKS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "<day>"),
    (re.compile(r"\b[\d,]+ (?=facts|heads|of its own)"), "<number> "),
    (re.compile(r"position [\d,]+"), "position <number>"),
    (re.compile(r"one file, of one day|\d+ files, one a day"), "<files>"),
    (re.compile(r'"days":\[.*\]'), '"days":[<days>]'),
    (re.compile(r"-+\+"), "-+"),
    (re.compile(r"-{2,}"), "-"),
    (re.compile(r" +"), " "),
)


class Command(NamedTuple):
    text: str
    shown: str
    """What the page shows that it prints."""


class Month(NamedTuple):
    directory: Path
    environment: dict[str, str]


def commands_of(section: str) -> list[Command]:
    text = GUIDE.split(f"\n## {section}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    found: list[Command] = []
    for block in BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Command(line.removeprefix("$ "), ""))
            else:
                found[-1] = found[-1]._replace(shown=f"{found[-1].shown}{line}\n")
    return found


SECTIONS = [section for section in re.findall(r"^## (.+)$", GUIDE, re.MULTILINE) if commands_of(section)]


@pytest.fixture(scope="module")
def month(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Month:
    """The first section is followed at the month's beginning; then things happen, also after its end."""
    directory = tmp_path_factory.mktemp("auditor")
    shutil.copy(ROOT / "verifier" / "counterfoil_verify.py", directory)
    environment = server.environment | {
        "PATH": os.pathsep.join([str(_programs(directory / "bin")), str(PROGRAMS[0]), os.environ["PATH"]]),
        "COUNTERFOIL_DATABASE_URL": EmbeddedPostgres(server.data_dir).start(),  # it runs: to start it is to join it
        "COUNTERFOIL_SECRET": (server.data_dir / "secret").read_text(),
        "API": server.url,
    }
    month = Month(directory, environment)
    anyio.run(_live, server, month)
    return month


async def _live(server: Server, month: Month) -> None:
    async with Client(server.url) as client:
        people = await sign_up(client, buyers=1)
        auditor = await newcomer(people.admin, "auditor")
        event = await put_on_sale(people, floor(TICKETS, PRICE), starts_at=in_time(hours=9), ends_at=in_time(hours=10))
        [buyer] = people.buyers
        await _buy(buyer, event, 1)
        await _until_signed(buyer)
        await anyio.to_thread.run_sync(follow, month, SECTIONS[0])
        orders = [await _buy(buyer, event, 1), await _buy(buyer, event, 2)]
        given_up = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 1})
        await buyer.ask("POST", f"/v1/orders/{given_up['order_id']}/cancel")
        end = datetime.now(UTC) + timedelta(milliseconds=5)
        await anyio.sleep(0.01)
        await _correct(people, orders[0], end + timedelta(hours=30))
        await _buy(buyer, event, 3)
        await _until_signed(buyer)
        month.environment.update(
            TOKEN=auditor.token or "",
            EVENT=event["event_id"],
            TICKET=orders[0]["tickets"][0]["ticket_id"],
            END=end.isoformat().replace("+00:00", "Z"),
        )


async def _buy(buyer: Person, event: dict[str, Any], quantity: int) -> dict[str, Any]:
    order: dict[str, Any] = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": quantity})
    await buyer.pay(order)
    return order


async def _correct(people: People, order: dict[str, Any], at: datetime) -> None:
    [entry] = [
        f for f in await people.admin.facts() if f["stream_id"] == order["order_id"] and f["type"] == "order.paid"
    ]
    body = {"entry_id": entry["data"]["payment_id"], "effective_at": at.isoformat(), "reason": "it is October's"}
    await people.organizer.ask("POST", f"/v1/orders/{order['order_id']}/corrections", body)


async def _until_signed(person: Person) -> None:
    """`GET /v1/ledger/head` waits for a head that covers what the caller has written."""
    head = await person.ask("GET", "/v1/ledger/head")
    assert head["tree_size"] >= person.position


def _programs(directory: Path) -> Path:
    """`counterfoil` and `python`, as on a machine where both are installed."""
    directory.mkdir()
    for name, arguments in (("counterfoil", "-m api"), ("python", "")):
        (directory / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (directory / name).chmod(0o755)
    return directory


def follow(month: Month, section: str) -> list[tuple[Command, str]]:
    """Run a section in one shell, up to the first command that fails; what each printed on standard output."""
    between = f"--{uuid4().hex}--"
    commands = commands_of(section)
    script = f"\necho {between}\n".join(["set -e", *(command.text for command in commands)])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=month.directory,
        env=month.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    printed = done.stdout.split(f"{between}\n")[1:]
    assert done.returncode == 0, f"{commands[len(printed) - 1].text}\n{done.stdout}\n{done.stderr}"
    return list(zip(commands, printed, strict=True))


def blanked(text: str) -> list[str]:
    for pattern, blank in BLANKS:
        text = pattern.sub(blank, text)
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("section", SECTIONS[1:])
def test_every_command_of_the_section_does_what_the_page_shows(month: Month, section: str) -> None:
    for command, printed in follow(month, section):
        assert blanked(printed) == blanked(command.shown), command.text


def test_the_head_that_was_kept_is_older_than_what_it_is_held_to(month: Month) -> None:
    first, second = ((month.directory / f"head-{number}.json").read_text() for number in (1, 2))
    assert first != second
    assert len((month.directory / "heads.jsonl").read_text().splitlines()) >= 2, "verify --keep has added to it"


def test_every_finding_is_explained() -> None:
    table = GUIDE.split("## What a message means", maxsplit=1)[1]
    assert re.findall(r"^\| `([a-z ]+)` \|", table, re.MULTILINE) == list(Kind)


def test_no_command_is_left_out() -> None:
    assert len(SECTIONS) == 5
    assert sum(len(commands_of(section)) for section in SECTIONS) == len(re.findall(r"^\$ ", GUIDE, re.MULTILINE))
