"""Histories decided again: under the rules of then nothing differs; under others, what differs is counted by hand."""

from __future__ import annotations

import asyncio
import inspect
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import psycopg
import pytest

from adapters.what_if import WhatIf, decide_again
from commands.event import CancelEvent
from commands.order import CancelOrder, CorrectOrder, ExpireOrder, Item, PlaceOrder, RefundOrder
from commands.ticket import CheckIn, TransferTicket
from commands.what_if import Redecision
from commands.what_if_intentions import FOLLOWING, Intentions, Outcome
from commands.what_if_ledger import at_once
from commands.what_if_rules import RulesError, read_rules
from commands.what_if_tickets import act
from domain.event import Event
from domain.kernel import type_of_fact
from domain.money import PRICE_MAX
from domain.order import Order
from projections.what_if import Figures
from tests.commands.shop import Shop, in_a_shop, seated, standing
from tests.commands.stroll import Stroll
from tests.domain.event_facts import seat
from tests.domain.happening import BUYER, DOORS, FRIEND, MOMENT, NOW, ORGANIZER, STRANGER

STROLLS = 6
STEPS = 120
INTENTIONS_MIN = 20
"""That were not refused: fewer, and a stroll has met nobody."""
OTHER_RULES = (
    "[limits]\nmax_tickets_per_buyer = 2",
    "[limits]\nmax_tickets_per_order = 1",
    "[holds]\nseconds = 60",
    "[holds]\nseconds = 86400",
    '[prices]\n"*" = { factor = 0.5 }\n[holds]\nseconds = 120',
)


def what_if(shop: Shop, event: Event, rules: str = "", as_of: int | datetime | None = None) -> WhatIf:
    return decide_again(shop.database, read_rules(f'event_ids = ["{event.id}"]\n{rules}'), as_of)


def figures(result: WhatIf, event: Event) -> tuple[Figures, Figures]:
    """As recorded, and as they would be."""
    course = result.comparison.courses[event.id]
    return course.recorded, course.decided


def refusals(result: WhatIf) -> dict[tuple[str, str], list[UUID]]:
    """(asked, code) → the streams that were refused; there are fewer of them than examples are kept."""
    return {
        reason: [example.stream_id for example in refused.examples]
        for reason, refused in result.comparison.refusals.items()
    }


async def admit(shop: Shop, order: Order) -> None:
    shop.clock.now = DOORS + timedelta(minutes=1)
    for ticket in await shop.tickets_of(order):
        await shop.do(CheckIn(code=shop.codes.sign(ticket.id, ticket.custody), gate="North", by=ORGANIZER))


async def end_hold(shop: Shop, order: Order) -> None:
    await shop.do(ExpireOrder(order_id=order.id))


def head(shop: Shop) -> int:
    with psycopg.connect(shop.database) as connection:
        row = connection.execute("select position from ledger.head").fetchone()
    assert row is not None
    return int(row[0])


async def after(shop: Shop, seconds: int) -> None:
    shop.clock.now = NOW + timedelta(seconds=seconds)


# -- The rules of then. ------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(STROLLS))
@in_a_shop
async def test_under_the_rules_of_then_every_fact_is_decided_as_it_was_and_under_others_the_books_balance(
    shop: Shop, seed: int
) -> None:
    stroll = Stroll(shop, Random(seed))
    await stroll.begin()
    await stroll.go_on(STEPS)
    comparison = what_if(shop, stroll.event).comparison
    assert comparison.refusals == {}, dict(comparison.refusals)
    assert comparison.intentions[False] == 0
    assert comparison.intentions[True] >= INTENTIONS_MIN
    assert comparison.same
    for rules in OTHER_RULES:
        was, now = figures(what_if(shop, stroll.event, rules), stroll.event)
        assert was == comparison.courses[stroll.event.id].recorded
        assert 0 <= now.free <= now.capacity == was.capacity
        assert now.tickets <= now.capacity
        assert now.refunds <= now.revenue
        assert now.refunded_tickets <= now.tickets
        assert now.paid_orders + now.expired_orders + now.cancelled_orders <= now.orders <= was.orders


@in_a_shop
async def test_rules_that_say_what_was_so_change_nothing(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(3), max_tickets_per_buyer=3, buyer_window_seconds=60, hold_seconds=300)
    order = await shop.bought(event, 2)
    await shop.do(RefundOrder(order_id=order.id, organizer_id=ORGANIZER, ticket_ids=None, reason="asked for"))
    result = what_if(
        shop,
        event,
        "[limits]\nmax_tickets_per_order = 20\nmax_tickets_per_buyer = 3\nbuyer_window_seconds = 60\n"
        "[holds]\nseconds = 300\n[prices]\nStanding = 4500\n",
    )
    assert result.comparison.same
    assert result.unmet == []


