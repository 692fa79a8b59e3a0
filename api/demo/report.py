"""The published figures beside the ledger's, show by show."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.demo.figures import Figures
from api.demo.week import ShowWeek, Week

WHOLE = 1.0
WIDTH = 110


def report(console: Console, week: Week, scale: float, figures: list[Figures]) -> bool:
    """Print the comparison of ``week``, as played, with ``figures`` in its order; whether all is equal."""
    pairs = list(zip(week.shows, figures, strict=True))
    differing = [show.show for show, ledger in pairs if not _equal(show, ledger)]
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)  # a file has no edge
    console.print(_table(week, scale, pairs))
    if differing:
        verdict = f"{len(differing)} of {len(pairs)} shows differ: {'; '.join(differing)}"
    else:
        verdict = f"{week.attendance:,} tickets, USD {_dollars(week.gross_cents)}: equal to the last ticket and cent"
    console.print(verdict, style="red" if differing else "green", highlight=False, markup=False)
    return not differing


def _table(week: Week, scale: float, pairs: list[tuple[ShowWeek, Figures]]) -> Table:
    share = "" if scale == WHOLE else f" × {scale:g}, rounded show by show"
    table = Table(
        title=f"Broadway, week ending {week.ending}{share}",
        caption="Published: facts of The Broadway League. Sold: availability. Admitted, gross: the ledger.",
        show_footer=True,
        box=box.SIMPLE_HEAVY,
    )
    ledger = [figures for _, figures in pairs]
    table.add_column("Show", f"{len(pairs)} shows", max_width=36)
    for heading, total in (
        ("Published\nattendance", f"{week.attendance:,}"),
        ("Ledger\nsold", f"{sum(figures.sold for figures in ledger):,}"),
        ("Ledger\nadmitted", f"{sum(figures.admitted for figures in ledger):,}"),
        ("Published\ngross, USD", _dollars(week.gross_cents)),
        ("Ledger\ngross, USD", _dollars(sum(figures.gross_cents for figures in ledger))),
    ):
        table.add_column(heading, total, justify="right", no_wrap=True)
    table.add_column("", justify="center", no_wrap=True)
    for show, figures in pairs:
        table.add_row(
            Text(show.show, no_wrap=True, overflow="ellipsis"),
            f"{show.attendance:,}",
            _compared(f"{figures.sold:,}", equal=figures.sold == show.attendance),
            _compared(f"{figures.admitted:,}", equal=figures.admitted == show.attendance),
            _dollars(show.gross_cents),
            _compared(_dollars(figures.gross_cents), equal=figures.gross_cents == show.gross_cents),
            _compared("=" if _equal(show, figures) else "≠", equal=_equal(show, figures)),
        )
    return table


def _equal(show: ShowWeek, ledger: Figures) -> bool:
    wanted = (show.attendance, show.attendance, show.gross_cents)
    return (ledger.sold, ledger.admitted, ledger.gross_cents) == wanted


def _compared(figure: str, *, equal: bool) -> Text:
    return Text(figure, style="green" if equal else "bold red")


def _dollars(cents: int) -> str:
    return f"{cents // 100:,}.{cents % 100:02}"
