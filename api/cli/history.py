"""``counterfoil replay`` and ``counterfoil rebuild``: the past, and the views made again from it."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import orjson
import typer
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from rich.table import Table

from api.bootstrap import Application, RebuildRunningError, StoredFact, prepare, rebuild_views
from api.cli import replays, what_if
from api.cli.console import clear_errors, fact_progress, fail, out, settings, with_application
from domain.account import Account, EmailClaim
from domain.allowance import Allowance
from domain.event import Event
from domain.kernel import Aggregate
from domain.order import Order
from domain.reconciliation import Reconciliation
from domain.ticket import Ticket
from domain.wallet import Wallet

PAGE_FACTS = 1_000
KINDS: dict[str, type[Aggregate]] = {
    kind.stream_type: kind for kind in (Account, Allowance, EmailClaim, Event, Order, Reconciliation, Ticket, Wallet)
}
COLUMNS = ("position", "stream_id", "stream_type", "version", "type", "at", "actor", "command_id", "data")


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"


def replay(
    stream: Annotated[UUID | None, typer.Argument(help="A ticket, order, event or account: print its state.")] = None,
    as_of: Annotated[str, typer.Option(help="A position, or an RFC 3339 instant. Default: now.")] = "",
    form: Annotated[Format, typer.Option("--format", help="How to export the facts.")] = Format.JSONL,
    after: Annotated[int, typer.Option(min=0, help="Export only what follows this position.")] = 0,
    into: Annotated[str, typer.Option(help="Build all views as of then in a schema of this name, and keep it.")] = "",
    drop: Annotated[str, typer.Option(help="Drop the kept replay of this name.")] = "",
    kept: Annotated[bool, typer.Option("--list", help="Show the replays that are kept.")] = False,
    rules: Annotated[
        Path | None, typer.Option("--what-if", help="Decide everything again under these rules (TOML), and compare.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="With --what-if: write the whole comparison here.")] = None,
) -> None:
    """One aggregate's state as of then, or all facts up to then; all views as of then; or what other rules would have made."""
    if (stream is not None) + bool(into) + bool(drop) + kept + (rules is not None) > 1:
        fail("a stream, --into, --drop, --list and --what-if are five different wishes")
    if json is not None and rules is None:
        fail("--json goes with --what-if")
    if rules is not None:
        if after:
            fail("--after goes with the export; --what-if needs the whole history")
        return what_if.report(rules, _as_of(as_of), json)
    if into:
        return replays.build(into, _as_of(as_of))
    if drop:
        return replays.drop(drop)
    if kept:
        return replays.show()

    async def work(application: Application) -> None:
        position = await _position(application, as_of)
        if stream is not None:
            await _print_state(application, stream, position)
        else:
            await _export(application, after, position, form)

    return with_application(work, reading=True)


def rebuild(
    views: Annotated[list[str] | None, typer.Argument(help="Names of views; all when none is named.")] = None,
) -> None:
    """Build views anew from position 0, beside those in use, and swap them in when they have caught up."""
    with clear_errors():
        config = settings()
        url, _, server = prepare(config)
        try:
            with fact_progress() as progress:
                bar = progress.add_task("facts", visible=False)  # nothing to see when a name is wrong
                reports = rebuild_views(
                    url,
                    views or [],
                    lambda done, total: progress.update(bar, completed=done, total=total, visible=True),
                )
        except LookupError as error:
            fail(str(error.args[0]))
        except RebuildRunningError:
            fail("another rebuild is running")
        finally:
            if server is not None:
                server.stop_unless_joined()
    table = Table("View", "facts", "rows", "seconds", "facts/s", "compared with the old")
    for report in reports:
        same = {True: "equal", False: "[bold red]DIFFERENT[/]", None: "nothing to compare"}[report.equal]
        rate = report.facts / report.seconds if report.seconds else 0
        table.add_row(
            report.name, f"{report.facts:,}", f"{report.rows:,}", f"{report.seconds:.2f}", f"{rate:,.0f}", same
        )
    out.print(table)


async def _position(application: Application, as_of: str) -> int:
    wanted = _as_of(as_of)
    if isinstance(wanted, datetime):
        return await application.position_at(wanted)
    head = await application.head()
    if wanted is not None and wanted > head:
        fail(f"the ledger ends at position {head}")
    return head if wanted is None else wanted


def _as_of(text: str) -> int | datetime | None:
    """None: nothing was said."""
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    return as_of_instant(text, "neither a position nor an")


def as_of_instant(text: str, not_what: str = "no") -> datetime:
    try:
        instant: datetime = TypeAdapter(AwareDatetime).validate_python(text)
    except ValidationError:
        fail(f"{text!r} is {not_what} RFC 3339 instant with an offset, like 2026-09-16T19:00:00Z")
    return instant


async def _print_state(application: Application, stream_id: UUID, position: int) -> None:
    first = await application.history(stream_id, after=-1, limit=1)
    if not first or first[0].position > position:
        fail(f"there was no stream {stream_id} as of position {position}")
    kind = KINDS[first[0].stream_type]
    aggregate = (await application.load_as_of(kind, (stream_id,), position))[0]
    state = TypeAdapter(kind).dump_python(aggregate, mode="json", exclude={"pending"})
    revealed = orjson.loads(await application.vault.reveal(orjson.dumps(state, option=orjson.OPT_NON_STR_KEYS)))
    document = {"type": first[0].stream_type, "as_of_position": position, **revealed}
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


async def _export(application: Application, after: int, position: int, form: Format) -> None:
    write = _json_lines() if form is Format.JSONL else _comma_separated()
    with fact_progress() as progress:
        bar = progress.add_task("facts", total=max(0, position - after))
        async for page in _pages(application, after, position):
            write(page)
            progress.advance(bar, len(page))
    sys.stdout.flush()


async def _pages(application: Application, after: int, position: int) -> AsyncIterator[list[StoredFact]]:
    while after < position:
        page = await application.ledger_page(after=after, limit=PAGE_FACTS)
        page = [fact for fact in page if fact.position <= position]
        if not page:
            return
        yield page
        after = page[-1].position


def _json_lines() -> Callable[[list[StoredFact]], None]:
    def write(page: list[StoredFact]) -> None:
        option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
        sys.stdout.buffer.write(b"".join(orjson.dumps(fact._asdict(), option=option) for fact in page))

    return write


def _comma_separated() -> Callable[[list[StoredFact]], None]:
    writer = csv.writer(sys.stdout)
    writer.writerow(COLUMNS)

    def write(page: list[StoredFact]) -> None:
        for fact in page:
            row = [getattr(fact, column) for column in COLUMNS]
            row[-1] = orjson.dumps(fact.data).decode()
            row[5] = fact.at.isoformat()
            writer.writerow(row)

    return write
