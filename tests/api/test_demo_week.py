"""The arithmetic of the demo: whatever a show reported, its performances add up to it exactly."""

from __future__ import annotations

import random
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.demo.plan import BASKET_MAX, baskets, performances, price_points
from api.demo.week import COLUMNS, PERFORMANCES_MAX, WEEK_OF_THE_REPOSITORY, ShowWeek, WeekDataError, load_week

ROW = "2018-09-16,WICKED,Musical,Gershwin,0,8,1460436.0,15312,0.99"
PUBLISHED = load_week()

shows = st.builds(
    ShowWeek,
    show=st.just("A SHOW"),
    kind=st.just("Play"),
    theatre=st.just("A theatre"),
    previews=st.integers(0, PERFORMANCES_MAX),
    performances=st.integers(1, PERFORMANCES_MAX),
    gross_cents=st.integers(0, 500_000_000),
    attendance=st.integers(1, 30_000),
    capacity_share=st.fractions(Fraction(1, 100), 3, max_denominator=100),
)


def table(*rows: str, header: str = ",".join(COLUMNS)) -> str:
    return "\n".join([header, *rows]) + "\n"


# -- Prices ----------------------------------------------------------------------


@given(st.integers(1, 100_000), st.integers(0, 10**10))
@example(1, 0)
@example(1, 9_999)
@example(2, 1)
@example(4, 10_000)
@example(100_000, 99_999)
def test_two_price_points_bring_in_the_gross_to_the_cent(attendance: int, gross_cents: int) -> None:
    orchestra, mezzanine = price_points(attendance, gross_cents)
    assert orchestra.sold + mezzanine.sold == attendance
    assert orchestra.sold * orchestra.cents + mezzanine.sold * mezzanine.cents == gross_cents
    assert orchestra.sold >= 0
    assert mezzanine.sold >= 0
    assert orchestra.cents >= mezzanine.cents >= 0


@given(st.integers(100, 1_000), st.integers(0, 10**8))
def test_at_theatre_prices_the_orchestra_is_visibly_dearer(attendance: int, cents_above_twenty_each: int) -> None:
    orchestra, mezzanine = price_points(attendance, attendance * 2_000 + cents_above_twenty_each)
    assert orchestra.cents * 3 >= mezzanine.cents * 5
    assert attendance // 2 <= orchestra.sold <= attendance * 7 // 10


def test_each_published_show_gets_two_plausible_prices() -> None:
    for show in PUBLISHED.shows:
        orchestra, mezzanine = price_points(show.attendance, show.gross_cents)
        assert orchestra.cents > mezzanine.cents + 1_000, show.show
        assert mezzanine.cents >= 2_000, show.show


# -- Performances ----------------------------------------------------------------


@given(shows)
def test_the_performances_add_up_to_the_week(show: ShowWeek) -> None:
    week = performances(show)
    tiers = [tier for performance in week for tier in performance.tiers]
    assert len(week) == show.previews + show.performances
    assert sum(tier.sold for tier in tiers) == show.attendance
    assert sum(tier.sold * tier.cents for tier in tiers) == show.gross_cents
    assert all(tier.seats >= 1 and tier.standing >= 0 and tier.sold >= 0 for tier in tiers)
    assert all(tier.sold <= tier.seats + tier.standing for tier in tiers)


@given(shows)
def test_one_show_has_one_price_list_and_even_houses(show: ShowWeek) -> None:
    week = performances(show)
    assert len({tuple((tier.name, tier.cents) for tier in performance.tiers) for performance in week}) == 1
    houses = [sum(tier.sold for tier in performance.tiers) for performance in week]
    assert max(houses) - min(houses) <= 1


@pytest.mark.parametrize("scale", [1, 0.01, 0.0001])
def test_every_published_show_adds_up_at_every_scale(scale: float) -> None:
    week = PUBLISHED.scaled(scale)
    tiers = [tier for show in week.shows for performance in performances(show) for tier in performance.tiers]
    assert sum(tier.sold for tier in tiers) == week.attendance
    assert sum(tier.sold * tier.cents for tier in tiers) == week.gross_cents


def test_a_house_has_the_seats_that_the_capacity_share_implies() -> None:
    for show in PUBLISHED.shows:
        tiers = [tier for performance in performances(show) for tier in performance.tiers]
        assert sum(tier.seats for tier in tiers) == round(show.attendance / show.capacity_share), show.show
        standing = max(0, show.attendance - show.capacity)
        assert sum(tier.standing for tier in tiers) == standing, show.show


def test_titles_tell_previews_from_performances() -> None:
    row = ROW.replace(",0,8,", ",1,2,").split(",")
    show = ShowWeek(row[1], row[2], row[3], 1, 2, 300_00, 30, Fraction(1))
    titles = ["WICKED (preview 1 of 3)", "WICKED (performance 2 of 3)", "WICKED (performance 3 of 3)"]
    assert [performance.title for performance in performances(show)] == titles


