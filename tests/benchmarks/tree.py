"""What tamper evidence costs: appends while the tree grows behind them, a proof from a large tree, a whole audit."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from random import Random
from statistics import median
from time import perf_counter

import psycopg
import uvloop
from psycopg_pool import AsyncConnectionPool

from adapters.audit import audit_ledger
from adapters.ledger_rows import canonical_rows
from adapters.postgres import conninfo
from adapters.tree import TREE_LOCK, TreeBuilder
from adapters.tree_reader import TreeReader
from tests.benchmarks.appends import _append, _fact
from tests.benchmarks.harness import Bench, BenchError
from tests.benchmarks.report import Measurement

NAMES = ("tree-append", "tree-proof", "tree-verify")
CLIENTS = 512
PAIRS = 2
"""With the tree and without, then without and with: in each round so often."""
LEVEL_SECONDS_MAX = 60.0
POLL_SECONDS = 0.02
LEAVES = 1_000_000
PROOFS = 1_000
WARM_UP = 200
SEED = 9162

BEHIND = b"""
    select (select position from ledger.head) - coalesce(max(last_leaf), 0) from tree.nodes"""
LEADS = b"""
    select exists (select from pg_locks l join pg_database d on d.oid = l.database
                    where d.datname = current_database() and l.locktype = 'advisory' and l.objid = %s and l.granted)"""
FILL = b"""
    insert into ledger.events
    select p, gen_random_uuid(), 1, 'ticket.held', f.payload || convert_to(p::text, 'UTF8'), f.metadata,
           timestamptz '2026-01-01' + p * interval '1 ms'
      from generate_series(1::bigint, %s::bigint) p,
           (select convert_to(repeat('payload ', 36), 'UTF8') payload, convert_to(repeat('meta ', 34), 'UTF8') metadata) f"""
ROW = b"""
    select position, stream_id, version, topic, payload, metadata, recorded_at from ledger.events where position = %s"""


def measure(bench: Bench, wanted: Collection[str]) -> Iterator[Measurement]:
    if "tree-append" in wanted:
        yield _appends(bench)
    if "tree-proof" in wanted or "tree-verify" in wanted:
        yield from _large(bench, wanted)


# -- Appending ---------------------------------------------------------------------


def _appends(bench: Bench) -> Measurement:
    url = bench.database()
    rates: dict[bool, list[float]] = {True: [], False: []}
    behind: list[int] = []
    with bench.steps("Tree", 2 * PAIRS * bench.repetitions) as step:
        for repetition in range(1, bench.repetitions + 1):
            turns = [True, False, False, True] * (PAIRS // 2)
            samples: dict[bool, list[float]] = {True: [], False: []}
            for grown in turns:
                step(f"appends {'with' if grown else 'without'} the tree, round {repetition}")
                samples[grown].append(_rate(url, bench.secret, behind) if grown else _plain_rate(url, bench.secret))
            for grown, found in samples.items():
                rates[grown].append(sum(found) / len(found))
    return Measurement("tree-append", rates[True], rates[False], "facts/s", {"facts_behind_at_the_end": behind})


def _plain_rate(url: str, secret: bytes) -> float:
    return float(uvloop.run(_append(url, secret, _fact(), CLIENTS)))


def _rate(url: str, secret: bytes, behind: list[int]) -> float:
    with _builder(url, secret):
        _until_built(url)
        _until_level(url)
        rate = _plain_rate(url, secret)
        behind.append(_behind(url))
        _until_level(url)
    return rate


@contextmanager
def _builder(url: str, secret: bytes) -> Iterator[None]:
    """In a process of its own, as the worker is."""
    process = multiprocessing.get_context("spawn").Process(target=_build, args=(url, secret), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _build(url: str, secret: bytes) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    TreeBuilder(url, secret).run(stop)


def _behind(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(BEHIND).fetchone()
    assert row is not None
    return int(row[0])


def _until_built(url: str) -> None:
    """Its start, with all that is imported, is no part of what is measured."""
    deadline = perf_counter() + LEVEL_SECONDS_MAX
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(LEADS, (TREE_LOCK,)).fetchone() != (True,):
            if perf_counter() > deadline:
                raise BenchError("nobody builds the tree")
            time.sleep(POLL_SECONDS)


def _until_level(url: str) -> None:
    deadline = perf_counter() + LEVEL_SECONDS_MAX
    while (behind := _behind(url)) > 0:
        if perf_counter() > deadline:
            raise BenchError(f"the tree is still {behind} facts behind")
        time.sleep(POLL_SECONDS)


# -- A large tree ------------------------------------------------------------------


def _large(bench: Bench, wanted: Collection[str]) -> Iterator[Measurement]:
    with bench.steps("Tree", 2 + 2 * bench.repetitions) as step:
        step(f"a ledger of {LEAVES:,} facts")
        url = _filled(bench)
        step("its tree")
        began = perf_counter()
        TreeBuilder(url, bench.secret).catch_up()
        notes = {"leaves": LEAVES, "built_per_second": round(LEAVES / (perf_counter() - began))}
        if "tree-proof" in wanted:
            step("proofs")
            times = uvloop.run(_proofs(url, bench.repetitions))
            yield Measurement("tree-proof", *times, "ms", notes)
        if "tree-verify" in wanted:
            verified, hashed = [], []
            for repetition in range(1, bench.repetitions + 1):
                step(f"verifying, round {repetition}")
                verified.append(_verify(url))
                step(f"hashing, round {repetition}")
                hashed.append(_hash(url))
            yield Measurement("tree-verify", verified, hashed, "facts/s", notes)


def _filled(bench: Bench) -> str:
    url = bench.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL, (LEAVES,))
        connection.execute("update ledger.head set position = %s, recorded_at = now()", (LEAVES,))
        connection.execute("vacuum analyze ledger.events")
    return url


async def _proofs(url: str, repetitions: int) -> tuple[list[float], list[float]]:
    """For each round the median milliseconds of a proof, and of fetching a row by its key, over the same pool."""
    random = Random(SEED)
    pool = AsyncConnectionPool(conninfo(url, "counterfoil_app"), min_size=1, kwargs={"autocommit": True}, open=False)
    async with pool:
        reader = TreeReader(pool)

        async def proof(position: int) -> float:
            began = perf_counter()
            await reader.inclusions([position], LEAVES)
            return 1e3 * (perf_counter() - began)

        async def row(position: int) -> float:
            began = perf_counter()
            async with pool.connection() as connection:
                cursor = connection.cursor(binary=True)
                await cursor.execute(ROW, (position,), prepare=True)
                await cursor.fetchall()
            return 1e3 * (perf_counter() - began)

        for position in range(1, WARM_UP):
            await proof(position)
            await row(position)
        proofs: list[float] = []
        rows: list[float] = []
        for _ in range(repetitions):
            positions: Sequence[int] = [random.randint(1, LEAVES) for _ in range(PROOFS)]
            pairs = [(await proof(position), await row(position)) for position in positions]
            proofs.append(median(pair[0] for pair in pairs))
            rows.append(median(pair[1] for pair in pairs))
        return proofs, rows


def _verify(url: str) -> float:
    """Facts per second. Raises BenchError when it finds what is not there."""
    began = perf_counter()
    audit = audit_ledger(url, [], [])
    seconds = perf_counter() - began
    if audit.findings or audit.doubts or audit.covered != LEAVES:
        raise BenchError(f"an audit of an untouched ledger found {audit.findings or audit.doubts}")
    return LEAVES / seconds


def _hash(url: str) -> float:
    """Facts per second of one loop over the same bytes, which are there already."""
    seconds = 0.0
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        for page in canonical_rows(connection):
            began = perf_counter()
            for content in page:
                sha256(content).digest()
            seconds += perf_counter() - began
    return LEAVES / seconds
