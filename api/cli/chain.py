"""``counterfoil chain …`` and ``counterfoil reconcile``: contracts, how far they are, and whether both sides agree."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, NamedTuple
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.bootstrap import Application, contract_source, stations
from api.chain import reconciliation_json
from api.chain_documents import as_csv
from api.cli.console import err, fail, out, with_application
from api.mirror import mirroring
from commands.reconciliation import RequestReconciliation
from domain.reconciliation import Reconciliation, Report
from projections import chain

app = typer.Typer(help="The contracts on chains that the ledger is mirrored to.", no_args_is_help=True)


class Place(NamedTuple):
    """One contract: the same address may be one of ours on several chains."""

    chain_id: int
    contract: str


SHOWN_MAX = 20
POLL_SECONDS = 0.25
LEVEL_SECONDS_MAX = 6 * 3_600
"""For filling a contract from nothing."""
RECONCILE_SECONDS_MAX = 3_600
START_SECONDS_MAX = 30

Address = Annotated[str | None, typer.Option(help="An address; left out: the mirror's own.")]


@app.command("deploy")
def deploy(
    *,
    admin: Address = None,
    pauser: Address = None,
    royalty_receiver: Address = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Only where this ledger has none.")] = False,
) -> None:
    """Deploy a fresh contract to every chain in COUNTERFOIL_CHAIN_URL. The mirror then fills it from position 0."""

    async def work(application: Application) -> None:
        urls = application.settings.chain_urls
        if urls is None or not urls:
            fail("COUNTERFOIL_CHAIN_URL names no node; the EVM in the process needs no deployment")
        await _deploy(application, urls, admin, pauser, royalty_receiver, if_missing=if_missing)

    with_application(work)


@app.command("migrate")
def migrate(
    to: Annotated[str, typer.Option(help="JSON-RPC address of a node of the new chain.")],
    admin: Address = None,
    pauser: Address = None,
    royalty_receiver: Address = None,
) -> None:
    """Make the contract again on another chain, from the ledger alone, and reconcile it to equality."""

    async def work(application: Application) -> None:
        (place,) = await _deploy(application, (to,), admin, pauser, royalty_receiver)
        async with mirroring(application, to):
            await _until_level(application, place)
            report = await _reconcile(application, place, repair=False)
        _show(report)
        if not report.clean:
            raise typer.Exit(2)
        out.print("Put its address into COUNTERFOIL_CHAIN_URL to keep it level from now on.")

    with_application(work)


@app.command("status")
def status() -> None:
    """How far every contract is, and how sure that is."""

    async def work(application: Application) -> None:
        found = await chain.status(application.views)
        if not found:
            out.print(
                "No contract is known. `counterfoil serve` fills one in its process; `counterfoil chain deploy` makes one."
            )
        for row in found:
            table = Table(f"chain {row.chain_id}", row.contract, highlight=False)
            for name, value in row._asdict().items():
                if name not in ("chain_id", "contract", "embedded") and value is not None:
                    table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
            out.print(table)

    with_application(work)


@app.command("source")
def source(
    to: Annotated[Path, typer.Option(help="The file to write.")] = Path("CounterfoilTickets.input.json"),
) -> None:
    """Write the compiler's standard JSON input, with which block explorers verify the contract's source."""
    to.write_text(contract_source(), encoding="utf-8")
    out.print(f"{to} is what block explorers ask for as “Standard JSON input”.", highlight=False)


def reconcile(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Also append what is missing on either side.")] = False,
    chain_id: Annotated[int | None, typer.Option(help="Which chain, where there are several.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Keep the report here.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Keep what was found here, a line each.")] = None,
) -> None:
    """Compare ledger and chain, ticket by ticket, at a finalized block. Exits with 2 unless nothing is unexplained."""

    async def work(application: Application) -> None:
        async with mirroring(application):  # stands by where another process mirrors
            place = await _place(application, chain_id)
            if application.settings.chain_urls is None:
                await _until_level(application, place)
            report = await _reconcile(application, place, repair=repair, keep=kept)
        _show(report)
        reports.append(report)

    kept: list[bytes] = []
    reports: list[Report] = []
    with_application(work)
    if json_file is not None:
        json_file.write_bytes(kept[0])
    if csv_file is not None:
        csv_file.write_text("".join(as_csv(reports[0])), encoding="utf-8")
    if repair and not reports[0].clean:
        err.print("What was found has been ordered to be mended: reconcile again to see it done.")
    if not reports[0].clean:
        raise typer.Exit(2)


async def _deploy(
    application: Application,
    urls: tuple[str, ...],
    admin: str | None,
    pauser: str | None,
    royalty_receiver: str | None,
    *,
    if_missing: bool = False,
) -> list[Place]:
    places = []
    for station in stations(application, *urls):
        try:
            known = await station.known() if if_missing else None
            made = known or await station.deploy(admin=admin, pauser=pauser, royalty_receiver=royalty_receiver)
        finally:
            await station.node.close()
        out.print(f"Contract [bold]{made.contract}[/] on chain {made.chain_id}", highlight=False, soft_wrap=True)
        if admin is None and known is None:
            err.print("The mirror's own key administers it: name a cold one with --admin for anything of value.")
        places.append(Place(made.chain_id, made.contract))
    return places


async def _place(application: Application, chain_id: int | None) -> Place:
    """The one that is meant. In the embedded default it may take a moment to be there."""
    async with asyncio.timeout(START_SECONDS_MAX):
        while True:
            found = [d for d in await chain.status(application.views) if chain_id in (None, d.chain_id)]
            if len(found) > 1:
                fail("the ledger is mirrored to several chains: say which with --chain-id")
            if found and found[0].observed_at is not None:
                return Place(found[0].chain_id, found[0].contract)
            await asyncio.sleep(POLL_SECONDS)


async def _until_level(application: Application, place: Place) -> None:
    """Wait until the contract has everything that the ledger has."""
    with _progress() as bars:
        bar = bars.add_task("mirroring", total=None)
        async with asyncio.timeout(LEVEL_SECONDS_MAX):
            while True:
                (row,) = [row for row in await chain.status(application.views) if (row.chain_id, row.contract) == place]
                level = (
                    row.observed_at is not None and row.lag_events == 0 and row.finalized_position == row.mined_position
                )
                bars.update(
                    bar, completed=row.ledger_position if level else row.finalized_position, total=row.ledger_position
                )
                if level:
                    return
                await asyncio.sleep(POLL_SECONDS)


async def _reconcile(
    application: Application, place: Place, *, repair: bool, keep: list[bytes] | None = None
) -> Report:
    by = "system:operator"
    command = RequestReconciliation(chain_id=place.chain_id, contract=place.contract, repair=repair, by=by)
    asked: Reconciliation = await application.execute(command, actor=by)
    with _progress() as bars:
        bar = bars.add_task("reconciling", total=None)
        async with asyncio.timeout(RECONCILE_SECONDS_MAX):
            while True:
                (found,) = await application.store.load(Reconciliation, (asked.id,))
                await _show_progress(application, asked.id, bars, bar)
                if found.failure is not None:
                    fail(found.failure)
                if found.report is not None:
                    break
                await asyncio.sleep(POLL_SECONDS)
    if keep is not None:
        keep.append(reconciliation_json(found))
    return found.report


async def _show_progress(application: Application, reconciliation: UUID, bars: Progress, bar: TaskID) -> None:
    progress = await chain.progress_of(application.views, reconciliation)
    if progress is not None:
        bars.update(bar, completed=progress[0], total=progress[1])


def _show(report: Report) -> None:
    table = Table(f"chain {report.chain_id}", f"block {report.block_number:,}", highlight=False)
    table.add_row("tickets", f"{report.tickets:,}")
    table.add_row("equal", f"{report.equal:,}")
    for count in report.counts:
        table.add_row(count.of.replace("_", " "), f"{count.count:,}")
    for count in report.skipped:
        table.add_row(f"skipped: {count.of.replace('_', ' ')}", f"{count.count:,}")
    table.add_row("head hash", "equal" if report.hash_equal else "[bold red]differs[/]")
    table.add_row("unexplained", f"[bold {'green' if report.clean else 'red'}]{report.unexplained:,}[/]")
    out.print(table)
    for event in report.event_findings[:SHOWN_MAX]:
        out.print(f"event {event.number} ({event.event_id}): {event.kind} {event.reason}", highlight=False)
    for finding in report.findings[:SHOWN_MAX]:
        out.print(
            f"token {finding.token_id} (ticket {finding.ticket_id}): {finding.kind} {finding.reason}", highlight=False
        )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, transient=True)
