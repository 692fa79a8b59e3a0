"""A block is known by its hash: what was seen in one that has gone never happened, and what came instead did."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from adapters.chain import contract, transfers
from adapters.chain.http_node import HttpNode
from adapters.chain.node import LATEST, NodeBehindError
from adapters.chain.transfers import Place
from adapters.ledger import PostgresLedger
from tests.anvil import Anvil, dev_key
from tests.chain.holding import Holder, Watch, watching
from tests.chain.parts import standing

pytestmark = pytest.mark.anyio
CONFIRMATIONS = 3
FILLERS = 10
"""Blocks between our own batches and what a test does, so that a reorganisation leaves the former alone."""
DEPTHS = range(1, CONFIRMATIONS + 1)


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    with Anvil() as anvil:
        yield anvil


@pytest.fixture
async def watch(anvil: Anvil, database: str, ledger: PostgresLedger) -> AsyncIterator[Watch]:
    node = HttpNode(anvil.url)
    async with (
        standing(database, ledger, node, key=bytes.fromhex(dev_key(0).removeprefix("0x"))) as stand,
        watching(stand, confirmations=CONFIRMATIONS) as watch,
    ):
        yield watch
    await node.close()


class Scene:
    """Anna has given her ticket to Ben, in the deepest block that a reorganisation of this depth takes away."""

    def __init__(self, watch: Watch, anvil: Anvil, depth: int) -> None:
        self.watch = watch
        self.anvil = anvil
        self.depth = depth

    async def play(self) -> Scene:
        self.anna, self.ben, self.cleo = await self.watch.holders(3)
        (self.ticket,) = await self.watch.deliver(self.anna)
        await self.watch.mine(FILLERS)
        self.raw = await self.transfer(self.ben)
        await self.watch.land(self.raw)
        self.mined_at = await self.head()
        await self.watch.mine(self.depth - 1)
        await self.watch.follow()
        return self

    async def transfer(self, to: Holder) -> bytes:
        """Anna's, always with the same nonce: only one of them can be mined."""
        return self.anna.transfer(self.watch.stand, await self.watch.token(self.ticket), to, nonce=0)

    async def head(self) -> int:
        block = await self.watch.stand.node.block(LATEST)
        assert block is not None
        return block.number

    async def reorganise(self, *instead: tuple[bytes, int]) -> None:
        """``instead``: transactions, and the block of the new ones that each is in."""
        self.anvil.rpc("anvil_reorg", self.depth, [["0x" + raw.hex(), offset] for raw, offset in instead])

    async def settle(self) -> None:
        await self.watch.follow()
        await self.watch.mine(CONFIRMATIONS)
        await self.watch.follow()


@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_transfer_whose_block_has_gone_is_orphaned(watch: Watch, anvil: Anvil, depth: int) -> None:
    scene = await Scene(watch, anvil, depth).play()
    assert await watch.states() == ["provisional"]
    await scene.reorganise()
    await scene.settle()
    assert await watch.states() == ["orphaned"]
    assert watch.heard == []


@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_transfer_that_is_mined_elsewhere_is_recorded_there_and_once(
    watch: Watch, anvil: Anvil, depth: int
) -> None:
    scene = await Scene(watch, anvil, depth).play()
    await scene.reorganise((scene.raw, depth - 1))
    await scene.settle()
    assert sorted(await watch.states()) == ["orphaned", "recorded"]
    assert [heard.block_number for heard in watch.heard] == [scene.mined_at + depth - 1]
    assert await watch.recorded(scene.ticket) == [scene.ben.address]
    await watch.stand.level()
    assert await watch.stand.agree() == 1


@pytest.mark.parametrize("depth", DEPTHS)
async def test_what_has_replaced_a_transfer_is_what_counts(watch: Watch, anvil: Anvil, depth: int) -> None:
    scene = await Scene(watch, anvil, depth).play()
    await scene.reorganise((await scene.transfer(scene.cleo), 0))
    await scene.settle()
    assert await watch.recorded(scene.ticket) == [scene.cleo.address]
    await watch.stand.level()
    assert await watch.stand.agree() == 1


async def test_a_final_transfer_that_vanishes_is_marked_and_said_loudly(watch: Watch, anvil: Anvil) -> None:
    scene = await Scene(watch, anvil, CONFIRMATIONS + 1).play()
    assert await watch.states() == ["recorded"]
    await scene.reorganise()
    with capture_logs() as logs:
        await scene.settle()
    assert await watch.states() == ["vanished"]
    (loud,) = [entry for entry in logs if entry["event"] == "finality_violated"]
    assert (loud["log_level"], loud["vanished"]) == ("error", 1)


async def test_after_finality_was_violated_the_ledger_follows_what_came_instead(watch: Watch, anvil: Anvil) -> None:
    scene = await Scene(watch, anvil, CONFIRMATIONS + 1).play()
    await scene.reorganise((await scene.transfer(scene.cleo), 0))
    await scene.settle()
    assert sorted(await watch.states()) == ["recorded", "vanished"]
    assert await watch.recorded(scene.ticket) == [scene.ben.address, scene.cleo.address]
    await watch.stand.level()
    assert await watch.stand.agree() == 1


async def test_final_transfers_before_the_fork_stay_as_they_are(watch: Watch, anvil: Anvil) -> None:
    anna, ben = await watch.holders(2)
    early, late = await watch.deliver(anna, 2)
    await watch.give(anna, early, ben)
    await watch.mine(FILLERS)
    await watch.give(anna, late, ben)
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    anvil.rpc("anvil_reorg", CONFIRMATIONS + 1, [])
    await watch.follow()
    assert await watch.states() == ["recorded", "vanished"]
    assert len(watch.heard) == 2


