"""Builds the contracts: ``python -m tests.contracts.building`` writes the artifacts that are committed."""

from __future__ import annotations

from pathlib import Path

from tests import npm
from tests.provisioning import run

ARTIFACTS = ("CounterfoilTickets.json", "CounterfoilTickets.input.json", "test-artifacts.json")
BUILD_SECONDS_MAX = 180.0


def build(out: Path) -> None:
    """Compile the sources as they are now. Raises CalledProcessError with the compiler's complaints."""
    script = [
        str(npm.node()),
        str(npm.CONTRACTS / "build.mjs"),
        "--modules",
        str(npm.node_modules()),
        "--out",
        str(out),
    ]
    run(script, npm.CONTRACTS, seconds_max=BUILD_SECONDS_MAX)


if __name__ == "__main__":
    build(npm.CONTRACTS)
