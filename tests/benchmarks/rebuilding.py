"""How fast every view is made anew, against reading and decoding the same ledger once and doing nothing with it.

And how fast the same views are made as of a position and kept, against making them anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from time import perf_counter

import psycopg
import uvloop

from adapters.postgres import conninfo
from adapters.projector import Projector
from adapters.rebuild import Rebuild
from adapters.replays import Replays
from domain.kernel import decode
from projections.kernel import Recorded
from projections.registry import ALL
from tests.benchmarks.harness import Bench, BenchError
from tests.benchmarks.report import Measurement
from tests.benchmarks.world import fill

NAMES = ("rebuild", "replay")
FACTS = 300_000
PAGE_FACTS = 1_000
"""Small pages that are dropped at once make the fastest reader, and so the fairest peer."""
PAGE = b"""
    select position, stream_id, version, topic, payload, recorded_at from ledger.events
     where position > %b::bigint and position <= %b::bigint order by position"""


def measure(bench: Bench, _: Collection[str]) -> Iterator[Measurement]:
    url = bench.database()
    rebuilt: list[float] = []
    read: list[float] = []
    replayed: list[float] = []
    with bench.steps("Rebuild", 2 + 3 * bench.repetitions) as step:
        step(f"a ledger of {FACTS:,} facts")
        facts = uvloop.run(fill(url, bench.secret, FACTS)).facts
        step("its views")
        Projector(url, ALL).catch_up()
        for repetition in range(1, bench.repetitions + 1):
            step(f"reading and decoding, round {repetition}")
            read.append(_read(url, facts))
            step(f"rebuilding, round {repetition}")
            rebuilt.append(_rebuild(url, facts))
            step(f"replaying, round {repetition}")
            replayed.append(_replay(url, facts))
    yield Measurement("rebuild", rebuilt, read, "facts/s", {"facts": facts, "views": [view.name for view in ALL]})
    yield Measurement("replay", replayed, rebuilt, "facts/s", {"facts": facts})


def _read(url: str, facts: int) -> float:
    """Facts per second of one reader: in pages, binary, each fact decoded to what a projection is handed."""
    began = perf_counter()
    position = 0
    with closing(psycopg.connect(conninfo(url, "counterfoil_projector"), prepare_threshold=0)) as connection:
        cursor = connection.cursor(binary=True)
        while position < facts:
            cursor.execute(PAGE, (position, position + PAGE_FACTS))
            for at, stream_id, version, topic, payload, recorded_at in cursor.fetchall():
                position = Recorded(at, stream_id, version, decode(topic, payload), recorded_at).position
    return facts / (perf_counter() - began)


def _rebuild(url: str, facts: int) -> float:
    """Facts per second until the new views are in the places of the old. Raises BenchError if they differ."""
    began = perf_counter()
    reports = Rebuild(url, ALL).run()
    seconds = perf_counter() - began
    if wrong := [report.name for report in reports if report.equal is False or report.facts != facts]:
        raise BenchError(f"rebuilt, and not the same as before: {', '.join(wrong)}")
    return facts / seconds


def _replay(url: str, facts: int) -> float:
    """Facts per second until the replay can be read. Raises BenchError if it is not of the whole ledger."""
    replays = Replays(url, ALL)
    began = perf_counter()
    replay = replays.build("bench", facts).replay
    seconds = perf_counter() - began
    if replay.position != facts or replay.dead_streams:
        raise BenchError(f"a replay of {replay.position} facts without {replay.dead_streams} streams")
    replays.drop("bench")
    return facts / seconds
