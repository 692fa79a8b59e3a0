"""The tree grows behind the ledger: in whatever steps, by whoever leads, after whatever interruption, to the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Self

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, RestrictViolation

from adapters import tree
from adapters.audit_tree import StoredNodes
from adapters.fact_reader import LedgerGapError
from adapters.postgres import Role, conninfo
from adapters.tree import Growth, TreeBuilder, TreeForkedError, open_connection
from projections.merkle import EMPTY_ROOT, Frontier, Node, root_of
from tests.adapters.ledger_parts import SECRET, connection_count, scalar, terminate_connections
from tests.adapters.tree_parts import Writer, grow, heads_of, keys_of, leaves_of, stored_tree
from tests.api.callers import eventually

STOP_SECONDS_MAX = 10.0
DEATH_SECONDS_MAX = 60.0
FACTS = 150


def in_post_order(leaves: list[bytes]) -> bytes:
    frontier = Frontier()
    return b"".join(node for leaf in leaves for node in frontier.append(leaf))


class Building:
    """A builder on a thread, as in a worker."""

    def __init__(self, url: str) -> None:
        self.failure: BaseException | None = None
        self.builder = TreeBuilder(url, SECRET)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.builder.run(self._stop)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOP_SECONDS_MAX)
        assert not self._thread.is_alive()


def signed(url: str, size: int) -> Callable[[], bool]:
    return lambda: bool(heads := heads_of(url)) and heads[0].tree_size == size


def test_the_first_head_is_of_nothing(database: str) -> None:
    head = grow(database)
    assert (head.tree_size, head.root) == (0, EMPTY_ROOT)


def test_the_tree_is_that_of_the_rows(database: str) -> None:
    Writer(database).append(FACTS)
    head = grow(database)
    leaves = leaves_of(database)
    assert (head.tree_size, head.root) == (FACTS, root_of(leaves))
    assert stored_tree(database) == in_post_order(leaves)


@pytest.mark.parametrize("batch", [1, 7, 16, 33])
def test_in_whatever_steps_it_grows_its_bytes_are_the_same(
    database: str, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(tree, "BATCH_FACTS_MAX", batch)
    writer = Writer(database)
    for facts in (1, 2, 3, 45):
        writer.append(facts)
        grow(database)
    assert stored_tree(database) == in_post_order(leaves_of(database))
    assert scalar(database, "select max(last_leaf - first_leaf) from tree.nodes") < tree.ROW_LEAVES_MAX


def test_a_tree_that_was_lost_is_built_again_to_the_same_bytes(database: str) -> None:
    Writer(database).append(FACTS)
    head, stored = grow(database), stored_tree(database)
    with psycopg.connect(database) as connection:
        for table in ("nodes", "heads"):
            connection.execute(f"alter table tree.{table} disable trigger all".encode())
            connection.execute(f"delete from tree.{table}".encode())
    again = grow(database)
    assert (again.root, stored_tree(database)) == (head.root, stored)


def test_every_node_is_found_where_arithmetic_says_it_is(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the database and by an audit, however the leaves were cut into rows."""
    writer = Writer(database)
    for facts, batch in ((1, 1), (5, 2), (40, 40), (40, 3), (64, 16)):
        monkeypatch.setattr(tree, "BATCH_FACTS_MAX", batch)
        writer.append(facts)
        grow(database)
    frontier = Frontier()
    nodes = {
        Node(level, leaf >> level): found
        for leaf, content in enumerate(leaves_of(database))
        for level, found in enumerate(frontier.append(content))
    }
    query = "select tree.hashes_of(%s::bigint[], %s::int[])"
    places = [node.last_leaf + 1 for node in nodes], [node.level for node in nodes]
    assert scalar(database, query, *places) == list(nodes.values())
    assert scalar(database, query, [FACTS + 1, 1], [0, 0]) == [None, nodes[Node(0, 0)]]
    with psycopg.connect(database) as connection:
        stored = StoredNodes(connection)
        assert [stored.hash_of(node) for node in nodes] == list(nodes.values())
        assert stored.hash_of(Node(0, FACTS)) is None


def test_growing_again_changes_nothing(database: str) -> None:
    Writer(database).append(FACTS)
    head, stored = grow(database), stored_tree(database)
    assert (grow(database), stored_tree(database)) == (head, stored)
    assert heads_of(database) == [head]


