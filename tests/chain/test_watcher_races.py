"""A holder's own transfer that races ours: the version guard refuses ours, and the ledger follows the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from adapters.chain.contract import SkipReason
from domain.kernel import Fact
from domain.ticket import Ticket
from tests.chain.holding import Watch, watching
from tests.chain.parts import NOW, RETURNED, Stand, resold, transferred, wallet

pytestmark = pytest.mark.anyio
CONFIRMATIONS = 2


@pytest.fixture
async def watch(stand: Stand) -> AsyncIterator[Watch]:
    async with watching(stand, confirmations=CONFIRMATIONS) as watch:
        yield watch


RACES = [
    pytest.param([RETURNED], id="into custody"),
    pytest.param([transferred()], id="to another holder"),
    pytest.param([resold(7)], id="resold into a wallet"),
    pytest.param([resold(None)], id="resold into custody"),
    pytest.param([resold(7), resold(8)], id="resold twice"),
    pytest.param([RETURNED, Ticket.Delivered(wallet=wallet(9), at=NOW)], id="into custody and out again"),
]


@pytest.mark.parametrize("ours", RACES)
async def test_the_holder_was_faster(watch: Watch, ours: list[Fact]) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    await watch.stand.box.tell(*((ticket, fact) for fact in ours))
    await watch.stand.level()
    assert await reasons(watch)
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    assert (await watch.ticket(ticket)).wallet == ben.address
    before = await batches(watch)
    await watch.stand.level()
    assert await batches(watch) == before
    assert await watch.stand.agree() == 1


async def test_a_move_of_ours_that_the_holder_outran_is_skipped_for_its_version(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    await watch.stand.box.tell((ticket, RETURNED))
    await watch.stand.level()
    assert await reasons(watch) == [SkipReason.WRONG_VERSION]


async def test_we_were_faster(watch: Watch) -> None:
    """The holder's own transaction fails: the token is not theirs any more, and nothing comes back."""
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.stand.box.tell((ticket, RETURNED))
    await watch.stand.level()
    await watch.give(anna, ticket, ben)
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    assert await watch.rows() == []
    assert await watch.stand.agree() == 1


async def test_what_comes_after_the_race_is_mirrored_again(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    await watch.stand.box.tell((ticket, RETURNED))
    await watch.stand.level()
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    await watch.stand.box.tell((ticket, Ticket.Transferred(from_id=uuid4(), to=uuid4(), at=NOW)))
    await watch.stand.level()
    assert (await watch.on_chain(ticket))[0] is None
    assert await watch.stand.agree() == 1


async def reasons(watch: Watch) -> list[int]:
    """Of the operations that the contract has passed over."""
    cursor = await watch.conn.execute("select reason from chain.skipped order by batch, op")
    return [row[0] for row in await cursor.fetchall()]


async def batches(watch: Watch) -> int:
    cursor = await watch.conn.execute("select count(*) from chain.batches")
    row = await cursor.fetchone()
    assert row is not None
    count: int = row[0]
    return count