# -- Limits. -----------------------------------------------------------------------------


@in_a_shop
async def test_a_lower_limit_for_an_order_refuses_larger_ones_and_all_that_came_of_them(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(5))
    large, small = await shop.bought(event, 3), await shop.bought(event, 2, buyer_id=FRIEND)
    await admit(shop, large)
    await admit(shop, small)
    result = what_if(shop, event, "[limits]\nmax_tickets_per_order = 2")
    was, now = figures(result, event)
    assert (was.orders, was.tickets, was.revenue, was.admitted, was.free) == (2, 5, 22_500, 5, 0)
    assert (now.orders, now.tickets, now.revenue, now.admitted, now.free) == (1, 2, 9_000, 2, 3)
    assert (was.sold_out_at, now.sold_out_at) == (NOW, None)
    assert refusals(result) == {
        ("order.placed", "limit-exceeded"): [large.id],
        ("order.paid", "never-asked"): [large.id],
        ("ticket.checked_in", "never-asked"): [line.ticket_id for line in large.lines],
    }


@in_a_shop
async def test_a_limit_for_a_buyer_counts_what_went_before_and_what_was_given_back(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10))
    first = await shop.bought(event, 2)
    given_up = await shop.order(event, 1)
    await shop.do(CancelOrder(order_id=given_up.id, buyer_id=BUYER))
    third, fourth = await shop.bought(event, 1), await shop.bought(event, 1)
    result = what_if(shop, event, "[limits]\nmax_tickets_per_buyer = 3")
    assert refusals(result) == {
        ("order.placed", "limit-exceeded"): [fourth.id],
        ("order.paid", "never-asked"): [fourth.id],
    }
    assert figures(result, event)[1].revenue == (len(first.lines) + len(third.lines)) * 4_500


@in_a_shop
async def test_a_window_forgets_what_is_longer_ago(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10))
    await shop.bought(event, 2)
    await after(shop, 59)
    refused = await shop.bought(event, 1)
    await after(shop, 60)
    await shop.bought(event, 1)
    result = what_if(shop, event, "[limits]\nmax_tickets_per_buyer = 2\nbuyer_window_seconds = 60")
    assert refusals(result)["order.placed", "limit-exceeded"] == [refused.id]
    assert figures(result, event)[1].tickets == 3


@in_a_shop
async def test_a_limit_of_a_tier_and_one_of_an_event_before_that_of_all(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10))
    await shop.bought(event, 2)
    tier = "[limits]\nmax_tickets_per_order = 4\n[limits.tiers]\nStanding = 1\n"
    assert figures(what_if(shop, event, tier), event)[1].tickets == 0
    own = f'{tier}[events."{event.id}".limits.tiers]\nStanding = "none"\n'
    assert what_if(shop, event, own).comparison.refusals == {}


@in_a_shop
async def test_a_limit_that_is_lifted_shows_nothing_that_the_ledger_does_not_know(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(10), max_tickets_per_buyer=2)
    await shop.bought(event, 2)
    result = what_if(shop, event, '[limits]\nmax_tickets_per_buyer = "none"')
    was, now = figures(result, event)
    assert was == now
    assert not result.comparison.same, "the allowance is no longer taken down"


# -- Holds. ------------------------------------------------------------------------------


@in_a_shop
async def test_with_shorter_holds_a_payment_comes_too_late(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(2))
    slow, quick = await shop.order(event), await shop.order(event, buyer_id=FRIEND)
    await after(shop, 119)
    await shop.pay(quick)
    await after(shop, 120)
    await shop.pay(slow)
    result = what_if(shop, event, "[holds]\nseconds = 120")
    was, now = figures(result, event)
    assert refusals(result) == {("order.paid", "hold-expired"): [slow.id]}
    assert (was.paid_orders, was.expired_orders, was.revenue) == (2, 0, 9_000)
    assert (now.paid_orders, now.expired_orders, now.revenue, now.free) == (1, 1, 4_500, 1)
    assert now.late_payments == 0, "nobody asks a provider for an order that has expired"
    assert was.sold_out_at == now.sold_out_at == NOW


