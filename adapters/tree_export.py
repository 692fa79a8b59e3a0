"""The ledger as JSON lines that hold every byte of it, for those who check it somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import orjson
from psycopg import Connection

from adapters.fact_reader import LedgerGapError
from adapters.heads import latest_heads, read_keys
from adapters.ledger_rows import canonical_rows
from adapters.postgres import conninfo
from projections.canonical import to_line
from projections.ledger_head import HeadKey, SignedHead


class Exportable(NamedTuple):
    """What an export can be checked against."""

    head: SignedHead | None
    """The latest that was signed; it covers what is worth exporting."""
    keys: list[HeadKey]


def exportable(url: str) -> Exportable:
    with closing(_connect(url)) as connection:
        heads = latest_heads(connection, 1)
        return Exportable(heads[0] if heads else None, read_keys(connection))


def export_lines(url: str, until: int) -> Iterator[list[bytes]]:
    """Pages of lines, each ended by a newline, of the facts up to a position. In the memory that a page takes.

    Raises LedgerGapError when there are fewer facts than positions.
    """
    count = 0
    with closing(_connect(url)) as connection:
        for page in canonical_rows(connection, 0, until):
            count += len(page)
            yield [orjson.dumps(to_line(row), option=orjson.OPT_APPEND_NEWLINE) for row in page]
    if count != until:
        raise LedgerGapError(f"{count} facts up to position {until}")


def _connect(url: str) -> Connection[Any]:
    info = conninfo(url, "counterfoil_app", planner=True, application="counterfoil export")
    return Connection.connect(info, autocommit=True, prepare_threshold=0)
