"""Slither over the contract. It cannot live beside our web3, so it has an environment of its own."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import contracts
from tests import npm
from tests.provisioning import provided, run

LOCK = Path(__file__).with_name("slither.lock")
SOLC = Path(__file__).with_name("solc.mjs")
ANALYSIS_SECONDS_MAX = 180.0


class Finding(NamedTuple):
    detector: str
    where: str
    impact: str


def findings(directory: Path) -> set[Finding]:
    """What every detector finds in our own sources, which are laid out in the directory."""
    report = directory / "report.json"
    _lay_out(directory)
    compiler = directory / "solc"
    compiler.write_text(f'#!/bin/sh\nexec "{npm.node()}" "{SOLC}" "$@"\n')
    compiler.chmod(0o755)
    slither = [str(_python()), "-m", "slither", "input.json", "--compile-force-framework", "solc-json"]
    options = ["--solc", str(compiler), "--filter-paths", "@openzeppelin", "--json", str(report), "--fail-none"]
    environment = {"PATH": os.environ["PATH"], "NODE_MODULES": str(npm.node_modules())}
    run([*slither, *options], directory, environment=environment, seconds_max=ANALYSIS_SECONDS_MAX)
    document = json.loads(report.read_text())
    assert document["success"], document["error"]
    found = document["results"].get("detectors", [])
    return {Finding(one["check"], _where(one["elements"][0]), one["impact"]) for one in found}


def _where(element: dict[str, object]) -> str:
    parent = element.get("type_specific_fields", {}).get("parent", {})  # type: ignore[attr-defined]
    return f"{parent.get('name', '')}.{element['name']}"


def _lay_out(directory: Path) -> None:
    document = json.loads(contracts.verification_input())
    for name, source in document["sources"].items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(source["content"])
    wanted = ["abi", "metadata", "devdoc", "userdoc", "evm.bytecode", "evm.deployedBytecode"]
    document["settings"]["outputSelection"] = {"*": {"*": wanted, "": ["ast"]}}
    document["settings"]["viaIR"] = False  # Slither reads the syntax tree; this way it has it three times as fast.
    (directory / "input.json").write_text(json.dumps(document))


def _python() -> Path:
    fingerprint = hashlib.sha256(LOCK.read_bytes()).hexdigest()[: npm.FINGERPRINT_DIGITS]
    return provided(f"slither-{fingerprint}", _install) / "bin" / "python"


def _install(directory: Path) -> None:
    run([sys.executable, "-m", "venv", str(directory)], directory)
    pip = [str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run([*pip, "--require-hashes", "-r", str(LOCK)], directory)