def test_a_step_that_was_not_committed_is_taken_again(database: str) -> None:
    Writer(database).append(40)
    with open_connection(database) as connection:
        with connection.transaction(force_rollback=True):
            assert Growth(connection).step() == 40
        assert Growth(connection).size == 0
    assert grow(database).root == root_of(leaves_of(database))


def test_it_follows_what_is_recorded(database: str) -> None:
    writer = Writer(database)
    with Building(database) as building:
        for size, facts in ((1, 1), (30, 29), (60, 30)):
            writer.append(facts)
            eventually(signed(database, size))
    assert building.failure is None
    assert heads_of(database)[0].root == root_of(leaves_of(database))


def test_one_builds_and_another_takes_over(database: str) -> None:
    writer = Writer(database)
    writer.append(10)
    with Building(database) as one:
        eventually(signed(database, 10))
        with Building(database) as other:
            eventually(lambda: connection_count(database, "counterfoil tree") == 2)
            assert TreeBuilder(database, SECRET).catch_up() is None, "somebody is building"
            terminate_connections(database, "counterfoil tree")
            writer.append(10)
            eventually(signed(database, 20))
    assert (one.failure, other.failure) == (None, None)
    assert stored_tree(database) == in_post_order(leaves_of(database))


def test_a_gap_holds_it(database: str) -> None:
    Writer(database).append(20)
    with psycopg.connect(database) as connection:
        connection.execute("alter table ledger.events disable trigger all")
        connection.execute("delete from ledger.events where position = 11")
    with pytest.raises(LedgerGapError, match="19 facts between the positions 0 and 20"):
        TreeBuilder(database, SECRET).catch_up()
    with Building(database) as building:
        eventually(lambda: building.builder.problem == "19 facts between the positions 0 and 20")
    assert building.failure is None
    assert stored_tree(database) == b""


def test_a_ledger_that_was_cut_off_holds_it(database: str) -> None:
    Writer(database).append(20)
    grow(database)
    with psycopg.connect(database) as connection:
        connection.execute("alter table ledger.events disable trigger all")
        connection.execute("delete from ledger.events where position > 10")
        connection.execute("update ledger.head set position = 10")
    with pytest.raises(LedgerGapError, match="ends at position 10, and its tree has 20 leaves"):
        TreeBuilder(database, SECRET).catch_up()


# -- What was signed binds -------------------------------------------------------------


