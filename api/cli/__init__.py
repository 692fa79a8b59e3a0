"""The command line for operators: ``counterfoil …``."""

from __future__ import annotations

import typer

from api.cli import admin, backup, bench, chain, demo, export, history, relay, serving, verify

app = typer.Typer(
    name="counterfoil",
    help="A ticket ledger that sells, admits and remembers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(serving.serve)
app.command()(serving.worker)
app.command()(history.replay)
app.command()(history.rebuild)
app.command()(verify.verify)
app.command()(verify.keys)
app.command()(export.export)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(demo.demo)
app.command()(bench.bench)
app.command()(chain.reconcile)
app.command()(relay.relay)
app.add_typer(admin.app, name="admin")
app.add_typer(chain.app, name="chain")


def main() -> None:
    app()
