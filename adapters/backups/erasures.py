"""Who was erased, as lists that are newer than a backup: a restore does to them again what was done.

A copy that is followed has such a list beside it, and a file of keys is one, too: whoever is in it without a key. Nobody
ever leaves them, so the newest of a ledger has everybody whom an older one has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from psycopg import Connection

from adapters.backups import manifest, people
from adapters.backups.tools import BackupError
from projections.ledger_head import text_of

ERASED = "erased.json"

NOW = b"select clock_timestamp()"
CLAIMED = """
    select (data ->> 'account_id')::uuid, stream_id from ledger.facts
     where type = 'email.claimed' and data ->> 'account_id' = any(%s)"""


class Erasures(NamedTuple):
    subjects: frozenset[UUID]
    until: datetime
    """Whoever was erased later is on none of the lists."""


def write(connection: Connection[Any], directory: Path, ledger_id: UUID) -> None:
    """The list of a copy, anew."""
    row = connection.execute(NOW).fetchone()  # before the look: whoever is erased between the two may be on it
    assert row is not None
    gone = [str(subject) for subject in people.erased(connection)]
    document = {"ledger_id": str(ledger_id), "at": text_of(row[0]), "erased": gone}
    manifest.write_whole(directory / ERASED, [orjson.dumps(document)])


def read(path: Path, ledger_id: UUID) -> Erasures:
    """A copy's list, or a file of keys. Raises BackupError for what is neither, or of another ledger."""
    try:
        with path.open("rb") as file:
            document = orjson.loads(file.readline())
        if isinstance(document, dict) and "erased" in document:
            return _listed(document, path, ledger_id)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}; nobody would know who was erased meanwhile") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BackupError(f"{path} is no list of who was erased, or is damaged") from error
    people.check(path, ledger_id)
    at, keyless = people.erased_in(path)
    return Erasures(frozenset(keyless), at)


def read_all(paths: Iterable[Path], ledger_id: UUID, since: datetime) -> Erasures:
    """All that they name. ``since``: when the backup was made, which knows of everybody before."""
    lists = [read(path, ledger_id) for path in paths]
    subjects = frozenset(subject for known in lists for subject in known.subjects)
    return Erasures(subjects, max([since, *(known.until for known in lists)]))


def claims_of(connection: Connection[Any], subjects: Iterable[UUID]) -> Mapping[UUID, frozenset[UUID]]:
    """The streams of the e-mail addresses that these accounts have claimed: without a key nobody can tell the address."""
    found: dict[UUID, frozenset[UUID]] = {}
    for subject, stream in connection.execute(CLAIMED, ([str(subject) for subject in subjects],)):
        found[subject] = found.get(subject, frozenset()) | {stream}
    return found


def _listed(document: dict[str, Any], path: Path, ledger_id: UUID) -> Erasures:
    theirs, at = UUID(document["ledger_id"]), datetime.fromisoformat(document["at"]).astimezone(UTC)
    subjects = frozenset(UUID(subject) for subject in document["erased"])
    if theirs != ledger_id:
        raise BackupError(f"{path} is of another ledger, {theirs}")
    return Erasures(subjects, at)
