"""From a show's weekly figures to performances with seats, prices and sales that add up to them exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from api.demo.week import ShowWeek

SPLITS_TRIED_MAX = 2_000  # enough to come within dollars of the aim, whatever the audience
BASKET_MAX = 8


@dataclass(frozen=True, slots=True)
class PricePoint:
    """``sold`` tickets at ``cents`` each."""

    cents: int
    sold: int


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier of one performance: ``seats`` on sale at first, then ``standing`` more; ``sold`` of both."""

    name: str
    cents: int
    seats: int
    standing: int
    sold: int


@dataclass(frozen=True, slots=True)
class Performance:
    show: ShowWeek
    title: str
    tiers: tuple[Tier, Tier]


def price_points(attendance: int, gross_cents: int) -> tuple[PricePoint, PricePoint]:
    """Two prices and how many tickets to sell at each, so that exactly ``gross_cents`` comes in.

    ``a`` tickets at ``p`` and ``b`` at ``q``: a·p + b·q = gross needs gross - b·q to be a multiple of a. When
    a and b have no common divisor, b has an inverse modulo a, and that holds exactly for
    q ≡ gross · b⁻¹ (mod a): one solution in every ``a`` successive prices. Of the splits near three fifths,
    the one that brings q closest under its aim of three fifths of the average price is taken; q below the
    average makes p the dearer. A gross too small for any of that is sold at two neighbouring prices:
    gross = attendance·c + r is r tickets at c + 1 and the others at c.
    """
    aim = gross_cents * 3 // (attendance * 5)
    best: tuple[int, int, int] | None = None  # how far under the aim, a, q
    centre = attendance * 3 // 5
    lowest = max(1, attendance // 2, centre - SPLITS_TRIED_MAX // 2)
    highest = min(attendance - 1, attendance * 7 // 10, centre + SPLITS_TRIED_MAX // 2)
    for a in range(lowest, highest + 1):
        b = attendance - a
        if gcd(a, b) == 1:
            under = (aim - gross_cents * pow(b, -1, a)) % a
            if under <= aim and (best is None or under < best[0]):
                best = (under, a, aim - under)
    if best is None:
        cents, rest = divmod(gross_cents, attendance)
        return PricePoint(cents + 1, rest), PricePoint(cents, attendance - rest)
    _, a, q = best
    b = attendance - a
    return PricePoint((gross_cents - b * q) // a, a), PricePoint(q, b)


def performances(show: ShowWeek) -> list[Performance]:
    """The show's week, one entry per preview and performance; their sales add up to the show's figures."""
    count = show.previews + show.performances
    orchestra, mezzanine = price_points(show.attendance, show.gross_cents)
    spread_over_the_week = zip(
        _spread(show.capacity, count),
        _spread(show.attendance, count),
        _spread(orchestra.sold, count),
        strict=True,
    )
    return [
        Performance(
            show,
            f"{show.show} ({'preview' if n <= show.previews else 'performance'} {n} of {count})",
            _tiers(seats, PricePoint(orchestra.cents, front), PricePoint(mezzanine.cents, sold - front)),
        )
        for n, (seats, sold, front) in enumerate(spread_over_the_week, start=1)
    ]


def baskets(tickets: int, rng: random.Random) -> Iterator[int]:
    """Cut a number of tickets into orders of 1 to BASKET_MAX."""
    while tickets:
        basket = min(tickets, rng.randint(1, BASKET_MAX))
        yield basket
        tickets -= basket


def _spread(total: int, parts: int) -> list[int]:
    """As evenly as whole numbers go, the larger ones first; adds up to ``total``.

    Part for part it grows with ``total``: what is spread of a share never exceeds what is spread of the whole.
    """
    return [(total + parts - 1 - part) // parts for part in range(parts)]


def _tiers(capacity: int, orchestra: PricePoint, mezzanine: PricePoint) -> tuple[Tier, Tier]:
    """Seats for those who came: empty ones split as the sold ones, missing ones sold as standing room."""
    sold = orchestra.sold + mezzanine.sold
    standing = max(0, sold - capacity)  # behind the orchestra, where a theatre has it
    empty = max(0, capacity - sold)
    front = empty * orchestra.sold // sold if sold else empty // 2
    seats = max(1, orchestra.sold - standing + front)  # a tier has at least one
    return (
        Tier("Orchestra", orchestra.cents, seats, max(0, orchestra.sold - seats), orchestra.sold),
        Tier("Mezzanine", mezzanine.cents, max(1, mezzanine.sold + empty - front), 0, mezzanine.sold),
    )
