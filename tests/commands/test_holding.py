"""Placing an order: all of its tickets are held for one buyer, or none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from commands.event import CancelEvent, ChangeEvent, NewRelease, NewTier, ReleaseTickets
from commands.order import Item, PlaceOrder
from domain.allowance import Allowance, LimitExceededError, allowance_id
from domain.event import NotOnSaleError
from domain.kernel import InvalidError, NotFoundError
from domain.order import ORDER_TICKETS_MAX, Order, SoldOutError
from domain.ticket import Ticket
from domain.ticket_refusals import SeatTakenError
from tests.commands.shop import Shop, first_tier, in_a_shop, names, seated, standing, together
from tests.domain.event_facts import seat
from tests.domain.happening import BUYER, ENDS, FRIEND, NOW, ORGANIZER, OTHER_TIER, STRANGER, numbered

ROW = tuple(seat(number) for number in range(1, 5))


def order_of(event: Any, *items: Item, buyer_id: Any = BUYER) -> PlaceOrder:
    return PlaceOrder(buyer_id=buyer_id, event_id=event.id, items=items)


# -- Done. -------------------------------------------------------------------------------


@in_a_shop
async def test_an_order_and_its_tickets_are_recorded_together(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10, price=4500))
    before = len(shop.facts())
    order = await shop.order(event, 3)
    placed, *held = shop.facts()[before:]
    assert placed == shop.facts(order.id)[0]
    assert (order.status, order.known_total.amount, order.expires_at) == (
        "pending",
        13_500,
        NOW + timedelta(minutes=10),
    )
    for line, fact in zip(order.lines, held, strict=True):
        assert isinstance(fact, Ticket.Held)
        assert (fact.order_id, fact.buyer_id, fact.until, fact.price) == (order.id, BUYER, order.expires_at, 4500)
        assert shop.facts(line.ticket_id) == [fact]


@in_a_shop
async def test_an_order_may_mix_tiers_and_chosen_seats(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10, price=1250), seated(*ROW, price=9900))
    free, stalls = event.tiers
    order = await shop.do(order_of(event, Item(tier_id=free, quantity=2), Item(tier_id=stalls, seats=ROW[2:])))
    assert order.known_total.amount == 2 * 1250 + 2 * 9900
    assert [line.seat for line in order.lines] == [None, None, *ROW[2:]]


@in_a_shop
async def test_the_hold_lasts_as_long_as_the_organiser_says(shop: Shop) -> None:
    order = await shop.order(await shop.event_on_sale(hold_seconds=45))
    assert order.expires_at == NOW + timedelta(seconds=45)


@in_a_shop
async def test_a_buyer_with_a_limit_has_an_allowance_in_the_same_append(shop: Shop) -> None:
    event = await shop.event_on_sale(max_tickets_per_buyer=4)
    order = await shop.order(event, 3)
    (fact,) = shop.facts(allowance_id(event.id, BUYER))
    assert fact == Allowance.Taken(order_id=order.id, quantity=3, at=NOW)


# -- Refused. ------------------------------------------------------------------------------


@in_a_shop
async def test_what_is_refused_records_nothing_and_holds_nothing(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(3), seated(*ROW))
    places, stalls = event.tiers
    await shop.do(order_of(event, Item(tier_id=stalls, seats=ROW[:1]), buyer_id=FRIEND))
    before = shop.facts()
    with pytest.raises(SeatTakenError):
        await shop.do(order_of(event, Item(tier_id=places, quantity=3), Item(tier_id=stalls, seats=ROW[:2])))
    with pytest.raises(SoldOutError):
        await shop.do(order_of(event, Item(tier_id=stalls, seats=ROW[1:2]), Item(tier_id=places, quantity=4)))
    assert shop.facts() == before
    assert len((await shop.do(order_of(event, Item(tier_id=places, quantity=3)))).lines) == 3


@in_a_shop
async def test_an_unknown_event_has_nothing_to_sell(shop: Shop) -> None:
    command = PlaceOrder(buyer_id=BUYER, event_id=numbered(404), items=(Item(tier_id=OTHER_TIER, quantity=1),))
    with pytest.raises(NotFoundError):
        await shop.do(command)


@in_a_shop
async def test_nothing_is_sold_after_the_end_or_after_the_cancellation(shop: Shop) -> None:
    event, other = await shop.event_on_sale(), await shop.event_on_sale()
    await shop.do(CancelEvent(event_id=other.id, organizer_id=ORGANIZER, reason="the soloist is ill"))
    with pytest.raises(NotOnSaleError):
        await shop.order(other)
    shop.clock.now = ENDS
    with pytest.raises(NotOnSaleError):
        await shop.order(event)


@in_a_shop
async def test_a_tier_is_sold_within_its_window(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(5, sale_opens_at=NOW + timedelta(hours=1)))
    with pytest.raises(NotOnSaleError):
        await shop.order(event)
    shop.clock.now = NOW + timedelta(hours=1)
    assert (await shop.order(event)).status == "pending"


@in_a_shop
async def test_an_order_has_a_bounded_number_of_tickets(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(200), max_tickets_per_order=ORDER_TICKETS_MAX + 50)
    with pytest.raises(LimitExceededError):
        await shop.order(event, ORDER_TICKETS_MAX + 1)
    assert len((await shop.order(event, ORDER_TICKETS_MAX)).lines) == ORDER_TICKETS_MAX


@in_a_shop
async def test_the_organisers_limit_counts_all_items_of_an_order(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10), standing(10, max_tickets_per_order=2), max_tickets_per_order=4)
    one, other = event.tiers
    with pytest.raises(LimitExceededError):
        await shop.do(order_of(event, Item(tier_id=one, quantity=3), Item(tier_id=other, quantity=2)))
    with pytest.raises(LimitExceededError):
        await shop.do(order_of(event, Item(tier_id=other, quantity=2), Item(tier_id=other, quantity=1)))
    order = await shop.do(order_of(event, Item(tier_id=one, quantity=2), Item(tier_id=other, quantity=2)))
    assert len(order.lines) == 4


@in_a_shop
async def test_a_buyer_has_at_most_what_the_organiser_allows_in_all_orders_together(shop: Shop) -> None:
    event = await shop.event_on_sale(max_tickets_per_buyer=3)
    await shop.order(event, 2)
    with pytest.raises(LimitExceededError):
        await shop.order(event, 2)
    assert len((await shop.order(event, 2, buyer_id=FRIEND)).lines) == 2
    assert len((await shop.order(event, 1)).lines) == 1


BAD_ITEMS: dict[str, tuple[dict[str, Any], ...]] = {
    "a seat that the tier does not have": ({"seats": (seat(99),)},),
    "a seat twice in one item": ({"seats": (seat(1), seat(1))},),
    "a seat twice in two items": ({"seats": (seat(1),)}, {"seats": (seat(1), seat(2))}),
    "named seats and any seats of one tier": ({"seats": (seat(1),)}, {"quantity": 1}),
}


@pytest.mark.parametrize("items", BAD_ITEMS.values(), ids=BAD_ITEMS)
@in_a_shop
async def test_an_order_says_plainly_which_seats_it_means(shop: Shop, items: tuple[dict[str, Any], ...]) -> None:
    event = await shop.event_on_sale(seated(*ROW))
    before = shop.facts()
    with pytest.raises(InvalidError):
        await shop.do(order_of(event, *(Item(tier_id=first_tier(event), **item) for item in items)))
    assert shop.facts() == before


@in_a_shop
async def test_general_admission_is_not_sold_by_seat(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(5), seated(*ROW))
    with pytest.raises(InvalidError):
        await shop.seats(event, ROW[0])


@in_a_shop
async def test_an_unknown_tier_is_the_buyers_mistake(shop: Shop) -> None:
    event = await shop.event_on_sale()
    with pytest.raises(InvalidError):
        await shop.do(order_of(event, Item(tier_id=OTHER_TIER, quantity=1)))


@in_a_shop
async def test_a_seat_is_not_sold_before_its_release_goes_on_sale(shop: Shop) -> None:
    later = NewTier(name="Stalls", price=9900, release=NewRelease(seats=ROW, on_sale_at=NOW + timedelta(days=1)))
    event = await shop.event_on_sale(later)
    with pytest.raises(SeatTakenError):
        await shop.seats(event, ROW[0])
    with pytest.raises(SoldOutError):
        await shop.order(event)
    shop.clock.now = NOW + timedelta(days=1)
    assert [line.seat for line in (await shop.seats(event, ROW[0])).lines] == [ROW[0]]


# -- Raced. ----------------------------------------------------------------------------------


@in_a_shop
async def test_of_twenty_who_want_one_seat_exactly_one_gets_it(shop: Shop) -> None:
    event = await shop.event_on_sale(seated(*ROW))
    attempts = [shop.seats(event, ROW[0], buyer_id=numbered(1000 + number)) for number in range(20)]
    outcomes = await together(*attempts)
    assert names(outcomes) == ["Order"] + ["SeatTakenError"] * 19
    (winner,) = (outcome for outcome in outcomes if isinstance(outcome, Order))
    assert len([fact for fact in shop.facts() if isinstance(fact, Ticket.Held)]) == 1
    assert [ticket.order_id for ticket in await shop.tickets_of(winner)] == [winner.id]


@in_a_shop
async def test_two_who_want_overlapping_seats_never_get_half_of_them(shop: Shop) -> None:
    event = await shop.event_on_sale(seated(*ROW))
    outcomes = await together(
        shop.seats(event, *ROW[:3]), shop.seats(event, *ROW[1:], buyer_id=FRIEND), shop.seats(event, ROW[1])
    )
    assert names(outcomes) == ["Order", "SeatTakenError", "SeatTakenError"]
    held = [fact for fact in shop.facts() if isinstance(fact, Ticket.Held)]
    assert {fact.order_id for fact in held} == {outcome.id for outcome in outcomes if isinstance(outcome, Order)}


@in_a_shop
async def test_orders_sent_at_once_do_not_get_a_buyer_around_the_limit(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(50), max_tickets_per_buyer=3)
    outcomes = await together(*(shop.order(event, 2) for _ in range(8)), *(shop.order(event, 1) for _ in range(8)))
    placed = [outcome for outcome in outcomes if isinstance(outcome, Order)]
    assert sum(len(order.lines) for order in placed) == 3
    assert set(names(outcomes)) == {"Order", "LimitExceededError"}


@in_a_shop
async def test_an_event_that_was_cancelled_since_it_was_read_sells_nothing(shop: Shop) -> None:
    event = await shop.event_on_sale()
    cancel = CancelEvent(event_id=event.id, organizer_id=ORGANIZER, reason="the soloist is ill")
    shop.inventory.meanwhile = lambda: shop.do(cancel)
    with pytest.raises(NotOnSaleError):
        await shop.order(event)
    assert not [fact for fact in shop.facts() if isinstance(fact, Order.Placed | Ticket.Held)]


@in_a_shop
async def test_an_event_that_was_changed_since_it_was_read_is_decided_again(shop: Shop) -> None:
    event = await shop.event_on_sale()
    change = ChangeEvent(event_id=event.id, organizer_id=ORGANIZER, changes={"hold_seconds": 60})
    shop.inventory.meanwhile = lambda: shop.do(change)
    order = await shop.order(event)
    assert order.expires_at == NOW + timedelta(seconds=60)
    assert len([fact for fact in shop.facts() if isinstance(fact, Ticket.Held)]) == 1


@in_a_shop
async def test_another_process_may_change_the_event_meanwhile(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1))
    tier_id = first_tier(event)
    await shop.order(event)
    async with Shop(shop.database) as elsewhere:
        more = ReleaseTickets(
            event_id=event.id, organizer_id=ORGANIZER, tier_id=tier_id, release=NewRelease(quantity=1)
        )
        await elsewhere.do(more)
        order = await elsewhere.order(event, buyer_id=STRANGER)
    assert [line.serial for line in order.lines] == [2]
