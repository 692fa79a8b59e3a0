"""``counterfoil admin …``: what operators do by hand."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from api.bootstrap import Application
from api.cli.console import fail, out, with_application
from commands.account import PASSWORD_LENGTH_MIN, SetRoles, account_of
from domain.account import Role
from projections import relay
from projections.progress import dead_letters, lag

app = typer.Typer(help="Accounts, dead letters and figures, for operators.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(help="The user's e-mail address.")]


@app.command("create")
def create(
    email: Email,
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
) -> None:
    """Register an admin."""
    if len(password) < PASSWORD_LENGTH_MIN:
        fail(f"a password has at least {PASSWORD_LENGTH_MIN} characters")

    async def work(application: Application) -> None:
        if not await application.make_admin(email, password):
            fail(f"{email} is registered already; use `counterfoil admin roles`")
        out.print(f"{email} is an admin now.", highlight=False)

    with_application(work)


@app.command("roles")
def roles(email: Email, role: Annotated[list[Role], typer.Argument(help="The roles the user is to have.")]) -> None:
    """Set a user's roles."""

    async def work(application: Application) -> None:
        account = await account_of(email, ledger=application.system_ledger("SetRoles"))
        await application.execute(SetRoles(user_id=account.id, roles=frozenset(role), by=None), actor="system:operator")
        out.print(f"{email}: {', '.join(role)}", highlight=False)

    with_application(work)


@app.command("status")
def status() -> None:
    """How far the ledger and its views are, and what they could not take."""

    async def work(application: Application) -> None:
        position, at = await application.ledger_head()
        out.print(f"Ledger: position {position:,}{f', last recorded {at:%Y-%m-%d %H:%M:%S} UTC' if at else ''}")
        table = Table("View", "facts behind", "seconds behind", "streams set aside")
        for view in await lag(application.views):
            table.add_row(view.name, f"{view.facts:,}", f"{view.seconds:.1f}", str(view.dead_streams))
        out.print(table)
        signed = await application.tree.latest()
        covered = signed.tree_size if signed is not None else 0
        out.print(f"Signed: position {covered:,}, {max(0, position - covered):,} facts not yet", highlight=False)
        if (told := await relay.status(application.views)) is not None:
            out.print(
                f"Kafka: position {told.position:,}, {told.facts:,} facts and {told.seconds:.1f} seconds behind"
                f"{f'. [yellow]The relay waits:[/] {escape(told.problem)}' if told.problem else ''}",
                highlight=False,
                soft_wrap=True,
            )
        for letter in await dead_letters(application.views):
            out.print(
                f"[yellow]{letter.name}[/] stream {letter.stream_id} at position {letter.position}: {letter.error}"
                f" ({letter.set_aside} facts set aside). Put the cause right, then `counterfoil rebuild {letter.name}`.",
                highlight=False,
            )

    with_application(work, reading=True)
