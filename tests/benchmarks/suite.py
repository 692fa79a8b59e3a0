"""``make bench``: every figure of the README's table, measured again in one run on one machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from tests.benchmarks import appends, commands, growth, lag, onsale, rebuilding
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
)
PLAIN_WIDTH = 150
"""Columns where the output is no terminal."""


def run(only: list[str], *, repetitions: int, output: Path) -> int:
    """Measure, print the table, append JSON lines to ``output``. 0 unless something could not be measured.

    A target that is missed is a result, not an error. Raises nothing for unknown names in ``only``: it answers 2.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    unknown = sorted(set(only) - set(NAMES))
    if unknown:
        console.print(f"[red]unknown:[/] {', '.join(unknown)}. There are: {', '.join(NAMES)}")
        return 2
    wanted = frozenset(only or NAMES)
    measurements: list[Measurement] = []
    failed = 0
    with workbench(console, repetitions) as bench:
        on = machine(bench.url, bench.directory)
        for stage in STAGES:
            names = wanted & set(stage.names)
            if not names:
                continue
            try:
                for measurement in stage.measure(bench, names):
                    record(measurement, on, output)
                    measurements.append(measurement)
            except BenchError as error:
                console.print(f"[red]not measured:[/] {', '.join(sorted(names))}: {error}", highlight=False)
                failed = 1
    show(measurements, on, console)
    console.print(f"The samples are in {output}", highlight=False)
    return failed
