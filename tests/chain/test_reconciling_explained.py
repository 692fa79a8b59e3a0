"""Differences between ledger and chain that are explained, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from domain.event import Event
from domain.resale import ResaleRules
from tests.chain.holding import Watch, watching
from tests.chain.out_of_step import Bench, counts, event_counts, skipped, town
from tests.chain.parts import NOW, RETURNED, Stand, delivered, resold, transferred, wallet
from tests.contracts import operations as ops

pytestmark = pytest.mark.anyio

OPEN = ResaleRules(direct_transfers=True)


@pytest.fixture
async def bench(stand: Stand) -> Bench:
    return Bench(stand)


@pytest.fixture
async def watch(stand: Stand) -> AsyncIterator[Watch]:
    async with watching(stand) as watch:
        yield watch


# -- Nothing out of step. ------------------------------------------------------------


async def test_a_ledger_that_has_been_mirrored_is_clean(bench: Bench) -> None:
    place = await town(bench)
    await bench.stand.box.tell((place.event, Event.Cancelled(reason="rain", at=NOW)))
    await bench.stand.box.tell((place.free, bench.stand.box.cancelled(place.event)))
    await bench.stand.level()
    report = await bench.clean()
    assert (report.tickets, report.events, report.unexplained) == (4, 1, 0)
    assert report.position == report.mirrored_position


async def test_an_empty_ledger_is_clean(bench: Bench) -> None:
    report = await bench.report()
    assert report.clean
    assert report.tickets == 0


# -- Explained. ----------------------------------------------------------------------


async def test_what_is_on_its_way_is_pending(bench: Bench) -> None:
    place, box = await town(bench), bench.stand.box
    new = await box.sell(place.event, 2)
    await box.tell((place.free, delivered(7)), (place.owned, box.cancelled(place.event)), (new[0], delivered(8)))
    report = await bench.report()
    assert counts(report) == {"pending": 4}
    assert report.unexplained == 0
    await bench.stand.level()
    await bench.clean()


async def test_an_event_that_is_about_to_be_cancelled_is_pending_with_its_tickets(bench: Bench) -> None:
    place = await town(bench)
    await bench.stand.box.tell((place.event, Event.Cancelled(reason="rain", at=NOW)))
    report = await bench.report()
    assert (counts(report), event_counts(report)) == ({"pending": 3}, {"pending": 1})
    assert report.clean


async def test_a_holders_own_transfer_is_external_until_the_ledger_hears_of_it(bench: Bench, watch: Watch) -> None:
    ann, bob = await watch.holders(2)
    ticket, other = await watch.deliver(ann, 2)
    await watch.give(ann, ticket, bob)
    report = await bench.report()
    assert counts(report) == {"external": 1}
    assert report.clean
    await bench.repair()
    assert (await watch.ticket(ticket)).wallet == bob.address
    assert (await watch.ticket(other)).wallet == ann.address
    await bench.clean()


async def test_a_batch_that_came_after_a_holders_transfer_is_skipped(bench: Bench, watch: Watch) -> None:
    ann, bob = await watch.holders(2)
    (ticket,) = await watch.deliver(ann)
    await watch.give(ann, ticket, bob)
    await bench.stand.box.tell((ticket, RETURNED))
    await bench.stand.level()
    report = await bench.report()
    assert (counts(report), skipped(report)) == ({"skipped": 1}, {"wrong_version": 1})
    assert report.clean
    await bench.repair()
    assert (await watch.ticket(ticket)).wallet == bob.address
    await bench.clean()


async def test_a_transfer_that_the_ledger_knows_is_not_external(bench: Bench, watch: Watch) -> None:
    ann, bob = await watch.holders(2)
    (ticket,) = await watch.deliver(ann)
    await watch.give(ann, ticket, bob)
    await watch.follow()
    assert (await bench.report()).equal == 1
    await bench.stand.box.tell((ticket, transferred()))
    report = await bench.report()
    assert counts(report) == {"pending": 1}
    await bench.stand.level()
    await bench.clean()


async def test_a_resale_above_the_contracts_limit_is_skipped_and_repaired_as_a_move(bench: Bench) -> None:
    place = await town(bench, ResaleRules(price_max=5000))
    await bench.stand.box.tell((place.owned, resold(4, price=6000)), (place.free, resold(5, price=5001)))
    await bench.stand.level()
    report = await bench.repair()
    assert (counts(report), skipped(report)) == ({"skipped": 2}, {"above_cap": 2})
    assert report.clean
    assert (await bench.clean()).equal == 4


async def test_what_the_contract_can_never_do_stays_skipped(bench: Bench) -> None:
    place, contract = await town(bench), bench.stand.deployment.contract
    fact = delivered(1).model_copy(update={"wallet": contract})
    await bench.stand.box.tell((place.free, fact))
    await bench.stand.level()
    for _ in range(2):
        report = await bench.repair()
        assert (counts(report), skipped(report), report.clean) == ({"skipped": 1}, {"bad_receiver": 1}, True)


async def test_an_old_skip_explains_nothing_else(bench: Bench) -> None:
    """The same ticket, and the same part of it, differ for another reason now."""
    place = await town(bench, ResaleRules(price_max=5000))
    await bench.stand.box.tell((place.owned, resold(4, price=6000)))
    await bench.stand.level()
    assert (await bench.report()).clean
    await bench.rogue(ops.move(await bench.token(place.owned), 1, wallet(66)))
    report = await bench.repair()
    assert counts(report) == {"mismatching": 1}
    await bench.clean()
