"""An on-sale: many buyers, few places; each place is sold once, all are sold, and what returns is sold again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from commands.event import NewRelease, NewTier, ReleaseTickets
from commands.order import CancelOrder, ExpireOrder
from domain.event import Event
from domain.order import Order, SoldOutError
from domain.ticket import Ticket
from tests.commands.shop import Shop, first_tier, in_a_shop, names, seated, standing, together
from tests.domain.event_facts import seat
from tests.domain.happening import BUYER, FRIEND, HOLD_ENDS, NOW, ORGANIZER, numbered

CROWD = [numbered(1000 + number) for number in range(50)]


def placed(outcomes: Sequence[Any]) -> list[Order]:
    return [outcome for outcome in outcomes if isinstance(outcome, Order)]


def serials(orders: Sequence[Order]) -> list[int]:
    return sorted(line.serial for order in orders for line in order.lines if line.serial is not None)


def held_at_once_max(shop: Shop) -> int:
    """The most holds that any one place ever had at a time, by the ledger's own order."""
    holds: Counter[object] = Counter()
    most = 0
    for stream_id, fact in shop.history():
        if isinstance(fact, Ticket.Held):
            holds[stream_id] += 1
        elif isinstance(fact, Ticket.Released):
            holds[stream_id] -= 1
        most = max(most, holds[stream_id])
    return most


# -- One process. ----------------------------------------------------------------------------


@in_a_shop
async def test_fifty_buyers_of_thirty_places_get_thirty_places(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(30))
    outcomes = await together(*(shop.order(event, buyer_id=buyer) for buyer in CROWD))
    assert names(outcomes) == ["Order"] * 30 + ["SoldOutError"] * 20
    assert serials(placed(outcomes)) == list(range(1, 31))
    with pytest.raises(SoldOutError):
        await shop.order(event)


@in_a_shop
async def test_orders_of_several_are_filled_whole_or_not_at_all(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(30))
    outcomes = await together(*(shop.order(event, 4, buyer_id=buyer) for buyer in CROWD))
    assert Counter(len(order.lines) for order in placed(outcomes)) == {4: 7}
    assert len((await shop.order(event, 2)).lines) == 2


@in_a_shop
async def test_places_come_in_no_order_that_buyers_could_guess(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1000))
    bought = [serial for _ in range(3) for serial in serials([await shop.order(event, 10)])]
    assert bought != list(range(1, 31))
    assert len(set(bought)) == 30


@in_a_shop
async def test_what_was_given_back_is_sold_again(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(30))
    first = placed(await together(*(shop.order(event, 3, buyer_id=buyer) for buyer in CROWD[:10])))
    for order in first[:5]:
        await shop.do(CancelOrder(order_id=order.id, buyer_id=order.buyer_id or BUYER))
    shop.clock.now = HOLD_ENDS
    await shop.do(ExpireOrder(order_id=first[5].id))
    again = await together(*(shop.order(event, buyer_id=buyer) for buyer in CROWD))
    assert names(again) == ["Order"] * 18 + ["SoldOutError"] * 32
    assert serials(placed(again)) == serials(first[:6])
    assert held_at_once_max(shop) == 1


@in_a_shop
async def test_buying_and_giving_back_at_once_loses_no_place(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10))

    async def change_their_mind(buyer_id: Any) -> None:
        for _ in range(4):
            order = await shop.order(event, buyer_id=buyer_id)
            await shop.do(CancelOrder(order_id=order.id, buyer_id=buyer_id))

    await together(*(change_their_mind(buyer) for buyer in CROWD[:20]))
    outcomes = await together(*(shop.order(event, buyer_id=buyer) for buyer in CROWD[:10]))
    assert serials(placed(outcomes)) == list(range(1, 11))
    assert held_at_once_max(shop) == 1


@in_a_shop
async def test_a_release_is_sold_when_its_time_comes(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(5))
    later = NewRelease(quantity=5, on_sale_at=NOW + timedelta(hours=1))
    await shop.do(ReleaseTickets(event_id=event.id, organizer_id=ORGANIZER, tier_id=first_tier(event), release=later))
    first = await together(*(shop.order(event) for _ in range(8)))
    assert serials(placed(first)) == [1, 2, 3, 4, 5]
    shop.clock.now = NOW + timedelta(hours=1)
    second = await together(*(shop.order(event) for _ in range(8)))
    assert serials(placed(second)) == [6, 7, 8, 9, 10]


