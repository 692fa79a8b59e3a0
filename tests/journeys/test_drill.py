"""The restore drill, small: everything that `make drill` does, on a few orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from adapters.embedded import EmbeddedPostgres
from tests.journeys.drill import Drill, DrillError

ORDERS = 16


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    drill = Drill(tmp_path_factory.mktemp("drill"), ORDERS)
    try:
        drill.run()
        yield drill
    finally:
        drill.restored.stop()


def test_what_was_destroyed_is_back_as_it_was_at_that_moment(drill: Drill) -> None:
    assert drill.moment is not None
    assert f"nothing was altered up to position {drill.moment.position}" in drill.said
    assert f"Restored up to position {drill.moment.position}," in drill.said
    assert "Lost: at least the" in drill.said, "a head of later facts was kept"
    orders = drill.moment.books["orders"]["orders"]
    assert orders.rows == 2 * ORDERS, "neither one missing nor one of those that came later"


def test_who_was_erased_after_that_moment_is_erased_again(drill: Drill) -> None:
    assert "Erased after this moment, and now again: 1 accounts" in drill.said
    erased = _run(drill, "select stream_id, metadata ->> 'actor' from ledger.facts where topic = 'account.erased'")
    assert [actor for _, actor in erased] == ["system:restore"]
    assert _run(drill, f"select wrapped from privacy.subject_keys where subject = '{erased[0][0]}'") == [(None,)]


def test_the_drill_would_notice(drill: Drill) -> None:
    _run(
        drill,
        "update orders.orders set total_amount = total_amount + 1 where ctid = (select min(ctid) from orders.orders)",
    )
    with pytest.raises(DrillError, match="the views: orders of orders"):
        drill.compare()
    _run(
        drill,
        "alter table ledger.events disable trigger all; update ledger.events set payload = '{}' where position = 9",
    )
    with pytest.raises(DrillError, match="position 9: changed"):
        drill.compare()


def _run(drill: Drill, statement: str) -> list[tuple[object, ...]]:
    server = EmbeddedPostgres(Path(drill.restored.data_dir))
    with closing(psycopg.connect(server.start(), autocommit=True)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description is not None else []
