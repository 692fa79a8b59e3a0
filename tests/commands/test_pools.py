"""The pools that free places are picked from: a shuffle that repeats nothing, and the best seats side by side."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from adapters.follower import Followed
from adapters.pools import Pool, SeatPool, SerialPool, SparseShuffle
from commands.order import Pick
from domain.event import Event, Tier
from domain.kernel import Fact
from domain.order import SoldOutError
from domain.seat import Seat, ticket_id
from domain.ticket import Ticket
from tests.domain.event_facts import drafted, released, seat, tier_added
from tests.domain.happening import EVENT, NOW, TIER
from tests.domain.ticket_facts import HELD, PAID, RELEASED, held
from tests.given import folded

ROW_A = [seat(number) for number in range(1, 5)]
ROW_B = [seat(number, row="B") for number in range(1, 5)]


def side_by_side(picks: list[Pick]) -> bool:
    seats = sorted((pick.place for pick in picks if isinstance(pick.place, Seat)), key=lambda place: int(place.number))
    numbers = [int(place.number) for place in seats]
    return len({place.row for place in seats}) == 1 and numbers == list(range(numbers[0], numbers[0] + len(picks)))


# -- The shuffle. ------------------------------------------------------------------------------


@for_all(st.integers(1, 10**6), st.integers(0, 300), st.randoms(use_true_random=False))
def test_a_shuffle_draws_each_number_once(first: int, size: int, random: Random) -> None:
    shuffle = SparseShuffle(first, first + size - 1, random)
    drawn = []
    while len(shuffle):
        drawn.append(shuffle.draw())
    assert sorted(drawn) == list(range(first, first + size))


@for_all(st.integers(1, 50), st.randoms(use_true_random=False))
def test_a_part_of_a_shuffle_repeats_nothing_and_leaves_the_rest(count: int, random: Random) -> None:
    shuffle = SparseShuffle(1, 10**9, random)
    drawn = [shuffle.draw() for _ in range(count)]
    assert len(set(drawn)) == count
    assert len(shuffle) == 10**9 - count


def test_every_number_is_as_likely_to_come_first() -> None:
    random = Random(7)
    firsts = [SparseShuffle(1, 4, random).draw() for _ in range(4000)]
    assert all(900 < firsts.count(number) < 1100 for number in range(1, 5))


# -- Serials. ----------------------------------------------------------------------------------


def serials(count: int = 5) -> SerialPool:
    pool = SerialPool(EVENT, TIER, Random(7))
    pool.offer(folded(Event, drafted(), tier_added(), released(count)).tiers[TIER], at=NOW)
    return pool


def hears(pool: Pool, place: int | Seat, version: int, fact: Fact) -> None:
    """As the follower would tell it."""
    pool.hear(Followed(0, ticket_id(EVENT, TIER, place), version, fact, NOW))


def places(picks: list[Pick]) -> list[int | Seat]:
    return [pick.place for pick in picks]


def test_all_serials_are_picked_once_and_for_their_own_tickets() -> None:
    picks = serials().take(5, adjacent=False)
    assert sorted(pick.place for pick in picks if isinstance(pick.place, int)) == [1, 2, 3, 4, 5]
    assert all(pick.ticket_id == ticket_id(EVENT, TIER, pick.place) and pick.version == 0 for pick in picks)


def test_a_pool_that_has_too_few_gives_none() -> None:
    pool = serials()
    with pytest.raises(SoldOutError):
        pool.take(6, adjacent=False)
    assert len(pool.take(5, adjacent=False)) == 5


def test_a_serial_that_others_hold_is_not_picked_until_it_returns() -> None:
    pool = serials()
    hears(pool, 3, 1, held(serial=3))
    assert 3 not in places(pool.take(4, adjacent=False))
    with pytest.raises(SoldOutError):
        pool.take(1, adjacent=False)
    hears(pool, 3, 2, RELEASED)
    assert pool.take(1, adjacent=False) == [Pick(3, ticket_id(EVENT, TIER, 3), 2)]


def test_a_serial_that_was_paid_for_never_returns() -> None:
    pool = serials(1)
    hears(pool, 1, 1, held(serial=1))
    hears(pool, 1, 2, PAID)
    with pytest.raises(SoldOutError):
        pool.take(1, adjacent=False)


def test_what_was_sold_before_the_pool_was_made_is_known_to_it() -> None:
    pool = serials(3)
    pool.know(1, ticket_id(EVENT, TIER, 1), 2, free=False)
    pool.know(2, ticket_id(EVENT, TIER, 2), 4, free=True)
    picks = {pick.place: pick.version for pick in pool.take(2, adjacent=False)}
    assert picks == {3: 0, 2: 4}


def test_a_pick_that_was_not_used_is_looked_up_before_it_is_offered_again() -> None:
    pool = serials(1)
    (pick,) = pool.take(1, adjacent=False)
    pool.put_back([pick._replace(version=-1)])
    (doubtful,) = pool.take(1, adjacent=False)
    assert doubtful.version < 0
    assert pool.found(doubtful, Ticket(id=pick.ticket_id))
    assert not pool.found(doubtful, Ticket(id=pick.ticket_id).fold([HELD]))


def test_later_releases_are_offered_after_the_earlier_ones_too() -> None:
    pool = serials(2)
    more = folded(Event, drafted(), tier_added(), released(2), released(3, on_sale_at=NOW + timedelta(days=1)))
    pool.offer(more.tiers[TIER], at=NOW)
    assert sorted(map(str, places(pool.take(2, adjacent=False)))) == ["1", "2"]
    pool.offer(more.tiers[TIER], at=NOW + timedelta(days=1))
    assert sorted(map(str, places(pool.take(3, adjacent=False)))) == ["3", "4", "5"]


BUY, LET_GO, PAY = range(3)


@for_all(st.lists(st.tuples(st.sampled_from([BUY, LET_GO, PAY]), st.integers(1, 4)), max_size=40))
def test_each_place_is_either_in_the_pool_or_with_one_buyer(steps: list[tuple[int, int]]) -> None:
    pool, sold = serials(10), set[int]()
    with_buyers: list[tuple[int, int]] = []  # serials with the versions of their tickets
    for step, quantity in steps:
        left = 10 - len(with_buyers) - len(sold)
        if step == BUY and quantity > left:
            with pytest.raises(SoldOutError):
                pool.take(quantity, adjacent=False)
        elif step == BUY:
            for pick in pool.take(quantity, adjacent=False):
                assert isinstance(pick.place, int)
                assert pick.place not in {serial for serial, _ in with_buyers} | sold
                hears(pool, pick.place, pick.version + 1, held(serial=pick.place))
                with_buyers.append((pick.place, pick.version + 1))
        else:
            gone, with_buyers = with_buyers[:quantity], with_buyers[quantity:]
            sold |= {serial for serial, _ in gone} if step == PAY else set()
            for serial, version in gone:
                hears(pool, serial, version + 1, PAID if step == PAY else RELEASED)
    left = 10 - len(with_buyers) - len(sold)
    assert len(pool.take(left, adjacent=False)) == left


# -- Seats. ------------------------------------------------------------------------------------


def stalls(*seats: Seat) -> tuple[SeatPool, Tier]:
    tier = folded(Event, drafted(), tier_added(seated=True), released(seats=seats)).tiers[TIER]
    pool = SeatPool(EVENT, TIER, Random(7))
    pool.offer(tier, at=NOW)
    return pool, tier


def test_the_best_seats_are_those_released_first() -> None:
    pool, _ = stalls(*ROW_B, *ROW_A)
    assert places(pool.take(1, adjacent=False)) == [ROW_B[0]]
    assert places(pool.take(2, adjacent=False)) == ROW_B[1:3]


def test_seats_side_by_side_are_preferred_to_better_ones_apart() -> None:
    pool, _ = stalls(*ROW_A, *ROW_B)
    for gone in (ROW_A[0], ROW_A[2]):
        hears(pool, gone, 1, held(serial=None, seat=gone))
    assert places(pool.take(3, adjacent=False)) == ROW_B[:3]
    assert places(pool.take(3, adjacent=False)) == [ROW_A[1], ROW_A[3], ROW_B[3]]


def test_seats_side_by_side_are_given_or_none() -> None:
    pool, _ = stalls(*ROW_A, *ROW_B)
    for gone in (ROW_A[1], ROW_B[2]):
        hears(pool, gone, 1, held(serial=None, seat=gone))
    with pytest.raises(SoldOutError):
        pool.take(3, adjacent=True)
    picks = pool.take(2, adjacent=True)
    assert places(picks) == ROW_A[2:]
    assert side_by_side(picks)


def test_a_returned_seat_is_offered_with_its_version() -> None:
    pool, _ = stalls(*ROW_A)
    pool.take(4, adjacent=False)
    hears(pool, ROW_A[2], 1, held(serial=None, seat=ROW_A[2]))
    hears(pool, ROW_A[2], 2, RELEASED)
    assert pool.take(1, adjacent=False) == [Pick(ROW_A[2], ticket_id(EVENT, TIER, ROW_A[2]), 2)]


def test_a_seat_that_was_paid_for_never_returns() -> None:
    pool, _ = stalls(*ROW_A[:1])
    hears(pool, ROW_A[0], 1, held(serial=None, seat=ROW_A[0]))
    hears(pool, ROW_A[0], 2, PAID)
    with pytest.raises(SoldOutError):
        pool.take(1, adjacent=False)


def test_a_seat_that_was_put_back_is_looked_up_before_it_is_offered_again() -> None:
    pool, _ = stalls(*ROW_A[:1])
    (pick,) = pool.take(1, adjacent=False)
    pool.put_back([pick._replace(version=-1)])
    (doubtful,) = pool.take(1, adjacent=False)
    assert doubtful.version < 0
    assert pool.found(doubtful, Ticket(id=pick.ticket_id))
    assert not pool.found(doubtful, Ticket(id=pick.ticket_id).fold([HELD]))
    hears(pool, ROW_A[0], 2, RELEASED)
    assert pool.take(1, adjacent=False) == [pick._replace(version=2)]


def test_seats_that_were_taken_before_the_pool_was_made_are_known_to_it() -> None:
    tier = folded(Event, drafted(), tier_added(seated=True), released(seats=tuple(ROW_A))).tiers[TIER]
    pool = SeatPool(EVENT, TIER, Random(7))
    pool.know(ROW_A[0].key, ticket_id(EVENT, TIER, ROW_A[0]), 2, free=False)
    pool.know(ROW_A[1].key, ticket_id(EVENT, TIER, ROW_A[1]), 4, free=True)
    pool.offer(tier, at=NOW)
    assert [(pick.place, pick.version) for pick in pool.take(2, adjacent=False)] == [(ROW_A[1], 4), (ROW_A[2], 0)]


def test_a_later_release_continues_its_row() -> None:
    pool, _ = stalls(*ROW_A[:2])
    grown = folded(
        Event, drafted(), tier_added(seated=True), released(seats=tuple(ROW_A[:2])), released(seats=tuple(ROW_A[2:]))
    )
    pool.offer(grown.tiers[TIER], at=NOW)
    assert places(pool.take(4, adjacent=True)) == ROW_A


@for_all(st.sets(st.integers(0, 7)), st.integers(1, 4), st.booleans())
def test_a_seat_is_offered_only_while_it_is_free(gone: set[int], quantity: int, adjacent: bool) -> None:
    every = [*ROW_A, *ROW_B]
    pool, _ = stalls(*every)
    for index in gone:
        hears(pool, every[index], 1, held(serial=None, seat=every[index]))
    try:
        picks = pool.take(quantity, adjacent=adjacent)
    except SoldOutError:
        assert adjacent or quantity > 8 - len(gone)
        return
    assert not {every[index] for index in gone} & set(places(picks))
    assert len(set(places(picks))) == quantity
    assert not adjacent or side_by_side(picks)
