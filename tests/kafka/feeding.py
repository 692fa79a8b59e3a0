"""Views that are fed from Kafka: relay, feeds and the projector at work, and whether the views are what they should be.

``python -m tests.kafka.feeding URL BOOTSTRAP STEP TIMES``: a feed in a process of its own that kills itself, as a power
failure would, the n-th time it reaches a step of `Feed.on_step`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from adapters.kafka import feed as feed_room
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.feed import Feed
from adapters.projector import Projector
from adapters.rebuild import Rebuild
from projections.registry import ALL
from tests.kafka.deaths import dying_at
from tests.kafka.parts import at_work, head, scalar, settings_for, until

SECRET = b"the secret of the tests, long enough"
FED = [projection for projection in ALL if projection.by_stream]
SMALL_PAGE = 20


def feed(database: str, kafka: KafkaSettings) -> Feed:
    return Feed(database, kafka, SECRET, FED)


@contextmanager
def feeding(*feeds: Feed) -> Iterator[None]:
    """One after the other, so that each beginning is a rebalance."""
    if not feeds:
        yield
        return
    with at_work(feeds[0].run), feeding(*feeds[1:]):
        yield


@contextmanager
def projecting(database: str) -> Iterator[None]:
    """From the table, for the views that nobody feeds."""
    with at_work(Projector(database, fed=[projection.name for projection in FED]).run):
        yield


def reached(database: str) -> int:
    """What every view has."""
    count = scalar(database, "select count(*) from projections.cursors")
    return int(scalar(database, "select min(position) from projections.cursors")) if count == len(ALL) else -1


def until_level(database: str) -> None:
    until(lambda: reached(database) == head(database))


def check_views(database: str) -> None:
    """Every view is what it becomes when it is made from the ledger in order; and there is something in it."""
    reports = Rebuild(database, ALL).run()
    assert {report.name: report.equal for report in reports} == dict.fromkeys((p.name for p in ALL), True)
    assert all(report.facts == head(database) and not report.dead_streams for report in reports)


def main(url: str, bootstrap: str, step: str, times: int) -> None:
    feed_room.PAGE_FACTS = SMALL_PAGE
    dying = feed(url, settings_for(bootstrap))
    dying.on_step = dying_at(step, times)
    dying.run(threading.Event())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