@in_a_shop
async def test_a_hold_that_ends_earlier_no_longer_counts_against_the_buyers_limit(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(4))
    await shop.order(event, 2)
    await after(shop, 300)
    await shop.bought(event, 2)
    strict = "[limits]\nmax_tickets_per_buyer = 2\n"
    assert figures(what_if(shop, event, strict), event)[1].tickets == 0
    assert figures(what_if(shop, event, f"{strict}[holds]\nseconds = 300"), event)[1].tickets == 2


@in_a_shop
async def test_with_longer_holds_money_that_came_too_late_is_in_time(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1))
    order = await shop.order(event)

    async def end() -> None:
        await after(shop, 600)
        await end_hold(shop, order)

    shop.payments.meanwhile = end
    with pytest.raises(Exception, match="has run out"):
        await shop.pay(order)
    result = what_if(shop, event, "[holds]\nseconds = 601")
    was, now = figures(result, event)
    assert (was.paid_orders, was.late_payments, was.expired_orders, was.free) == (0, 1, 1, 1)
    assert (now.paid_orders, now.late_payments, now.expired_orders, now.free) == (1, 0, 0, 0)
    assert now.revenue == 4_500
    assert result.comparison.refusals == {}
    await shop.do(CancelEvent(event_id=event.id, organizer_id=ORGANIZER, reason="rain"))
    assert figures(what_if(shop, event, "[holds]\nseconds = 601"), event)[1].refunds == 4_500


@in_a_shop
async def test_a_place_that_is_held_for_longer_is_not_there_for_the_next_buyer(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(2), seated(seat(1), seat(2), price=9_000))
    floor, stalls = event.tiers
    items = (Item(tier_id=floor, quantity=2), Item(tier_id=stalls, seats=(seat(1),)))
    held: Order = await shop.do(PlaceOrder(buyer_id=BUYER, event_id=event.id, items=items))
    await after(shop, 600)
    await end_hold(shop, held)
    standing_one = await shop.bought(event, 1, buyer_id=FRIEND)
    seat_again = (Item(tier_id=stalls, seats=(seat(1),)),)
    on_the_seat: Order = await shop.do(PlaceOrder(buyer_id=STRANGER, event_id=event.id, items=seat_again))
    await admit(shop, standing_one)
    result = what_if(shop, event, "[holds]\nseconds = 601")
    assert refusals(result) == {
        ("order.placed", "sold-out"): [standing_one.id],
        ("order.paid", "never-asked"): [standing_one.id],
        ("ticket.checked_in", "never-asked"): [standing_one.lines[0].ticket_id],
        ("order.placed", "seat-taken"): [on_the_seat.id],
    }


@in_a_shop
async def test_whoever_has_another_place_hands_it_on_is_admitted_with_it_and_refunded_for_it(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(2))
    held, spare = await shop.order(event), await shop.order(event)
    await shop.do(CancelOrder(order_id=spare.id, buyer_id=BUYER))
    await after(shop, 600)
    await end_hold(shop, held)
    await shop.caught_up()
    order = await shop.bought(event, 1, buyer_id=FRIEND)
    assert order.lines == held.lines, "the place that was given back last is sold first"
    (line,) = order.lines
    await shop.do(TransferTicket(ticket_id=line.ticket_id, holder_id=FRIEND, to=STRANGER))
    await admit(shop, order)
    await shop.do(RefundOrder(order_id=order.id, organizer_id=ORGANIZER, ticket_ids=None, reason="no seat"))
    result = what_if(shop, event, "[holds]\nseconds = 8640000")
    now = figures(result, event)[1]
    assert result.comparison.refusals == {}
    assert (now.tickets, now.admitted, now.refunded_tickets, now.free) == (1, 1, 1, 0)


# -- Prices. -----------------------------------------------------------------------------


@in_a_shop
async def test_other_prices_change_what_is_paid_and_refunded_and_nothing_else(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(5), seated(seat(1), price=9_001))
    _, stalls = event.tiers
    first, second = await shop.bought(event, 2), await shop.order(event, 1)
    await shop.do(RefundOrder(order_id=first.id, organizer_id=ORGANIZER, ticket_ids=None, reason="asked for"))
    items = (Item(tier_id=stalls, seats=(seat(1),)),)
    await shop.pay(await shop.do(PlaceOrder(buyer_id=FRIEND, event_id=event.id, items=items)))
    await shop.do(
        CorrectOrder(
            order_id=first.id,
            organizer_id=ORGANIZER,
            entry_id=(await shop.order_now(first)).refund_ids[0],
            effective_at=NOW,
            reason="April",
        )
    )
    result = what_if(shop, event, '[prices]\nStanding = 5000\n"*" = { factor = 1.5 }')
    was, now = figures(result, event)
    assert (was.revenue, was.refunds) == (2 * 4_500 + 9_001, 9_000)
    assert (now.revenue, now.refunds) == (2 * 5_000 + 13_502, 10_000)
    assert (was.orders, was.tickets, was.free) == (now.orders, now.tickets, now.free)
    assert result.comparison.refusals == {}
    assert second.total is not None


