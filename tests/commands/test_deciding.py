"""Load, decide, append: a conflict is decided again a bounded number of times, and an answer is given once."""

from __future__ import annotations

from typing import Any

import pytest

from commands.kernel import (
    RETRIES_MAX,
    AlreadyAnsweredError,
    Command,
    ConflictError,
    Key,
    KeyReusedError,
    Ledger,
    OverloadedError,
    decide,
    new_metadata,
)
from domain.order import Order, OrderNotPendingError
from domain.ticket import Ticket
from tests.commands.shop import Shop, in_a_shop, names, together
from tests.domain.happening import NOW, numbered
from tests.domain.order_facts import PLACED
from tests.domain.ticket_facts import HELD


class Wait(Command):
    """What it says does not matter here."""


PLACE = Wait()


@pytest.fixture
def shop_database(database: str) -> str:
    """A ledger for each scenario: they are about its first positions."""
    return database


async def place(_: Command, *, ledger: Ledger) -> Order:
    order = await ledger.load(Order, numbered(1))
    order.place(PLACED)
    return await ledger.append(order)


async def cancel(_: Command, *, ledger: Ledger) -> Order:
    order = await ledger.load(Order, numbered(1))
    order.cancel(at=NOW)
    return await ledger.append(order)


def keyed(shop: Shop, *, request: bytes = b"cancel order 1") -> Ledger:
    """The ledger of a request with an Idempotency-Key."""
    ledger = shop.ledger("CancelOrder")
    ledger.key = Key(numbered(8), request)
    ledger.render = lambda order: str(order.status).encode()
    return ledger


@in_a_shop
async def test_a_decision_that_lost_a_race_is_made_again_on_the_new_state(shop: Shop) -> None:
    await decide(place, PLACE, shop.ledger("PlaceOrder"))
    outcomes = await together(*(decide(cancel, PLACE, shop.ledger("CancelOrder")) for _ in range(20)))
    assert names(outcomes) == ["Order"] + ["OrderNotPendingError"] * 19


@in_a_shop
async def test_deciding_again_has_an_end(shop: Shop) -> None:
    attempts = 0

    async def always_lose(_: Command, *, ledger: Ledger) -> Order:
        """Read, and append a version that is there already."""
        nonlocal attempts
        attempts += 1
        await ledger.load(Order, numbered(1))
        late = Order(id=numbered(1))
        late.place(PLACED)
        return await ledger.append(late)

    await decide(place, PLACE, shop.ledger("PlaceOrder"))
    with pytest.raises(OverloadedError):
        await decide(always_lose, PLACE, shop.ledger("PlaceOrder"))
    assert attempts == RETRIES_MAX


@in_a_shop
async def test_a_refusal_is_not_decided_again(shop: Shop) -> None:
    await decide(place, PLACE, shop.ledger("PlaceOrder"))
    await decide(cancel, PLACE, shop.ledger("CancelOrder"))
    with pytest.raises(OrderNotPendingError):
        await decide(cancel, PLACE, shop.ledger("CancelOrder"))
    assert len(shop.facts()) == 2


@in_a_shop
async def test_the_ledger_says_where_the_last_fact_lies(shop: Shop) -> None:
    ledger = shop.ledger("PlaceOrder")
    assert ledger.position == 0
    order = await place(PLACE, ledger=ledger)
    assert (ledger.position, order.pending, order.stored_version) == (1, [], 1)


@in_a_shop
async def test_a_decision_that_added_nothing_appends_nothing(shop: Shop) -> None:
    ledger = shop.ledger("ExpireOrder")
    order = await place(PLACE, ledger=ledger)
    order.expire(at=NOW)
    await ledger.append(order)
    assert (ledger.position, len(shop.facts())) == (1, 1)


@in_a_shop
async def test_several_aggregates_are_appended_together_or_not_at_all(shop: Shop) -> None:
    ledger = shop.ledger("PlaceOrder")
    ticket = Ticket(id=numbered(2))
    ticket.hold(HELD)
    await ledger.append(ticket)
    order, rival = Order(id=numbered(1)), Ticket(id=numbered(2))
    order.place(PLACED)
    rival.hold(HELD)
    with pytest.raises(ConflictError):
        await ledger.append(order, rival)
    assert len(shop.facts()) == 1


@in_a_shop
async def test_a_decision_does_not_rest_on_what_has_moved(shop: Shop) -> None:
    ledger = shop.ledger("PlaceOrder")
    await place(PLACE, ledger=ledger)
    seen = await ledger.load(Order, numbered(1))
    await decide(cancel, PLACE, shop.ledger("CancelOrder"))
    ticket = Ticket(id=numbered(2))
    ticket.hold(HELD)
    with pytest.raises(ConflictError):
        await ledger.append(ticket, rests_on=(seen,))
    assert not (await ledger.load(Ticket, numbered(2))).exists


@in_a_shop
async def test_a_repeated_request_is_answered_as_the_first_was(shop: Shop) -> None:
    await decide(place, PLACE, shop.ledger("PlaceOrder"))
    await decide(cancel, PLACE, first := keyed(shop))
    before = shop.facts()

    async def repeat(_: Command, *, ledger: Ledger) -> Any:
        """As after a lost answer: the order is read before the first attempt was recorded."""
        return await ledger.append(Order(id=numbered(1)).fold([PLACED]))

    with pytest.raises(AlreadyAnsweredError) as repeated:
        await decide(repeat, PLACE, keyed(shop))
    assert (repeated.value.answer.body, repeated.value.answer.position) == (first.body, first.position)
    with pytest.raises(KeyReusedError):
        await decide(repeat, PLACE, keyed(shop, request=b"cancel order 2"))
    assert shop.facts() == before


@in_a_shop
async def test_what_a_refusal_records_does_not_use_up_the_key(shop: Shop) -> None:
    await decide(place, PLACE, shop.ledger("PlaceOrder"))
    ledger = keyed(shop)
    order = await ledger.load(Order, numbered(1))
    order.decline(payment_id=numbered(3), provider="sandbox", reason="the card was declined", at=NOW)
    await ledger.refusing().append(order)
    assert (await decide(cancel, PLACE, keyed(shop))).status == "cancelled"


def test_every_command_has_an_id_and_is_its_own_correlation_unless_told() -> None:
    one, other = new_metadata("ada", "PlaceOrder"), new_metadata("ada", "PlaceOrder", correlation_id="a visit")
    assert one.command_id != other.command_id
    assert (one.correlation_id, other.correlation_id) == (str(one.command_id), "a visit")
