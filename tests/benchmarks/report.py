"""Measurements as a table for people and as JSON lines for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import NamedTemporaryFile
from time import perf_counter

import orjson
import psycopg
from rich.console import Console
from rich.table import Table

from tests.benchmarks.rows import ROWS, Row

FSYNCS = 100
PAGE_BYTES = 8_192
ROW = {row.name: row for row in ROWS}


@dataclass(frozen=True, slots=True)
class Measurement:
    """Samples of us and, taken in turn with them, of what we are divided by (none: our figure stands by itself)."""

    name: str
    ours: Sequence[float]
    peer: Sequence[float]
    unit: str
    notes: Mapping[str, object] = field(default_factory=dict)

    @property
    def row(self) -> Row:
        return ROW[self.name]

    @property
    def figures(self) -> list[float]:
        """One for each repetition: a ratio of neighbours in time, which the drift of a shared machine hits both."""
        if not self.peer:
            return list(self.ours)
        return [ours / peer for ours, peer in zip(self.ours, self.peer, strict=True)]

    @property
    def figure(self) -> float:
        return median(self.figures)

    def reaches(self, goal: float) -> bool:
        return self.figure <= goal if self.row.at_most else self.figure >= goal


def machine(url: str, directory: Path) -> dict[str, object]:
    """Where the figures were made. How long a flush takes tells more about them than the processor does."""
    with psycopg.connect(url) as connection:
        server = connection.execute("show server_version").fetchone()
        fsync = connection.execute("show fsync").fetchone()
    return {
        "counterfoil": version("counterfoil"),
        "python": platform.python_version(),
        "postgresql": server[0] if server else "unknown",
        "fsync": fsync[0] if fsync else "unknown",
        "flush_milliseconds": round(_flush_seconds(directory) * 1_000, 3),
        "cores": os.cpu_count(),
        "platform": platform.platform(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _flush_seconds(directory: Path) -> float:
    """The median time to write a page to the database's disk and flush it."""
    samples = []
    with NamedTemporaryFile(dir=directory) as file:
        for _ in range(FSYNCS):
            began = perf_counter()
            file.write(bytes(PAGE_BYTES))
            file.flush()
            os.fsync(file.fileno())
            samples.append(perf_counter() - began)
    return median(samples)


def record(measurement: Measurement, on: Mapping[str, object], output: Path) -> None:
    """Append one line, at once: what has been measured is kept, whatever happens to the rest."""
    row = measurement.row
    line = {
        "name": row.name,
        "what": row.what,
        "measured_at": datetime.now(UTC),
        "figure": measurement.figure,
        "figures": measurement.figures,
        "unit": row.unit,
        "target": row.target,
        "aim": row.aim,
        "better": "smaller" if row.at_most else "larger",
        "met": measurement.reaches(row.target),
        "aim_met": measurement.reaches(row.aim),
        "samples": {"unit": measurement.unit, "ours": list(measurement.ours), "peer": list(measurement.peer)},
        "notes": measurement.notes,
        "machine": on,
    }
    with output.open("ab") as file:
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))


def show(measurements: Sequence[Measurement], on: Mapping[str, object], console: Console) -> None:
    caption = (
        f"{on['cores']} cores · PostgreSQL {on['postgresql']}, fsync {on['fsync']}, {on['flush_milliseconds']} ms a flush"
        f" · Python {on['python']} · medians of {max((len(m.figures) for m in measurements), default=0)}"
    )
    table = Table(title="make bench", caption=caption)
    table.add_column("what", overflow="fold")
    for name in ("median", "min–max", "measured", "target", "aim", "met"):
        table.add_column(name, justify="right")
    for measured in measurements:
        row, figures = measured.row, measured.figures
        sign = "≤" if row.at_most else "≥"
        table.add_row(
            row.what,
            _short(measured.figure, row.unit),
            f"{_short(min(figures))}–{_short(max(figures), row.unit)}",
            _samples(measured),
            f"{sign} {_short(row.target, row.unit)}",
            f"{sign} {_short(row.aim, row.unit)}",
            _verdict(measured),
        )
    console.print(table)


def _verdict(measured: Measurement) -> str:
    if measured.reaches(measured.row.aim):
        return "[green]yes, and the aim[/]"
    return "[green]yes[/]" if measured.reaches(measured.row.target) else "[red]no[/]"


def _samples(measured: Measurement) -> str:
    sides = [_short(median(side)) for side in (measured.ours, measured.peer) if side]
    return f"{' ÷ '.join(sides)} {measured.unit}"


def _short(value: float, unit: str = "") -> str:
    """Three significant digits, or whole numbers with separators."""
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip() if unit == "s" else f"{text}{unit}"
