"""What happens on the ledger is told to the contract, and both then say the same."""

from __future__ import annotations

import pytest

from domain.event import Event
from domain.resale import ResaleRules
from tests.chain.parts import NOW, RETURNED, Stand, delivered, resold, transferred

pytestmark = pytest.mark.anyio


async def test_a_tickets_whole_life_is_mirrored(stand: Stand) -> None:
    box = stand.box
    event = await box.event(rules=ResaleRules(price_max=9000, royalty_basis_points=500))
    a, b, c, d, e, f = await box.sell(event, 6)
    await box.tell((a, delivered(1)), (b, transferred()), (c, delivered(3)), (c, transferred()))
    await box.tell((a, resold(4)), (d, resold(None)), (e, box.checked_in(event)), (f, box.cancelled(event)))
    await box.tell((a, box.checked_in(event)), (b, delivered(2)), (b, RETURNED))
    await stand.level()
    assert await stand.agree() == 6


async def test_an_on_sale_and_its_entries_are_mirrored(stand: Stand) -> None:
    event = await stand.box.event()
    tickets = await stand.box.sell(event, 1_500)
    await stand.box.tell(*((ticket, stand.box.checked_in(event)) for ticket in tickets[::3]))
    await stand.level()
    assert await stand.agree() == 1_500


async def test_the_cancellation_of_an_event_voids_its_tickets_with_one_flag(stand: Stand) -> None:
    event, other = await stand.box.event(), await stand.box.event()
    tickets = await stand.box.sell(event, 3)
    await stand.box.sell(other, 1)
    await stand.box.tell((event, Event.Cancelled(reason="rain", at=NOW)))
    await stand.box.tell(*((ticket, stand.box.cancelled(event)) for ticket in tickets))
    await stand.level()
    assert [token[3] for token in (await stand.on_chain(list(await stand.planned()))).values()] == [True] * 3 + [False]


async def test_a_fresh_contract_is_filled_from_the_beginning(stand: Stand) -> None:
    event = await stand.box.event()
    tickets = await stand.box.sell(event, 20)
    await stand.level()
    await stand.box.tell((tickets[0], delivered(1)), (tickets[1], stand.box.checked_in(event)))
    await stand.level()
    first = await stand.planned()
    async with stand.again() as fresh:
        await fresh.level()
        assert await fresh.agree() == 20
        assert await fresh.planned() == first
