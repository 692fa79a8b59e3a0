"""``counterfoil backup`` and ``counterfoil restore``."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from api.bootstrap import (
    Application,
    Audit,
    BackupError,
    Following,
    Restored,
    Wish,
    dump_ledger,
    is_database,
    prepare,
    rebuild_views,
    restore_backup,
)
from api.cli.console import clear_errors, err, fact_progress, fail, out, settings
from api.cli.history import as_of_instant
from api.cli.verify import CANNOT_TELL, Kept, KeptFileError, read_kept
from api.settings import Settings
from commands.account import SetRoles
from commands.privacy import EraseAccount
from domain.account import AdminErasureError
from domain.kernel import NotFoundError
from domain.wallet import Wallet
from projections import wallet as wallets
from projections.registry import ALL

WALLETS_MAX = 20_000
ACTOR = "system:restore"
ALTERED_SAID = "the restored ledger is not what was signed"
SECRET_FILE = "secret"  # noqa: S105 - a name
SECRET_SAID = "Neither a backup nor the keys open anything without the secret: keep COUNTERFOIL_SECRET elsewhere."  # noqa: S105 - a sentence


def backup(
    directory: Annotated[
        Path, typer.Argument(help="Where to write: a new directory, or one that is to be followed on.")
    ],
    keys: Annotated[
        Path | None, typer.Option(help="Keep keys and passwords of people in this file, which is always the newest.")
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Copy the server's files and every change since, until stopped.")
    ] = False,
    end: Annotated[bool, typer.Option("--end", help="It will not be followed on: the server may forget it.")] = False,
) -> None:
    """Dump the ledger without the keys of people; or follow it, so that any moment can be restored."""
    with _clear():
        if follow and end:
            fail("--follow and --end are two different wishes")
        if (follow or end) and keys is not None:
            fail("a copy of the server's files has the keys of people in it: --keys is for dumps")
        url, _, server = prepare(settings(), reading=True)
        try:
            if end:
                _end(url, directory)
            elif follow:
                _follow(url, directory)
            else:
                _dump(url, directory, keys)
        finally:
            if server is not None:
                server.stop_unless_joined()
    _note(SECRET_SAID)


def restore(
    directory: Annotated[Path, typer.Argument(help="A backup.")],
    into: Annotated[str, typer.Option(help="The URL of an empty database, or a new data directory.")],
    to: Annotated[str, typer.Option(help="Up to this RFC 3339 instant; for backups that followed.")] = "",
    keys: Annotated[Path | None, typer.Option(help="The file that `backup --keys` wrote; for dumps.")] = None,
    heads: Annotated[Path | None, typer.Option(help="Heads that you kept: JSON lines.")] = None,
    erased: Annotated[
        list[Path] | None,
        typer.Option(
            help="A newer list of who was erased: another copy's `erased.json`, or a file of keys. Repeatable."
        ),
    ] = None,
    *,
    without_keys: Annotated[
        bool, typer.Option("--without-keys", help="They are lost: everybody is as if they had been erased.")
    ] = False,
    even_if_altered: Annotated[
        bool, typer.Option("--even-if-altered", help="Put it in its place though it is not what was signed.")
    ] = False,
) -> None:
    """Restore a backup, hold the ledger to the heads that were signed, and rebuild the views.

    Exits with 1 when it cannot be restored, or is not what was signed; with 2 when it is restored, and that cannot be told.
    """
    with _clear():
        config = settings()
        kept = read_kept(heads) if heads is not None else Kept([], [])
        secret = _secret(config, into)
        until = as_of_instant(to) if to else None
        with err.status("restoring"):
            restored = restore_backup(Wish(directory, into, until, keys, without_keys, secret, erased or ()))
        assert secret is not None, "nothing is restored without it"
        with _given_back(restored):
            with _bar("verifying") as show:
                audit, doubts, lost = restored.hold(kept.heads, kept.keys, show)
            _report(restored, audit, doubts, lost)
            if audit.findings and not even_if_altered:
                fail(f"{ALTERED_SAID}, and is not to be served. {_where_it_lies(restored, into)}")
            with _bar("views") as show:
                rebuild_views(restored.url, [], show)
            repeat_erasures(config, restored, secret)
            restored.finish()
        _tell(restored)
        if audit.findings:
            fail(f"{ALTERED_SAID}. It was put in its place all the same.")
        if doubts:
            _note("It is restored; whether it is what was signed cannot be told of all heads, see above.")
            raise typer.Exit(CANNOT_TELL)


# -- Backing up --------------------------------------------------------------------


def _dump(url: str, directory: Path, keys: Path | None) -> None:
    with err.status("dumping"):
        made = dump_ledger(url, directory, ALL, keys)
    _say(f"{directory} has everything up to position {made.position:,} ({_text(made.at)}).")
    if keys is None:
        _note(
            "Keys and passwords of people are in no dump: name a file for them with --keys, or nobody can be read again."
        )
    else:
        _say(f"{keys} has the keys and passwords of people. Only the newest is worth anything: it replaces older ones.")


def _follow(url: str, directory: Path) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with err.status("copying") as status:
        following = Following(url, directory)
        made = following.begin()
        _say(f"{directory} can be restored to any moment since {_text(made.at)}. Following, until stopped (Ctrl-C).")
        following.run(stop, lambda moment: status.update(f"followed up to {_text(moment)}"))
    _note(f"The server keeps what comes next: go on in {directory}, or say `counterfoil backup {directory} --end`.")


def _end(url: str, directory: Path) -> None:
    Following(url, directory).end()
    _say(f"{directory} can be restored up to where it was followed, and cannot be followed on.")
    _note("Who is erased from now on is not on its list: keep one that is newer, see docs/backups.md.")


@contextmanager
def _given_back(restored: Restored) -> Iterator[None]:
    """A server that is not to be served yet does not outlive us."""
    try:
        yield
    except BaseException:
        if restored.server is not None:
            restored.server.stop()
        raise


# -- Restoring -----------------------------------------------------------------------


def _secret(config: Settings, into: str) -> bytes | None:
    """An embedded database's lies beside it."""
    if config.secret is not None or is_database(into):
        return config.secret
    path = Path(into) / SECRET_FILE
    return path.read_text().strip().encode() if path.is_file() else None


