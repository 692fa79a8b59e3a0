"""``counterfoil export``: the ledger into files that can be verified without Counterfoil."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.bootstrap import LedgerGapError, export_lines, exportable, prepare
from api.cli.console import clear_errors, err, fail, out, settings

FORMAT = "counterfoil-export-1"
FACTS = "facts.jsonl"
MANIFEST = "manifest.json"


class Format(StrEnum):
    JSONL = "jsonl"


def export(
    directory: Annotated[Path, typer.Argument(help="Where to write. It is made when it is not there.")],
    form: Annotated[
        Format, typer.Option("--format", help="JSON lines with every byte, for the verifier.")
    ] = Format.JSONL,
) -> None:
    """Write the facts that the latest signed head covers, and a manifest with that head."""
    with clear_errors():
        url, _, server = prepare(settings())
        try:
            _export(url, directory, form)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")
        except LedgerGapError as error:
            fail(f"the ledger is not whole: {error}. `counterfoil verify` says what is missing.")
        finally:
            if server is not None:
                server.stop_unless_joined()


def _export(url: str, directory: Path, form: Format) -> None:
    head, keys = exportable(url)
    if head is None:
        fail("no head has been signed yet: the worker does that, see `counterfoil worker`")
    directory.mkdir(parents=True, exist_ok=True)
    manifest = directory / MANIFEST
    manifest.unlink(missing_ok=True)  # until the facts are whole there is nothing that vouches for them
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task("facts", total=head.tree_size)
        written = _write(url, directory / FACTS, head.tree_size, lambda count: progress.advance(bar, count))
    document = {
        "format": FORMAT,
        "ledger_id": str(head.ledger_id),
        "first_position": 1,
        "last_position": head.tree_size,
        "files": [written],
        "head": head.document(),
        "keys": [key.document() for key in keys],
    }
    manifest.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    out.print(f"{head.tree_size:,} facts as {form} in {directory}", highlight=False, markup=False, soft_wrap=True)


def _write(url: str, path: Path, until: int, on_progress: Callable[[int], object]) -> dict[str, Any]:
    """What the manifest says of the file."""
    digest = sha256()
    with path.open("wb") as file:
        for page in export_lines(url, until):
            content = b"".join(page)
            digest.update(content)
            file.write(content)
            on_progress(len(page))
    return {"name": path.name, "first_position": 1, "last_position": until, "sha256": digest.hexdigest()}
