"""How far the relay has got, in the ledger's database, and the lock of the one relay that may say so.

Whoever leads reads the ledger, holds the lock and moves the cursor on one connection. When that breaks, the lock is
gone, and so is the connection that the cursor would have been moved on: a relay that no longer leads cannot write.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from psycopg import Connection

from adapters.postgres import conninfo

RELAY_LOCK = 0x0C0F_0008
"""Advisory lock of the one relay."""
RELAY_CHANNEL = "counterfoil_relay"
LEADER_POLL_SECONDS = 0.5
TOLD_TO_LOOK = "nobody has looked yet where the topics end, as the relay was told to"
"""A problem until a relay has done so, for whoever waits for that."""
PROBLEM_CHARACTERS_MAX = 500

BEGIN = b"insert into relay.cursor default values on conflict do nothing"
READ = b"select generation, begins_after, position from relay.cursor"
HEAD = b"select h.position, c.generation from ledger.head h, relay.cursor c"
MOVE = b"""
    update relay.cursor set position = %s, problem = null, moved_at = now()
     where generation = %s returning true"""
TOPICS = b"select topic, topic_id, positions, offsets from relay.topics"
KEEP = b"""
    insert into relay.topics values (%s, %s, %s, %s)
    on conflict (topic) do update set
        topic_id = excluded.topic_id, positions = excluded.positions, offsets = excluded.offsets"""
FORGET_OTHERS = b"delete from relay.topics where topic <> all(%s)"
REPORT = b"update relay.cursor set problem = %s where problem is distinct from %s"
BEGIN_AGAIN = b"""
    update relay.cursor c set generation = c.generation + 1, begins_after = %(after)s, position = %(after)s,
           problem = %(told)s
      from ledger.head h where %(after)s <= h.position returning true"""
LOOK_AGAIN = b"update relay.cursor set generation = generation + 1, problem = %s"
FORGET = b"""
    update relay.topics set positions = array_fill(%s::bigint, array[cardinality(positions)]),
           offsets = array_fill(-1::bigint, array[cardinality(positions)])"""


log = structlog.get_logger()


class BegunAgainError(RuntimeError):
    """An operator has had the relay begin again: what this one was about to say is about another beginning."""


class Standing(NamedTuple):
    generation: int
    begins_after: int
    position: int


class TopicStanding(NamedTuple):
    """What a topic has, an element for each partition."""

    topic: str
    topic_id: UUID
    positions: list[int]
    offsets: list[int]


def open_connection(url: str) -> Connection[Any]:
    """A cursor that is lost in a crash is behind: the ends of the topics tell by how much. So it need not be flushed."""
    info = conninfo(url, "counterfoil_projector", planner=True, application="counterfoil relay")
    connection = Connection.connect(info, autocommit=True, prepare_threshold=0)
    connection.execute("set synchronous_commit = off")
    connection.execute("set timezone = 'UTC'")
    return connection


def take_lead(connection: Connection[Any], stop: threading.Event) -> bool:
    """Wait until nobody else relays; not at all when told to stop."""
    told = False
    while not stop.is_set():
        if connection.execute("select pg_try_advisory_lock(%s)", (RELAY_LOCK,)).fetchone() == (True,):
            connection.execute(BEGIN)
            return True
        if not told:
            log.info("relay_stands_by")
            told = True
        stop.wait(LEADER_POLL_SECONDS)
    return False


def read(connection: Connection[Any]) -> Standing:
    row = connection.execute(READ).fetchone()
    assert row is not None, "whoever leads has made it"
    return Standing(*row)


def read_topics(connection: Connection[Any]) -> dict[str, TopicStanding]:
    return {row[0]: TopicStanding(*row) for row in connection.execute(TOPICS)}


def forget_topics(connection: Connection[Any], told: Sequence[str]) -> None:
    """All that are no longer told: what is remembered of one would hide what it missed, when it is told again."""
    connection.execute(FORGET_OTHERS, (list(told),))


def head(connection: Connection[Any], generation: int) -> int:
    """The last position of the ledger. Raises BegunAgainError."""
    row = connection.execute(HEAD, prepare=True).fetchone()
    if row is None or row[1] != generation:
        raise BegunAgainError
    return int(row[0])


def move(connection: Connection[Any], generation: int, position: int, topics: Iterable[TopicStanding]) -> None:
    """Everything up to the position has been acknowledged. Raises BegunAgainError."""
    with connection.transaction():
        if connection.execute(MOVE, (position, generation), prepare=True).fetchone() is None:
            raise BegunAgainError
        for topic in topics:
            connection.execute(KEEP, topic, prepare=True)


def report(connection: Connection[Any], problem: str) -> None:
    """Why the relay does not go on, for operators. Moving the cursor takes it back."""
    text = problem[:PROBLEM_CHARACTERS_MAX]
    connection.execute(REPORT, (text, text))


def begin_again(url: str, after: int | None = None) -> bool:
    """Have whoever leads, or will, look where the topics end and fill in what they lack.

    With ``after``, whatever is not above that position is from now on owed to no topic, and everything else is. False:
    the ledger does not go so far. `TOLD_TO_LOOK` is the problem until it has been done.
    """
    with open_connection(url) as connection, connection.transaction():
        connection.execute(BEGIN)
        if after is None:
            connection.execute(LOOK_AGAIN, (TOLD_TO_LOOK,))
        else:
            told = {"after": after, "told": TOLD_TO_LOOK}
            if connection.execute(BEGIN_AGAIN, told).fetchone() is None:
                return False
            connection.execute(FORGET, (after,))
        connection.execute("select pg_notify(%s, '')", (RELAY_CHANNEL,))
    return True
