"""Whatever a chain does, no ticket is minted twice, the contract comes level with the ledger, and only what is final is so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from adapters.chain import contract, feed, packing
from adapters.chain.lookout import DivergedError, PausedError
from adapters.chain.mirror import IN_FLIGHT_MAX, RefusedError
from adapters.chain.node import BalanceTooLowError, NodeBehindError, WrongChainError
from adapters.chain.sender import STUCK_BLOCKS
from adapters.chain.signer import GWEI
from adapters.ledger import PostgresLedger
from tests.chain.crowd import Crowd
from tests.chain.pace import RICH, Pace, paced

pytestmark = pytest.mark.anyio
CONFIRMATIONS = 3
PAUSE, UNPAUSE = contract.selector("pause()"), contract.selector("unpause()")


@pytest.fixture
async def pace(database: str, ledger: PostgresLedger) -> AsyncIterator[Pace]:
    async with paced(database, ledger, confirmations=CONFIRMATIONS) as pace:
        yield pace


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten facts."""
    monkeypatch.setattr(packing, "FACTS_MAX", 10)
    monkeypatch.setattr(feed, "FACTS_MAX", 10)


async def sold(pace: Pace, quantity: int) -> None:
    await pace.stand.box.sell(await pace.stand.box.event(), quantity)


async def states(pace: Pace) -> list[str]:
    return [row.state for row in await pace.stand.states()]


# -- From built to final. ------------------------------------------------------------


async def test_a_batch_is_final_when_its_block_is_and_not_before(pace: Pace) -> None:
    await sold(pace, 3)
    mirror = await pace.step(pace.mirror())
    assert await states(pace) == ["sent"]
    pace.mine()
    await pace.step(mirror)
    (row,) = await pace.stand.states()
    assert row.state == "mined"
    assert row.block_number is not None
    assert row.block_hash == pace.block_hash(row.block_number)
    pace.mine(CONFIRMATIONS - 1)
    await pace.step(mirror)
    assert await states(pace) == ["mined"]
    pace.mine()
    await pace.step(mirror)
    assert await pace.stand.states() == [row._replace(state="finalized")]
    assert await pace.stand.agree() == 3


async def test_final_is_what_the_chain_calls_so(database: str, ledger: PostgresLedger) -> None:
    async with paced(database, ledger, "--slots-in-an-epoch", "1", confirmations=None) as pace:
        await sold(pace, 1)
        mirror = await pace.rounds(pace.mirror(), 1)
        (row,) = await pace.stand.states()
        for _ in range(4):
            final = int(pace.anvil.rpc("eth_getBlockByNumber", "finalized", False)["number"], 16)
            await pace.step(mirror)
            assert await states(pace) == ["finalized" if row.block_number <= final else "mined"]  # type: ignore[operator]
            pace.mine()
        assert await states(pace) == ["finalized"]


async def test_not_more_than_sixteen_batches_are_under_way(pace: Pace, small_batches: None) -> None:
    await sold(pace, 10 * (IN_FLIGHT_MAX + 4))
    mirror = await pace.step(pace.mirror())
    mirror = await pace.step(mirror)
    assert await states(pace) == ["sent"] * IN_FLIGHT_MAX
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
    assert (await states(pace))[:2] == ["finalized"] * 2
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
        await sold(pace, 5)
        mirror = await pace.level()
        assert await states(pace) == ["finalized"]
        pace.reorganise(1)
        with capture_logs() as logs:
            mirror = await pace.step(mirror)
        assert [log["log_level"] for log in logs if log["event"] == "finality_violated"] == ["error"]
        await pace.settled(mirror)
        assert await pace.stand.agree() == 5


async def test_a_batch_that_a_reorganisation_has_moved_is_known_by_its_new_block(pace: Pace) -> None:
    await sold(pace, 2)
    mirror = await pace.rounds(pace.mirror(), 1)
    (before,) = await pace.stand.states()
    pace.reorganise(1)
    mirror = await pace.step(mirror)
    assert await states(pace) == ["sent"]
    pace.mine()
    mirror = await pace.step(mirror)
    (after,) = await pace.stand.states()
    assert after.state == "mined"
    assert after.block_number == (before.block_number or 0) + 1
    assert after.block_hash == pace.block_hash(after.block_number)
    assert after.attempts == 1


# -- Transactions that are lost, replaced, stuck. ------------------------------------


async def test_a_dropped_transaction_is_sent_again_as_it_was_signed(pace: Pace) -> None:
    await sold(pace, 2)
    mirror = await pace.step(pace.mirror())
    sent = pace.pool()
    assert len(sent) == 1
    pace.anvil.rpc("anvil_dropTransaction", sent[0])
    assert pace.pool() == []
    await pace.step(pace.mirror())  # after a restart, at once
    assert pace.pool() == sent
    pace.forget_pool()
    mirror = await pace.rounds(mirror, STUCK_BLOCKS)
    assert len(pace.pool()) == 1
    await pace.settled(mirror)
    assert await pace.stand.agree() == 2


