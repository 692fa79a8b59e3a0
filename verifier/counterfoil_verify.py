#!/usr/bin/env python3
"""Checks what a Counterfoil ledger handed out, with nothing of Counterfoil: Python 3.11 and `cryptography` are enough.

    counterfoil_verify.py export DIRECTORY [--heads FILE] [--keys FILE]
    counterfoil_verify.py ticket PROOF… [--heads FILE] [--keys FILE]
    counterfoil_verify.py growth OLD-HEAD NEW-HEAD PROOF [--heads FILE] [--keys FILE]

PROOF…: the answers of /v1/tickets/ID/proof, page by page. FILE with heads: heads that you kept, and keys, if you like, one
after the other. FILE with keys: what /v1/ledger/keys answered. Exits with 0 when all is as it was signed, 1 when something was altered or forged, 2 when that cannot be told.

The formats are specified in Counterfoil's docs/proofs.md. This file is meant to be read, and to be kept.
"""

# ruff: noqa: T201 - what it finds it prints

from __future__ import annotations

import argparse
import csv
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from struct import error as StructError  # noqa: N812 - it is the one class of that name
from struct import pack
from typing import Any
from uuid import UUID

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    print("cannot tell: this needs the package `cryptography` (pip install cryptography)", file=sys.stderr)
    sys.exit(2)

GOOD, ALTERED, CANNOT_TELL = 0, 1, 2
FORMAT = "counterfoil-export-1"
TABLES = "counterfoil-table-1"
BLOCK_BYTES = 1 << 20
CELL_CHARACTERS_MAX = 1 << 30
BATCH_ROWS = 1_024
STORED = ("position", "stream_id", "version", "at", "topic", "data", "metadata")
"""The columns of a table that give a fact's bytes."""
SAID_AGAIN = ("stream_type", "type", "actor", "command_id", "correlation_id", "causation_id")
"""Those that say what these say, for whoever reckons with them."""
INSTEAD = "stored_base64"
"""The bytes themselves, where the columns could not give them."""
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
FACTS = "facts-*"
"""The files of an export."""
MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError, StructError)
"""What reading a document raises that is not what it should be."""

Json = dict[str, Any]


class AlteredError(Exception):
    """Something is not what was signed."""


class CannotTellError(Exception):
    """Something is missing that would tell."""


# -- Hashes ------------------------------------------------------------------------


def leaf_hash(content: bytes) -> bytes:
    return sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """The complete subtrees of a tree that grows leaf by leaf: all that a root needs."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        count = self.size
        while count & 1:
            leaf = node_hash(self._subtrees.pop(), leaf)
            count >>= 1
        self._subtrees.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        if not self._subtrees:
            return sha256(b"").digest()
        root = self._subtrees[-1]
        for left in reversed(self._subtrees[:-1]):
            root = node_hash(left, root)
        return root


def check_inclusion(index: int, size: int, leaf: bytes, proof: list[bytes], root: bytes) -> None:
    """RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        raise AlteredError(f"a tree of {size} facts has no position {index + 1}")
    found = leaf
    for part, on_the_left in upwards(index, size - 1, proof):
        found = node_hash(part, found) if on_the_left else node_hash(found, part)
    if found != root:
        raise AlteredError("the proof does not lead to the signed root")


def check_consistency(first: int, second: int, proof: list[bytes], roots: tuple[bytes, bytes]) -> None:
    """RFC 9162, 2.1.4.2; and every tree has grown from the one of nothing, which the RFC leaves out."""
    if first == 0 and not proof and roots[0] == sha256(b"").digest():
        return
    if not 0 < first <= second:
        raise AlteredError(f"a tree of {second} facts cannot have grown from one of {first}")
    if first == second:
        if proof or roots[0] != roots[1]:
            raise AlteredError("two roots for one size")
        return
    path = [roots[0], *proof] if first & (first - 1) == 0 else proof
    if not path:
        raise AlteredError("the proof is too short")
    index, last = first - 1, second - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    old = new = path[0]
    for part, on_the_left in upwards(index, last, path[1:]):
        if on_the_left:
            old, new = node_hash(part, old), node_hash(part, new)
        else:
            new = node_hash(new, part)
    if (old, new) != roots:
        raise AlteredError("the proof does not lead from the one signed root to the other")


