"""Transactions that are lost, replaced, too cheap or refused, and an account without money: the mirror gets on."""

from __future__ import annotations

from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from adapters.chain import contract, packing
from adapters.chain.lookout import UNSEEN_LOOKS_MAX, DivergedError, PausedError
from adapters.chain.mirror import RefusedError
from adapters.chain.node import BalanceTooLowError
from adapters.chain.sender import STUCK_BLOCKS
from adapters.chain.signer import GWEI
from adapters.ledger import PostgresLedger
from tests.chain.pace import RICH, Pace, paced

pytestmark = pytest.mark.anyio
PAUSE, UNPAUSE = contract.selector("pause()"), contract.selector("unpause()")


# -- Transactions that are lost, replaced, stuck. ------------------------------------


async def test_a_dropped_transaction_is_sent_again_as_it_was_signed(pace: Pace) -> None:
    await pace.sell(2)
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
    await pace.sell(35)
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
    await pace.sell(3)
    mirror = await pace.rounds(pace.mirror(), 1)
    assert [row.nonce for row in await pace.stand.states()] == [nonce + 1]
    pace.reorganise(2)
    with capture_logs() as logs:
        await pace.settled(mirror)
    assert any(log["event"] == "nonce_missing" for log in logs)
    assert [row.nonce for row in await pace.stand.states()] == [nonce]
    assert await pace.stand.agree() == 3


async def test_of_two_attempts_the_nonce_that_was_used_counts(pace: Pace) -> None:
    """The first one came back with a reorganisation, after another had been signed in its place."""
    nonce = await pace.stand.node.nonce(pace.stand.signer.address)
    await pace.sell(2)
    mirror = await pace.step(pace.mirror())
    await pace.use_nonce(nonce)
    mirror = await pace.rounds(mirror, UNSEEN_LOOKS_MAX)
    assert [row.nonce for row in await pace.stand.states()] == [nonce + 1]
    pace.reorganise(UNSEEN_LOOKS_MAX)
    pace.forget_pool()
    cursor = await pace.stand.conn.execute("select raw from chain.attempts where nonce = %s", (nonce,))
    ((first,),) = await cursor.fetchall()
    await pace.stand.node.send(first)
    pace.mine()
    mirror = await pace.step(mirror)
    assert [(row.state, row.nonce) for row in await pace.stand.states()] == [("mined", nonce)]
    await pace.sell(2)
    await pace.step(mirror)
    assert [row.nonce for row in await pace.stand.states()] == [nonce, nonce + 1]
    await pace.settled()
    assert await pace.stand.agree() == 4


async def test_a_stuck_transaction_offers_an_eighth_more_until_it_is_mined(pace: Pace, small_batches: None) -> None:
    await pace.sell(25)
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
    await pace.sell(35)
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
        await pace.sell(2)
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
    await pace.sell(25)
    with capture_logs() as logs:
        await pace.settled()
    assert any(log["event"] == "batch_refused" for log in logs)
    assert all(row.gas_limit > 70_000 for row in await pace.stand.states())
    assert await pace.stand.agree() == 25


async def test_a_batch_that_is_always_refused_is_tried_less_and_less_often(
    pace: Pace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pace.sell(2)
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
    await pace.sell(15)
    mirror = await pace.settled()
    await administer(pace, PAUSE)
    await pace.sell(25)
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
    await pace.sell(35)
    mirror = await pace.step(mirror)
    pace.forget_pool()
    await pace.use_nonce(0, data=PAUSE, to=pace.stand.deployment.contract, signer=pauser)
    pace.mine()
    for (raw,) in await (await pace.stand.conn.execute("select raw from chain.attempts order by nonce")).fetchall():
        await pace.stand.node.send(raw)  # which had been on their way all the time
    pace.mine()
    mirror = await pace.rounds(mirror, 3)
    assert await pace.states() == ["built"] * 4
    assert isinstance(pace.heard[-1], PausedError)
    await administer(pace, UNPAUSE)
    await pace.settled(mirror)
    assert await pace.stand.agree() == 35


async def test_a_contract_that_was_told_something_else_stops_the_mirror(pace: Pace) -> None:
    await pace.sell(2)
    mirror = await pace.settled()
    deployment = pace.stand.deployment
    seq = contract.number_in(await pace.stand.node.call(deployment.contract, contract.SYNCED_THROUGH)) + 1
    await administer(pace, contract.apply_batch(seq, seq, b""))
    await pace.sell(2)
    for _ in range(3):
        mirror = await pace.rounds(mirror, 1)
    assert isinstance(pace.heard[-1], DivergedError)
    assert f"has been told something up to {seq} that did not come from this ledger" in str(pace.heard[-1])
    assert len(await pace.states()) == 1


# -- Money. --------------------------------------------------------------------------


async def test_without_balance_it_says_whom_to_send_how_much_and_goes_on_by_itself(pace: Pace) -> None:
    pace.set_balance(10**12)
    await pace.sell(4)
    mirror = await pace.rounds(pace.mirror(), 3)
    assert isinstance(pace.heard[-1], BalanceTooLowError)
    assert f"{pace.stand.signer.address} has 0.000001 ether on {pace.stand.node.name}, which does not pay for" in str(
        pace.heard[-1]
    )
    pace.set_balance(RICH)
    await pace.settled(mirror)
    assert await pace.stand.agree() == 4