def _report(restored: Restored, audit: Audit, doubts: list[str], lost: int) -> None:
    for finding in audit.findings:
        _say(str(finding))
    for doubt in doubts:
        _note(f"cannot tell: {doubt}")
    good = "" if audit.findings or doubts else f": nothing was altered up to position {audit.covered}"
    _say(f"{audit.facts:,} facts, held to {audit.heads} heads{good}.")
    if lost:
        _say(f"Lost: at least the {lost:,} facts after position {restored.position:,}, which a kept head covers.")


def _where_it_lies(restored: Restored, into: str) -> str:
    """How to look at what is not in its place."""
    if restored.server is None:
        return "It lies in the database: look at it with `counterfoil verify`, start no server on it, and drop it."
    there = restored.server.data_dir
    return (
        f"It lies in {there}, which the next restore into {into} clears away:"
        f" look at it with COUNTERFOIL_DATA_DIR={there} and `counterfoil verify`."
    )


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    with fact_progress() as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def repeat_erasures(config: Settings, restored: Restored, secret: bytes) -> None:
    """Who was erased after this moment is erased again: the ledger has to say so, too."""
    if not restored.erased_since:
        return

    async def session(people: list[UUID]) -> None:
        quiet = replace(config, admin_email=None, admin_password=None)  # nobody is to be made here
        async with Application(quiet, database_url=restored.url, secret=secret) as application:
            for person in people:
                await _erase(application, person, restored.claims.get(person, frozenset()))

    asyncio.run(session(restored.erased_since))
    _say(f"Erased after this moment, and now again: {len(restored.erased_since):,} accounts.")


async def _erase(application: Application, person: UUID, claims: frozenset[UUID]) -> None:
    rows = await wallets.of_account(application.views, person, limit=WALLETS_MAX)
    linked = await application.store.load(Wallet, [stream for stream, _ in rows])
    addresses = frozenset(wallet.address for wallet in linked)
    command = EraseAccount(user_id=person, by=None, wallets=addresses, claims=claims)
    with suppress(NotFoundError):  # not registered yet at that moment: no key may be made all the same
        try:
            await application.execute(command, actor=ACTOR)
        except AdminErasureError:  # at that moment; the role had to go before they could be erased
            await application.execute(SetRoles(user_id=person, roles=frozenset(), by=None), actor=ACTOR)
            await application.execute(command, actor=ACTOR)
    await application.vault.destroy(person)


def _tell(restored: Restored) -> None:
    at = f", recorded {_text(restored.recorded_at)}" if restored.recorded_at is not None else ""
    _say(f"Restored up to position {restored.position:,}{at}, with its views.")
    if restored.keyless:
        _say(f"{restored.keyless:,} accounts have no key any more: nobody can read who they were.")
    _note(
        f"Who was erased is known up to {_text(restored.erased_until)}. Whoever was erased later is not erased here:"
        " do that before you serve anybody, or restore with a newer list (--erased)."
    )
    _note("Whoever keeps heads of later facts, reads Kafka or mirrors to a chain has to know: see docs/backups.md.")


@contextmanager
def _clear() -> Iterator[None]:
    with clear_errors():
        try:
            yield
        except (BackupError, KeptFileError) as error:
            fail(str(error).replace("[", r"\["))
        except OSError as error:
            fail(f"{error.filename or ''}: {os.strerror(error.errno) if error.errno else error}".lstrip(": "))


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")


def _say(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _note(text: str) -> None:
    err.print(text, highlight=False, markup=False, soft_wrap=True)
