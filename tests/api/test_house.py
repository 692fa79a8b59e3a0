"""The house is in order: what the repository says of itself in files that no compiler reads is true."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from api.cli import app
from domain.kernel import type_of_fact

ROOT = Path(__file__).parents[2]
CODE = ("domain", "commands", "projections", "adapters", "api")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FACTS: dict[str, set[str]] = {}
"""Of each type of stream; tests have facts of their own."""
for topic, kind in type_of_fact.items():
    if kind.__module__.startswith("domain."):
        FACTS.setdefault(topic.partition(".")[0], set()).add(topic)


def text(*path: str) -> str:
    return ROOT.joinpath(*path).read_text()


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(text("docker-compose.yml"))
    return document


def understood(arguments: list[str]) -> None:
    """A command line that ours would run: its command and its options are there; ``--help`` keeps it from running."""
    chosen: Any = get_command(app)
    options = list(arguments)
    while options and hasattr(chosen, "commands"):  # a group: the next word names one of its commands
        name = options.pop(0)
        chosen = chosen.commands.get(name)
        assert chosen is not None, f"there is no command {name} in {arguments}"
    known = {option for parameter in chosen.params for option in (*parameter.opts, *parameter.secondary_opts)}
    named = {option.partition("=")[0] for option in options if option.startswith("--")}
    assert named <= known, f"counterfoil {name} has no {named - known}"
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


# -- Ways to run it ------------------------------------------------------------------------


def test_the_composed_services_are_there() -> None:
    services = compose()["services"]
    assert services.keys() >= {"postgres", "kafka", "anvil", "api", "worker", "contract", "mirror", "relay"}
    assert all("image" in service or service["build"] == "." for service in services.values())
    for service in services.values():
        for wanted in service.get("depends_on", {}):
            assert "healthcheck" in services[wanted], f"{wanted} is waited for until it is healthy"


def test_the_composed_broker_keeps_its_topics() -> None:
    """Its image would otherwise write beside the volume, and a container that is made anew would begin with nothing."""
    broker = compose()["services"]["kafka"]
    assert [volume.partition(":")[2] for volume in broker["volumes"]] == [broker["environment"]["KAFKA_LOG_DIRS"]]
    assert broker["restart"] == "unless-stopped"


def test_the_composed_commands_are_commands_of_ours() -> None:
    services = compose()["services"]
    ours = [service["command"] for service in services.values() if service.get("build") == "."]
    assert len(ours) >= 2
    assert {name for name, *_ in ours} == {"counterfoil"}
    for _, *arguments in ours:
        understood(arguments)


def test_the_composed_database_is_left_durable() -> None:
    assert "fsync" not in text("docker-compose.yml")
    assert "synchronous_commit" not in text("docker-compose.yml")


def test_the_image_runs_a_command_of_ours_and_copies_what_is_there() -> None:
    lines = text("Dockerfile").splitlines()
    (started,) = (line.removeprefix("CMD ") for line in lines if line.startswith("CMD "))
    name, *arguments = yaml.safe_load(started)
    assert name == "counterfoil"
    understood(arguments)
    for line in lines:
        if line.startswith("COPY "):
            *sources, _ = line.split()[1:]
            assert all((ROOT / source).exists() for source in sources), line


def test_the_commands_of_the_readme_are_commands_of_ours() -> None:
    named = re.findall(r"^\| `counterfoil ([a-z]+)", text("README.md"), re.MULTILINE)
    assert {"serve", "worker", "replay", "rebuild", "bench", "demo", "admin", "chain", "reconcile"} <= set(named)
    for name in named:
        understood([name])


@pytest.mark.parametrize("target", ["run", "test", "bench", "demo", "crash", "drill", "lint", "help"])
def test_make_has_the_target(target: str) -> None:
    assert re.search(rf"^{target}:", text("Makefile"), re.MULTILINE)
    phony = re.search(r"^\.PHONY:(.*)$", text("Makefile"), re.MULTILINE)
    assert phony is not None
    assert target in phony[1].split()


def test_what_make_runs_of_ours_is_there() -> None:
    recipes = re.findall(r"\$\(BIN\)/counterfoil (.+)$", text("Makefile"), re.MULTILINE)
    assert recipes
    for recipe in recipes:
        understood([part for part in shlex.split(recipe) if not part.startswith("$")])
    for path in re.findall(r"pytest (tests/\S+)", text("Makefile")):
        assert (ROOT / path).exists()


def test_continuous_integration_runs_the_tests() -> None:
    assert "make test" in text(".ci", "run")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100, "it can be executed"


# -- What it is made of --------------------------------------------------------------------


def test_every_locked_package_is_pinned_and_hashed_and_no_registry_is_named() -> None:
    lock = text("requirements.lock")
    assert "://" not in lock
    assert "--index-url" not in lock
    assert "--find-links" not in lock
    for requirement in lock.replace("\\\n", " ").strip().splitlines():
        assert re.match(r"^[a-zA-Z0-9._-]+==[^ ]+ ", requirement), requirement[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement[:80]


def test_every_dependency_is_locked() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", text("requirements.lock"), re.MULTILINE))
    project = text("pyproject.toml")
    wanted = set(re.findall(r'^    "([a-z0-9-]+)(?:\[[a-z,]+\])?>=', project, re.MULTILINE))
    assert len(wanted) > 20
    assert wanted <= locked


def test_every_decision_is_in_the_index_and_has_its_three_parts() -> None:
    records = {path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
    assert set(re.findall(r"\]\(([^)]+\.md)\)", text("docs", "decisions", "README.md"))) == records
    assert [name[:4] for name in sorted(records)] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for name in records:
        record = text("docs", "decisions", name)
        assert record.startswith(f"# {name[:4]} · ")
        for part in ("Context", "Decision", "Consequences"):
            assert f"**{part}.**" in record, f"{name} has no {part}"


def test_the_facts_that_documents_name_are_facts_of_ours() -> None:
    named = {
        name
        for path in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"`([a-z]+\.[a-z_]+)(?:@\d+)?`", path.read_text())
        if name.partition(".")[0] in FACTS and not name.endswith((".py", ".md"))
    }
    assert len(named) > 30
    assert [name for name in sorted(named) if name not in FACTS[name.partition(".")[0]]] == []


def test_the_ledgers_page_lists_every_fact_of_every_stream() -> None:
    rows = re.findall(r"^\| ([a-z]+) \| UUID[^|]*\| (.*) \|$", text("docs", "ledger.md"), re.MULTILINE)
    assert {
        stream: {stream + name[name.index(".") :] for name in re.findall(r"`([a-z]*\.[a-z_]+)`", names)}
        for stream, names in rows
    } == FACTS


def test_the_licence_is_apache_2() -> None:
    assert "Apache License" in text("LICENSE")
    assert "Version 2.0" in text("LICENSE")


# -- How it reads --------------------------------------------------------------------------

SOURCES = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_can_be_read_at_a_sitting(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= FILE_LINES_MAX
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, node.name
