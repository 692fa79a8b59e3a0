"""`counterfoil replay --what-if`: the example of the documentation, what is written, and what cannot be meant."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from adapters import what_if
from adapters.fact_reader import LedgerGapError
from adapters.replays import ReplayRefusedError
from adapters.view_cursors import open_connection
from api.cli import app
from commands.what_if_rules import Rules
from domain.ticket import Ticket
from tests.adapters.ledger_parts import SECRET
from tests.api.house import fresh_database
from tests.commands.shop import Shop, standing
from tests.domain.happening import BUYER, FRIEND, NOW, STRANGER
from tests.projections.book import Book

Ran = subprocess.CompletedProcess[str]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "what-if.md").read_text(encoding="utf-8")
EXAMPLE = PAGE[PAGE.index("## An example") : PAGE.index("## How it is decided")]
COLUMNS = "110"


@pytest.fixture(scope="module")
def url(postgres: str) -> Iterator[str]:
    """The ledger of the example."""
    with fresh_database(postgres) as url:
        asyncio.run(sell(url))
        yield url


async def sell(url: str) -> None:
    async with Shop(url) as shop:
        event = await shop.event_on_sale(standing(10))
        await shop.bought(event, 6)
        shop.clock.now = NOW + timedelta(minutes=1)
        slow = await shop.order(event, 2, buyer_id=FRIEND)
        shop.clock.now = NOW + timedelta(minutes=2)
        await shop.bought(event, 2, buyer_id=STRANGER)
        shop.clock.now = NOW + timedelta(minutes=9)
        await shop.pay(slow)


def run(url: str, *arguments: str | Path) -> Ran:
    command = [sys.executable, "-c", "from api.cli import main; main()", "replay", *map(str, arguments)]
    environment = {"COUNTERFOIL_DATABASE_URL": url, "COUNTERFOIL_SECRET": SECRET.decode(), "COLUMNS": COLUMNS}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def rules(directory: Path, text: str) -> Path:
    path = directory / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def fenced(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", EXAMPLE, re.DOTALL)
    assert found is not None
    return found[1]


def ledger(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return (
            connection.execute("select * from ledger.head").fetchall()
            + connection.execute("select count(*), max(position) from ledger.events").fetchall()
        )


def test_the_example_comes_out_as_documented_and_nothing_is_written(url: str, tmp_path: Path) -> None:
    before = ledger(url)
    path = tmp_path / "comparison.json"
    ran = run(url, "--what-if", rules(tmp_path, fenced("toml")), "--json", path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == fenced("console").splitlines()[1:]
    assert ledger(url) == before
    document = json.loads(path.read_bytes())
    assert document["as_of_position"] == before[-1][1]
    assert (document["unread_facts"], document["unmet_rules"], document["same"]) == (0, [], False)
    (total,), (event,) = document["totals"], document["events"]
    assert (total["recorded"]["revenue"], total["what_if"]["revenue"]) == (45_000, 10_000)
    assert event["recorded"]["sold_out_at"] == (NOW + timedelta(minutes=2)).isoformat()
    assert event["what_if"]["sold_out_at"] is None
    assert {(each["asked"], each["code"], each["count"]) for each in document["refusals"]} == {
        ("order.placed", "limit-exceeded", 1),
        ("order.paid", "never-asked", 1),
        ("order.paid", "hold-expired", 1),
    }
    assert document["rules"]["limits"] == {"max_tickets_per_order": 4}


def test_an_empty_file_is_the_history_as_it_was(url: str, tmp_path: Path) -> None:
    ran = run(url, "--what-if", rules(tmp_path, ""))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "Nothing would have differed."
    assert "differently: 0." in ran.stdout


def test_its_connection_cannot_write(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_and_keep(url: str) -> Any:
        opened.append(open_connection(url))
        return opened[0]

    def write(*_: object) -> None:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            opened[0].execute("update projections.cursors set position = 0")

    monkeypatch.setattr("adapters.what_if.open_connection", open_and_keep)
    what_if.decide_again(url, Rules(), on_progress=write)
    assert opened[0].closed


def refused(*arguments: str | Path) -> str:
    """What is said, in this process, before there is any need of a database."""
    ran = CliRunner().invoke(app, ["replay", *map(str, arguments)], env={"COLUMNS": COLUMNS})
    assert (ran.exit_code, ran.stdout) == (1, "")
    return ran.stderr


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--into", "audit"), "five different wishes"),
        (("--drop", "audit"), "five different wishes"),
        (("--list",), "five different wishes"),
        (("--after", "3"), "--what-if needs the whole history"),
        (("--as-of", "yesterday"), "neither a position nor"),
    ],
)
def test_wishes_that_do_not_go_together_are_refused(tmp_path: Path, arguments: tuple[str, ...], what: str) -> None:
    assert what in refused("--what-if", rules(tmp_path, ""), *arguments)


def test_mistakes_in_the_rules_are_told_in_one_line(tmp_path: Path) -> None:
    told = refused("--what-if", rules(tmp_path, "[limits]\n[limits.tiers]\n'[bold]' = 0\n"))
    assert "line 3: limits.tiers.[bold]: Input should be greater than or equal to 1" in told
    assert "none.toml: No such file or directory" in refused("--what-if", tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    assert "is not UTF-8" in refused("--what-if", tmp_path / "latin.toml")
    assert "--json goes with --what-if" in refused("--json", tmp_path / "x.json")


def test_what_is_still_to_come_is_refused(url: str) -> None:
    with pytest.raises(ReplayRefusedError, match="ends at position 30"):
        what_if.decide_again(url, Rules(), 31)
    with pytest.raises(ReplayRefusedError, match="still to come"):
        what_if.decide_again(url, Rules(), datetime.now(UTC) + timedelta(hours=1))
    assert what_if.decide_again(url, Rules(), 0).comparison.same


def test_facts_that_cannot_be_read_are_counted_and_the_rest_is_compared(database: str) -> None:
    asyncio.run(sell(database))
    book = Book(database)
    with book.connection:
        book.append_stored((BUYER, Ticket.Held.stored_topic, b"no JSON"), (FRIEND, "order.beamed_up", b"{}"))
    found = what_if.decide_again(database, Rules())
    assert found.unread == 2
    assert found.comparison.same


def test_a_ledger_with_a_gap_is_not_decided_again(database: str) -> None:
    asyncio.run(sell(database))
    with psycopg.connect(database) as connection:
        connection.execute("update ledger.head set position = position + 1")
    with pytest.raises(LedgerGapError):
        what_if.decide_again(database, Rules())
