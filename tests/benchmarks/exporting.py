"""Whether an export stays as small in memory as the ledger grows: the same program on a small ledger and on a large one."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from adapters.export_files import Form
from adapters.tree import TreeBuilder
from adapters.tree_export import export_ledger, exportable
from tests.benchmarks.harness import Bench
from tests.benchmarks.report import Measurement
from tests.benchmarks.tree import FILL

NAMES = ("export-memory",)
FACTS_LARGE = 1_000_000
FACTS_SMALL = 50_000
"""More than Parquet's row group, so that both fill what is filled once."""


def measure(
    bench: Bench, wanted: Collection[str], *, large: int = FACTS_LARGE, small: int = FACTS_SMALL
) -> Iterator[Measurement]:
    """The most megabytes that a process ever had that exported the ledger as Parquet, which needs the most."""
    if not wanted:
        return
    with bench.steps("Export", 2 + 2 * bench.repetitions) as step:
        urls = {}
        for facts in (large, small):
            step(f"a ledger of {facts:,} facts and its tree")
            urls[facts] = _ledger(bench, facts)
        found: dict[int, list[float]] = {large: [], small: []}
        for repetition in range(1, bench.repetitions + 1):
            for facts, url in urls.items():
                step(f"{facts:,} facts as Parquet, round {repetition}")
                found[facts].append(_megabytes(url, bench.directory))
    yield Measurement("export-memory", found[large], found[small], "MB", {"facts": [large, small]})


def _ledger(bench: Bench, facts: int) -> str:
    url = bench.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL, (facts,))
        connection.execute("update ledger.head set position = %s, recorded_at = now()", (facts,))
        connection.execute("vacuum analyze ledger.events")
    TreeBuilder(url, bench.secret).catch_up()
    return url


def _megabytes(url: str, directory: Path) -> float:
    """Of a process of its own."""
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(dir=directory) as target, context.Pool(1) as pool:
        return pool.apply(_export, (url, target))


def _export(url: str, target: str) -> float:
    export_ledger(url, Path(target), Form.PARQUET, exportable(url), abs)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
