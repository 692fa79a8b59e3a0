"""``counterfoil bench``: the measurements of the README, made again on this machine."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.cli.console import fail

SUITE = "tests.benchmarks.suite"


def bench(
    only: Annotated[list[str] | None, typer.Argument(help="Names of measurements; all when none is named.")] = None,
    *,
    repetitions: Annotated[int, typer.Option(min=1, max=25, help="Medians are taken over this many.")] = 3,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here.")] = Path("bench-results.jsonl"),
) -> None:
    """Measure, with fsync on, and print the ratios side by side."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        suite = importlib.import_module(SUITE)
    except ModuleNotFoundError:
        fail("the benchmarks are part of the source tree: run this from a checkout")
    raise typer.Exit(suite.run(only or [], repetitions=repetitions, output=output))
