"""However facts are cut into batches, and whether they are loaded in bulk, the same rows come of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from adapters import view_schema
from adapters.view_bulk import BulkWriter
from adapters.view_cursors import open_connection
from adapters.view_writer import ViewWriter
from projections.kernel import Projection, Table
from projections.rows import Rows

THINGS = Table(
    "things",
    key=("thing_id",),
    columns={"thing_id": "uuid", "name": "text null", "tags": "text[]", "papers": "jsonb", "number": "int4"},
)
COUNTS = Table("counts", key=("place", "day"), columns={"place": "text", "day": "int4", "visits": "int8 default 0"})
TOTALS = Table(
    "totals",
    key=("thing_id", "position"),
    columns={"thing_id": "uuid", "position": "int8", "came": "int4", "went": "int4"},
    append_only=True,
)
VERSIONS = Table(
    "versions",
    key=("thing_id", "position"),
    columns={"thing_id": "uuid", "position": "int8", "name": "text null", "number": "int4"},
)
LOG = Table("log", key=("position",), columns={"position": "int8", "note": "text"}, append_only=True)


class Toys(Projection):
    name = "toys"
    version = 1
    tables = (THINGS, COUNTS, TOTALS, VERSIONS, LOG)


IDS = [UUID(int=number) for number in range(1, 4)]
NAMES = st.sampled_from(["a", "b\\n'\"\t", "Ł🎫", None])
NUMBERS = st.integers(-5, 5)

Operation = Callable[[Rows, int, "Model"], None]


class Model:
    """What would be there had each operation been written by itself."""

    def __init__(self) -> None:
        self.things: dict[UUID, dict[str, Any]] = {}
        self.counts: dict[tuple[str, int], int] = {}
        self.totals: dict[tuple[UUID, int], tuple[int, int]] = {}
        self.versions: dict[tuple[UUID, int], tuple[str | None, int]] = {}
        self.log: dict[int, str] = {}

    def latest(self, of: dict[tuple[UUID, int], Any], key: UUID, blank: Any) -> Any:
        return of[max(k for k in of if k[0] == key)] if any(k[0] == key for k in of) else blank


def whole(name: str | None, number: int) -> dict[str, Any]:
    return {"name": name, "tags": [f"{number}", "{,}"], "papers": {"name": name, "list": [number]}, "number": number}


def write_thing(key: UUID, name: str | None, number: int, *, put: bool) -> Operation:
    def operation(rows: Rows, position: int, model: Model) -> None:
        if put or key in model.things:
            rows.put(THINGS, key, **whole(name, number))
        else:
            rows.insert(THINGS, key, **whole(name, number))
        model.things[key] = whole(name, number)

    return operation


def patch_thing(key: UUID, name: str | None, number: int | None) -> Operation:
    def operation(rows: Rows, position: int, model: Model) -> None:
        changes: dict[str, Any] = {"name": name} if number is None else {"name": name, "number": number}
        rows.patch(THINGS, key, **changes)
        if key in model.things:
            model.things[key] |= changes

    return operation


def add_to_thing(key: UUID, number: int) -> Operation:
    def operation(rows: Rows, position: int, model: Model) -> None:
        if key in model.things:
            rows.add(THINGS, key, number=number)
            model.things[key]["number"] += number

    return operation


def count(place: str, day: int, visits: int) -> Operation:
    def operation(rows: Rows, position: int, model: Model) -> None:
        rows.add(COUNTS, (place, day), visits=visits)
        model.counts[place, day] = model.counts.get((place, day), 0) + visits

    return operation


def tally(key: UUID, came: int, went: int | None) -> Operation:
    def operation(rows: Rows, position: int, model: Model) -> None:
        deltas = {"came": came} if went is None else {"came": came, "went": went}
        rows.tally(TOTALS, key, position, **deltas)
        before = model.latest(model.totals, key, (0, 0))
        model.totals[key, position] = (before[0] + came, before[1] + (went or 0))

    return operation


def revise(key: UUID, name: str | None, number: int | None) -> Operation:
    def operation(rows: Rows, position: int, model: Model) -> None:
        before = model.latest(model.versions, key, None)
        if before is None or number is not None:
            rows.revise(VERSIONS, key, position, name=name, number=number or 0)
            model.versions[key, position] = (name, number or 0)
        else:
            rows.revise(VERSIONS, key, position, name=name)
            model.versions[key, position] = (name, before[1])

    return operation


def note(text: str) -> Operation:
    def operation(rows: Rows, position: int, model: Model) -> None:
        rows.append(LOG, position=position, note=text)
        model.log[position] = text

    return operation


OPERATIONS = st.one_of(
    st.builds(write_thing, st.sampled_from(IDS), NAMES, NUMBERS, put=st.booleans()),
    st.builds(patch_thing, st.sampled_from(IDS), NAMES, st.none() | NUMBERS),
    st.builds(add_to_thing, st.sampled_from(IDS), NUMBERS),
    st.builds(count, st.sampled_from(["North", "it's"]), st.integers(1, 2), NUMBERS),
    st.builds(tally, st.sampled_from(IDS), NUMBERS, st.none() | NUMBERS),
    st.builds(revise, st.sampled_from(IDS), NAMES, st.none() | NUMBERS),
    st.builds(note, st.sampled_from(["", "\\N", "\\"])),
)


@pytest.fixture
def connection(database: str) -> Iterator[Connection[Any]]:
    with closing(open_connection(database)) as connection:
        view_schema.create(connection, Toys(), "toys")
        view_schema.create(connection, Toys(), "bulk")
        yield connection


def written(connection: Connection[Any], writer: ViewWriter, batches: Sequence[Sequence[Operation]]) -> Model:
    model, position = Model(), 0
    for table in Toys.tables:
        connection.execute(f"truncate {writer.schema}.{table.name}".encode())
    for batch in batches:
        rows = Rows()
        for operation in batch:
            position += 1
            operation(rows, position, model)
        writer.write(rows)
    return model


def assert_is(connection: Connection[Any], schema: str, model: Model) -> None:
    def all_of(table: Table) -> list[tuple[Any, ...]]:
        return connection.execute(f"select {', '.join(table.columns)} from {schema}.{table.name}".encode()).fetchall()

    things = {key: (row["name"], row["tags"], row["papers"], row["number"]) for key, row in model.things.items()}
    assert {row[0]: row[1:] for row in all_of(THINGS)} == things
    assert {row[:2]: row[2] for row in all_of(COUNTS)} == model.counts
    assert {row[:2]: row[2:] for row in all_of(TOTALS)} == model.totals
    assert {row[:2]: row[2:] for row in all_of(VERSIONS)} == model.versions
    assert dict(all_of(LOG)) == model.log


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(OPERATIONS, max_size=12), max_size=4))
def test_batches_of_any_size_leave_the_same_rows(
    connection: Connection[Any], batches: Sequence[Sequence[Operation]]
) -> None:
    assert_is(connection, "toys", written(connection, ViewWriter(connection.cursor(), Toys(), "toys"), batches))
    assert_is(connection, "bulk", written(connection, BulkWriter(connection.cursor(), Toys(), "bulk"), batches))


def test_a_row_that_is_inserted_twice_is_refused(connection: Connection[Any]) -> None:
    for batches in ([2], [1, 1]):
        writer = ViewWriter(connection.cursor(), Toys(), "toys")
        connection.execute("truncate toys.things")
        with pytest.raises(psycopg.errors.UniqueViolation):  # noqa: PT012 - whichever batch it is that fails
            for size in batches:
                rows = Rows()
                for _ in range(size):
                    rows.insert(THINGS, IDS[0], **whole("a", 1))
                writer.write(rows)


def test_a_history_row_at_a_position_that_has_one_is_refused(connection: Connection[Any]) -> None:
    rows = Rows()
    rows.tally(TOTALS, IDS[0], 1, came=1)
    rows.tally(TOTALS, IDS[0], 1, came=1)
    with pytest.raises(psycopg.errors.UniqueViolation):
        ViewWriter(connection.cursor(), Toys(), "toys").write(rows)
