"""Corrections of the books: an organiser says when a payment or refund counts, and nothing that happened changes."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from commands.order import CorrectOrder, RefundOrder
from domain.kernel import NotFoundError
from domain.order import Order
from tests.commands.shop import Shop, in_a_shop
from tests.domain.happening import DOORS, ORGANIZER, STRANGER

LAST_MONTH = DOORS - timedelta(days=31)


def correcting(order: Order, entry_id: UUID | None, organizer_id: UUID = ORGANIZER) -> CorrectOrder:
    assert entry_id is not None
    return CorrectOrder(
        order_id=order.id, organizer_id=organizer_id, entry_id=entry_id, effective_at=LAST_MONTH, reason="the books"
    )


@in_a_shop
async def test_a_payment_and_a_refund_are_dated_each_by_itself(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale(), 2)
    refund = RefundOrder(order_id=order.id, organizer_id=ORGANIZER, ticket_ids=None, reason="ill")
    refunded: Order = await shop.do(refund)
    [refund_id] = refunded.refund_ids
    corrected: Order = await shop.do(correcting(order, refund_id))
    assert corrected.effective == {refund_id: LAST_MONTH}
    assert corrected.status == refunded.status
    assert order.payment_id is not None
    assert (await shop.do(correcting(order, order.payment_id))).effective == {
        refund_id: LAST_MONTH,
        order.payment_id: LAST_MONTH,
    }


@in_a_shop
async def test_saying_it_again_records_nothing(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale(), 1)
    once: Order = await shop.do(correcting(order, order.payment_id))
    assert (await shop.do(correcting(order, order.payment_id))).version == once.version


@in_a_shop
async def test_what_the_order_does_not_have_and_whose_it_is_not_are_refused(shop: Shop) -> None:
    order = await shop.bought(await shop.event_on_sale(), 1)
    with pytest.raises(NotFoundError):
        await shop.do(correcting(order, uuid4()))
    with pytest.raises(NotFoundError):
        await shop.do(correcting(order, order.payment_id, STRANGER))
    with pytest.raises(NotFoundError):
        await shop.do(correcting(Order(id=uuid4()), order.payment_id))
