"""Whatever a chain does, no ticket is minted twice, the contract comes level with the ledger, and only what is final is so."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from adapters.chain import feed, packing
from adapters.chain.mirror import IN_FLIGHT_MAX
from adapters.chain.node import NodeBehindError, WrongChainError
from adapters.ledger import PostgresLedger
from tests.anvil import Anvil
from tests.chain.crowd import Crowd
from tests.chain.pace import CONFIRMATIONS, Pace, paced
from tests.chain.parts import on_anvil

pytestmark = pytest.mark.anyio


# -- From built to final. ------------------------------------------------------------


async def test_a_batch_is_final_when_its_block_is_and_not_before(pace: Pace) -> None:
    await pace.sell(3)
    mirror = await pace.step(pace.mirror())
    assert await pace.states() == ["sent"]
    pace.mine()
    await pace.step(mirror)
    (row,) = await pace.stand.states()
    assert row.state == "mined"
    assert row.block_number is not None
    assert row.block_hash == pace.block_hash(row.block_number)
    pace.mine(CONFIRMATIONS - 1)
    await pace.step(mirror)
    assert await pace.states() == ["mined"]
    pace.mine()
    await pace.step(mirror)
    assert await pace.stand.states() == [row._replace(state="finalized")]
    assert await pace.stand.agree() == 3


async def test_final_is_what_the_chain_calls_so(database: str, ledger: PostgresLedger) -> None:
    async with paced(database, ledger, "--slots-in-an-epoch", "1", confirmations=None) as pace:
        await pace.sell(1)
        mirror = await pace.rounds(pace.mirror(), 1)
        (row,) = await pace.stand.states()
        for _ in range(4):
            final = int(pace.anvil.rpc("eth_getBlockByNumber", "finalized", False)["number"], 16)
            await pace.step(mirror)
            assert await pace.states() == ["finalized" if row.block_number <= final else "mined"]  # type: ignore[operator]
            pace.mine()
        assert await pace.states() == ["finalized"]


async def test_not_more_than_sixteen_batches_are_under_way(pace: Pace, small_batches: None) -> None:
    await pace.sell(10 * (IN_FLIGHT_MAX + 4))
    mirror = await pace.step(pace.mirror())
    mirror = await pace.step(mirror)
    assert await pace.states() == ["sent"] * IN_FLIGHT_MAX
    assert len(pace.pool()) == IN_FLIGHT_MAX
    await pace.settled(mirror)
    assert await pace.stand.agree() == 10 * (IN_FLIGHT_MAX + 4)


# -- Reorganisations. ----------------------------------------------------------------


@pytest.mark.parametrize("depth", range(1, CONFIRMATIONS + 2))
async def test_a_reorganisation_is_found_and_repaired(pace: Pace, small_batches: None, depth: int) -> None:
    mirror = pace.mirror()
    event = await pace.stand.box.event()
    for _ in range(CONFIRMATIONS + 2):
        await pace.stand.box.sell(event, 10)
        mirror = await pace.rounds(mirror, 1)
    assert (await pace.states())[:2] == ["finalized"] * 2
    before = await pace.stand.states()
    pace.reorganise(depth)
    with capture_logs() as logs:
        await pace.settled(mirror)
    after = await pace.stand.states()
    again = [old.number for old, new in zip(before, after, strict=True) if old.block_hash != new.block_hash]
    assert again == [row.number for row in before][-depth:]
    assert any(log["event"] == "finality_violated" for log in logs) == (depth > CONFIRMATIONS)
    assert await pace.stand.agree() == 10 * (CONFIRMATIONS + 2)


async def test_a_reorganisation_below_finality_is_noticed_at_the_next_look(
    database: str, ledger: PostgresLedger
) -> None:
    """Although no batch was waiting for its block to become final: the contract's cursor has gone back."""
    async with paced(database, ledger, confirmations=0) as pace:
        await pace.sell(5)
        mirror = await pace.level()
        assert await pace.states() == ["finalized"]
        pace.reorganise(1)
        with capture_logs() as logs:
            mirror = await pace.step(mirror)
        assert [log["log_level"] for log in logs if log["event"] == "finality_violated"] == ["error"]
        await pace.settled(mirror)
        assert await pace.stand.agree() == 5


