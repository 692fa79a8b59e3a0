"""What a batch of facts does to the tables of a projection, gathered so that it can be written set by set.

Changes of one key are merged on the way: what is written is what would be there had each fact been written by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from projections.kernel import Table

Row = dict[str, Any]


class Changes:
    """At most one change a key, but for increments beside a patch. To be written in the order of the fields."""

    __slots__ = ("added", "inserted", "patched", "put")

    def __init__(self) -> None:
        self.inserted: dict[Any, Row] = {}
        self.put: dict[Any, Row] = {}
        self.added: dict[Any, Row] = {}
        self.patched: dict[Any, Row] = {}


class Tallied(NamedTuple):
    key: Any
    position: int
    deltas: Row


class TableRows:
    """What a batch does to one table."""

    __slots__ = ("appended", "now", "revised", "segments", "since", "tallied")

    def __init__(self) -> None:
        self.now = Changes()
        self.segments = [self.now]
        """To be written one after the other."""
        self.appended: list[Row] = []
        self.tallied: list[Tallied] = []
        self.revised: list[Row] = []
        self.since: dict[Any, Row] = {}
        """What has been revised of each key since the batch began."""

    def begin_segment(self) -> Changes:
        self.now = Changes()
        self.segments.append(self.now)
        return self.now


class Rows:
    """The operations a projection has. ``key`` is the value of a one-column key, else a tuple of the values.

    ``position`` is not counted there: the key of a table that is tallied or revised ends in it.
    """

    __slots__ = ("of",)

    def __init__(self) -> None:
        self.of: dict[Table, TableRows] = {}

    def _of(self, table: Table) -> TableRows:
        rows = self.of.get(table)
        if rows is None:
            rows = self.of[table] = TableRows()
        return rows

    # -- Tables that hold what is true now. ------------------------------------------

    def insert(self, table: Table, key: Any, **columns: Any) -> None:
        """A whole row, every column, whose key has never been there: of a fact that happens once. The cheapest."""
        rows = self._of(table)
        changes, identity = rows.now, table.identity(key)
        if identity in changes.inserted or identity in changes.put or identity in changes.added:
            changes = rows.begin_segment()  # for the database to refuse
        changes.patched.pop(identity, None)
        changes.inserted[identity] = _keyed(table, key, columns)

    def put(self, table: Table, key: Any, **columns: Any) -> None:
        """A whole row, every column, whether or not there was one before."""
        changes, identity = self._of(table).now, table.identity(key)
        changes.added.pop(identity, None)
        changes.patched.pop(identity, None)
        whole = changes.inserted if identity in changes.inserted else changes.put
        whole[identity] = _keyed(table, key, columns)

    def patch(self, table: Table, key: Any, **columns: Any) -> None:
        """Some columns of a row. Nothing when there is no such row."""
        changes, identity = self._of(table).now, table.identity(key)
        row = changes.inserted.get(identity) or changes.put.get(identity) or changes.patched.get(identity)
        if row is not None:
            row.update(columns)
        else:
            changes.patched[identity] = _keyed(table, key, columns)

    def add(self, table: Table, key: Any, **increments: int) -> None:
        """Count up (or down). A row that is not there begins with its defaults.

        Of a table whose rows are patched as well, the row must be there: patches and increments are merged apart.
        """
        changes, identity = self._of(table).now, table.identity(key)
        row = changes.inserted.get(identity) or changes.put.get(identity)
        if row is None:
            patched = changes.patched.get(identity, {})
            row = changes.added.setdefault(identity, _keyed(table, key, {}))
        else:
            patched = row
        for name, increment in increments.items():
            target = patched if name in patched else row
            target[name] = target.get(name, 0) + increment

    # -- Tables that hold what was true when. ----------------------------------------

    def append(self, table: Table, **columns: Any) -> None:
        """A row of history: it is never changed."""
        self._of(table).appended.append(columns)

    def tally(self, table: Table, key: Any, position: int, **deltas: int) -> None:
        """Running totals: the row of this key and position will hold the totals after it."""
        self._of(table).tallied.append(Tallied(key, position, deltas))

    def revise(self, table: Table, key: Any, position: int, **columns: Any) -> None:
        """A row of history that repeats the key's latest but for these columns; the first of a key names them all."""
        rows = self._of(table)
        since = rows.since.setdefault(table.identity(key), {})
        since.update(columns)
        rows.revised.append({table.key[0]: key, "position": position, **since})


def _keyed(table: Table, key: Any, columns: Row) -> Row:
    if len(table.key) == 1:
        columns[table.key[0]] = key
    else:
        columns.update(zip(table.key, key, strict=True))
    return columns
