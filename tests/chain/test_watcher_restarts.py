"""A watcher that ends at any point, with its node or without it, is followed by one that goes on from there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from adapters.chain.http_node import HttpNode
from adapters.chain.mirror import FencedError, RetiredError
from adapters.chain.node import NodeBehindError, NodeUnreachableError
from adapters.chain.watcher import FOLLOWED_MAX, HANDED_MAX, Transfer
from adapters.ledger import PostgresLedger
from tests.anvil import Anvil, dev_key
from tests.chain.holding import OPEN, Watch, watching
from tests.chain.parts import Stand, delivered, standing

pytestmark = pytest.mark.anyio
CONFIRMATIONS = 2
STEPS = ("read", "followed", "settled", "recorded")


class KilledError(Exception):
    """The process ends here."""


@pytest.fixture
async def watch(stand: Stand) -> AsyncIterator[Watch]:
    async with watching(stand, confirmations=CONFIRMATIONS) as watch:
        yield watch


def killing(step: str, *, after: int) -> Callable[[str], None]:
    """A probe that ends the watcher when it does this for the time after ``after`` times."""
    left = after

    def probe(done: str) -> None:
        nonlocal left
        if done == step:
            if left == 0:
                raise KilledError
            left -= 1

    return probe


@pytest.mark.parametrize("step", STEPS)
async def test_after_an_end_at_any_step_another_watcher_goes_on(watch: Watch, step: str) -> None:
    anna, ben = await watch.holders(2)
    tickets = await watch.deliver(anna, 3)
    for ticket in tickets:
        await watch.give(anna, ticket, ben)
    ends = 0
    for blocks in (1, CONFIRMATIONS, 1):
        for after in range(4):
            try:
                await watch.follow(watch.watcher(killing(step, after=after)))
            except KilledError:
                ends += 1
        await watch.mine(blocks)
    await watch.follow()
    assert ends > 1
    assert await watch.states() == ["recorded"] * 3
    for ticket in tickets:
        assert await watch.recorded(ticket) == [ben.address]
    await watch.stand.level()
    assert await watch.stand.agree() == 3


async def test_what_was_handed_over_and_not_marked_is_handed_over_again(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    await watch.mine(CONFIRMATIONS)
    with pytest.raises(KilledError):
        await watch.follow(watch.watcher(killing("recorded", after=0)))
    assert await watch.states() == ["provisional"]
    await watch.follow()
    assert len(watch.heard) == 2
    assert await watch.recorded(ticket) == [ben.address]


async def test_a_ledger_that_cannot_be_told_just_now_is_told_later(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    await watch.mine(CONFIRMATIONS)

    async def unable(_: Transfer) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(watch, "record", unable)
        watcher = watch.watcher()
    with pytest.raises(ConnectionError):
        await watch.follow(watcher)
    assert await watch.states() == ["provisional"]
    await watch.follow()
    assert await watch.recorded(ticket) == [ben.address]


async def test_a_node_that_was_killed_and_came_back_is_followed_on(
    tmp_path: Path, database: str, ledger: PostgresLedger
) -> None:
    with Anvil(state=tmp_path / "state.json") as anvil:
        node = HttpNode(anvil.url)
        key = bytes.fromhex(dev_key(0).removeprefix("0x"))
        async with (
            standing(database, ledger, node, key=key) as stand,
            watching(stand, confirmations=CONFIRMATIONS) as watch,
        ):
            anna, ben, cleo = await watch.holders(3)
            (ticket,) = await watch.deliver(anna)
            await watch.give(anna, ticket, ben)
            watcher = await watch.follow()
            anvil.restart()  # writes its state; what comes after it is lost
            await watch.give(ben, ticket, cleo)
            await watch.mine(CONFIRMATIONS + 3)
            await watch.follow(watcher)
            assert await watch.states() == ["recorded", "recorded"]
            anvil.kill()
            with pytest.raises(NodeUnreachableError):
                await watcher.step()
            anvil.start()
            with pytest.raises(NodeBehindError):
                await watcher.step()
            await watch.mine(3 * CONFIRMATIONS + 6)
            await watch.follow(watcher)
            assert await watch.states() == ["recorded", "vanished"]
        await node.close()


async def test_thousands_of_transfers_are_taken_in_by_ranges_and_by_pages(
    automine: Anvil, database: str, ledger: PostgresLedger
) -> None:
    node = HttpNode(automine.url)
    key = bytes.fromhex(dev_key(0).removeprefix("0x"))
    async with standing(database, ledger, node, key=key) as stand, watching(stand) as watch:
        anna, ben = await watch.holders(2)
        tickets = await watch.deliver(anna, 20)
        tokens = [await watch.token(ticket) for ticket in tickets]
        await node.rpc("evm_setAutomine", False)
        try:
            for turn in range(100):
                sender, receiver = (anna, ben) if turn % 2 == 0 else (ben, anna)
                await watch.send(*(sender.transfer(stand, token, receiver) for token in tokens))
                await watch.mine(1)
        finally:
            await node.rpc("evm_setAutomine", True)
        await watch.mine(FOLLOWED_MAX)
        watch.node.span_max = 25
        watcher = await watch.follow()
        assert len(watch.heard) == 2_000 > 10 * HANDED_MAX
        for token, ticket in zip(tokens, tickets, strict=True):
            versions = [transfer.version for transfer in watch.heard if transfer.token_id == token]
            assert len(set(versions)) == 100
            assert await watch.on_chain(ticket) == (anna.address, versions[-1])
            assert (await watch.ticket(ticket)).wallet == anna.address
        assert not await watcher.step()
        await stand.level()
        assert await stand.agree() == 20
    await node.close()


async def test_of_two_watchers_of_one_contract_only_one_writes(watch: Watch) -> None:
    await watch.follow()
    async with watching(watch.stand, confirmations=CONFIRMATIONS) as another:
        with pytest.raises(FencedError, match="another watcher follows the contract 0x"):
            await another.watcher().step()


async def test_a_contract_that_has_been_replaced_is_not_followed_any_more(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    watcher = await watch.follow()
    async with watch.stand.again():
        await watch.give(anna, ticket, ben)
        with pytest.raises(RetiredError, match="another contract has taken the place of 0x"):
            await watcher.step()
    assert watch.heard == []


async def test_mirror_and_watcher_run_beside_each_other(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    box = watch.stand.box
    tickets = await watch.deliver(anna, 10)
    event = await box.event(rules=OPEN)
    mirror, watcher = watch.stand.mirror(), watch.watcher()

    async def sell() -> None:
        for number in range(10):
            (ticket,) = await box.sell(event, 1)
            await box.tell((ticket, delivered(number)))
            await asyncio.sleep(0.02)

    async def give() -> None:
        for ticket in tickets:
            await watch.give(anna, ticket, ben)

    async def mirror_on() -> None:
        while True:
            await mirror.step()
            await asyncio.sleep(0.005)

    async def watch_on() -> None:
        while True:
            await watcher.step()
            await asyncio.sleep(0.005)

    running = [asyncio.create_task(mirror_on()), asyncio.create_task(watch_on())]
    await asyncio.gather(sell(), give())
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await watch.mine(CONFIRMATIONS)
    await watch.follow(watch.watcher())
    await watch.stand.level()
    assert await watch.states() == ["recorded"] * 10
    assert await watch.stand.agree() == 20
