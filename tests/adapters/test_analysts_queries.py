"""The worked queries of docs/analysts.md answer what the facts say: of a season, and of whatever a town does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege

from adapters.postgres import conninfo, migrate
from adapters.projector import Projector
from adapters.rebuild import Rebuild
from adapters.replays import Replays
from domain.kernel import Aggregate
from domain.ticket import Ticket
from projections.registry import ALL
from tests.adapters.analyst_answers import ANSWERS, Rows, left_at
from tests.adapters.season import Season, Written, store
from tests.projections.town import NOW, Town

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "analysts.md").read_text()
QUERIES = dict(re.findall(r"^### (\d+\. .+?)$.*?^```sql\n(.*?);\n```", DOCUMENT, re.MULTILINE | re.DOTALL))
INSTANT = re.compile(r"position_at\('([^']+)'\)")
LIMIT = re.compile(r" limit \d+$")
TOWN_SEED, TOWN_ACTS = 7, 2_500
BETWEEN_FACTS = timedelta(seconds=4, microseconds=700_001)
JITTER_MILLISECONDS = 977
"""So that no two facts lie a round number of seconds apart."""


class Past(NamedTuple):
    url: str
    written: Sequence[Written]
    reader: Connection[tuple[object, ...]]


class Recording:
    """A ledger in memory, for a town that writes into it."""

    def __init__(self) -> None:
        self.written: list[Written] = []

    def save(self, *aggregates: Aggregate) -> int:
        for aggregate in aggregates:
            for version, fact in enumerate(aggregate.pending, aggregate.stored_version + 1):
                number = len(self.written)
                jitter = timedelta(milliseconds=number**2 % JITTER_MILLISECONDS)
                recorded_at = NOW - timedelta(hours=1) + number * BETWEEN_FACTS + jitter
                self.written.append(Written(aggregate.id, version, fact, recorded_at))
            aggregate.pending.clear()
        return len(self.written)


def a_town() -> Sequence[Written]:
    recording = Recording()
    town = Town(recording, Random(TOWN_SEED))
    town.act(TOWN_ACTS)
    recording.save(_dearer_the_second_time(town))
    return recording.written


def _dearer_the_second_time(town: Town) -> Ticket:
    """No organiser can change a price today; a query that takes the wrong hold's would not be found out otherwise."""
    event = next(iter(town.events.values()))
    tier_id = next(iter(event.tiers))
    ticket = Ticket(id=town.new_id())
    for price in (100, 200):
        if price == 200:
            ticket.release(cause="cancelled", at=town.now())
        hold = {"event_id": event.id, "tier_id": tier_id, "order_id": town.new_id(), "buyer_id": town.people[0]}
        ticket.hold(Ticket.Held.model_validate(hold | {"price": price, "until": NOW, "at": town.now()}))
    ticket.pay(at=town.now())
    return ticket


@pytest.fixture(scope="module", params=["season", "town"])
def past(request: pytest.FixtureRequest, postgres: str) -> Iterator[Past]:
    """A ledger with its views, and somebody who may only read."""
    written = Season().written if request.param == "season" else a_town()
    name = f"analysts_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    url = make_conninfo(postgres, dbname=name)
    try:
        migrate(url)
        store(url, written)
        assert Projector(url).catch_up() == len(written)
        with closing(psycopg.connect(conninfo(url, "counterfoil_reader"), autocommit=True)) as reader:
            yield Past(url, written, reader)
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def answers(past: Past, query: str) -> list[tuple[object, ...]]:
    """All of them: what is cut off for the reader of the document is cut off last."""
    return past.reader.execute(LIMIT.sub("", query).encode()).fetchall()


def test_ten_queries_are_worked_out_and_each_has_an_answer_to_be_held_against() -> None:
    assert [int(name.partition(".")[0]) for name in QUERIES] == list(range(1, len(QUERIES) + 1))
    assert len(QUERIES) == len(ANSWERS) + 1 >= 10


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
def test_a_query_answers_what_the_facts_say(past: Past, answer: Callable[[Sequence[Written]], Rows]) -> None:
    named = [query for query in QUERIES.values() if INSTANT.search(query) is None]
    expected = answer(past.written)
    assert expected, "there is something to be found"
    assert answers(past, named[ANSWERS.index(answer)]) == expected


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_what_was_left_is_told_of_any_moment(past: Past, share: float) -> None:
    [query] = [query for query in QUERIES.values() if INSTANT.search(query)]
    instant = past.written[int(share * (len(past.written) - 1))].recorded_at
    found = answers(past, INSTANT.sub(f"position_at('{instant.isoformat()}')", query))
    assert found == left_at(past.written, instant)


