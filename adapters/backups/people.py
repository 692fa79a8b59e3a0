"""What an erasure destroys: keys and passwords of people. It is in no dump, but in one file that is always the newest.

Each time it is written it replaces the one before, so nobody's key outlives them by longer than that. It is JSON lines:
what it is, a row each, and the SHA-256 of all that. It is written and read a page at a time.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from psycopg import Connection

from adapters.backups import manifest
from adapters.backups.tools import BackupError
from projections.ledger_head import text_of

FORMAT = "counterfoil-people-1"
ROWS_MAX = 10_000
"""In memory at a time."""
KEY, PASSWORD = "key", "password"

ROWS = {
    KEY: b"select subject::text, master_key, wrapped from privacy.subject_keys",
    PASSWORD: b"select account_id::text, hash from secrets.passwords",
}
PUT = {
    KEY: "insert into privacy.subject_keys (subject, master_key, wrapped, destroyed_at)"
    " values (%s, %s, %s, case when %s then now() end)",
    PASSWORD: "insert into secrets.passwords (account_id, hash) values (%s, %s)",
}
ERASED = b"select subject from privacy.subject_keys where wrapped is null order by subject"

Row = tuple[Any, ...]


def keep(connection: Connection[Any], path: Path, ledger_id: UUID, at: datetime) -> None:
    """Write the file anew, as of this moment. Raises OSError; the one before is then as it was."""
    manifest.write_whole(path, _with_digest(_lines(connection, ledger_id, at)))


def check(path: Path, ledger_id: UUID) -> None:
    """Raises BackupError for a file that is not whole, or not this ledger's."""
    digest, last, head = sha256(), b"", b""
    try:
        with path.open("rb") as file:
            for line in file:
                digest.update(last)
                head, last = head or line, line
        found, end = orjson.loads(head), orjson.loads(last)
        whole = found["format"] == FORMAT and end == {"sha256": digest.hexdigest()}
        theirs = UUID(found["ledger_id"])
        datetime.fromisoformat(found["at"])
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BackupError(f"{path} is no file of keys, or is damaged") from error
    if not whole:
        raise BackupError(f"{path} is damaged, or in a format that this release does not read")
    if theirs != ledger_id:
        raise BackupError(f"{path} has the keys of another ledger, {theirs}")


def put(connection: Connection[Any], path: Path) -> None:
    """What is in a file that was checked, into tables that are empty."""
    with path.open("rb") as file, connection.cursor() as cursor:
        rows = (row for line in file if isinstance(row := orjson.loads(line), list))
        while page := list(islice(rows, ROWS_MAX)):
            cursor.executemany(PUT[KEY], [_unwrapped(row) for row in page if row[0] == KEY])
            cursor.executemany(PUT[PASSWORD], [row[1:] for row in page if row[0] == PASSWORD])


def erased(connection: Connection[Any]) -> list[UUID]:
    """Who has no key any more."""
    return [row[0] for row in connection.execute(ERASED)]


def erased_in(path: Path) -> tuple[datetime, set[UUID]]:
    """When a file that was checked was written, and who had no key any more."""
    with path.open("rb") as file:
        at = datetime.fromisoformat(orjson.loads(file.readline())["at"]).astimezone(UTC)
        rows = (row for line in file if isinstance(row := orjson.loads(line), list))
        return at, {UUID(row[1]) for row in rows if row[0] == KEY and row[3] is None}


def _lines(connection: Connection[Any], ledger_id: UUID, at: datetime) -> Iterator[bytes]:
    yield _line({"format": FORMAT, "ledger_id": str(ledger_id), "at": text_of(at)})
    for kind, query in ROWS.items():
        with connection.transaction(), connection.cursor(name="people") as cursor:
            cursor.itersize = ROWS_MAX
            for row in cursor.execute(query):
                yield _line([kind, *(b64encode(part).decode() if isinstance(part, bytes) else part for part in row)])


def _with_digest(lines: Iterator[bytes]) -> Iterator[bytes]:
    digest = sha256()
    for line in lines:
        digest.update(line)
        yield line
    yield _line({"sha256": digest.hexdigest()})


def _unwrapped(row: list[Any]) -> Row:
    _, subject, master_key, wrapped = row
    return subject, master_key, b64decode(wrapped) if wrapped is not None else None, wrapped is None


def _line(content: object) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
