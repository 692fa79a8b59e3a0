"""``make bench``: every figure of the README's table, measured again in one run on one machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import structlog
from rich.console import Console
from rich.markup import escape

from api.client import ConnectionLost
from tests.benchmarks import (
    appends,
    commands,
    exporting,
    gas,
    growth,
    lag,
    log_indexing,
    mirroring,
    onsale,
    rebuilding,
    reconciling,
    relaying,
    tree,
)
from tests.benchmarks.harness import Bench, BenchError, workbench
from tests.benchmarks.report import Measurement, machine, record, show
from tests.benchmarks.rows import NAMES

Measure = Callable[[Bench, Collection[str]], Iterator[Measurement]]


class Stage(NamedTuple):
    """Measurements that share what they need."""

    names: tuple[str, ...]
    measure: Measure


STAGES = (
    Stage(appends.NAMES, appends.measure),
    Stage(commands.NAMES, commands.measure),
    Stage(onsale.NAMES, onsale.measure),
    Stage(lag.NAMES, lag.measure),
    Stage(rebuilding.NAMES, rebuilding.measure),
    Stage(growth.NAMES, growth.measure),
    Stage(tree.NAMES, tree.measure),
    Stage(exporting.NAMES, exporting.measure),
    Stage(gas.NAMES, gas.measure),
    Stage(mirroring.NAMES, mirroring.measure),
    Stage(log_indexing.NAMES, log_indexing.measure),
    Stage(reconciling.NAMES, reconciling.measure),
    Stage(relaying.NAMES, relaying.measure),
)
PLAIN_WIDTH = 150
"""Columns where the output is no terminal."""


def run(only: list[str], *, repetitions: int, output: Path) -> int:
    """Measure all, or those named; print the table and append JSON lines to ``output``.

    0: everything was measured (a target that is missed is a result, not an error). 1: something could not be. 2: an
    unknown name.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    if unknown := sorted(set(only) - set(NAMES)):
        console.print(f"[red]unknown:[/] {', '.join(unknown)}. There are: {', '.join(NAMES)}", highlight=False)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    wanted = frozenset(only or NAMES)
    measured: list[Measurement] = []
    with workbench(console, repetitions) as bench:
        on = machine(bench.url, bench.directory)
        for stage in STAGES:
            for measurement in _measure(stage, wanted & set(stage.names), bench):
                record(measurement, on, output)
                measured.append(measurement)
    if measured:
        show(measured, on, console)
        console.print(f"The samples are in {output}", highlight=False)
    return 0 if len(measured) == len(wanted) else 1


def _measure(stage: Stage, names: Collection[str], bench: Bench) -> Iterator[Measurement]:
    """What goes wrong in one stage leaves the others alone."""
    if not names:
        return
    try:
        yield from stage.measure(bench, names)
    except (BenchError, ConnectionLost, psycopg.Error) as error:
        what = f"{type(error).__name__}: {error}"
        bench.console.print(f"[red]not measured:[/] {', '.join(sorted(names))}: {escape(what)}", highlight=False)
