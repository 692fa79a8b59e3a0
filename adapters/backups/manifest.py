"""What a backup says of itself. It is written last: where there is none, the backup was never finished."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import file_digest
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from adapters.backups.tools import BackupError
from projections.ledger_head import HeadKey, SignedHead, head_from, key_from, text_of

NAME = "manifest.json"
FORMAT = "counterfoil-backup-1"


class Kind(StrEnum):
    DUMP = "dump"
    FOLLOWED = "followed"
    """A copy of the server's files, and the log of everything since."""


class File(NamedTuple):
    name: str
    size: int
    sha256: str


class Manifest(NamedTuple):
    kind: Kind
    at: datetime
    """Of a dump: when. Of a copy: the earliest moment that can be restored."""
    ledger_id: UUID
    position: int
    """Up to here, at least, it has everything."""
    head: SignedHead | None
    keys: list[HeadKey]
    server: int
    """The major version of PostgreSQL."""
    release: str
    """Of Counterfoil."""
    files: list[File]


def write(directory: Path, manifest: Manifest) -> None:
    document = {
        "format": FORMAT,
        **manifest._asdict(),
        "at": text_of(manifest.at),
        "head": manifest.head.document() if manifest.head is not None else None,
        "keys": [key.document() for key in manifest.keys],
        "files": [file._asdict() for file in manifest.files],
    }
    write_whole(directory / NAME, [orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)])


def read(directory: Path) -> Manifest:
    """Raises BackupError for what is none, not finished, or of a format that this release does not know."""
    if not directory.is_dir():
        raise BackupError(f"there is no directory {directory}")
    try:
        document: dict[str, Any] = orjson.loads((directory / NAME).read_bytes())
    except FileNotFoundError:
        raise BackupError(
            f"{directory} has no {NAME}: it is no backup, or one that was cut off before its end"
        ) from None
    except ValueError as error:
        raise BackupError(f"{directory / NAME} is damaged: {error}") from error
    if document.get("format") != FORMAT:
        raise BackupError(f"{directory} is in the format {document.get('format')!r}, and this release reads {FORMAT!r}")
    try:
        return Manifest(
            Kind(document["kind"]),
            datetime.fromisoformat(document["at"]).astimezone(UTC),
            UUID(document["ledger_id"]),
            int(document["position"]),
            head_from(document["head"]) if document["head"] is not None else None,
            [key_from(key) for key in document["keys"]],
            int(document["server"]),
            str(document["release"]),
            [File(str(f["name"]), int(f["size"]), str(f["sha256"])) for f in document["files"]],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackupError(f"{directory / NAME} is damaged: {error}") from error


def described(directory: Path, *names: str) -> list[File]:
    return [File(name, (directory / name).stat().st_size, sha256_of(directory / name)) for name in names]


def check(directory: Path, manifest: Manifest) -> None:
    """Raises BackupError for the first file that is not what was written."""
    for file in manifest.files:
        path = directory / file.name
        if not path.is_file():
            raise BackupError(f"{path} is missing")
        if path.stat().st_size != file.size or sha256_of(path) != file.sha256:
            raise BackupError(f"{path} is damaged: it does not have the SHA-256 that {NAME} lists")


def begin(directory: Path) -> None:
    """Have an empty directory that only its owner can look into. Raises BackupError, OSError."""
    if directory.exists() and not directory.is_dir():
        raise BackupError(f"{directory} is not a directory")
    if directory.is_dir() and any(directory.iterdir()):
        raise BackupError(f"{directory} is not empty: each backup has a directory of its own")
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)


@contextmanager
def alone(lock: Path, what: Path, doing: str) -> Iterator[None]:
    """Nobody else does this at the same time. Raises BackupError, and waits for nobody. The lock's file stays."""
    with lock.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"{what} is being {doing} by another process") from None
        yield


def write_whole(path: Path, content: Iterable[bytes]) -> None:
    """All of it or what was there before, also when the machine stops. Only the owner can read it.

    One at a time: the name of what is not whole yet is always the same, so that none is left behind with keys in it.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    sync(path.parent)


def sync(directory: Path) -> None:
    """Make names durable, and not only what they name."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