def upwards(index: int, last: int, proof: list[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each part of a proof, and whether it stands on the left, from a node up to the root; ``last``: of its level."""
    for part in proof:
        if last == 0:
            raise AlteredError("the proof is too long")
        on_the_left = bool(index & 1) or index == last
        yield part, on_the_left
        while on_the_left and index and not index & 1:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1
    if last != 0:
        raise AlteredError("the proof is too short")


# -- Facts, heads, keys ------------------------------------------------------------


def canonical(fact: Json) -> bytes:
    """The bytes that a fact's leaf is the hash of."""
    at = fact["recorded_at"]
    if isinstance(at, str):
        at = (datetime.fromisoformat(at) - EPOCH) // timedelta(microseconds=1)
    fields = (
        pack(">q", whole(fact["position"])),
        UUID(fact["stream_id"]).bytes,
        pack(">i", whole(fact["version"])),
        fact["topic"].encode(),
        stored(fact, "payload"),
        stored(fact, "metadata"),
        pack(">q", whole(at)),
    )
    return b"CFE1" + pack(">H", len(fields)) + b"".join(pack(">i", len(part)) + part for part in fields)


def stored(fact: Json, name: str) -> bytes:
    """Raises ValueError for what is spelled twice: who reads the one must not be shown a proof of the other."""
    if f"{name}_base64" not in fact:
        return str.encode(fact[name])
    if name in fact:
        raise ValueError(f"{name} and {name}_base64")
    return b64decode(fact[f"{name}_base64"], validate=True)


def whole(number: object) -> int:
    if type(number) is not int:  # not true, either, which is 1 to Python
        raise ValueError(f"{number!r} is no whole number")
    return number


def once(members: list[tuple[str, Any]]) -> Json:
    """An object of JSON in which no name comes twice: readers would differ in which of them they take."""
    if len(found := dict(members)) < len(members):
        raise ValueError("a member has two values")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=once)


def documents(text: str) -> Iterator[Any]:
    """Whatever JSON follows each other, with lines between or without."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        document, at = DECODER.raw_decode(text, at)
        yield document


def read(path: Path) -> Any:
    return DECODER.decode(path.read_text(encoding="utf-8-sig"))


def decoded(hashes: list[str]) -> list[bytes]:
    found = [b64decode(part, validate=True) for part in hashes]
    if any(len(part) != 32 for part in found):  # noqa: PLR2004 - bytes of a SHA-256
        raise AlteredError("a part of the proof is no hash")
    return found


@dataclass(frozen=True)
class Head:
    ledger_id: UUID
    size: int
    root: bytes
    at: str
    key_id: str
    signature: bytes

    @classmethod
    def of(cls, document: Json) -> Head:
        return cls(
            UUID(document["ledger_id"]),
            whole(document["tree_size"]),
            b64decode(document["root"], validate=True),
            str(document["at"]),
            str(document["key_id"]),
            b64decode(document["signature"], validate=True),
        )

    @property
    def instant(self) -> datetime:
        return datetime.fromisoformat(self.at)

    def __str__(self) -> str:
        return f"the head of {self.size} facts, {self.at}"

    def check(self, keys: dict[str, Json]) -> None:
        """Raises AlteredError unless its key signed it while it was valid, CannotTellError without that key."""
        key = keys.get(self.key_id)
        if key is None:
            raise CannotTellError(f"{self} is signed with the key {self.key_id}, which is not among the keys")
        public = b64decode(key["public_key"], validate=True)
        if sha256(public).digest()[:16].hex() != self.key_id:
            raise AlteredError(f"the key {self.key_id} is not the one that it says it is")
        retired = key["retired_at"]
        valid = datetime.fromisoformat(key["valid_from"]) <= self.instant
        if not valid or (retired is not None and self.instant >= datetime.fromisoformat(retired)):
            raise AlteredError(f"{self} is signed with a key that was not valid then")
        text = f"counterfoil/{self.ledger_id}\n{self.size}\n{b64encode(self.root).decode()}\nat {self.at}\n"
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(self.signature, text.encode())
        except InvalidSignature:
            raise AlteredError(f"{self} is not signed: it, or its signature, was changed") from None

    def check_as_kept(self, ledger_id: UUID, keys: dict[str, Json]) -> None:
        """Raises CannotTellError for one that is good for nothing: that says nothing about the ledger."""
        if self.ledger_id != ledger_id:
            raise CannotTellError(f"{self} is of another ledger")
        try:
            self.check(keys)
        except AlteredError as error:
            raise CannotTellError(f"of those that were kept, {error}") from error


@dataclass
class Kept:
    """What the one who checks has from elsewhere."""

    heads: list[Head] = field(default_factory=list)
    keys: dict[str, Json] = field(default_factory=dict)

    def trusted_keys(self, offered: Iterable[Json]) -> dict[str, Json]:
        """Those that were kept; without any, those that come along, which then vouch for themselves only."""
        return self.keys or {str(key["key_id"]): key for key in offered}


def read_kept(heads: Path | None, keys: Path | None) -> Kept:
    kept = Kept()
    for document in documents(heads.read_text(encoding="utf-8-sig")) if heads is not None else ():
        for one in document.get("items", [document]):  # a page of /v1/ledger/heads has several
            if "public_key" in one:
                kept.keys[one["key_id"]] = one
            else:
                kept.heads.append(Head.of(one))
    for key in read(keys)["items"] if keys is not None else ():
        kept.keys[key["key_id"]] = key
    return kept


# -- What can be checked -----------------------------------------------------------


def check_export(directory: Path, kept: Kept) -> Iterator[str]:
    """What is wrong, in the order of positions; nothing when all is well."""
    manifest = read(directory / "manifest.json")
    if manifest["format"] not in (FORMAT, TABLES):
        raise CannotTellError(f"the format is {manifest['format']}, and this verifier knows {FORMAT} and {TABLES}")
    head, keys = Head.of(manifest["head"]), kept.trusted_keys(manifest["keys"])
    heads = {*kept.heads, head}
    head.check(keys)
    for known in kept.heads:
        known.check_as_kept(head.ledger_id, keys)
    yield from unlisted(directory, manifest["files"])
    yield from gone_back(head, kept.heads)
    encoding = "jsonl" if manifest["format"] == FORMAT else manifest["encoding"]
    if broken := [] if encoding == "jsonl" else list(check_files(directory, manifest["files"], head)):
        yield from broken
        return
    tree = Tree()
    roots = {0: tree.root()}
    sizes = {known.size for known in heads}
    bring, understand = ENCODINGS[encoding]
    for where, written in bring(directory, manifest["files"]):
        position = tree.size + 1
        try:
            found, content = understand(written)
            leaf = leaf_hash(content)
        except MALFORMED:
            yield f"{where}: position {position}: this is no fact"
            return
        except AlteredError as error:
            yield f"{where}: position {position}: {error}"
            return
        if found != position or position > head.size:
            yield f"{where}: {out_of_place(found, position)}"
            return
        tree.append(leaf)
        if tree.size in sizes:
            roots[tree.size] = tree.root()
    yield from differing([known for known in heads if known.size <= head.size], roots, tree.size)
    if (last := max(known.size for known in heads)) > head.size:
        raise CannotTellError(
            f"the export ends at {head.size}, and a head that was kept covers {last}: fetch a newer one"
        )


def unlisted(directory: Path, files: list[Json]) -> Iterator[str]:
    known = {listed["name"] for listed in files}
    for name in sorted(path.name for path in directory.glob(FACTS) if path.name not in known):
        yield f"{name}: the manifest does not list it: nobody vouches for what is in it"


def gone_back(head: Head, kept: list[Head]) -> Iterator[str]:
    """A ledger only grows: a head that was signed later covers no less."""
    for known in kept:
        if known.size > head.size and known.instant < head.instant:
            yield f"positions {head.size + 1} to {known.size}: cut off: {known} covers them, and {head} does not"


def check_files(directory: Path, files: list[Json], head: Head) -> Iterator[str]:
    """Of tables, whose files say less of where something was altered: that each is the one that the manifest lists."""
    expected = 1
    for listed in files:
        name = Path(listed["name"]).name  # never outside
        if listed["first_position"] != expected or listed["count"] != listed["last_position"] - expected + 1:
            yield f"{name}: the manifest has position {listed['first_position']} where {expected} belongs, or miscounts"
        expected = listed["last_position"] + 1
        found = file_hash(directory / name)
        if found is None:
            yield f"{name}, positions {listed['first_position']} to {listed['last_position']}: the file is missing"
        elif found != listed["sha256"]:
            yield f"{name}, positions {listed['first_position']} to {listed['last_position']}: not as it was exported"
    if expected != head.size + 1:
        yield f"positions {min(expected, head.size + 1)} to {head.size}: cut off: the manifest lists no file with them"


def file_hash(path: Path) -> str | None:
    if not path.exists():
        return None
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def out_of_place(found: int, position: int) -> str:
    if found > position:
        return f"position {position}: missing: what follows is position {found}"
    if found < position:
        return f"position {position}: inserted, or moved: position {found} was there already"
    return f"position {position}: inserted: the export's head does not cover it"


def differing(heads: Iterable[Head], roots: dict[int, bytes], size: int) -> Iterator[str]:
    """Between which heads something is not what was signed."""
    good = 0
    for head in sorted(heads, key=lambda head: head.size):
        if head.size > size:
            yield f"positions {size + 1} to {head.size}: cut off"
            return
        if roots[head.size] != head.root and head.size <= good:
            yield f"{head}: another one of this size, with another root, was signed, too: there are two histories"
            return
        if roots[head.size] != head.root:
            yield f"positions {good + 1} to {head.size}: altered: {head} has another root"
            return
        good = head.size


def paths(directory: Path, files: list[Json]) -> Iterator[Path]:
    for listed in files:
        path = directory / Path(listed["name"]).name  # never outside
        if not path.exists():
            first, last = listed["first_position"], listed["last_position"]
            raise AlteredError(f"{path.name}, positions {first} to {last}: the file is missing")
        yield path


def lines(directory: Path, files: list[Json]) -> Iterator[tuple[str, bytes]]:
    for path in paths(directory, files):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield f"{path.name}, line {number}", line


def of_line(line: bytes) -> tuple[int, bytes]:
    """A fact's position and canonical bytes."""
    fact = DECODER.decode(line.decode())
    return fact["position"], canonical(fact)


def csv_rows(directory: Path, files: list[Json]) -> Iterator[tuple[str, Json | None]]:
    """None: no row."""
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    for path in paths(directory, files):
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            try:
                names = next(reader, [])
                for row in reader:
                    where = f"{path.name}, line {reader.line_num}"
                    yield where, dict(zip(names, row, strict=True)) if set(names) == COLUMNS else None
            except (csv.Error, ValueError):
                yield f"{path.name}, line {reader.line_num + 1}", None


def parquet_rows(directory: Path, files: list[Json]) -> Iterator[tuple[str, Json | None]]:
    try:
        from pyarrow.lib import ArrowException  # noqa: PLC0415 - for this alone
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError:
        raise CannotTellError("Parquet needs the package `pyarrow` (pip install pyarrow)") from None
    for path in paths(directory, files):
        number = 0
        try:
            file = ParquetFile(path)
            whole_names = sorted(file.schema_arrow.names) == sorted(COLUMNS)
            for batch in file.iter_batches(BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}, row {number}", row if whole_names else None
        except ArrowException:
            yield f"{path.name}, row {number + 1}", None


def of_row(row: Json) -> tuple[int, bytes]:
    """A fact's position and canonical bytes. Raises AlteredError where a row says one thing in two ways, and not the same."""
    fact: Json = {name: row[name] for name in STORED}
    fact |= {name: number(fact[name]) for name in ("position", "version")}
    if isinstance(fact["at"], datetime):
        fact["at"] = (fact["at"] - EPOCH) // timedelta(microseconds=1)
    if row[INSTEAD]:
        if any(fact[name] for name in ("topic", "data", "metadata")):
            raise AlteredError(f"{INSTEAD} is for facts that cannot be written otherwise, and this one is")
        return fact["position"], as_told(fact, b64decode(row[INSTEAD], validate=True))
    who = object_in(fact["metadata"])
    kind = fact["topic"].partition("@")[0]
    said = {"stream_type": kind.partition(".")[0], "type": kind} | {name: who.get(name) for name in SAID_AGAIN[2:]}
    if wrong := [name for name in SAID_AGAIN if shown(row[name]) != shown(said[name])]:
        raise AlteredError(f"{', '.join(wrong)}: not what is stored says")
    return fact["position"], canonical(fact | {"payload": fact["data"], "recorded_at": fact["at"]})


def as_told(fact: Json, content: bytes) -> bytes:
    """The bytes, whose first columns have to be those that are shown beside them."""
    begin = canonical(
        {"topic": "", "payload": "", "metadata": "", "recorded_at": 0, **{name: fact[name] for name in STORED[:3]}}
    )
    if not content.startswith(begin[: 6 + 12 + 20 + 8]):  # tag and count, then length and bytes of each of the three
        raise AlteredError(f"{INSTEAD} is of another fact")
    return content


def number(cell: object) -> int:
    """Of a cell: nothing that readers could take for different numbers."""
    if isinstance(cell, str):
        if str(int(cell)) != cell:
            raise ValueError(cell)
        return int(cell)
    return whole(cell)


def shown(value: object) -> str:
    """In a cell."""
    return "" if value is None else str(value)


def object_in(text: str) -> Json:
    """Nothing where there is no JSON, which has no NaN."""
    try:
        found = json.loads(text, parse_constant=int)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


COLUMNS = {*STORED, *SAID_AGAIN, INSTEAD}
ENCODINGS: dict[str, tuple[Callable[..., Iterator[tuple[str, Any]]], Callable[[Any], tuple[int, bytes]]]] = {
    "jsonl": (lines, of_line),
    "csv": (csv_rows, of_row),
    "parquet": (parquet_rows, of_row),
}


def check_ticket(pages: list[Json], kept: Kept) -> Iterator[str]:
    """A ticket's history, in one answer or in several that follow each other."""
    keys = kept.trusted_keys(())
    expected, ticket = 1, pages[0]["ticket_id"]
    for page in pages:
        head = Head.of(page["head"])
        head.check(keys)
        yield from unlike(head, kept, keys)
        if page["ticket_id"] != ticket:
            yield f"the answers are of two tickets: {ticket} and {page['ticket_id']}"
        for fact in page["facts"]:
            where = f"position {fact['position']}, {fact['topic']}"
            if fact["stream_id"] != ticket:
                yield f"{where}: is of another stream than the ticket's"
            if fact["version"] != expected:
                yield f"{where}: is version {fact['version']} where {expected} belongs: facts are missing, or out of order"
            expected = fact["version"] + 1
            try:
                leaf = leaf_hash(canonical(fact))
                check_inclusion(fact["position"] - 1, head.size, leaf, decoded(fact["hashes"]), head.root)
            except AlteredError as error:
                yield f"{where}: {error}"
    if expected == 1:
        raise CannotTellError("no facts were handed out, and every ticket has some")
    if pages[-1]["next_cursor"] is not None:
        raise CannotTellError(f"there are more facts than these {expected - 1}: fetch the pages that follow, too")


def unlike(head: Head, kept: Kept, keys: dict[str, Json]) -> Iterator[str]:
    """Whether it contradicts one that was kept, as far as that can be told without a proof that the one grew into the other."""
    for known in kept.heads:
        known.check_as_kept(head.ledger_id, keys)
        if known.size == head.size and known.root != head.root:
            yield f"{head} is not the one of this size that was kept: there are two histories"
    yield from gone_back(head, kept.heads)


def check_growth(old: Json, new: Json, proof: Json, kept: Kept) -> Iterator[str]:
    first, second, keys = Head.of(old), Head.of(new), kept.trusted_keys(())
    for head in (first, second):
        head.check(keys)
    if first.ledger_id != second.ledger_id:
        raise CannotTellError("the heads are of two ledgers")
    try:
        check_consistency(first.size, second.size, decoded(proof["hashes"]), (first.root, second.root))
    except AlteredError as error:
        yield str(error)
    for head in (first, second):
        yield from unlike(head, kept, keys)


# -- The command line --------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    altered = False
    try:
        kept = read_kept(options.heads, options.keys)
        for finding in check(options, kept):
            print(finding)
            altered = True
    except AlteredError as error:
        print(error)
        altered = True
    except (CannotTellError, OSError, *MALFORMED) as error:
        print(f"cannot tell: {reason(error)}", file=sys.stderr)
        return ALTERED if altered else CANNOT_TELL
    if not altered:
        print("all is as it was signed")
        if not kept.heads and not kept.keys:
            print("(by a key that came along with it: a head or a key that you kept would tell more)")
    return ALTERED if altered else GOOD


def reason(error: BaseException) -> str:
    match error:
        case CannotTellError():
            return str(error)
        case OSError():
            return f"{error.filename}: {error.strerror}"
    return f"this is not what it should be: {error!r}"


def check(options: argparse.Namespace, kept: Kept) -> Iterator[str]:
    match options.what:
        case "export":
            return check_export(options.directory, kept)
        case "ticket":
            return check_ticket([read(path) for path in options.proofs], kept)
        case _:
            old, new, proof = (read(path) for path in (options.old, options.new, options.proof))
            return check_growth(old, new, proof, kept)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check what a Counterfoil ledger handed out.")
    commands = parser.add_subparsers(dest="what", required=True)
    export = commands.add_parser("export", help="an exported ledger")
    export.add_argument("directory", type=Path)
    ticket = commands.add_parser("ticket", help="the proof of a ticket's history")
    ticket.add_argument("proofs", type=Path, nargs="+", metavar="proof")
    growth = commands.add_parser("growth", help="that one head grew into another")
    growth.add_argument("old", type=Path)
    growth.add_argument("new", type=Path)
    growth.add_argument("proof", type=Path)
    for command in (export, ticket, growth):
        command.add_argument("--heads", type=Path, help="heads that you kept, and keys: JSON lines")
        command.add_argument("--keys", type=Path, help="what /v1/ledger/keys answered")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