@in_a_shop
async def test_after_a_restart_the_places_that_are_left_are_sold(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10))
    sold = [await shop.bought(event) for _ in range(3)]
    returned = await shop.order(event, 2)
    await shop.do(CancelOrder(order_id=returned.id, buyer_id=BUYER))
    async with Shop(shop.database) as restarted:
        outcomes = await together(*(restarted.order(event, buyer_id=FRIEND) for _ in range(9)))
    assert names(outcomes) == ["Order"] * 7 + ["SoldOutError"] * 2
    assert serials([*sold, *placed(outcomes)]) == list(range(1, 11))


@in_a_shop
async def test_best_seats_are_sold_first_and_each_once(shop: Shop) -> None:
    row = [seat(number) for number in range(1, 9)]
    event = await shop.event_on_sale(seated(*row))
    pairs = [await shop.order(event, 2, buyer_id=buyer) for buyer in CROWD[:2]]
    assert [line.seat for order in pairs for line in order.lines] == row[:4]
    outcomes = await together(*(shop.order(event, buyer_id=buyer) for buyer in CROWD[:6]))
    assert names(outcomes) == ["Order"] * 4 + ["SoldOutError"] * 2


@in_a_shop
async def test_seats_that_were_chosen_are_not_offered_as_best(shop: Shop) -> None:
    event = await shop.event_on_sale(seated(*(seat(number) for number in range(1, 6))))
    await shop.seats(event, seat(2), buyer_id=FRIEND)
    side_by_side = await shop.order(event, 2, adjacent=True)
    assert [str(line.seat) for line in side_by_side.lines] == [str(seat(3)), str(seat(4))]
    with pytest.raises(SoldOutError):
        await shop.order(event, 2, adjacent=True)
    assert len((await shop.order(event, 2)).lines) == 2


# -- Several processes. -----------------------------------------------------------------------


async def in_two_shops(shop: Shop, event: Event, attempts_each: int, **more: Any) -> list[Any]:
    async with Shop(shop.database) as elsewhere:
        buyers = CROWD[:attempts_each]
        return await together(
            *(place.order(event, buyer_id=buyer, **more) for buyer in buyers for place in (shop, elsewhere))
        )


@in_a_shop
async def test_two_processes_never_sell_more_than_there_is(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(60))
    outcomes = await in_two_shops(shop, event, 50)
    assert serials(placed(outcomes)) == list(range(1, 61))
    assert names(outcomes) == ["Order"] * 60 + ["SoldOutError"] * 40
    assert held_at_once_max(shop) == 1


@in_a_shop
async def test_two_processes_never_sell_one_seat_twice(shop: Shop) -> None:
    event = await shop.event_on_sale(seated(*(seat(number) for number in range(1, 13))))
    outcomes = await in_two_shops(shop, event, 10)
    seats = [str(line.seat) for order in placed(outcomes) for line in order.lines]
    assert len(seats) == len(set(seats)) == 12
    assert set(names(outcomes)) == {"Order", "SoldOutError"}


@in_a_shop
async def test_a_seat_that_another_process_sold_meanwhile_is_replaced_by_the_next_best(shop: Shop) -> None:
    event = await shop.event_on_sale(seated(seat(1), seat(2), seat(3)))
    async with Shop(shop.database) as elsewhere:
        shop.inventory.meanwhile = lambda: elsewhere.order(event, buyer_id=FRIEND)
        order = await shop.order(event, 2)
    assert {line.seat for line in order.lines} == {seat(2), seat(3)}


@pytest.mark.parametrize("tier", [standing(1), seated(seat(1))])
@in_a_shop
async def test_the_last_place_sold_meanwhile_is_missed_and_sold_again_when_it_returns(
    shop: Shop, tier: NewTier
) -> None:
    event = await shop.event_on_sale(tier)
    theirs: list[Order] = []
    async with Shop(shop.database) as elsewhere:

        async def be_quicker() -> None:
            theirs.append(await elsewhere.order(event, buyer_id=FRIEND))

        shop.inventory.meanwhile = be_quicker
        with pytest.raises(SoldOutError):
            await shop.order(event)
        await elsewhere.do(CancelOrder(order_id=theirs[0].id, buyer_id=FRIEND))
    await shop.caught_up()
    assert [line.ticket_id for line in (await shop.order(event)).lines] == [theirs[0].lines[0].ticket_id]


@in_a_shop
async def test_what_one_process_lets_go_the_other_sells(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10))
    async with Shop(shop.database) as elsewhere:
        mine = placed(await together(*(shop.order(event) for _ in range(10))))
        with pytest.raises(SoldOutError):
            await elsewhere.order(event, buyer_id=FRIEND)
        for order in mine:
            await shop.do(CancelOrder(order_id=order.id, buyer_id=BUYER))
        await elsewhere.caught_up()
        theirs = await together(*(elsewhere.order(event, buyer_id=FRIEND) for _ in range(10)))
    assert serials(placed(theirs)) == list(range(1, 11))
