"""Grows the Merkle tree behind the ledger's writers, and has its heads signed. One process at a time does it."""

from __future__ import annotations

import threading
from contextlib import closing
from time import monotonic, thread_time
from typing import Any

import psycopg
import structlog
from psycopg import Connection

from adapters.fact_reader import LedgerGapError
from adapters.follower import LEDGER_CHANNEL
from adapters.heads import HeadSigner, latest_heads
from adapters.ledger_rows import leaf_of, stored_rows
from adapters.postgres import conninfo
from projections.ledger_head import SignedHead
from projections.merkle import Frontier, Range, cover, fold

TREE_LOCK = 0x0C0F_0009
"""Advisory lock of the one builder. It is the session's, so it ends with the connection the builder writes on."""
LEADER_POLL_SECONDS = 0.5
BATCH_FACTS_MAX = 4_096
BATCH_SECONDS_MIN = 0.1
"""Batches begin no closer together than this while the tree is level: few large ones leave the disk to the writers."""
BUSY_SHARE_MAX = 0.05
"""Of a processor while facts come in, which is enough for some 20,000 a second; what is more waits for a calmer moment."""
BEHIND_FACTS_MAX = 100_000
"""Further behind than that the tree takes what it needs."""
HEAD_SECONDS_MIN = 1.0
"""Heads are kept for ever; a busy ledger signs one a second."""
ROW_LEAVES_MAX = 16
"""Keeps a row under two kilobytes, from where on PostgreSQL would store it elsewhere."""
POLL_SECONDS = 1.0
"""A fallback: what a lost notification would otherwise delay for ever."""
STOP_POLL_SECONDS = 0.1
BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 5.0
HELD_SECONDS = 10.0
"""Between looks whether an operator has put right what no builder may go on from."""
FAILURES_MAX = 200
"""In a row, which with the longest back-off is a quarter of an hour without a database."""

SIZE = b"select coalesce(max(last_leaf), 0) from tree.nodes"
HEAD = b"select position from ledger.head"
HASHES = b"select tree.hashes_of(%s::bigint[], %s::int[])"
INSERT = b"""
    insert into tree.nodes (first_leaf, last_leaf, hashes)
    select * from unnest(%b::bigint[], %b::bigint[], %b::bytea[])"""

log = structlog.get_logger()


class TreeForkedError(RuntimeError):
    """What is stored does not begin with what was signed. To sign it would be to testify against oneself."""


class TreeBuilder:
    """Synchronous: for a thread or a process of its own."""

    def __init__(self, url: str, secret: bytes) -> None:
        self._url = url
        self._signer = HeadSigner(secret)
        self.problem: str | None = None
        """Why nothing is built or signed, while that is so."""

    def run(self, stop: threading.Event) -> None:
        """Build, or stand by until whoever builds goes; connect again when the connection breaks. Until told to stop.

        A ledger that is not whole, or not what was signed, is for an operator to put right. Until then nothing is built or signed,
        and everybody else goes on. Raises psycopg.Error when the database has failed FAILURES_MAX times in a row.
        """
        failures = 0
        while not stop.is_set():
            began = monotonic()
            try:
                with closing(open_connection(self._url)) as connection:
                    if _take_lead(connection, stop):
                        self._follow(connection, stop)
            except (TreeForkedError, LedgerGapError) as error:
                self.problem = str(error)
                log.error("tree_held", problem=self.problem, seconds=HELD_SECONDS)  # noqa: TRY400 - where it shows says nothing
                stop.wait(HELD_SECONDS)
            except (psycopg.Error, OSError) as error:
                failures = failures + 1 if monotonic() - began < BACKOFF_SECONDS_MAX else 1
                log.warning("tree_interrupted", error=str(error).strip(), failures=failures)
                if failures >= FAILURES_MAX:
                    raise
                stop.wait(min(BACKOFF_SECONDS * 2 ** min(failures, 10), BACKOFF_SECONDS_MAX))

    def catch_up(self) -> SignedHead | None:
        """Bring the tree to the ledger's head and sign it, unless somebody else is building. The head if it was new.

        Raises LedgerGapError, TreeForkedError.
        """
        with closing(open_connection(self._url)) as connection:
            if not _try_to_lead(connection):
                return None
            growth = Growth(connection)
            while growth.step():
                pass
            return self._sign(connection, growth) if self._signer.is_due(connection, growth.size) else None

    def _follow(self, connection: Connection[Any], stop: threading.Event) -> None:
        connection.execute(f"listen {LEDGER_CHANNEL}".encode())
        growth = Growth(connection)
        due = self._signer.is_due(connection, growth.size)
        signed_at = -HEAD_SECONDS_MIN
        while not stop.is_set():
            began, busy_from, head = monotonic(), thread_time(), growth.head
            leaves = growth.step()
            self.problem = None
            due = due or leaves > 0
            if due and growth.is_signable and began - signed_at >= HEAD_SECONDS_MIN:
                self._sign(connection, growth)
                due, signed_at = False, began
            interval = _interval(growth.head - growth.size, thread_time() - busy_from, is_moving=growth.head > head)
            stop.wait(max(0.0, interval - (monotonic() - began)))
            if leaves == 0:
                _await_notification(connection, stop, signed_at + HEAD_SECONDS_MIN if due else None)
            else:
                _drop_notifications(connection)

    def _sign(self, connection: Connection[Any], growth: Growth) -> SignedHead:
        return self._signer.sign(connection, growth.size, growth.root)