async def test_a_batch_that_a_reorganisation_has_moved_is_known_by_its_new_block(pace: Pace) -> None:
    await pace.sell(2)
    mirror = await pace.rounds(pace.mirror(), 1)
    (before,) = await pace.stand.states()
    pace.reorganise(1)
    mirror = await pace.step(mirror)
    assert await pace.states() == ["sent"]
    pace.mine()
    mirror = await pace.step(mirror)
    (after,) = await pace.stand.states()
    assert after.state == "mined"
    assert after.block_number == (before.block_number or 0) + 1
    assert after.block_hash == pace.block_hash(after.block_number)
    assert after.attempts == 1


# -- Nodes that die. -----------------------------------------------------------------


async def test_a_node_that_comes_back_with_an_older_state_is_brought_level_again(
    database: str, ledger: PostgresLedger, tmp_path: Path, small_batches: None
) -> None:
    async with paced(database, ledger, confirmations=2, state=tmp_path / "state.json") as pace:
        await pace.sell(20)
        mirror = await pace.settled()
        pace.anvil.restart()  # the state is written
        pace.anvil.rpc("evm_setAutomine", False)
        await pace.sell(25)
        mirror = await pace.settled(mirror)
        await pace.sell(15)
        mirror = await pace.step(mirror)
        pace.anvil.kill()
        mirror = await pace.step(mirror)
        assert "cannot be reached" in str(pace.heard[-1])
        pace.anvil.start()
        pace.anvil.rpc("evm_setAutomine", False)
        mirror = await pace.step(mirror)
        assert isinstance(pace.heard[-1], NodeBehindError)
        assert "is known to be final" in str(pace.heard[-1])
        await pace.settled(mirror)
        assert await pace.stand.agree() == 60


async def test_a_node_that_comes_back_empty_is_another_chain(database: str, ledger: PostgresLedger) -> None:
    async with paced(database, ledger, confirmations=2) as pace:
        await pace.sell(5)
        mirror = await pace.step(pace.mirror())
        pace.anvil.kill()
        pace.anvil.start()
        pace.anvil.rpc("evm_setAutomine", False)
        mirror = await pace.rounds(mirror, 3)
        assert isinstance(pace.heard[-1], WrongChainError)
        assert f"there is no contract at {pace.stand.deployment.contract}" in str(pace.heard[-1])
        pace.anvil.rpc("evm_setAutomine", True)
        async with pace.stand.again() as fresh:
            pace.anvil.rpc("evm_setAutomine", False)
            pace.stand = fresh
            await pace.settled(pace.mirror())
            assert await fresh.agree() == 5


# -- A chain that goes by itself. ----------------------------------------------------


async def test_blocks_of_a_second_and_a_chain_that_changes_its_pace(
    database: str, ledger: PostgresLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "FACTS_MAX", 100)
    monkeypatch.setattr(feed, "FACTS_MAX", 100)
    with Anvil("--prune-history", "64", "--enable-tx-gas-limit", block_time=1) as anvil:
        async with on_anvil(anvil, database, ledger, confirmations=1) as stand:
            event = await stand.box.event()
            await stand.box.sell(event, 1_000)
            mirror = await stand.level()
            anvil.rpc("evm_setAutomine", True)
            await stand.box.sell(event, 500)
            await stand.level(mirror)
            anvil.rpc("evm_setAutomine", False)
            await stand.box.sell(event, 500)
            anvil.rpc("evm_setIntervalMining", 1)
            await stand.level(mirror)
            anvil.rpc("evm_setIntervalMining", 0)  # a node that keeps no earlier state cannot be read while it mines
            assert await stand.agree() == 2_000
            assert {row.attempts for row in await stand.states()} == {1}


# -- All together. -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
async def test_a_week_of_bad_weather(pace: Pace, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(packing, "FACTS_MAX", 25)
    monkeypatch.setattr(feed, "FACTS_MAX", 25)
    random = Random(seed)
    crowd = await Crowd(pace.stand.box, random).open(2)
    pace.mine(CONFIRMATIONS)  # the contract itself is final
    mirror = pace.mirror()
    for _ in range(30):
        await pace.stand.box.tell(*crowd.happen(random.randrange(1, 40)))
        match random.randrange(8):
            case 0:
                pace.reorganise(random.randrange(1, CONFIRMATIONS + 2))
            case 1:
                pace.forget_pool()
            case 2:
                await pace.use_nonce(await pace.stand.node.nonce(pace.stand.signer.address))
            case 3:
                mirror = pace.mirror()
            case 4:
                pace.next_base_fee(random.choice((2, 20, 40)))
            case _:
                pace.mine(random.randrange(3))
        mirror = await pace.step(mirror)
    await pace.settled(mirror)
    assert await pace.stand.agree() == len(crowd.papers)
