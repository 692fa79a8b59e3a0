"""A mirror that was killed, or whose node failed it, at any point: the next one goes on, and nothing happens twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from adapters.chain import deployments, feed, packing
from adapters.chain.attach import Roles, deploy
from adapters.chain.embedded_node import EmbeddedNode
from adapters.chain.feed import Feed
from adapters.chain.http_node import HttpNode
from adapters.chain.lookout import UNSEEN_LOOKS_MAX, ReceiptsMissingError
from adapters.chain.mirror import FencedError, Mirror, RetiredError
from adapters.chain.node import ChainError
from adapters.ledger import PostgresLedger
from adapters.postgres import connect
from projections.chain_plan import Plan
from tests.anvil import Anvil, dev_key
from tests.chain.crowd import Crowd
from tests.chain.dying_mirror import mirror_until
from tests.chain.lying_node import LyingNode
from tests.chain.pace import Pace, paced
from tests.chain.parts import TREASURY, Stand, on_anvil

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


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten facts."""
    monkeypatch.setattr(packing, "FACTS_MAX", 10)
    monkeypatch.setattr(feed, "FACTS_MAX", 10)


async def run_until_killed(stand: Stand, mirror: Mirror) -> None:
    with pytest.raises(KilledError):
        await stand.level(mirror)


# -- Killed. -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("step", STEPS)
async def test_another_goes_on_where_one_was_killed(stand: Stand, small_batches: None, step: str, count: int) -> None:
    tickets = await stand.box.sell(event := await stand.box.event(), 35)
    await stand.box.tell(*((ticket, stand.box.checked_in(event)) for ticket in tickets[:7]))
    await run_until_killed(stand, stand.mirror(Killer(step, count)))
    await stand.level()
    assert await stand.agree() == 35
    assert [row.attempts for row in await stand.states()] == [1] * len(await stand.states())


@pytest.mark.parametrize("step", STEPS)
async def test_another_process_goes_on_where_one_was_killed(stand_on_anvil: Stand, automine: Anvil, step: str) -> None:
    stand = stand_on_anvil
    await stand.box.sell(await stand.box.event(), 2_500)
    key = bytes.fromhex(dev_key(0).removeprefix("0x"))
    await asyncio.to_thread(mirror_until, stand.database, automine.url, key, step, 2)
    await stand.level()
    assert await stand.agree() == 2_500


@pytest.mark.parametrize("seed", range(4))
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
    async with paced(database, ledger, confirmations=2) as pace:
        crowd = await Crowd(pace.stand.box, random).open(2)
        pace.mine(3)
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
async def test_every_question_may_fail(stand: Stand, small_batches: None, fresh: bool) -> None:  # noqa: FBT001
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


@pytest.fixture
async def pace(database: str, ledger: PostgresLedger) -> AsyncIterator[Pace]:
    async with paced(database, ledger, confirmations=2) as pace:
        yield pace


async def test_a_node_whose_nonces_are_old_is_not_followed(pace: Pace, small_batches: None) -> None:
    node = LyingNode(pace.stand.node, nonce_lag=3)
    pace.stand.node = node
    event = await pace.stand.box.event()
    mirror = pace.mirror()
    for _ in range(4):
        await pace.stand.box.sell(event, 15)
        mirror = await pace.rounds(mirror, 2)
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


# -- Others. -------------------------------------------------------------------------


async def test_of_two_mirrors_only_one_writes(stand: Stand) -> None:
    await stand.box.sell(await stand.box.event(), 3)
    await stand.level()
    async with await connect(stand.database, "counterfoil_app") as conn:
        other = Mirror(conn, stand.node, stand.deployment, stand.signer, stand.offer)
        with pytest.raises(FencedError, match="another mirror writes for the contract 0x"):
            await other.step()
    assert await stand.agree() == 3


async def test_a_contract_in_whose_place_another_has_come_is_left_alone(stand: Stand) -> None:
    await stand.box.sell(event := await stand.box.event(), 3)
    old = await stand.level()
    async with stand.again() as fresh:
        await stand.box.sell(event, 2)
        with pytest.raises(RetiredError, match=f"another contract has taken the place of {stand.deployment.contract}"):
            await old.step()
        await fresh.level()
        assert await fresh.agree() == 5


async def test_several_chains_are_mirrored_each_at_its_own_pace(
    database: str, ledger: PostgresLedger, automine: Anvil
) -> None:
    embedded = EmbeddedNode()
    with Anvil("--prune-history", chain_id=4242) as other:
        node = HttpNode(other.url)
        async with (
            on_anvil(automine, database, ledger) as here,
            await connect(database, "counterfoil_app") as there_conn,
            await connect(database, "counterfoil_app") as inside_conn,
        ):
            roles = Roles(here.signer.address, here.signer.address, TREASURY)
            stands = [here]
            for conn, where in ((there_conn, node), (inside_conn, embedded)):
                deployment = await deploy(
                    conn, where, here.signer, here.offer, roles, chain_id=None, base_uri="https://tickets.example/"
                )
                stands.append(replace(here, conn=conn, node=where, deployment=deployment))
            crowd = await Crowd(here.box, Random(1)).open(2)
            for lagging in (*stands, None):
                await here.box.tell(*crowd.happen(60))
                for stand in stands:
                    if stand is not lagging:
                        await stand.level()
            assert [await stand.agree() for stand in stands] == [len(crowd.papers)] * 3
        await node.close()
    await embedded.close()


# -- The feed. -----------------------------------------------------------------------


async def test_a_batch_that_is_not_full_waits_two_seconds_for_more(
    stand_on_anvil: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CLOSE_AFTER", timedelta(seconds=2))
    stand = stand_on_anvil
    reader = await a_feed(stand)
    await stand.box.sell(event := await stand.box.event(), 2)
    now = datetime.now(UTC)
    assert await reader.next(now) is None
    await stand.box.sell(event, 1)
    assert await reader.next(now + timedelta(seconds=1)) is None
    filled = await reader.next(now + timedelta(seconds=2))
    assert filled is not None
    assert filled.draft.facts == 4  # the event's publication is one
    assert await reader.next(now + timedelta(seconds=9)) is None


async def test_a_database_whose_clock_is_ahead_does_not_hold_a_batch_back(
    stand_on_anvil: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CLOSE_AFTER", timedelta(seconds=2))
    reader = await a_feed(stand_on_anvil)
    await stand_on_anvil.box.sell(await stand_on_anvil.box.event(), 2)
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert await reader.next(an_hour_ago) is None
    assert await reader.next(an_hour_ago + timedelta(seconds=2)) is not None


async def test_tokens_are_forgotten_and_remembered(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "TOKENS_KEPT_MAX", 20)
    monkeypatch.setattr(feed, "PAGE_FACTS", 30)
    crowd = await Crowd(stand.box, Random(5)).open(2)
    for _ in range(4):
        await stand.box.tell(*crowd.happen(150))
    mirror = await stand.level()
    assert mirror.feed is not None
    assert len(mirror.feed.plan.tokens) < len(crowd.papers) / 2
    assert await stand.agree() == len(crowd.papers)


async def a_feed(stand: Stand) -> Feed:
    deployment = await deployments.by_id(stand.conn, stand.deployment.id)
    return Feed(stand.conn, deployment.id, Plan(deployment.chain), deployment.planned_position)
