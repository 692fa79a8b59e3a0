"""How the command line speaks: results on standard output, everything else on standard error."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api import observability
from api.bootstrap import Application, ChainError, DatabaseUnfitError, prepare
from api.settings import Settings, SettingsError
from domain.kernel import Refusal

out = Console()
err = Console(stderr=True)


@contextmanager
def clear_errors() -> Iterator[None]:
    """What an operator can put right is said in one line, without a stack trace, and exits with 1."""
    try:
        yield
    except (SettingsError, DatabaseUnfitError, ChainError) as error:
        fail(str(error))
    except Refusal as refusal:
        fail(refusal.detail)
    except psycopg.OperationalError as error:
        fail(f"the database does not answer: {str(error).strip().splitlines()[0]}")


def fail(text: str) -> NoReturn:
    err.print(f"[bold red]error:[/] {text}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def fact_progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err)


def settings(service: str = "counterfoil") -> Settings:
    """The settings; from here on logs go where they say, and never among the results."""
    config = Settings.from_environment()
    observability.set_up(log_format=config.log_format, sentry_dsn=config.sentry_dsn, service=service)
    return config


def with_application(work: Callable[[Application], Awaitable[None]], *, reading: bool = False) -> None:
    """Do something with the whole application, on the configured database, and let go of it again.

    ``reading``: the database stays as it is; it is not migrated, and nobody is registered.
    """
    with clear_errors():
        config = settings()
        url, secret, server = prepare(config, reading=reading)
        if reading:
            config = replace(config, admin_email=None, admin_password=None)

        async def session() -> None:
            async with Application(config, database_url=url, secret=secret) as application:
                await work(application)

        try:
            asyncio.run(session())
        finally:
            if server is not None:
                server.stop_unless_joined()
