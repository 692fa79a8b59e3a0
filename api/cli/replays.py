"""``counterfoil replay --into``: the whole read side as of then, kept in a schema for whoever queries it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.table import Table

from api.bootstrap import Replay, ReplayRefusedError, Replays, prepare, replays_of
from api.cli.console import clear_errors, err, fact_progress, fail, out, settings

EXAMPLE = "select status, count(*), sum(total_amount) from orders group by status"


def build(name: str, as_of: int | datetime | None) -> None:
    with _replays() as replays, fact_progress() as progress:
        bar = progress.add_task("facts", visible=False)  # nothing to see when a name is wrong
        report = replays.build(
            name,
            as_of,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total, visible=True),
        )
    replay = report.replay
    rate = replay.position / report.seconds if report.seconds else 0
    err.print(
        f"{name} is the read side as of position {replay.position:,} ({_instant(replay)}):"
        f" {replay.rows:,} rows in {report.seconds:.2f} s, {rate:,.0f} facts/s. Nothing changes it any more.",
        highlight=False,
        soft_wrap=True,
    )
    if replay.dead_streams:
        err.print(f"[bold red]{replay.dead_streams} streams could not be taken[/] and are missing from some view.")
    print(f"set search_path to {name};\n{EXAMPLE};")


def drop(name: str) -> None:
    with _replays() as replays:
        replays.drop(name)
    err.print(f"{name} is gone.", highlight=False)


def show() -> None:
    with _replays() as replays:
        kept = replays.kept()
    table = Table("Replay", "position", "as of", "rows", "built at")
    for replay in kept:
        built_at = replay.built_at.isoformat(timespec="seconds")
        table.add_row(replay.name, f"{replay.position:,}", _instant(replay), f"{replay.rows:,}", built_at)
    out.print(table)


def _instant(replay: Replay) -> str:
    return replay.instant.isoformat() if replay.instant is not None else "before the first fact"


@contextmanager
def _replays() -> Iterator[Replays]:
    with clear_errors():
        url, _, server = prepare(settings(), reading=True)
        try:
            yield replays_of(url)
        except ReplayRefusedError as error:
            fail(str(error))
        finally:
            if server is not None:
                server.stop_unless_joined()