@given(st.integers(0, 2_000), st.integers())
def test_baskets_hold_every_ticket_once(tickets: int, seed: int) -> None:
    cut = list(baskets(tickets, random.Random(seed)))
    assert sum(cut) == tickets
    assert all(1 <= basket <= BASKET_MAX for basket in cut)
    assert cut == list(baskets(tickets, random.Random(seed)))


# -- The published week and its file ----------------------------------------------


def test_the_repository_carries_the_week_of_29_shows() -> None:
    assert PUBLISHED.ending == date(2018, 9, 16)
    assert len(PUBLISHED.shows) == 29
    assert PUBLISHED.attendance == 256_263
    assert PUBLISHED.gross_cents == 28_771_784_00


def test_a_share_of_the_week_is_rounded_show_by_show() -> None:
    week = PUBLISHED.scaled(0.01)
    wicked = next(show for show in week.shows if show.show == "WICKED")
    assert (wicked.attendance, wicked.gross_cents) == (153, 14_604_36)
    assert week == PUBLISHED.scaled(0.01)
    assert PUBLISHED.scaled(1) == PUBLISHED


def test_the_smallest_share_still_sells_one_ticket_a_show() -> None:
    assert [show.attendance for show in PUBLISHED.scaled(1e-9).shows] == [1] * 29


@pytest.mark.parametrize("scale", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_scale_out_of_bounds_is_refused(scale: float) -> None:
    with pytest.raises(WeekDataError, match="scale"):
        PUBLISHED.scaled(scale)


def test_an_unknown_week_lists_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "weeks.csv"
    path.write_text(table(ROW, ROW.replace("2018-09-16", "2018-09-23")))
    with pytest.raises(WeekDataError, match=r"no week ending 2020-01-05; weeks ending: 2018-09-16, 2018-09-23"):
        load_week(path, date(2020, 1, 5))
    with pytest.raises(WeekDataError, match=r"2 weeks, name one; weeks ending: 2018-09-16, 2018-09-23"):
        load_week(path)
    assert load_week(path, date(2018, 9, 23)).attendance == 15_312


def test_a_byte_order_mark_and_extra_columns_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "week.csv"
    path.write_text("\ufeff" + table(f"x,{ROW}", header=f"note,{','.join(COLUMNS)}"))
    assert load_week(path).attendance == 15_312


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (ROW.replace("2018-09-16", "16 September"), "line 3: week_ending '16 September' is not a date"),
        (ROW.replace("WICKED", " "), "line 3: show is empty"),
        (ROW.replace("15312", "many"), "line 3: attendance 'many' is not"),
        (ROW.replace("15312", "15.5"), "line 3: attendance '15.5' is not"),
        (ROW.replace("15312", "0"), "line 3: attendance '0' is not"),
        (ROW.replace("15312", "1e30"), "line 3: attendance '1e30' is not"),
        (ROW.replace("1460436.0", "-1"), "line 3: gross_usd '-1' is not"),
        (ROW.replace("1460436.0", "1.001"), "line 3: gross_usd '1.001' is not"),
        (ROW.replace("1460436.0", "NaN"), "line 3: gross_usd 'NaN' is not"),
        (ROW.replace("0.99", "0"), "line 3: capacity_share '0' is not"),
        (ROW.replace("0.99", ""), "line 3: capacity_share '' is not"),
        (ROW.replace(",0,8,", ",0,0,"), "line 3: performances '0' is not"),
        (ROW.replace(",0,8,", ",0,800,"), "line 3: performances '800' is not"),
        (ROW.replace("WICKED", "ONE, TWO"), "line 3: not 9 fields"),
        (ROW.removesuffix(",0.99"), "line 3: not 9 fields"),
        (ROW.replace("Gershwin", "Lyric"), "line 3: WICKED is there twice"),
    ],
)
def test_a_broken_row_is_refused_by_its_line(tmp_path: Path, broken: str, complaint: str) -> None:
    path = tmp_path / "week.csv"
    path.write_text(table(ROW, broken))
    with pytest.raises(WeekDataError) as refused:
        load_week(path, date(2018, 9, 16))
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "line 1: no column week_ending, show"),
        (b"week_ending,show\n", "line 1: no column type, theatre"),
        (table().encode(), "weeks ending: none"),
        (table(ROW).encode().replace(b"WICKED", b"\xff"), "cannot be read"),
        (table(ROW).encode().replace(b"WICKED", b'"WICKED'), "cannot be read"),
    ],
    ids=["empty", "other columns", "no rows", "not UTF-8", "open quote"],
)
def test_a_file_that_is_not_such_a_table_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "week.csv"
    path.write_bytes(content)
    with pytest.raises(WeekDataError, match=complaint):
        load_week(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeekDataError, match=r"nowhere\.csv cannot be read"):
        load_week(tmp_path / "nowhere.csv")


def test_the_file_of_the_repository_names_only_its_week() -> None:
    assert all(line.startswith("2018-09-16,") for line in WEEK_OF_THE_REPOSITORY.read_text().splitlines()[1:])
