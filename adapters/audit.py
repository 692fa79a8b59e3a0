"""Holds a live ledger to heads that were signed, and finds what was done to it where it does not keep to them.

One pass over the rows makes every root anew. Only where a root differs is more looked into: from the signed root downwards,
trusting of the stored tree what folds into it, to the facts that are not what was signed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection
from psycopg.errors import UndefinedColumn, UndefinedTable

from adapters.audit_forks import Verdicts, doubt_about, doubtful_keys
from adapters.audit_search import ALTERED_MAX, Search
from adapters.audit_sweep import STRAYS_MAX, Part, Progress, Swept, joined, parts_of, sweep_part
from adapters.audit_tree import CHUNK, LeafSource, Source, StoredNodes, hashes_of, stored_chunk, table_chunk
from adapters.audit_workers import sweep_parts
from adapters.heads import LEDGER_ID, is_signed, latest_heads, read_keys
from adapters.ledger_rows import canonical_rows
from adapters.postgres import conninfo
from projections.canonical import position_of
from projections.ledger_head import HeadKey, SignedHead, key_id_of
from projections.tampering import NEAR_POSITIONS, Finding, Kind, Scene, explain, runs

OWN_HEADS_MAX = 1_000
"""Of the heads that the ledger keeps itself the latest; an auditor's own are all looked at."""
PROCESSES_MAX = 8
PARALLEL_PARTS_MIN = 4
"""Fewer are done before another process has begun."""
DIFFERING_MAX = 64
"""Heads that do not fit from which facts are looked for."""
FORKS_TOLD_MAX = 5
NEAR = range(-NEAR_POSITIONS, NEAR_POSITIONS + 1)


class Audit(NamedTuple):
    facts: int
    covered: int
    """How many of them the largest head covers."""
    heads: int
    """How many heads the ledger was held to; of these ``kept`` were the auditor's."""
    kept: int
    findings: list[Finding]
    doubts: list[str]
    """What could not be checked, and why."""
    latest: SignedHead | None
    """The latest of the ledger's own heads, for the auditor to keep."""
    keys: list[HeadKey]


def audit_ledger(
    url: str, kept: Sequence[SignedHead], keys: Sequence[HeadKey], on_progress: Progress = lambda *_: None
) -> Audit:
    """Check everything there is now. ``keys``: those that the auditor kept. Raises psycopg.Error."""
    info = conninfo(url, "counterfoil_app", planner=True, application="counterfoil verify")
    with closing(Connection.connect(info, autocommit=True, prepare_threshold=0)) as connection:
        connection.execute("begin isolation level repeatable read read only")
        return audit_snapshot(connection, kept, keys, on_progress, info)


def audit_snapshot(
    connection: Connection[Any],
    kept: Sequence[SignedHead],
    keys: Sequence[HeadKey],
    on_progress: Progress = lambda *_: None,
    info: str | None = None,
) -> Audit:
    """The same of what a transaction sees. ``info``: how others may connect who are to see it, too."""
    return _Audit(connection, kept, keys).run(on_progress, info)


