"""The published figures of one Broadway week: read, checked, scaled."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

WEEK_OF_THE_REPOSITORY = Path(__file__).with_name("broadway-2018-09-16.csv")
COLUMNS = (
    "week_ending", "show", "type", "theatre",
    "previews", "performances", "gross_usd", "attendance", "capacity_share",
)  # fmt: skip
PERFORMANCES_MAX = 100  # a week; beyond these two a figure is a slip of the pen
NUMBER_MAX = 10**9


class WeekDataError(Exception):
    """The file, the week or one of its rows cannot be played; the message says which and why."""


@dataclass(frozen=True, slots=True)
class ShowWeek:
    """What one show reported for one week. ``capacity_share`` may exceed 1: standing room."""

    show: str
    kind: str
    theatre: str
    previews: int
    performances: int
    gross_cents: int
    attendance: int
    capacity_share: Fraction

    @property
    def capacity(self) -> int:
        """Seats of all the week's performances together; fewer than ``attendance`` if some had to stand."""
        return round(self.attendance / self.capacity_share)

    def scaled(self, scale: Fraction) -> ShowWeek:
        """The same show with a share of its audience and takings, at least one person."""
        return replace(
            self,
            attendance=max(1, round(self.attendance * scale)),
            gross_cents=round(self.gross_cents * scale),
        )


@dataclass(frozen=True, slots=True)
class Week:
    ending: date
    shows: tuple[ShowWeek, ...]

    @property
    def attendance(self) -> int:
        return sum(show.attendance for show in self.shows)

    @property
    def gross_cents(self) -> int:
        return sum(show.gross_cents for show in self.shows)

    def scaled(self, scale: float) -> Week:
        """Each show's figures times ``scale`` (above 0, at most 1), rounded show by show: always the same."""
        if not 0 < scale <= 1:
            raise WeekDataError(f"the scale must be above 0 and at most 1, not {scale}")
        exact = Fraction(str(scale))  # 0.01 as it is written, not as the nearest binary fraction
        return replace(self, shows=tuple(show.scaled(exact) for show in self.shows))


def load_week(path: Path = WEEK_OF_THE_REPOSITORY, ending: date | None = None) -> Week:
    """Read the week that ended on ``ending``, which may be left out when the file holds only one.

    Raises WeekDataError, which names the line of a broken row and lists the weeks if ``ending`` is none.
    """
    try:
        rows = [(line, _date(path, line, row["week_ending"]), row) for line, row in _rows(path)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WeekDataError(f"{path} cannot be read: {error}") from error
    weeks = sorted({week for _, week, _ in rows})
    if ending is None and len(weeks) == 1:
        ending = weeks[0]
    if ending not in weeks:
        asked = f"no week ending {ending}" if ending else f"{len(weeks)} weeks, name one"
        raise WeekDataError(f"{path} has {asked}; weeks ending: {', '.join(map(str, weeks)) or 'none'}")
    shows: dict[str, ShowWeek] = {}
    for line, week, row in rows:
        if week == ending:
            show = _show(path, line, row)
            if show.show in shows:
                raise WeekDataError(f"{path}, line {line}: {show.show} is there twice in this week")
            shows[show.show] = show
    return Week(ending, tuple(shows.values()))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        header = reader.fieldnames or ()
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise WeekDataError(f"{path}, line 1: no column {', '.join(missing)}")
        for row in reader:
            if None in row or None in row.values():  # how DictReader marks too many and too few
                raise WeekDataError(f"{path}, line {reader.line_num}: not {len(header)} fields")
            yield reader.line_num, row


def _date(path: Path, line: int, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise WeekDataError(f"{path}, line {line}: week_ending {text!r} is not a date (YYYY-MM-DD)") from None


def _show(path: Path, line: int, row: Mapping[str, str]) -> ShowWeek:
    def text(column: str) -> str:
        if not row[column].strip():
            raise WeekDataError(f"{path}, line {line}: {column} is empty")
        return row[column].strip()

    def number(column: str, least: str, *, most: int = NUMBER_MAX, step: str = "1") -> Decimal:
        try:
            value = Decimal(row[column])
            fits = Decimal(least) <= value <= most and value % Decimal(step) == 0
        except InvalidOperation:  # not a number at all, or NaN
            fits = False
        if not fits:
            wanted = f"a multiple of {step} from {least} to {most}"
            raise WeekDataError(f"{path}, line {line}: {column} {row[column]!r} is not {wanted}")
        return value

    previews = int(number("previews", "0", most=PERFORMANCES_MAX))
    return ShowWeek(
        show=text("show"),
        kind=text("type"),
        theatre=text("theatre"),
        previews=previews,
        performances=int(number("performances", "0" if previews else "1", most=PERFORMANCES_MAX)),
        gross_cents=int(number("gross_usd", "0", step="0.01") * 100),
        attendance=int(number("attendance", "1")),
        capacity_share=Fraction(number("capacity_share", "0.01", step="0.0001")),
    )
