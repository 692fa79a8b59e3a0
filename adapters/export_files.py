"""The files of an export: one for each day, each counted and hashed as it is written. One page of facts is in memory.

JSON lines hold the seven stored columns. CSV and Parquet are for those who reckon with facts: columns as the API names
them, `data` as the JSON that is stored, and what else it takes to make the stored bytes again. Either can be checked.
"""

from __future__ import annotations

import csv
import io
import os
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

import orjson

from adapters.reader import StoredFact, stored_fact
from projections.canonical import EPOCH, position_of, split, to_line

MANIFEST = "manifest.json"
COLUMNS = (*StoredFact._fields, "topic", "metadata", "stored_base64")
"""Of a table. The last is there when nothing else could give the stored bytes back: `data`, `topic`, `metadata` are not."""
PREFIX = "facts-"
ROW_GROUP_FACTS = 16_384
"""Of a Parquet file, and the most facts in memory at a time."""
MICROSECONDS_OF_A_DAY = 86_400_000_000
EPOCH_ORDINAL = EPOCH.toordinal()
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Form(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class ParquetMissingError(RuntimeError):
    """Parquet needs a package that comes as an extra."""


class DirectoryTakenError(RuntimeError):
    """There is another export in the directory, or what is left of one."""


class Written(NamedTuple):
    """A file, as the manifest lists it."""

    name: str
    day: str
    first_position: int
    last_position: int
    facts: int
    sha256: str


def _listed(written: Written) -> dict[str, object]:
    members = written._asdict()
    return {"count" if name == "facts" else name: value for name, value in members.items()}


class Hashed(io.RawIOBase):
    """A file whose bytes are hashed on their way. What does not fit on the disk is an OSError."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("xb")
        self.digest = sha256()
        self._discarding = False

    def discard(self) -> None:
        """What is still written goes nowhere: the file is about to be taken away."""
        self._discarding = True

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        if self._discarding:
            return len(content)
        self.digest.update(content)
        self._file.write(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            try:
                if not self._file.closed:
                    self._file.close()
            finally:
                super().close()

    def keep(self) -> None:
        """Onto the disk, now: an error is raised here and not lost."""
        self._file.flush()
        os.fsync(self._file.fileno())


class Encoding(Protocol):
    """How facts, given as their canonical bytes, are written into one file."""

    def write(self, contents: Sequence[bytes]) -> None: ...

    def finish(self) -> None:
        """Write what comes last."""


class JsonLines:
    def __init__(self, file: Hashed) -> None:
        self._file = file

    def write(self, contents: Sequence[bytes]) -> None:
        option = orjson.OPT_APPEND_NEWLINE
        self._file.write(b"".join(orjson.dumps(to_line(content), option=option) for content in contents))

    def finish(self) -> None:
        pass


class CommaSeparated:
    """RFC 4180, with a header, UTF-8."""

    def __init__(self, file: Hashed) -> None:
        self._file = file
        self._put([COLUMNS])

    def write(self, contents: Sequence[bytes]) -> None:
        self._put([row(content) for content in contents])

    def finish(self) -> None:
        pass

    def _put(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode())


class Parquet:
    """In row groups, so that neither side has to hold a day in memory."""

    def __init__(self, file: Hashed) -> None:
        arrow, parquet = parquet_library()
        text, names = arrow.string(), arrow.dictionary(arrow.int32(), arrow.string())
        kinds = {
            "position": arrow.int64(),
            "stream_type": names,
            "version": arrow.int32(),
            "type": names,
            "at": arrow.timestamp("us", tz="UTC"),
            "topic": names,
        }
        self._schema = arrow.schema([(name, kinds.get(name, text)) for name in COLUMNS])
        self._arrow = arrow
        self._writer = parquet.ParquetWriter(arrow.PythonFile(file, mode="w"), self._schema, compression="zstd")
        self._rows: list[tuple[object, ...]] = []

    def write(self, contents: Sequence[bytes]) -> None:
        self._rows += [row(content, instants=True) for content in contents]
        if len(self._rows) >= ROW_GROUP_FACTS:
            self._put()

    def finish(self) -> None:
        self._put()
        self._writer.close()

    def _put(self) -> None:
        if self._rows:
            columns = [
                self._arrow.array(column, type=kind)
                for column, kind in zip(zip(*self._rows, strict=True), self._schema.types, strict=True)
            ]
            self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))
            self._rows = []


ENCODINGS: dict[Form, Callable[[Hashed], Encoding]] = {
    Form.JSONL: JsonLines,
    Form.CSV: CommaSeparated,
    Form.PARQUET: Parquet,
}


def parquet_library() -> tuple[Any, Any]:
    """Raises ParquetMissingError."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ParquetMissingError("Parquet needs the package pyarrow: pip install pyarrow") from error


def row(content: bytes, *, instants: bool = False) -> tuple[object, ...]:
    """A fact as the API shows it, but for `data`, and `COLUMNS`' rest; ``instants``: `at` as such, and not as text."""
    fields = split(content)
    position, stream_id, version, topic, payload, metadata, recorded_at = (field or b"" for field in fields)
    at = UNIX_EPOCH
    microseconds = int.from_bytes(recorded_at, "big", signed=True)
    try:
        at = EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:  # no year that can be written
        instant: object = None
    else:
        instant = at if instants else at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    fact = stored_fact(
        int.from_bytes(position, "big", signed=True),
        UUID(bytes=stream_id),
        int.from_bytes(version, "big", signed=True),
        topic.decode(),
        at,
        payload,
        metadata,
    )
    stored = None if instant is None or None in fields else _texts(payload, topic, metadata)
    data, *more = (None, None, None, b64encode(content).decode()) if stored is None else (*stored, None)
    shown = fact._replace(stream_id=str(fact.stream_id), at=instant, data=data)  # type: ignore[arg-type]
    return (*shown, *more)


def _texts(*fields: bytes) -> tuple[str, ...] | None:
    """None where one is no text."""
    try:
        return tuple(field.decode() for field in fields)
    except UnicodeDecodeError:
        return None


def day_of(content: bytes) -> date:
    """In UTC, of what is recorded at an instant; the first or last that can be named, where it is beyond."""
    recorded_at = split(content)[-1] or bytes(8)
    ordinal = EPOCH_ORDINAL + int.from_bytes(recorded_at, "big", signed=True) // MICROSECONDS_OF_A_DAY
    return date.fromordinal(min(max(ordinal, date.min.toordinal()), date.max.toordinal()))


class DayFiles:
    """A context manager: whatever goes wrong in it, none of its files stay.

    Raises DirectoryTakenError and ParquetMissingError before it writes anything, OSError.
    """

    def __init__(self, directory: Path, form: Form) -> None:
        if form is Form.PARQUET:
            parquet_library()
        directory.mkdir(parents=True, exist_ok=True)
        taken = [path.name for path in directory.iterdir() if path.name == MANIFEST or path.name.startswith(PREFIX)]
        if taken:
            raise DirectoryTakenError(f"{directory} has another export in it, or a part of one ({min(taken)})")
        self._directory = directory
        self._form = form
        self._paths: list[Path] = []
        self._day: date | None = None
        self._open: tuple[Hashed, Encoding] | None = None
        self._first = self._last = self._count = 0
        self.written: list[Written] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open is not None:
            file, encoding = self._open
            file.discard()
            with suppress(Exception):  # what went wrong has been said; this is for encodings that write at their end
                encoding.finish()
            with suppress(OSError):
                file.close()
        if kind is not None:
            for path in self._paths:
                path.unlink(missing_ok=True)

    def write(self, page: Sequence[bytes]) -> None:
        """Facts in the order of positions. Of a ledger whose clock was set back, what follows stays in the later day."""
        begin = 0
        for index, content in enumerate(page):
            day = day_of(content)
            if self._day is None or day > self._day:
                self._put(page[begin:index])
                self._close()
                self._begin(day)
                begin = index
        self._put(page[begin:])

    def finish(self, manifest: dict[str, Any]) -> None:
        """The last file, and then what vouches for all of them: there is a manifest only where everything is."""
        self._close()
        document = manifest | {"files": [_listed(written) for written in self.written]}
        unfinished = self._directory / f"{MANIFEST}.part"
        self._paths += [unfinished, self._directory / MANIFEST]
        with unfinished.open("xb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._directory / MANIFEST)

    def _begin(self, day: date) -> None:
        self._day = day
        path = self._directory / f"{PREFIX}{day.isoformat()}.{self._form}"
        file = Hashed(path)
        self._paths.append(path)
        self._open = (file, ENCODINGS[self._form](file))
        self._first = self._count = 0

    def _put(self, contents: Sequence[bytes]) -> None:
        if self._open is not None and contents:
            self._open[1].write(contents)
            self._first = self._first or position_of(contents[0])
            self._last = position_of(contents[-1])
            self._count += len(contents)

    def _close(self) -> None:
        if self._open is None or self._day is None:
            return
        file, encoding = self._open
        encoding.finish()
        file.keep()
        file.close()
        self._open = None
        name = self._paths[-1].name
        day = self._day.isoformat()
        self.written.append(Written(name, day, self._first, self._last, self._count, file.digest.hexdigest()))
