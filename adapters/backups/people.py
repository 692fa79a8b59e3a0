"""What an erasure destroys: keys and passwords of people. It is in no dump, but in one file that is always the newest.

Each time it is written it replaces the one before, so nobody's key outlives them by longer than that.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from psycopg import Connection

from adapters.backups import manifest
from adapters.backups.tools import BackupError

FORMAT = "counterfoil-people-1"
ROWS_MAX = 10_000
"""Written to the database in one statement."""

KEYS = b"select subject, master_key, wrapped from privacy.subject_keys"
PASSWORDS = b"select account_id, hash from secrets.passwords"
PUT_KEYS = """
    insert into privacy.subject_keys (subject, master_key, wrapped, destroyed_at)
    values (%s, %s, %s, case when %s then now() end)"""
PUT_PASSWORDS = "insert into secrets.passwords (account_id, hash) values (%s, %s)"
ERASED = "select subject from privacy.subject_keys where wrapped is null order by subject"


class People(NamedTuple):
    ledger_id: UUID
    keys: list[tuple[UUID, str, bytes | None]]
    """Of each subject the master key's id and the wrapped key; None: destroyed."""
    passwords: list[tuple[UUID, str]]


def keep(connection: Connection[Any], path: Path, ledger_id: UUID) -> int:
    """Write the file anew; how many people have a key in it. Raises OSError."""
    keys = [
        {"subject": str(subject), "master_key": master, "wrapped": _text(wrapped)}
        for subject, master, wrapped in connection.execute(KEYS)
    ]
    passwords = [{"account": str(account), "hash": hashed} for account, hashed in connection.execute(PASSWORDS)]
    body = orjson.dumps({"ledger_id": str(ledger_id), "keys": keys, "passwords": passwords})
    head = orjson.dumps({"format": FORMAT, "sha256": sha256(body).hexdigest()})
    manifest.write_whole(path, head + b"\n" + body + b"\n")
    return sum(key["wrapped"] is not None for key in keys)


def read(path: Path, ledger_id: UUID) -> People:
    """Raises BackupError."""
    try:
        first, _, body = path.read_bytes().partition(b"\n")
        head, document = orjson.loads(first), orjson.loads(body)
        whole = head == {"format": FORMAT, "sha256": sha256(body.removesuffix(b"\n")).hexdigest()}
        people = People(
            UUID(document["ledger_id"]),
            [(UUID(key["subject"]), key["master_key"], _bytes(key["wrapped"])) for key in document["keys"]],
            [(UUID(row["account"]), row["hash"]) for row in document["passwords"]],
        )
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise BackupError(f"{path} is no file of keys, or is damaged") from error
    if not whole:
        raise BackupError(f"{path} is damaged, or in a format that this release does not read")
    if people.ledger_id != ledger_id:
        raise BackupError(f"{path} has the keys of another ledger, {people.ledger_id}")
    return people


def put(connection: Connection[Any], people: People) -> None:
    """Into tables that are empty."""
    with connection.cursor() as cursor:
        for start in range(0, len(people.keys), ROWS_MAX):
            some = people.keys[start : start + ROWS_MAX]
            cursor.executemany(PUT_KEYS, [(*key, key[2] is None) for key in some])
        for start in range(0, len(people.passwords), ROWS_MAX):
            cursor.executemany(PUT_PASSWORDS, people.passwords[start : start + ROWS_MAX])


def erased(connection: Connection[Any]) -> list[UUID]:
    """Who has no key any more."""
    return [row[0] for row in connection.execute(ERASED.encode())]


def _text(wrapped: bytes | None) -> str | None:
    return None if wrapped is None else b64encode(wrapped).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text, validate=True)
