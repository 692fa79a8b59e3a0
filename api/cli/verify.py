"""``counterfoil verify`` and ``counterfoil keys``: the ledger held to what was signed, and the keys that sign."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from json import JSONDecoder
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Never

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.bootstrap import Audit, audit_ledger, exportable, prepare, rotate_head_key
from api.cli.console import clear_errors, err, out, settings
from projections.ledger_head import HeadKey, SignedHead, head_from, key_from

CLEAN, ALTERED, CANNOT_TELL = 0, 1, 2
"""What it exits with."""


NEXT = re.compile(r"\s*")


class KeptFileError(ValueError):
    """A file of heads that cannot be read."""


class Kept(NamedTuple):
    heads: list[SignedHead]
    keys: list[HeadKey]


def verify(
    heads: Annotated[Path | None, typer.Option(help="Heads that you kept: JSON lines.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Append the latest head, and the keys, here when nothing was altered.")
    ] = None,
) -> None:
    """Hold the ledger to signed heads, yours and its own, and say what was changed, removed, moved, inserted or cut off.

    Exits with 0 when nothing was altered, 1 when something was, 2 when that cannot be told.
    """
    try:
        kept = read_kept(heads) if heads is not None else Kept([], [])
        audit = _audit(kept)
        _report(audit, heads)
        if audit.findings:
            raise typer.Exit(ALTERED)
        if audit.doubts:
            raise typer.Exit(CANNOT_TELL)
        if keep is not None:
            _keep(audit, keep)
    except KeptFileError as error:
        _cannot_tell(str(error))
    except OSError as error:
        _cannot_tell(f"{error.filename}: {error.strerror}")


def keys(
    *, rotate: Annotated[bool, typer.Option("--rotate", help="Retire the key that signs, and begin a new one.")] = False
) -> None:
    """The keys that the ledger's heads are, and were, signed with: JSON lines, as a file of heads may hold them."""
    with clear_errors():
        url, secret, server = prepare(settings(), reading=True)
        try:
            if rotate:
                rotate_head_key(url, secret)
            found = exportable(url).keys
        finally:
            if server is not None:
                server.stop_unless_joined()
    sys.stdout.buffer.write(_lines(key.document() for key in found))


def _audit(kept: Kept) -> Audit:
    """An operator's mistake is no verdict about the ledger."""
    try:
        with clear_errors():
            url, _, server = prepare(settings(), reading=True)
            try:
                with _progress() as progress:
                    bar = progress.add_task("facts", total=None)
                    return audit_ledger(
                        url,
                        kept.heads,
                        kept.keys,
                        lambda done, total: progress.update(bar, completed=done, total=total),
                    )
            finally:
                if server is not None:
                    server.stop_unless_joined()
    except typer.Exit as error:
        raise typer.Exit(CANNOT_TELL) from error


def _report(audit: Audit, heads: Path | None) -> None:
    own = audit.heads - audit.kept
    uncovered = max(0, audit.facts - audit.covered)
    _say(f"{audit.facts:,} facts, held to {audit.kept} heads from {heads or 'nobody else'} and {own} of its own")
    for finding in audit.findings:
        _say(str(finding))
    for doubt in audit.doubts:
        err.print(f"cannot tell: {doubt}", highlight=False, markup=False, soft_wrap=True)
    if uncovered:
        _say(f"{uncovered:,} facts are newer than the latest head: they are in order, and nobody has signed them yet")
    if not audit.findings and not audit.doubts:
        _say(f"nothing was altered up to position {audit.covered}")


def read_kept(path: Path) -> Kept:
    """Raises KeptFileError with the line that begins what is neither a head nor a key; OSError."""
    kept = Kept([], [])
    for line, document in _documents(path):
        try:
            if "public_key" in document:
                kept.keys.append(key_from(document))
            else:
                kept.heads.append(head_from(document))
        except TypeError as error:
            raise KeptFileError(f"{path}, line {line}: this is not a signed head") from error
        except ValueError as error:
            raise KeptFileError(f"{path}, line {line}: {error}") from error
    if not kept.heads:
        raise KeptFileError(f"{path} has no head in it")
    return kept


def _documents(path: Path) -> Iterator[tuple[int, Any]]:
    """Whatever JSON follows each other, with lines between or without; each with the line where it begins."""
    try:
        text, decode = path.read_bytes().decode("utf-8-sig"), JSONDecoder().raw_decode
    except UnicodeDecodeError as error:
        raise KeptFileError(f"{path} is no text") from error
    line, counted, at = 1, 0, _next(text, 0)
    while at < len(text):
        line, counted = line + text.count("\n", counted, at), at
        try:
            document, end = decode(text, at)
        except (ValueError, RecursionError) as error:
            raise KeptFileError(f"{path}, line {line}: this is not JSON") from error
        several = document.get("items") if isinstance(document, dict) else None  # as /v1/ledger/heads answers
        yield from ((line, one) for one in (several if isinstance(several, list) else [document]))
        at = _next(text, end)


def _next(text: str, at: int) -> int:
    """Where something begins that is not a space."""
    found = NEXT.match(text, at)
    return found.end() if found is not None else at


def _keep(audit: Audit, path: Path) -> None:
    """What is in the file already is not written again."""
    known = read_kept(path) if path.exists() and path.stat().st_size else Kept([], [])
    documents = [key.document() for key in audit.keys if key not in known.keys]
    if audit.latest is not None and audit.latest not in known.heads:
        documents.append(audit.latest.document())
    with path.open("ab") as file:
        file.write(_lines(documents))


def _lines(documents: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE) for document in documents)


def _cannot_tell(reason: str) -> Never:
    err.print(f"cannot tell: {reason}", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(CANNOT_TELL)


def _say(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err)