async def test_a_transaction_that_another_has_replaced_gets_another_nonce(pace: Pace, small_batches: None) -> None:
    await sold(pace, 35)
    mirror = await pace.step(pace.mirror())
    first = (await pace.stand.states())[0]
    assert first.nonce is not None
    await pace.use_nonce(first.nonce)
    with capture_logs() as logs:
        await pace.settled(mirror)
    assert any(log["event"] == "nonce_used_by_another" for log in logs)
    assert (await pace.stand.states())[0].nonce != first.nonce
    assert await pace.stand.agree() == 35


async def test_a_nonce_that_has_gone_with_a_block_is_filled_again(pace: Pace) -> None:
    """What used it was not ours and does not come back: what was signed after it would wait for ever."""
    nonce = await pace.stand.node.nonce(pace.stand.signer.address)
    await pace.use_nonce(nonce)
    pace.mine()
    await sold(pace, 3)
    mirror = await pace.rounds(pace.mirror(), 1)
    assert [row.nonce for row in await pace.stand.states()] == [nonce + 1]
    pace.reorganise(2)
    with capture_logs() as logs:
        await pace.settled(mirror)
    assert any(log["event"] == "nonce_missing" for log in logs)
    assert [row.nonce for row in await pace.stand.states()] == [nonce]
    assert await pace.stand.agree() == 3


async def test_a_stuck_transaction_offers_an_eighth_more_until_it_is_mined(pace: Pace, small_batches: None) -> None:
    await sold(pace, 25)
    mirror = await pace.step(pace.mirror())
    for _ in range(2 * STUCK_BLOCKS + 1):
        pace.next_base_fee(60)  # by setting it for each block, it stays
        pace.mine()
        mirror = await pace.step(mirror)
    rows = await pace.stand.states()
    assert all(row.attempts > 1 for row in rows)  # each offers less than the base fee
    await pace.settled(mirror)
    cursor = await pace.stand.conn.execute(
        "select batch, nonce, max_fee, priority_fee from chain.attempts order by 1, 3"
    )
    attempts = await cursor.fetchall()
    for before, after in pairwise(attempts):
        if before[0] == after[0]:
            assert before[1] == after[1]
            assert 8 * after[2] >= 9 * before[2]
            assert 8 * after[3] >= 9 * before[3]
    assert await pace.stand.agree() == 25


async def test_only_the_first_in_line_offers_more_when_the_fee_is_not_why_it_waits(
    pace: Pace, small_batches: None
) -> None:
    await sold(pace, 35)
    mirror = await pace.step(pace.mirror())
    for _ in range(STUCK_BLOCKS):
        pace.forget_pool()
        pace.mine()
        mirror = await pace.step(mirror)
    assert [row.attempts for row in await pace.stand.states()] == [2, 1, 1, 1]
    assert len(pace.pool()) == 4
    await pace.settled(mirror)
    assert await pace.stand.agree() == 35


async def test_at_the_limit_somebody_is_told_and_a_falling_fee_sets_it_free(
    database: str, ledger: PostgresLedger
) -> None:
    async with paced(database, ledger, fee_gwei_max=4) as pace:
        await sold(pace, 2)
        mirror = await pace.step(pace.mirror())
        with capture_logs() as logs:
            for _ in range(3 * STUCK_BLOCKS):
                pace.next_base_fee(50)
                pace.mine()
                mirror = await pace.step(mirror)
        assert {log["log_level"] for log in logs if log["event"] == "fee_limit_reached"} == {"error"}
        problem = await pace.stand.problem()
        assert problem is not None
        assert "batch 1 is stuck: it offers" in problem
        assert "may not offer more, the base fee is 50.00 gwei" in problem
        cursor = await pace.stand.conn.execute("select max(max_fee) from chain.attempts")
        assert (await cursor.fetchone())[0] <= 4 * GWEI  # type: ignore[index]
        pace.next_base_fee(1)
        mirror = await pace.settled(mirror)
        await pace.step(mirror)
        assert await pace.stand.problem() is None
        assert await pace.stand.agree() == 2


# -- Batches that the contract refuses. ----------------------------------------------


async def test_a_batch_without_enough_gas_is_sent_again_with_more(
    pace: Pace, monkeypatch: pytest.MonkeyPatch, small_batches: None
) -> None:
    monkeypatch.setattr(packing.Draft, "gas_limit", 70_000)
    await sold(pace, 25)
    with capture_logs() as logs:
        await pace.settled()
    assert any(log["event"] == "batch_refused" for log in logs)
    assert all(row.gas_limit > 70_000 for row in await pace.stand.states())
    assert await pace.stand.agree() == 25