@in_a_shop
async def test_a_price_that_no_ticket_may_have_is_no_rule(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1, price=PRICE_MAX))
    with pytest.raises(RulesError, match="more than a ticket may cost"):
        what_if(shop, event, '[prices]\n"*" = { factor = 1.1 }')


# -- How far, and of what. ---------------------------------------------------------------


@in_a_shop
async def test_it_ends_where_it_is_told_to(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(3))
    await shop.order(event)
    then = head(shop)
    await shop.order(event)
    result = what_if(shop, event, as_of=then)
    assert result.position == then
    assert figures(result, event)[0].orders == 1
    assert figures(what_if(shop, event), event)[0].orders == 2


@in_a_shop
async def test_holds_that_end_sooner_have_ended_when_their_time_has_come_and_not_before(shop: Shop) -> None:
    await shop.order(await shop.event_on_sale(standing(3)))
    redecision, gathering = Redecision(read_rules("[holds]\nseconds = 60")), Intentions()
    for position, (stream_id, fact) in enumerate(shop.history(), 1):
        if (intention := gathering.take(position, stream_id, fact)) is not None:
            assert [outcome.position for outcome in redecision.take(intention)] == [intention.position]
    last = gathering.end()
    assert last is not None
    (placed,) = redecision.take(last)
    assert [fact.topic for _, fact in placed.decided] == ["order.placed", "ticket.held"]
    due = NOW + timedelta(seconds=60)
    assert list(redecision.pass_time(due - MOMENT)) == []
    (expired,) = redecision.pass_time(due)
    assert [(fact.topic, fact.at) for _, fact in expired.decided] == [("order.expired", due), ("ticket.released", due)]
    assert (expired.position, expired.recorded) == (0, ())
    assert list(redecision.pass_time(due)) == []


@in_a_shop
async def test_names_that_nothing_has_are_told(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1))
    result = what_if(
        shop, event, f'[prices]\nStandng = 1\n[limits.tiers]\nStanding = 1\n[events."{BUYER}".holds]\nseconds = 1'
    )
    assert result.unmet == [f"events.{BUYER}", "prices.Standng"]


@in_a_shop
async def test_an_order_of_which_only_a_part_is_recorded_by_then_is_not_there(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(5))
    before = head(shop)
    await shop.order(event, 3)
    assert head(shop) == before + 4
    for as_of, orders in ((before, 0), (before + 1, 0), (before + 3, 0), (before + 4, 1)):
        result = what_if(shop, event, as_of=as_of)
        assert (figures(result, event)[0].orders, result.position) == (orders, as_of)
        assert result.comparison.same


@in_a_shop
async def test_what_ended_unpaid_takes_no_memory_but_its_name(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(9), max_tickets_per_buyer=9)
    for _ in range(3):
        order = await shop.order(event, 3)
        await shop.do(CancelOrder(order_id=order.id, buyer_id=BUYER))
    redecision, gathering = Redecision(read_rules("")), Intentions()
    decided: list[Outcome] = []
    for position, (stream_id, fact) in enumerate([*shop.history(), (event.id, Event.Ended(at=NOW))], 1):
        if (intention := gathering.take(position, stream_id, fact)) is not None:
            decided += redecision.take(intention)
    assert all(outcome.same for outcome in decided)
    assert redecision.size == len([event]) + 3, "an event and three orders; no tickets, no allowance"


# -- The house. --------------------------------------------------------------------------


def test_every_fact_of_tickets_and_orders_is_decided_again() -> None:
    """Whoever adds one says how."""
    source = Path(inspect.getfile(act)).read_text() + inspect.getsource(Redecision)
    for topic, kind in type_of_fact.items():
        if topic.partition(".")[0] in ("ticket", "order") and kind not in FOLLOWING:
            assert f"{kind.__qualname__}(" in source, f"nobody has said how {topic} is decided again"


def test_in_memory_nobody_waits() -> None:
    with pytest.raises(AssertionError, match="nothing to wait for"):
        at_once(asyncio.sleep(0))