async def test_a_fork_is_found_however_many_blocks_back(watch: Watch, anvil: Anvil) -> None:
    watch.confirmations = 300
    scene = await Scene(watch, anvil, 170).play()
    await scene.reorganise((await scene.transfer(scene.cleo), 100))
    with capture_logs() as logs:
        await watch.follow()
    assert await watch.states() == ["orphaned", "provisional"]
    assert [entry["blocks"] for entry in logs if entry["event"] == "reorganised"] == [170]


async def test_blocks_that_come_back_bring_their_transfers_back(watch: Watch, anvil: Anvil) -> None:
    scene = await Scene(watch, anvil, 1).play()
    before = await place(watch, scene.mined_at - 1)
    await transfers.take_back(watch.conn, watch.stand.deployment.id, before, final=False)
    assert await watch.states() == ["orphaned"]
    await watch.follow()
    assert await watch.states() == ["provisional"]
    await scene.settle()
    await transfers.take_back(watch.conn, watch.stand.deployment.id, before, final=True)
    assert await watch.states() == ["vanished"]
    await watch.follow()
    assert await watch.states() == ["recorded"]
    assert len(watch.heard) == 1


async def test_a_chain_that_got_shorter_is_waited_for_until_it_says_otherwise(watch: Watch, anvil: Anvil) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.mine(FILLERS)
    snapshot = anvil.rpc("evm_snapshot")
    await watch.give(anna, ticket, ben)
    watcher = await watch.follow()
    anvil.rpc("evm_revert", snapshot)
    assert not await watcher.step()
    assert await watch.states() == ["provisional"]
    await watch.mine(1)
    await watch.follow(watcher)
    assert await watch.states() == ["orphaned"]


async def test_a_node_without_what_is_final_is_said_to_be_behind(watch: Watch, anvil: Anvil) -> None:
    (anna,) = await watch.holders(1)
    await watch.deliver(anna)
    snapshot = anvil.rpc("evm_snapshot")
    await watch.mine(CONFIRMATIONS + 2)
    watcher = await watch.follow()
    anvil.rpc("evm_revert", snapshot)
    with pytest.raises(NodeBehindError, match=r"is at block \d+; block \d+ is known to be final"):
        await watcher.step()
    await watch.mine(CONFIRMATIONS + 4)
    await watch.follow(watcher)


@pytest.mark.parametrize("question", range(1, 6))
async def test_a_reorganisation_in_the_middle_of_a_step_is_noticed(watch: Watch, anvil: Anvil, question: int) -> None:
    await Scene(watch, anvil, 1).play()
    await watch.mine(1)
    watcher = watch.watcher()
    asked = len(watch.node.asked)

    def reorganise(number: int) -> None:
        if number == asked + question:
            anvil.rpc("anvil_reorg", 2, [])

    watch.node.before = reorganise
    while len(watch.node.asked) < asked + question:
        await watcher.step()
    await watch.mine(CONFIRMATIONS + 1)
    await watch.follow(watcher)
    assert await watch.states() == ["orphaned"]
    assert watch.heard == []


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_the_chain_does_the_ledger_ends_where_it_does(watch: Watch, anvil: Anvil, seed: int) -> None:
    """Transfers, blocks and reorganisations at random, some of these in the middle of a step."""
    dice = random.Random(seed)
    holders = await watch.holders(3)
    tickets = await watch.deliver(holders[0], 2)
    await watch.mine(FILLERS)
    owners = {holder.address: holder for holder in holders}

    def reorganise() -> None:
        anvil.rpc("anvil_reorg", dice.randint(1, CONFIRMATIONS), [])

    def disturb(_: str) -> None:
        if dice.random() < 0.05:
            reorganise()

    watcher = watch.watcher(disturb)
    for _ in range(60):
        match dice.choice(("transfer", "transfer", "mine", "step", "step", "reorganise", "restart")):
            case "transfer":
                token = await watch.token(dice.choice(tickets))
                owner = owners[str((await watch.stand.on_chain([token]))[token][0])]
                owner.nonce = await watch.stand.node.nonce(owner.address)
                await watch.send(owner.transfer(watch.stand, token, dice.choice(holders)))
            case "mine":
                await watch.mine(1)
            case "step":
                await watcher.step()
            case "reorganise":
                reorganise()
            case "restart":
                watcher = watch.watcher(disturb)
    await watch.mine(CONFIRMATIONS)
    await watch.follow(watch.watcher())
    assert await transfers_on_chain(watch) == [(row.token, row.version) for row in await watch.rows("recorded")]
    heard = [(transfer.block_hash, transfer.log_index) for transfer in watch.heard]
    assert len(heard) == len(set(heard)) == len(await watch.rows("recorded"))
    assert heard
    await watch.stand.level()
    assert await watch.stand.agree() == 2


async def transfers_on_chain(watch: Watch) -> list[tuple[int, int]]:
    """Token and version of each holder's transfer, as the node itself tells it."""
    head = await watch.stand.node.block(LATEST)
    assert head is not None
    logs = await watch.stand.node.logs(watch.stand.deployment.contract, (contract.HOLDER_TRANSFER,), 0, head.number)
    found = [contract.holder_transfer_in(entry) for entry in logs]
    return [(transfer.token, transfer.version) for transfer in found]


async def place(watch: Watch, number: int) -> Place:
    block = await watch.stand.node.block(number)
    assert block is not None
    return Place(number, block.hash)