class _Audit:
    def __init__(self, connection: Connection[Any], kept: Sequence[SignedHead], keys: Sequence[HeadKey]) -> None:
        self._connection = connection
        self._findings: list[Finding] = []
        self._doubts: list[str] = []
        self._own_keys = self._published()
        self._keys = {key.key_id: key for key in (*self._own_keys, *keys)}
        self._head = self._scalar(b"select position from ledger.head")
        self._ledger_id = self._scalar(LEDGER_ID)
        self._kept = [head for head in kept if self._trusts(head)]
        for doubtful in doubtful_keys(keys, self._own_keys, self._kept):
            self._say_of_heads(doubtful, 1)
        self._own = self._own_heads()

    def run(self, on_progress: Progress, info: str | None) -> Audit:
        heads = sorted({*self._kept, *self._own}, key=lambda head: head.tree_size)
        covered = heads[-1].tree_size if heads else 0
        if not heads:
            self._doubts.append("there is no signed head to hold the ledger to")
        sizes = sorted({head.tree_size for head in heads})
        swept = joined(self._sweep(sizes, info), sizes, on_progress)
        verdicts = Verdicts(heads, self._kept, swept.roots)
        self._tell_forks(list(verdicts.forks()))
        if verdicts.altered:
            self._locate(swept, verdicts, covered)
        self._look_at_the_rest(swept, covered, explained=bool(verdicts.altered))
        findings = sorted(self._findings, key=lambda finding: (finding.first, finding.kind))
        latest = self._own[0] if self._own else None
        return Audit(swept.rows, covered, len(heads), len(self._kept), findings, self._doubts, latest, self._own_keys)

    # -- What to hold it to --------------------------------------------------------

    def _trusts(self, head: SignedHead) -> bool:
        doubt = doubt_about(head, self._ledger_id, self._keys)
        self._doubts += [doubt] if doubt is not None else []
        return doubt is None

    def _published(self) -> list[HeadKey]:
        found = self._read("keys", lambda: read_keys(self._connection))
        good = [key for key in found if key.key_id == key_id_of(key.public_key)]
        self._say_of_heads(
            f"{len(found) - len(good)} of its published keys are not what they were", len(found) - len(good)
        )
        return good

    def _own_heads(self) -> list[SignedHead]:
        found = self._read("heads", lambda: latest_heads(self._connection, OWN_HEADS_MAX))
        keys = self._keys | {key.key_id: key for key in self._own_keys}  # what it says itself holds for its own
        good = [head for head in found if (key := keys.get(head.key_id)) is not None and is_signed(head, key)]
        sizes = [head.tree_size for head in found if head not in good]
        if sizes:
            listed = ", ".join(str(size) for size in sizes[:5])
            self._say_of_heads(
                f"{len(sizes)} of the heads it keeps are not what was signed, of {listed} facts", len(sizes)
            )
        return good

    def _read(self, what: str, read: Callable[[], list[Any]]) -> list[Any]:
        """What no reader can take was not written by us."""
        try:
            with self._connection.transaction():
                return read()
        except (psycopg.DataError, UndefinedTable, UndefinedColumn) as error:
            self._say_of_heads(f"its {what} cannot be read: {str(error).partition(chr(10))[0]}", 1)
            return []

    def _say_of_heads(self, detail: str, count: int) -> None:
        if count:
            self._findings.append(Finding(Kind.HEAD, 0, 0, detail))

    def _scalar(self, query: bytes) -> Any:
        row = self._connection.execute(query).fetchone()
        return row[0] if row is not None else None

    def _sweep(self, sizes: list[int], info: str | None) -> Iterator[Part]:
        """PostgreSQL hands out a row in half the time that a processor takes to hash it: many are shared."""
        bounds, processes = parts_of(max(sizes, default=0)), min(os.cpu_count() or 1, PROCESSES_MAX)
        if info is None or processes == 1 or len(bounds) < PARALLEL_PARTS_MIN:
            return (sweep_part(self._connection, part, sizes) for part in bounds)
        snapshot = self._scalar(b"select pg_export_snapshot()")
        return sweep_parts(info, snapshot, bounds, sizes, processes)

    # -- Where it does not fit -----------------------------------------------------

    def _tell_forks(self, forks: Sequence[str]) -> None:
        for detail in forks[:FORKS_TOLD_MAX]:
            self._say_of_heads(detail, 1)
        more = len(forks) - FORKS_TOLD_MAX
        self._say_of_heads(f"{more} more of such contradictions between heads", max(0, more))

    def _locate(self, swept: Swept, verdicts: Verdicts, covered: int) -> None:
        search, differing = Search(self._sources(swept)), verdicts.altered
        some = differing if len(differing) <= DIFFERING_MAX else differing[: DIFFERING_MAX - 1] + differing[-1:]
        for head in some:
            search.look_into(head.tree_size, head.root, verdicts.good(head))
        if search.is_full:
            self._doubts.append(f"the first {ALTERED_MAX:,} altered facts are told; there may be more")
        self._findings += explain(self._scene(swept, search, covered))
        self._findings += [
            Finding(
                Kind.UNCLEAR, r.start + 1, r.end, "something is not what was signed; the stored tree does not tell what"
            )
            for r in search.unclear
        ]

    def _sources(self, swept: Swept) -> list[Source]:
        connection = self._connection
        return [
            LeafSource(lambda chunk: hashes_of(table_chunk(connection, chunk).rows), swept.chunk_roots),
            StoredNodes(connection),
            LeafSource(lambda chunk: stored_chunk(connection, chunk)),
        ]

    def _scene(self, swept: Swept, search: Search, covered: int) -> Scene:
        hashes = {leaf + 1: found for leaf, found in search.altered.items()}
        beside = {position + step for position in hashes for step in NEAR} - set(hashes)
        rows: dict[int, bytes] = {}
        strays = [*swept.strays, *self._beyond(swept, covered)]
        neighbours = []
        for chunk in sorted({(position - 1) // CHUNK for position in (*hashes, *beside) if position > 0}):
            here = table_chunk(self._connection, chunk)
            strays += [(position_of(row), row) for row in here.doubles]
            for at, row in enumerate(here.rows, chunk * CHUNK + 1):
                if row is not None and at in hashes:
                    rows[at] = row
                elif row is not None and at in beside and at <= covered:
                    neighbours.append(row)
        told = max(hashes) if search.is_full else covered
        others = self._rows(told, told + STRAYS_MAX)
        until = told - NEAR_POSITIONS if search.is_full else None
        return Scene(hashes, rows, strays, neighbours, others, covered, swept.ends, until)

    def _rows(self, after: int, until: int | None = None) -> list[tuple[int, bytes]]:
        """The first rows behind a position, with theirs."""
        found: list[bytes] = []
        for page in canonical_rows(self._connection, after, until):
            found += page[: STRAYS_MAX - len(found)]
        return [(position_of(row), row) for row in found]

    # -- What no head covers -------------------------------------------------------

    def _beyond(self, swept: Swept, covered: int) -> list[tuple[int, bytes]]:
        """Rows where no append can have put them: behind what the ledger says is its end, or, if that cannot be, a gap."""
        head = self._head if self._head is not None and self._head >= covered else None
        after = head if head is not None else min((g.end - 1 for g in swept.missing if g.end > covered), default=None)
        if after is None or after >= swept.ends:
            return []
        return self._rows(after)

    def _look_at_the_rest(self, swept: Swept, covered: int, *, explained: bool) -> None:
        """Positions are dense, and the ledger says where they end: that much holds for facts that nobody signed yet."""
        if not explained:
            strays = [position for position, _ in (*swept.strays, *self._beyond(swept, covered))]
            detail = "no append has put this here"
            self._findings += [Finding(Kind.INSERTED, first, last, detail) for first, last in runs(strays)]
        head = self._head if self._head is not None else 0
        for gap in swept.missing:
            first, last = max(gap.start, covered + 1), min(gap.end - 1, head)
            if first <= last:
                detail = "there is nothing here, though positions have no gaps"
                self._findings.append(Finding(Kind.REMOVED, first, last, detail))
        if head > max(swept.ends, covered):
            detail = f"the ledger says that it ends at {head}"
            self._findings.append(Finding(Kind.CUT_OFF, max(swept.ends, covered) + 1, head, detail))
        elif head < covered and not any(finding.kind is Kind.CUT_OFF for finding in self._findings):
            self._findings.append(Finding(Kind.HEAD, 0, 0, f"the ledger says that it ends at {head}"))
