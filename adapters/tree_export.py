"""The ledger as files to take away: all facts that a signed head covers, and a manifest with that head."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection

from adapters.export_files import DayFiles, Form, Written
from adapters.fact_reader import LedgerGapError
from adapters.heads import latest_heads, read_keys
from adapters.ledger_rows import canonical_rows
from adapters.postgres import conninfo
from projections.ledger_head import HeadKey, SignedHead

FORMATS = {
    Form.JSONL: "counterfoil-export-1",
    Form.CSV: "counterfoil-table-1",
    Form.PARQUET: "counterfoil-table-1",
}
"""A verifier that knows only the first says of the other that it cannot tell, and not that something was altered."""


class Exportable(NamedTuple):
    """What an export can be checked against."""

    head: SignedHead | None
    """The latest that was signed; it covers what is worth exporting."""
    keys: list[HeadKey]


def exportable(url: str) -> Exportable:
    with closing(_connect(url)) as connection:
        heads = latest_heads(connection, 1)
        return Exportable(heads[0] if heads else None, read_keys(connection))


def export_ledger(
    url: str, directory: Path, form: Form, covered: Exportable, on_progress: Callable[[int], object]
) -> list[Written]:
    """Write the facts that the head covers, in the memory that a page of them takes, then the manifest.

    Raises LedgerGapError when there are fewer facts than positions, DirectoryTakenError, ParquetMissingError, OSError;
    then nothing of it is left.
    """
    head = covered.head
    assert head is not None, "there is something to export"
    with DayFiles(directory, form) as files:
        count = 0
        with closing(_connect(url)) as connection:
            for page in canonical_rows(connection, 0, head.tree_size):
                files.write(page)
                count += len(page)
                on_progress(len(page))
        if count != head.tree_size:
            raise LedgerGapError(f"{count} facts up to position {head.tree_size}")
        files.finish(
            {
                "format": FORMATS[form],
                "encoding": form.value,
                "ledger_id": str(head.ledger_id),
                "first_position": 1,
                "last_position": head.tree_size,
                "head": head.document(),
                "keys": [key.document() for key in covered.keys],
            }
        )
        return files.written


def _connect(url: str) -> Connection[Any]:
    info = conninfo(url, "counterfoil_app", planner=True, application="counterfoil export")
    return Connection.connect(info, autocommit=True, prepare_threshold=0)
