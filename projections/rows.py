"""What a batch of facts does to the tables of a projection, gathered so that it can be written set by set.

Changes of one key are merged on the way: what is written is what would be there had each fact been written by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from projections.kernel import Table

Row = dict[str, Any]
Tallied = tuple[Any, int, Row]
"""Key, position, and what is added to the totals there."""


class TableRows:
    """What a batch does to one table, to be written in the order of the fields. Dicts are by the identity of the key."""

    __slots__ = ("added", "appended", "inserted", "patched", "put", "revised", "since", "tallied", "twice")

    def __init__(self) -> None:
        self.inserted: dict[Any, Row] = {}
        self.twice: list[Row] = []
        """Inserts of a key that the batch has already: for the database to refuse."""
        self.appended: list[Row] = []
        self.tallied: list[Tallied] = []
        self.put: dict[Any, Row] = {}
        self.added: dict[Any, Row] = {}
        self.patched: dict[Any, Row] = {}
        self.revised: list[Row] = []
        self.since: dict[Any, Row] = {}
        """What has been revised of each key since the batch began."""

    def __len__(self) -> int:
        new = len(self.inserted) + len(self.twice) + len(self.appended) + len(self.tallied)
        return new + len(self.put) + len(self.added) + len(self.patched) + len(self.revised)


class Tables(dict["Table", TableRows]):
    def __missing__(self, table: Table) -> TableRows:
        rows = self[table] = TableRows()
        return rows


class Rows:
    """The operations a projection has. ``key`` is the value of a one-column key, else a tuple of the values.

    ``position`` is not counted there: the key of a table that is tallied or revised ends in it.
    """

    __slots__ = ("of",)

    def __init__(self) -> None:
        self.of = Tables()

    def __len__(self) -> int:
        return sum(map(len, self.of.values()))

    # -- Tables that hold what is true now. ------------------------------------------

    def insert(self, table: Table, key: Any, **columns: Any) -> None:
        """A whole row, every column, whose key has never been there: of a fact that happens once. The cheapest."""
        rows, identity = self.of[table], table.identity(key)
        row = _keyed(table, key, columns)
        if identity in rows.inserted or identity in rows.put or identity in rows.added:
            rows.twice.append(row)
        else:
            rows.patched.pop(identity, None)
            rows.inserted[identity] = row

    def put(self, table: Table, key: Any, **columns: Any) -> None:
        """A whole row, every column, whether or not there was one before."""
        rows, identity = self.of[table], table.identity(key)
        rows.added.pop(identity, None)
        rows.patched.pop(identity, None)
        whole = rows.inserted if identity in rows.inserted else rows.put
        whole[identity] = _keyed(table, key, columns)

    def patch(self, table: Table, key: Any, **columns: Any) -> None:
        """Some columns of a row. Nothing when there is no such row."""
        rows, identity = self.of[table], table.identity(key)
        row = rows.inserted.get(identity) or rows.patched.get(identity) or rows.put.get(identity)
        if row is not None:
            row.update(columns)
        else:
            rows.patched[identity] = _keyed(table, key, columns)

    def add(self, table: Table, key: Any, **increments: int) -> None:
        """Count up (or down). A row that is not there begins with its defaults.

        Of a table whose rows are patched as well, the row must be there: patches and increments are merged apart.
        """
        rows, identity = self.of[table], table.identity(key)
        whole = rows.inserted.get(identity) or rows.put.get(identity)
        patched = rows.patched.get(identity, {})
        for name, increment in increments.items():
            if whole is not None:
                target = whole
            elif name in patched:
                target = patched
            else:
                target = rows.added.setdefault(identity, _keyed(table, key, {}))
            target[name] = target.get(name, 0) + increment

    # -- Tables that hold what was true when. ----------------------------------------

    def append(self, table: Table, **columns: Any) -> None:
        """A row of history: it is never changed."""
        self.of[table].appended.append(columns)

    def tally(self, table: Table, key: Any, position: int, **deltas: int) -> None:
        """Running totals: the row of this key and position will hold the totals after it."""
        self.of[table].tallied.append((key, position, deltas))

    def revise(self, table: Table, key: Any, position: int, **columns: Any) -> None:
        """A row of history that repeats the key's latest but for these columns; the first of a key names them all."""
        rows = self.of[table]
        since = rows.since.setdefault(table.identity(key), {})
        since.update(columns)
        rows.revised.append({table.key[0]: key, "position": position, **since})


def _keyed(table: Table, key: Any, columns: Row) -> Row:
    if table.single:
        columns[table.key[0]] = key
    else:
        columns.update(zip(table.key, key, strict=True))
    return columns
