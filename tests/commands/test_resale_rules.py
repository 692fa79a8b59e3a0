"""What an organiser allows between holders, and nobody else."""

from __future__ import annotations

import pytest

from commands.event import SetResaleRules
from domain.event import Event
from domain.kernel import NotFoundError
from domain.resale import ResaleRules
from tests.commands.shop import Shop, in_a_shop
from tests.domain.happening import BUYER, ORGANIZER


@in_a_shop
async def test_the_organiser_sets_the_rules_and_nobody_else(shop: Shop) -> None:
    event = await shop.event_on_sale()
    rules = ResaleRules(price_max=9000, royalty_basis_points=500, direct_transfers=True)
    command = SetResaleRules(event_id=event.id, organizer_id=ORGANIZER, rules=rules)
    with pytest.raises(NotFoundError):
        await shop.do(command.model_copy(update={"organizer_id": BUYER}))
    changed: Event = await shop.do(command)
    assert changed.resale_rules == rules
    before = shop.facts()
    await shop.do(command)
    assert shop.facts() == before
