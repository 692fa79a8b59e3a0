"""A mirror that was killed, or whose node failed it, at any point: the next one goes on, and nothing happens twice."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from adapters.chain import feed, packing
from adapters.chain.lookout import UNSEEN_LOOKS_MAX, ReceiptsMissingError
from adapters.chain.mirror import Mirror
from adapters.chain.node import ChainError
from adapters.ledger import PostgresLedger
from tests.anvil import Anvil, dev_key
from tests.chain.crowd import Crowd
from tests.chain.dying_mirror import mirror_until
from tests.chain.lying_node import LyingNode
from tests.chain.pace import CONFIRMATIONS, Pace, paced
from tests.chain.parts import Stand

pytestmark = pytest.mark.anyio
STEPS = ("planned", "stored", "sent", "seen")


class KilledError(Exception):
    """Nobody expects it."""


class Killer:
    """Ends a mirror when it has done something for the so-manieth time."""

    def __init__(self, step: str, count: int = 1) -> None:
        self.step = step
        self.left = count

    def __call__(self, heard: str) -> None:
        self.left -= heard == self.step
        if self.left == 0:
            raise KilledError


async def run_until_killed(stand: Stand, mirror: Mirror) -> None:
    with pytest.raises(KilledError):
        await stand.level(mirror)


# -- Killed. -------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
async def test_another_goes_on_where_one_was_killed(stand: Stand, small_batches: None, step: str) -> None:
    event = await stand.box.event()
    for count in (1, 3):
        tickets = await stand.box.sell(event, 35)
        await stand.box.tell(*((ticket, stand.box.checked_in(event)) for ticket in tickets[:7]))
        await run_until_killed(stand, stand.mirror(Killer(step, count)))
        await stand.level()
    assert await stand.agree() == 70
    assert {row.attempts for row in await stand.states()} == {1}


@pytest.mark.parametrize("step", STEPS)
async def test_another_process_goes_on_where_one_was_killed(stand_on_anvil: Stand, automine: Anvil, step: str) -> None:
    stand = stand_on_anvil
    await stand.box.sell(await stand.box.event(), 2_500)
    key = bytes.fromhex(dev_key(0).removeprefix("0x"))
    await asyncio.to_thread(mirror_until, stand.database, automine.url, key, step, 2)
    await stand.level()
    assert await stand.agree() == 2_500


@pytest.mark.parametrize("seed", range(2))
async def test_killed_again_and_again(stand: Stand, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    random = Random(seed)
    monkeypatch.setattr(packing, "FACTS_MAX", 15)
    monkeypatch.setattr(feed, "FACTS_MAX", 15)
    crowd = await Crowd(stand.box, random).open(2)
    for _ in range(12):
        await stand.box.tell(*crowd.happen(random.randrange(16, 60)))
        await run_until_killed(stand, stand.mirror(Killer(random.choice(STEPS), random.randrange(1, 3))))
    await stand.level()
    assert await stand.agree() == len(crowd.papers)


async def test_killed_again_and_again_on_a_restless_chain(
    database: str, ledger: PostgresLedger, small_batches: None
) -> None:
    random = Random(7)
    async with paced(database, ledger, confirmations=CONFIRMATIONS) as pace:
        crowd = await Crowd(pace.stand.box, random).open(2)
        pace.mine(CONFIRMATIONS)
        for _ in range(15):
            await pace.stand.box.tell(*crowd.happen(random.randrange(1, 40)))
            mirror = pace.mirror(Killer(random.choice(STEPS), random.randrange(1, 3)))
            try:
                for _ in range(4):
                    mirror = await pace.step(mirror)
                    pace.mine(random.randrange(3))
                    if random.random() < 1 / 5:
                        pace.reorganise(random.randrange(1, 3))
            except KilledError:
                continue
        await pace.settled()
        assert await pace.stand.agree() == len(crowd.papers)


# -- Failed by its node. -------------------------------------------------------------


@pytest.mark.parametrize("fresh", [True, False], ids=["restarted", "going on"])
async def test_every_question_may_fail(stand: Stand, small_batches: None, fresh: bool) -> None:
    node = LyingNode(stand.node)
    honest, stand.node = stand.node, node
    event, sold, asked = await stand.box.event(), 0, 0
    mirror = stand.mirror()
    while asked == 0 or node.fails_at is not None:
        await stand.box.sell(event, 15)
        sold += 15
        node.asked.clear()
        asked += 1
        node.fails_at = asked
        while not await stand.is_level():
            try:
                await mirror.step()
            except ChainError:
                mirror = stand.mirror() if fresh else mirror
        if len(node.asked) < asked:  # it was never asked so much
            node.fails_at = None
    stand.node = honest
    assert asked > 10
    assert await stand.agree() == sold


async def test_a_node_whose_nonces_are_old_is_not_followed(pace: Pace, small_batches: None) -> None:
    """What was seen mined has used its nonce, whether it is final or not."""
    node = LyingNode(pace.stand.node)
    pace.stand.node = node
    event = await pace.stand.box.event()
    await pace.stand.box.sell(event, 5)
    mirror = await pace.level()
    node.nonce_lag = 3
    for _ in range(CONFIRMATIONS + 2):
        await pace.stand.box.sell(event, 15)
        mirror = await pace.rounds(mirror, 2)
    await pace.settled(mirror)
    await pace.stand.box.sell(event, 5)
    await pace.settled(mirror)
    assert {row.attempts for row in await pace.stand.states()} == {1}
    assert await pace.stand.agree() == 15 * (CONFIRMATIONS + 2) + 10


async def test_a_node_whose_nonces_are_old_at_times_is_borne(pace: Pace, small_batches: None) -> None:
    random = Random(5)
    node = LyingNode(pace.stand.node, nonce_lag=1)
    pace.stand.node = node
    mirror = pace.mirror()
    for _ in range(12):
        await pace.sell(5)
        node.nonce_lag = random.randrange(3)
        mirror = await pace.rounds(mirror, 1)
    node.nonce_lag = 0
    await pace.settled(mirror)
    assert await pace.stand.agree() == 60


async def test_a_node_whose_head_jumps_is_borne(pace: Pace, small_batches: None) -> None:
    """As several nodes behind one address are: some lag behind."""
    random = Random(3)
    node = LyingNode(pace.stand.node)
    pace.stand.node = node
    event = await pace.stand.box.event()
    mirror = pace.mirror()
    for _ in range(20):
        await pace.stand.box.sell(event, 5)
        node.lag = random.randrange(4)
        mirror = await pace.rounds(mirror, 1)
    node.lag = 0
    await pace.settled(mirror)
    assert await pace.stand.agree() == 100


async def test_receipts_that_come_late_are_waited_for(pace: Pace) -> None:
    node = LyingNode(pace.stand.node, hides_receipts=True)
    pace.stand.node = node
    await pace.stand.box.sell(await pace.stand.box.event(), 3)
    mirror = await pace.rounds(pace.mirror(), UNSEEN_LOOKS_MAX + 1)
    assert isinstance(pace.heard[-1], ReceiptsMissingError)
    assert str(pace.heard[-1]) == f"{node.name} has applied batch 1 and gives no receipt for it"
    assert [row.state for row in await pace.stand.states()] == ["sent"]
    node.hides_receipts = False
    await pace.settled(mirror)
    (row,) = await pace.stand.states()
    assert row.attempts == 1
    assert await pace.stand.agree() == 3


async def test_what_waits_in_the_pool_is_not_counted(pace: Pace) -> None:
    """`pending` would say something else: there is a transaction of ours far ahead."""
    nonce = await pace.stand.node.nonce(pace.stand.signer.address)
    await pace.use_nonce(nonce + 1)
    await pace.stand.box.sell(await pace.stand.box.event(), 3)
    await pace.step(pace.mirror())
    assert [row.nonce for row in await pace.stand.states()] == [nonce]
    await pace.settled()
    assert await pace.stand.agree() == 3
