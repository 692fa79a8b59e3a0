"""What views that are fed from a topic have of its partitions, beyond the position up to which they have everything.

Whoever brings such a view forward, from the topic or from the table, asks here what it has already. The marks are moved
in the transaction that writes the rows, and read under a lock on them or on the view's cursor: so no fact is projected
twice, whoever believes a partition to be theirs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from psycopg import Connection

from adapters.fact_reader import Page

BEYOND = b"""
    select m.name, m.partitions, m.partition, m.position
      from projections.marks m join projections.cursors c using (name, generation)
     where c.name = any(%s) and m.position > c.position"""
SHARE = b"""
    select name, version, generation, position from projections.cursors where name = any(%s)
     order by name for key share"""
BEGIN = b"""
    insert into projections.marks (name, generation, partitions, partition, position)
    select name, generation, %(partitions)s, %(partition)s, 0
      from projections.cursors where name = any(%(names)s) order by name
    on conflict (name, partitions, partition) do nothing"""
LOCK = b"""
    select m.name, case when m.generation = c.generation then greatest(m.position, c.position) else c.position end
      from projections.marks m join projections.cursors c using (name)
     where m.name = any(%(names)s) and m.partitions = %(partitions)s and m.partition = %(partition)s
     order by m.name for update of m"""
SAVE = b"""
    update projections.marks m set position = x.position, generation = c.generation
      from unnest(%(names)s::text[], %(positions)s::bigint[]) x(name, position)
      join projections.cursors c using (name)
     where m.name = x.name and m.partitions = %(partitions)s and m.partition = %(partition)s"""
# The relay notes in one transaction how far it is and what the last message in each partition was. A view that has the
# last message of every partition has everything that was told; else what the partition that is furthest behind has.
SETTLE = b"""
    with c as materialized (
        select name, generation, position from projections.cursors where name = any(%(names)s)
         order by name for no key update),
    x as (
        select c.name, least(r.position, coalesce(min(h.had) filter (where h.had < h.told), r.position)) as position
          from c cross join relay.cursor r
          join relay.topics t on t.topic = %(topic)s
         cross join lateral (
               select greatest(c.position, coalesce(m.position, 0)) as had, t.positions[i] as told
                 from generate_subscripts(t.positions, 1) i
                 left join projections.marks m
                   on m.name = c.name and m.generation = c.generation
                  and m.partitions = cardinality(t.positions) and m.partition = i - 1) h
         group by c.name, r.position)
    update projections.cursors set position = x.position, updated_at = now()
      from x where cursors.name = x.name and cursors.position < x.position
    returning cursors.name"""


HIGHEST = b"""
    select coalesce(max(m.position), 0)
      from projections.marks m join projections.cursors c using (name, generation) where c.name = any(%s)"""


class Beyond:
    """Of some views: the facts that they have although their position is below."""

    def __init__(self, rows: Sequence[tuple[str, int, int, int]]) -> None:
        self._marks: defaultdict[str, defaultdict[int, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
        for name, partitions, partition, position in rows:
            self._marks[name][partitions][partition] = position

    def names(self) -> set[str]:
        return set(self._marks)

    def has(self, name: str, stream_id: UUID, position: int) -> bool:
        """Also where partitions were added: what a stream had when it was elsewhere, it still has."""
        key = str(stream_id).encode()
        return any(
            position <= positions.get(_partition_of()(key, partitions), 0)
            for partitions, positions in self._marks[name].items()
        )


@cache
def _partition_of() -> Callable[[bytes, int], int]:
    from adapters.kafka.encoding import partition_of  # noqa: PLC0415 - half a second, where no view is fed from a topic

    return partition_of


def beyond(connection: Connection[Any], names: Sequence[str]) -> Beyond:
    """For whoever holds the lock of the views' cursors."""
    return Beyond(connection.execute(BEYOND, (list(names),), prepare=True).fetchall())


def highest(connection: Connection[Any], names: Sequence[str]) -> int:
    """The position of the last fact that any of the views has from a topic."""
    row = connection.execute(HIGHEST, (list(names),)).fetchone()
    return int(row[0]) if row else 0


def without(page: Page, names: Sequence[str], there: Beyond) -> Page:
    """The page, for views in the order of its reader, without what they have."""
    if not there.names():
        return page
    facts, broken = list(page.facts), list(page.broken)
    for index, name in enumerate(names):
        if name in there.names():
            facts[index] = [f for f in facts[index] if not there.has(name, f.stream_id, f.position)]
            broken[index] = [b for b in broken[index] if not there.has(name, b.stream_id, b.position)]
    return page._replace(facts=tuple(facts), broken=tuple(broken))


def lock(connection: Connection[Any], names: Sequence[str], partitions: int, partition: int) -> dict[str, int]:
    """What each view has of a partition; nobody else brings it further until the transaction ends."""
    given = {"names": list(names), "partitions": partitions, "partition": partition}
    connection.execute(BEGIN, given, prepare=True)
    return dict(connection.execute(LOCK, given, prepare=True).fetchall())


def save(connection: Connection[Any], positions: Mapping[str, int], partitions: int, partition: int) -> None:
    given = {"names": list(positions), "positions": list(positions.values())}
    connection.execute(SAVE, {**given, "partitions": partitions, "partition": partition}, prepare=True)


def settle(connection: Connection[Any], names: Sequence[str], topic: str) -> bool:
    """Move the views' positions to where they have everything; whether any moved. A statement of its own: it waits."""
    given = {"names": list(names), "topic": topic}
    return bool(connection.execute(SETTLE, given, prepare=True).fetchall())