def test_what_was_left_at_the_moment_that_is_documented(past: Past) -> None:
    [(query, instant)] = [(query, found[1]) for query in QUERIES.values() if (found := INSTANT.search(query))]
    assert answers(past, query) == left_at(past.written, datetime.fromisoformat(f"{instant}:00"))


# -- What there is to read, and who may ----------------------------------------------------


def test_every_column_is_documented_with_its_type(past: Past) -> None:
    section = DOCUMENT.partition("### `ledger.facts`")[2].partition("Each `data` has")[0]
    documented = re.findall(r"^\| `(\w+)` \| `([\w ]+)` \|", section, re.MULTILINE)
    found = past.reader.execute(
        "select column_name, data_type from information_schema.columns"
        " where table_schema = 'ledger' and table_name = 'facts' order by ordinal_position"
    )
    assert documented == found.fetchall()


def test_facts_have_the_data_that_is_documented(past: Past) -> None:
    """Every member that is named is there, in each fact of the type; what is in brackets is said of the one before."""
    section = DOCUMENT.partition("Each `data` has")[2].partition("### The views")[0]
    rows = re.findall(r"^\| (`[a-z]+\.[^|]+`) \| ?([^|]*)\|", section, re.MULTILINE)
    assert len(rows) >= 12
    for types, members in rows:
        for kind in re.findall(r"`([a-z_.]+)`", types):
            named = set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", members)))
            query = "select bool_and(data ?& %s), count(*) from ledger.facts where type = %s"
            row = past.reader.execute(query, (sorted(named | {"at"}), kind)).fetchone()
            assert row is not None
            assert row[0] or row[1] == 0, (kind, named)


def test_the_tables_that_are_named_are_there(past: Past) -> None:
    section = DOCUMENT.partition("### The views")[2].partition("## Worked queries")[0]
    tables = re.findall(r"`((?:catalogue|orders|tickets|inventory|projections)\.\w+)`", section)
    assert len(tables) >= 8
    for table in tables:
        past.reader.execute(f"select count(*) from {table}".encode())


def test_who_reads_can_neither_write_nor_see_what_is_secret(past: Past) -> None:
    names = past.reader.execute(
        "select format('%I.%I', schemaname, tablename) from pg_tables"
        " where schemaname not in ('pg_catalog', 'information_schema')"
    )
    tables = {str(row[0]) for row in names}
    secret = {table for table in tables if table.partition(".")[0] in ("secrets", "privacy", "tree", "chain", "relay")}
    assert {table.partition(".")[0] for table in secret} == {"secrets", "privacy", "tree", "chain", "relay"}
    for table in sorted(secret | {"ledger.answers", "ledger.snapshots"}):
        with pytest.raises(InsufficientPrivilege):
            past.reader.execute(f"select from {table}".encode())
    for table in sorted(tables):
        with pytest.raises(InsufficientPrivilege):
            past.reader.execute(f"delete from {table}".encode())
    append = "select ledger.append(array[gen_random_uuid()], array[1], array['ticket.paid'], array[''::bytea], array[''::bytea])"
    with pytest.raises(InsufficientPrivilege):
        past.reader.execute(append.encode())


def test_who_reads_may_read_replays_and_views_that_were_made_anew(past: Past) -> None:
    Replays(past.url, ALL).build("half_way", len(past.written) // 2)
    Rebuild(past.url, ALL).run()
    for table in ("half_way.orders", "orders.orders"):
        row = past.reader.execute(f"select count(*) from {table}".encode()).fetchone()
        assert row is not None
        assert int(str(row[0])) > 0
    Replays(past.url, ALL).drop("half_way")


def test_who_reads_may_read_views_that_were_there_before_they_were(past: Past) -> None:
    """As in a database that is older than the role."""
    views = "catalogue, inventory, orders, tickets"
    with psycopg.connect(past.url, autocommit=True) as connection:
        connection.execute(f"revoke all on all tables in schema {views} from counterfoil_reader".encode())
        connection.execute(f"revoke all on schema {views} from counterfoil_reader".encode())
        with pytest.raises(InsufficientPrivilege):
            past.reader.execute("select from orders.orders")
        connection.execute((ROOT / "adapters" / "migrations" / "0011_reader.sql").read_text().encode())
    past.reader.execute("select from orders.orders")