class Growth:
    """The tree's right edge, on the connection that holds the lock."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        size = _number(connection, SIZE)
        self._frontier = Frontier(size, _peaks(connection, size))
        self.head = size
        """The ledger's last position, as of the last step."""
        self._signed = next(iter(latest_heads(connection, 1)), None)
        if self._signed is not None and self._signed.tree_size <= size:
            _hold_to(self._signed, fold(_peaks(connection, self._signed.tree_size)))

    @property
    def size(self) -> int:
        return self._frontier.size

    @property
    def root(self) -> bytes:
        return self._frontier.root()

    @property
    def is_signable(self) -> bool:
        """A tree that was lost is first built up to where it was signed."""
        return self._signed is None or self.size >= self._signed.tree_size

    def step(self) -> int:
        """Take in what follows, up to a batch, in one transaction; how many leaves it was.

        Raises LedgerGapError, TreeForkedError.
        """
        size = self.size
        self.head = _number(self._connection, HEAD)
        if self.head < size:
            raise LedgerGapError(f"the ledger ends at position {self.head}, and its tree has {size} leaves")
        until = min(self.head, size + BATCH_FACTS_MAX)
        if self._signed is not None and size < self._signed.tree_size:
            if self.head < self._signed.tree_size:
                raise LedgerGapError(
                    f"the ledger ends at position {self.head}, and {self._signed.tree_size} facts were signed"
                )
            until = min(until, self._signed.tree_size)
        if until == size:
            return 0
        rows = [row for page in stored_rows(self._connection, size, until) for row in page]
        if len(rows) != until - size:
            raise LedgerGapError(f"{len(rows)} facts between the positions {size} and {until}")
        firsts, lasts, hashes = self._grow(rows)
        if self._signed is not None and self.size == self._signed.tree_size:
            _hold_to(self._signed, self.root)
        self._connection.execute(INSERT, (firsts, lasts, hashes), prepare=True)
        return len(rows)

    def _grow(self, rows: list[bytes]) -> tuple[list[int], list[int], list[bytes]]:
        """The stored rows that these leaves make: first leaves, last leaves, hashes."""
        firsts, lasts, hashes = [], [], []
        start = 0
        while start < len(rows):
            end = min(len(rows), start + ROW_LEAVES_MAX - self.size % ROW_LEAVES_MAX)
            firsts.append(self.size + 1)
            hashes.append(b"".join(self._frontier.extend([leaf_of(row) for row in rows[start:end]])))
            lasts.append(self.size)
            start = end
        return firsts, lasts, hashes


def _interval(behind: int, busy_seconds: float, *, is_moving: bool) -> float:
    """Seconds from the beginning of a batch to that of the next one."""
    level = BATCH_SECONDS_MIN if behind < BATCH_FACTS_MAX else 0.0
    polite = busy_seconds / BUSY_SHARE_MAX if is_moving and behind < BEHIND_FACTS_MAX else 0.0
    return max(level, polite)


def open_connection(url: str) -> Connection[Any]:
    """As the projector. What is built need not be flushed: if it is lost it is built again; heads are flushed."""
    info = conninfo(url, "counterfoil_projector", planner=True, application="counterfoil tree")
    connection = Connection.connect(info, autocommit=True, prepare_threshold=0)
    connection.execute("set synchronous_commit = off")
    return connection


def rotate_head_key(url: str, secret: bytes) -> str:
    """Have heads signed with a new key from now on; its id."""
    with closing(open_connection(url)) as connection:
        return HeadSigner(secret).rotate(connection)


def _hold_to(signed: SignedHead, root: bytes) -> None:
    if root != signed.root:
        raise TreeForkedError(f"the first {signed.tree_size} facts, or their tree, are not what was signed")


def _peaks(connection: Connection[Any], size: int) -> list[bytes]:
    nodes = cover(Range(0, size))
    row = connection.execute(HASHES, ([n.last_leaf + 1 for n in nodes], [n.level for n in nodes])).fetchone()
    return [bytes(found) for found in row[0] or ()] if row is not None else []


def _number(connection: Connection[Any], query: bytes) -> int:
    row = connection.execute(query, prepare=True).fetchone()
    assert row is not None
    return int(row[0])


def _try_to_lead(connection: Connection[Any]) -> bool:
    return connection.execute("select pg_try_advisory_lock(%s)", (TREE_LOCK,)).fetchone() == (True,)


def _take_lead(connection: Connection[Any], stop: threading.Event) -> bool:
    while not stop.is_set():
        if _try_to_lead(connection):
            return True
        stop.wait(LEADER_POLL_SECONDS)
    return False


def _drop_notifications(connection: Connection[Any]) -> None:
    """Those that came while there was work anyway: the connection would keep them for ever."""
    for _ in connection.notifies(timeout=0):
        pass


def _await_notification(connection: Connection[Any], stop: threading.Event, until: float | None) -> None:
    """Until the ledger has moved, a head is due, the fallback's time is over, or we are to stop."""
    deadline = monotonic() + POLL_SECONDS
    deadline = min(deadline, until) if until is not None else deadline
    while not stop.is_set() and monotonic() < deadline:
        if list(connection.notifies(timeout=min(STOP_POLL_SECONDS, max(0.0, deadline - monotonic())), stop_after=1)):
            return