async def test_a_batch_that_is_always_refused_is_tried_less_and_less_often(
    pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sold(pace, 2)
    await revoke_role(pace)
    mirror = pace.mirror()
    for _ in range(40):
        mirror = await pace.rounds(mirror, 1)
    (row,) = await pace.stand.states()
    assert row.state == "built"
    assert row.attempts == 4
    assert isinstance(pace.heard[-1], RefusedError)
    assert (
        f"the contract {pace.stand.deployment.contract} on {pace.stand.node.name} has refused batch 1 4 times"
        in str(pace.heard[-1])
    )
    await grant_role(pace)
    monkeypatch.setattr("adapters.chain.mirror.REFUSAL_SECONDS", 0)  # as if the time had passed
    await pace.settled(mirror)
    assert await pace.stand.agree() == 2


async def revoke_role(pace: Pace) -> None:
    await administer(pace, contract.selector("revokeRole(bytes32,address)") + role_of(pace))


async def grant_role(pace: Pace) -> None:
    await administer(pace, contract.selector("grantRole(bytes32,address)") + role_of(pace))


def role_of(pace: Pace) -> bytes:
    return contract.SYNCER_ROLE + int(pace.stand.signer.address, 16).to_bytes(32, "big")


async def administer(pace: Pace, data: bytes) -> None:
    """The tests' one account is the admin as well."""
    nonce = await pace.stand.node.nonce(pace.stand.signer.address)
    await pace.use_nonce(nonce, data=data, to=pace.stand.deployment.contract)
    pace.mine()


async def test_a_paused_contract_is_waited_for(pace: Pace, small_batches: None) -> None:
    await sold(pace, 15)
    mirror = await pace.settled()
    await administer(pace, PAUSE)
    await sold(pace, 25)
    mirror = await pace.rounds(mirror, 3)
    assert isinstance(pace.heard[-1], PausedError)
    address = pace.stand.deployment.contract
    assert str(pace.heard[-1]) == (
        f"the contract {address} on {pace.stand.node.name} is paused: its admin has to unpause it"
    )
    assert pace.pool() == []
    await administer(pace, UNPAUSE)
    await pace.settled(mirror)
    assert await pace.stand.agree() == 40


async def test_what_a_pause_has_caught_on_its_way_is_sent_again(pace: Pace, small_batches: None) -> None:
    pauser = await pace.pauser()
    mirror = await pace.settled()
    await sold(pace, 35)
    mirror = await pace.step(mirror)
    pace.forget_pool()
    await pace.use_nonce(0, data=PAUSE, to=pace.stand.deployment.contract, signer=pauser)
    pace.mine()
    for (raw,) in await (await pace.stand.conn.execute("select raw from chain.attempts order by nonce")).fetchall():
        await pace.stand.node.send(raw)  # which had been on their way all the time
    pace.mine()
    mirror = await pace.rounds(mirror, 3)
    assert await states(pace) == ["built"] * 4
    assert isinstance(pace.heard[-1], PausedError)
    await administer(pace, UNPAUSE)
    await pace.settled(mirror)
    assert await pace.stand.agree() == 35


async def test_a_contract_that_was_told_something_else_stops_the_mirror(pace: Pace) -> None:
    await sold(pace, 2)
    mirror = await pace.settled()
    deployment = pace.stand.deployment
    seq = contract.number_in(await pace.stand.node.call(deployment.contract, contract.SYNCED_THROUGH)) + 1
    await administer(pace, contract.apply_batch(seq, seq, b""))
    await sold(pace, 2)
    for _ in range(3):
        mirror = await pace.rounds(mirror, 1)
    assert isinstance(pace.heard[-1], DivergedError)
    assert f"has been told something up to {seq} that did not come from this ledger" in str(pace.heard[-1])
    assert len(await states(pace)) == 1


# -- Money. --------------------------------------------------------------------------


async def test_without_balance_it_says_whom_to_send_how_much_and_goes_on_by_itself(pace: Pace) -> None:
    pace.set_balance(10**12)
    await sold(pace, 4)
    mirror = await pace.rounds(pace.mirror(), 3)
    assert isinstance(pace.heard[-1], BalanceTooLowError)
    assert f"{pace.stand.signer.address} has 0.000001 ether on {pace.stand.node.name}, which does not pay for" in str(
        pace.heard[-1]
    )
    pace.set_balance(RICH)
    await pace.settled(mirror)
    assert await pace.stand.agree() == 4


# -- Nodes that die. -----------------------------------------------------------------


async def test_a_node_that_comes_back_with_an_older_state_is_brought_level_again(
    database: str, ledger: PostgresLedger, tmp_path: Path, small_batches: None
) -> None:
    async with paced(database, ledger, confirmations=2, state=tmp_path / "state.json") as pace:
        await sold(pace, 20)
        mirror = await pace.settled()
        pace.anvil.restart()  # the state is written
        pace.anvil.rpc("evm_setAutomine", False)
        await sold(pace, 25)
        mirror = await pace.settled(mirror)
        await sold(pace, 15)
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
        await sold(pace, 5)
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


# -- All together. -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
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