def tamper(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for table in ("ledger.events", "tree.nodes", "tree.heads"):
            connection.execute(f"alter table {table} disable trigger all".encode())
        for statement in statements:
            connection.execute(statement.encode())


FORGED = "update ledger.events set payload = '{}' where position = 7"
NO_TREE = "delete from tree.nodes"
OTHER_TREE = "update tree.nodes set hashes = decode(repeat('00', octet_length(hashes)), 'hex')"
CUT_OFF = "delete from ledger.events where position > 10", "update ledger.head set position = 10"


@pytest.mark.parametrize(
    ("deeds", "error"),
    [
        ((FORGED, NO_TREE), TreeForkedError),
        ((OTHER_TREE,), TreeForkedError),
        ((NO_TREE, *CUT_OFF), LedgerGapError),
        ((NO_TREE, "delete from ledger.events where position = 7"), LedgerGapError),
    ],
)
def test_no_head_is_signed_of_what_does_not_begin_with_what_was(
    database: str, monkeypatch: pytest.MonkeyPatch, deeds: tuple[str, ...], error: type[Exception]
) -> None:
    monkeypatch.setattr(tree, "BATCH_FACTS_MAX", 6)
    writer = Writer(database)
    writer.append(20)
    head = grow(database)
    writer.append(20)
    tamper(database, *deeds)
    for _ in range(2):  # the second time some of it has been built
        with pytest.raises(error):
            TreeBuilder(database, SECRET).catch_up()
    with Building(database) as building:
        eventually(lambda: building.builder.problem is not None)
    assert building.failure is None
    assert heads_of(database) == [head]


def test_a_builder_that_holds_goes_on_once_that_is_put_right(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "HELD_SECONDS", 0.1)
    writer = Writer(database)
    writer.append(20)
    grow(database)
    tamper(database, OTHER_TREE)
    with Building(database) as building:
        eventually(lambda: building.builder.problem is not None)
        tamper(database, NO_TREE)
        writer.append(20)
        eventually(signed(database, 40))
        assert building.builder.problem is None
    assert building.failure is None


def test_while_a_tree_that_was_lost_is_built_again_nothing_smaller_is_signed(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(database)
    writer.append(30)
    head = grow(database)
    tamper(database, NO_TREE)
    monkeypatch.setattr(tree, "BATCH_FACTS_MAX", 1)
    monkeypatch.setattr(tree, "HEAD_SECONDS_MIN", 0.0)
    with Building(database) as building:
        eventually(lambda: stored_tree(database) == in_post_order(leaves_of(database)))
        writer.append(2)
        eventually(signed(database, 32))
    assert building.failure is None
    assert [found.tree_size for found in heads_of(database)][-1] == head.tree_size


def test_a_ledger_that_never_had_a_tree_is_caught_up_with(database: str) -> None:
    """More facts than a builder takes calmly, and many batches of them."""
    facts = tree.BEHIND_FACTS_MAX + 5
    with psycopg.connect(database) as connection:
        connection.execute(
            "insert into ledger.events select p, gen_random_uuid(), 1, 'ticket.held', '{}', '{}', now()"
            f" from generate_series(1::bigint, {facts}) p".encode()
        )
        connection.execute(f"update ledger.head set position = {facts}, recorded_at = now()".encode())
    with Building(database) as building:
        eventually(signed(database, facts))
    assert building.failure is None
    assert heads_of(database)[0].root == root_of(leaves_of(database))


# -- A builder that is killed ----------------------------------------------------------

DYING = """
import os, signal, sys, threading
from psycopg import Connection
from adapters import tree
url, statement, times = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
tree.BATCH_FACTS_MAX, tree.HEAD_SECONDS_MIN, execute = 8, 0.0, Connection.execute
def dying(self, query, *arguments, **options):
    global times
    times -= statement in (query if isinstance(query, bytes) else b"")
    if times == 0:
        if sys.argv[4] == "after":
            execute(self, query, *arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, query, *arguments, **options)
Connection.execute = dying
tree.TreeBuilder(url, sys.argv[5].encode()).run(threading.Event())
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("statement", "times"),
    [("insert into tree.nodes", 3), ("insert into tree.keys", 1), ("insert into tree.heads", 2), ("pg_notify", 1)],
)
def test_whenever_it_is_killed_its_successor_comes_to_the_same(
    database: str, statement: str, times: int, when: str
) -> None:
    Writer(database).append(60)
    command = [sys.executable, "-c", DYING, database, statement, str(times), when, SECRET.decode()]
    died = subprocess.run(command, capture_output=True, text=True, timeout=DEATH_SECONDS_MAX, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    before = heads_of(database)
    head = grow(database)
    leaves = leaves_of(database)
    assert (head.tree_size, head.root) == (60, root_of(leaves))
    assert stored_tree(database) == in_post_order(leaves)
    kept = heads_of(database)
    assert kept[-len(before) or len(kept) :] == before, "what was signed stays signed"
    assert all(found.root == root_of(leaves[: found.tree_size]) for found in kept)
    assert len(keys_of(database)) == 1


# -- What is stored stays ----------------------------------------------------------

TABLES = ("nodes", "heads", "keys")
CHANGES = {"nodes": "hashes = ''", "heads": "root = ''", "keys": "public_key = ''"}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("session", ["origin", "replica"])
def test_even_a_superuser_is_refused_to_change_the_tree(database: str, table: str, session: str) -> None:
    Writer(database).append(3)
    grow(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"set session_replication_role = {session}".encode())
        for change in (
            f"update tree.{table} set {CHANGES[table]}",
            f"delete from tree.{table}",
            f"truncate tree.{table} cascade",
        ):
            with pytest.raises(RestrictViolation, match="append-only"):
                connection.execute(change.encode())


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("role", ["counterfoil_app", "counterfoil_projector"])
def test_the_application_lacks_the_right_to_change_the_tree(database: str, table: str, role: Role) -> None:
    with psycopg.connect(conninfo(database, role), autocommit=True) as connection:
        for change in (f"update tree.{table} set {CHANGES[table]}", f"delete from tree.{table}"):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(change.encode())


def test_who_serves_requests_cannot_add_to_the_tree(database: str) -> None:
    with psycopg.connect(conninfo(database, "counterfoil_app"), autocommit=True) as connection:
        for table in TABLES:
            with pytest.raises(InsufficientPrivilege):
                connection.execute(f"insert into tree.{table} select * from tree.{table}".encode())
