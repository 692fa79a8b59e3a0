"""A dump of the ledger and of what cannot be made again from it, by `pg_dump`, as of one moment.

Left out: keys, passwords and sessions of people (`people` keeps the first two apart), and the views.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import Connection

from adapters.backups import manifest, people, tools
from adapters.backups.manifest import Kind, Manifest
from adapters.backups.tools import BackupError
from adapters.heads import LEDGER_ID, latest_heads, read_keys
from adapters.replays import STAGING
from adapters.view_schema import shadow_of
from projections.kernel import Projection

DUMP = "ledger.dump"
WITHOUT_DATA = ("privacy.subject_keys", "secrets.*", "projections.*", "ledger.snapshots")
STATE = b"select clock_timestamp(), (select position from ledger.head)"


def dump(url: str, directory: Path, projections: Sequence[Projection], keys: Path | None) -> Manifest:
    """Make one, and write the keys of people to a file elsewhere. Raises BackupError, OSError, psycopg.Error."""
    if keys is None:
        return _dump(url, directory, projections, None)
    refuse_inside(directory, keys)
    with manifest.alone(keys.with_name(f".{keys.name}.lock"), keys, "written"):  # from here on: later is newer
        return _dump(url, directory, projections, keys)


def _dump(url: str, directory: Path, projections: Sequence[Projection], keys: Path | None) -> Manifest:
    tool = tools.find("pg_dump", tools.server_major(url))
    manifest.begin(directory)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("begin isolation level repeatable read read only")
        begun = state(connection, Kind.DUMP)
        snapshot = _scalar(connection, b"select pg_export_snapshot()")
        tools.run(
            tool,
            "--format=custom",
            "--no-password",
            f"--snapshot={snapshot}",
            f"--file={directory / DUMP}",
            *(f"--exclude-schema={name}" for name in _views(connection, projections)),
            *(f"--exclude-table-data={name}" for name in WITHOUT_DATA),
            url=url,
        )
        connection.execute("commit")
        done = begun._replace(files=manifest.described(directory, DUMP))
        if keys is not None:
            people.keep(connection, keys, done.ledger_id, done.at)
    manifest.sync(directory)
    manifest.write(directory, done)
    return done


def state(connection: Connection[Any], kind: Kind) -> Manifest:
    """What the manifest says of the ledger as it is; files are still to come."""
    row = connection.execute(STATE).fetchone()
    assert row is not None
    at, position = row
    ledger_id: UUID = _scalar(connection, LEDGER_ID)
    heads = latest_heads(connection, 1)
    return Manifest(
        kind,
        at,
        ledger_id,
        position,
        heads[0] if heads else None,
        read_keys(connection),
        connection.info.server_version // 10000,
        version("counterfoil"),
        [],
    )


def refuse_inside(directory: Path, keys: Path) -> None:
    """Raises BackupError: a key that is kept with a backup lives as long as the backup."""
    if keys.resolve().is_relative_to(directory.resolve()):
        raise BackupError(f"{keys} would lie in the backup, and keep the keys of people who are erased later")


def _views(connection: Connection[Any], projections: Sequence[Projection]) -> list[str]:
    replays = [row[0] for row in connection.execute("select name from projections.replays")]
    return [*(name for p in projections for name in (p.name, shadow_of(p))), STAGING, *replays]


def _scalar(connection: Connection[Any], query: bytes) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
