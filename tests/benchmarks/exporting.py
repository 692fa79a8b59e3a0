"""Whether exports and streams stay as small in memory as the ledger grows: the same of few facts and of many."""

from __future__ import annotations

import asyncio
import multiprocessing
import re
from collections.abc import Collection, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg
import uvloop

from adapters.export_files import Form
from adapters.tree import TreeBuilder
from adapters.tree_export import export_ledger, exportable
from api.client import Client
from tests.benchmarks.box_office import signed_in
from tests.benchmarks.harness import Bench, BenchError
from tests.benchmarks.report import Measurement
from tests.benchmarks.served import ADMIN, served_alone

NAMES = ("export-memory", "stream-memory")
FACTS_LARGE = 1_000_000
EXPORTED_SMALL = 50_000
"""More than Parquet's row group, so that both fill what is filled once."""
STREAMED_SMALL = 100_000
READ_BYTES = 1 << 16
READ_SECONDS_MAX = 60.0

FILL = b"""
    insert into ledger.events
    select p, gen_random_uuid(), 1, 'ticket.held',
           convert_to(format('{"at":"2026-01-01T00:00:00Z","number":%%s,"note":"%%s"}', p, f.note), 'UTF8'),
           convert_to(format('{"actor":"system:bench","note":"%%s"}', f.note), 'UTF8'),
           timestamptz '2026-01-01' + p * interval '1 ms'
      from generate_series(1::bigint, %s::bigint) p, (select repeat('words ', 40) note) f"""
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def measure(
    bench: Bench,
    wanted: Collection[str],
    *,
    large: int = FACTS_LARGE,
    exported: int = EXPORTED_SMALL,
    streamed: int = STREAMED_SMALL,
) -> Iterator[Measurement]:
    if wanted:
        with bench.steps("Memory", 1) as step:
            step(f"a ledger of {large:,} facts")
            url = _ledger(bench, large)
        if "export-memory" in wanted:
            yield _exports(bench, url, large, exported)
        if "stream-memory" in wanted:
            yield _streams(bench, url, large, streamed)


def _ledger(bench: Bench, facts: int) -> str:
    url = bench.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL, (facts,))
        connection.execute("update ledger.head set position = %s, recorded_at = now()", (facts,))
        connection.execute("vacuum analyze ledger.events")
    return url


# -- Exports -----------------------------------------------------------------------


def _exports(bench: Bench, url: str, large: int, small: int) -> Measurement:
    """The most megabytes that a process ever had that exported the ledger as Parquet, which needs the most."""
    with bench.steps("Export", 2 + 2 * bench.repetitions) as step:
        urls = {large: url}
        step(f"a ledger of {small:,} facts")
        urls[small] = _ledger(bench, small)
        step("their trees")
        for each in urls.values():
            TreeBuilder(each, bench.secret).catch_up()
        found: dict[int, list[float]] = {large: [], small: []}
        for repetition in range(1, bench.repetitions + 1):
            for facts, each in urls.items():
                step(f"{facts:,} facts as Parquet, round {repetition}")
                found[facts].append(_export_elsewhere(each, bench.directory))
    return Measurement("export-memory", found[large], found[small], "MB", {"facts": [large, small]})


def _export_elsewhere(url: str, directory: Path) -> float:
    """In a process of its own."""
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory(dir=directory) as target, context.Pool(1) as pool:
        return pool.apply(_export, (url, target))


def _export(url: str, target: str) -> float:
    export_ledger(url, Path(target), Form.PARQUET, exportable(url), abs)
    return _peak_megabytes("self")


def _peak_megabytes(process: int | str) -> float:
    """The most that a process ever had in memory since it became the program that it is.

    Not `getrusage`, which begins with what the process had that started it. Raises BenchError where there is no /proc.
    """
    try:
        found = PEAK.search(Path(f"/proc/{process}/status").read_text())
    except OSError as error:
        raise BenchError(f"what memory a process takes is known on Linux only: {error}") from error
    if found is None:
        raise BenchError("the system does not say what memory a process takes")
    return int(found[1]) / 1024


# -- Streams -----------------------------------------------------------------------


def _streams(bench: Bench, url: str, large: int, small: int) -> Measurement:
    """The most megabytes that an API ever had that streamed so many facts to somebody who reads as fast as they can."""
    found: dict[int, list[float]] = {large: [], small: []}
    with bench.steps("Stream", 2 * bench.repetitions) as step:
        for repetition in range(1, bench.repetitions + 1):
            for facts in (large, small):
                step(f"{facts:,} facts as lines, round {repetition}")
                found[facts].append(uvloop.run(_stream(bench, url, facts)))
    return Measurement("stream-memory", found[large], found[small], "MB", {"facts": [large, small]})


async def _stream(bench: Bench, url: str, facts: int) -> float:
    async with served_alone(bench, url) as server, Client(server.base_url) as client:
        analyst = await signed_in(client, *ADMIN)
        await asyncio.to_thread(_read_lines, server.base_url, f"Bearer {analyst.token}", facts)
        return _peak_megabytes(server.pid)


def _read_lines(base_url: str, authorization: str, facts: int) -> None:
    """Raises BenchError unless all of them come."""
    address = urlsplit(base_url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=READ_SECONDS_MAX)
    headers = {"accept": "application/x-ndjson", "authorization": authorization}
    lines, end = 0, b""
    try:
        connection.request("GET", f"/v1/ledger/events?as_of={facts}", headers=headers)
        answer = connection.getresponse()
        while some := answer.read(READ_BYTES):
            lines += some.count(b"\n")
            end = (end + some)[-READ_BYTES:]
    except (HTTPException, OSError) as error:
        raise BenchError(f"the stream broke off after {lines:,} lines: {error!r}") from error
    finally:
        connection.close()
    if lines != facts + 1 or not end.endswith(b'"complete":true}\n'):
        raise BenchError(f"{lines:,} lines came, of which the last is {end[-100:]!r}")
