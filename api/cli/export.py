"""``counterfoil export``: the ledger into files, to be verified without Counterfoil or to be reckoned with."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.bootstrap import (
    DirectoryTakenError,
    Form,
    LedgerGapError,
    ParquetMissingError,
    export_ledger,
    exportable,
    prepare,
)
from api.cli.console import clear_errors, err, fail, out, settings


def export(
    directory: Annotated[Path, typer.Argument(help="Where to write. It is made when it is not there.")],
    form: Annotated[
        Form,
        typer.Option("--format", help="jsonl: as it is stored; csv, parquet: columns, for analysts."),
    ] = Form.JSONL,
) -> None:
    """Write the facts that the latest signed head covers, a file for each day, and a manifest with that head."""
    with clear_errors():
        url, _, server = prepare(settings(), reading=True)
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            _export(url, directory, form)
        except (DirectoryTakenError, ParquetMissingError) as error:
            fail(escape(str(error)))  # the extra's name stands in brackets
        except OSError as error:
            fail(f"{error.filename or directory}: {error.strerror or error}. Nothing was exported.")
        except LedgerGapError as error:
            fail(f"the ledger is not whole: {error}. `counterfoil verify` says what is missing.")
        except KeyboardInterrupt:
            fail("stopped before the end. Nothing was exported.")
        finally:
            if server is not None:
                server.stop_unless_joined()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """To be told to stop is to be interrupted: what was written so far is taken away again."""
    raise KeyboardInterrupt


def _export(url: str, directory: Path, form: Form) -> None:
    covered = exportable(url)
    if covered.head is None:
        fail("no head has been signed yet: the worker does that, see `counterfoil worker`")
    total = covered.head.tree_size
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        bar = progress.add_task("facts", total=total)
        days = len(export_ledger(url, directory, form, covered, lambda count: progress.advance(bar, count)))
    files = f"{days} files, one a day" if days != 1 else "one file, of one day"
    out.print(f"{total:,} facts as {form} in {directory}: {files}", highlight=False, markup=False, soft_wrap=True)
