"""What the demo shows: how far a phase has come, and whether the ledger agrees with the published figures."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import pytest
from rich.console import Console

from api.demo.figures import Figures
from api.demo.phase import Phase
from api.demo.report import report
from api.demo.week import load_week

WEEK = load_week()


def worked_off(work: Callable[[int], Awaitable[int]], jobs: int, *, terminal: bool = False) -> str:
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=terminal)
    asyncio.run(Phase(console, "Sale", "tickets", jobs * 2).work_off(range(jobs), work, workers=7))
    return output.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_phase_counts_every_unit_of_jobs_that_overlap(*, terminal: bool) -> None:
    async def two_tickets(job: int) -> int:
        await asyncio.sleep(0.001 * (job % 3))
        return 2

    shown = worked_off(two_tickets, 50, terminal=terminal)
    assert ("100/100" if terminal else "Sale: 100 of 100 tickets") in shown


def test_the_first_failure_stops_a_phase() -> None:
    done: list[int] = []

    async def fail_at_ten(job: int) -> int:
        await asyncio.sleep(0.001)
        if job == 10:
            raise LookupError("job 10")
        done.append(job)
        return 1

    with pytest.raises(LookupError, match="job 10"):
        worked_off(fail_at_ten, 1_000)
    assert len(done) < 30


def reported(figures: list[Figures], scale: float = 1) -> tuple[bool, str]:
    output = io.StringIO()
    equal = report(Console(file=output), WEEK.scaled(scale), scale, figures)
    return equal, output.getvalue()


def as_published(scale: float = 1) -> list[Figures]:
    return [Figures(show.attendance, show.attendance, show.gross_cents) for show in WEEK.scaled(scale).shows]


def test_equal_figures_are_called_equal() -> None:
    equal, shown = reported(as_published())
    assert equal
    assert "256,263 tickets, USD 28,771,784.00: equal to the last ticket and cent" in shown
    assert "HARRY POTTER AND THE CURSED CHILD," in shown
    assert "≠" not in shown


@pytest.mark.parametrize("figure", ["sold", "admitted", "gross_cents"])
def test_one_ticket_or_one_cent_makes_the_difference(figure: str) -> None:
    figures = as_published()
    setattr(figures[-1], figure, getattr(figures[-1], figure) - 1)
    equal, shown = reported(figures)
    assert not equal
    assert "1 of 29 shows differ: WICKED" in shown
    assert shown.count("≠") == 1


def test_a_share_says_that_it_is_one() -> None:
    equal, shown = reported(as_published(0.01), 0.01)
    assert equal
    assert "× 0.01, rounded show by show" in shown
