"""Getting hold of a contract: ours is found, what is not ours is refused in words for an operator."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from aiohttp.test_utils import unused_port
from eth_account import Account

from adapters.chain.attach import NotDeployedError, attach
from adapters.chain.contract import SYNCER_ROLE
from adapters.chain.http_node import HttpNode
from adapters.chain.node import ChainError, NodeBehindError, NodeUnreachableError, WrongChainError
from adapters.chain.signer import Signer
from adapters.ledger import PostgresLedger
from tests.chain.lying_node import LyingNode
from tests.chain.pace import GRANT_ROLE, RICH, Pace, paced
from tests.chain.parts import Stand

pytestmark = pytest.mark.anyio
REFUSES_ALL = "0x60006000fd"
ANSWERS_ALL = "0x60206000f3"
"""Thirty-two zero bytes, whatever it is asked."""


async def refusal(stand: Stand, kind: type[ChainError], *, chain_id: int | None = None) -> str:
    with pytest.raises(ChainError) as raised:
        await attach(stand.conn, stand.node, stand.signer, chain_id=chain_id)
    assert type(raised.value) is kind
    return str(raised.value)


def where(stand: Stand) -> str:
    return f"at {stand.deployment.contract} on {stand.node.name}"


# -- Found. --------------------------------------------------------------------------


async def test_the_contract_in_use_is_found_again(stand: Stand) -> None:
    found = await attach(stand.conn, stand.node, stand.signer, chain_id=stand.deployment.chain_id)
    assert found == stand.deployment
    async with stand.again() as fresh:
        assert await attach(stand.conn, stand.node, stand.signer, chain_id=None) == fresh.deployment
        assert fresh.deployment.contract != stand.deployment.contract


async def test_another_key_goes_on_once_it_has_the_role(pace: Pace, small_batches: None) -> None:
    stand = pace.stand
    await pace.sell(15)
    mirror = await pace.rounds(pace.mirror(), 1)
    await pace.sell(25)
    await pace.step(mirror)
    assert await pace.states() == ["mined", "mined", "sent", "sent", "sent"]
    pace.forget_pool()
    new = Signer(bytes(Account.create().key))
    pace.anvil.rpc("anvil_setBalance", new.address, hex(RICH))
    pace.stand = replace(stand, signer=new)
    assert await refusal(pace.stand, WrongChainError) == (
        f"{new.address} may not speak to the contract {where(stand)}: its admin has to grant SYNCER_ROLE"
    )
    await grant(pace, stand.signer, new)
    await pace.stand.reattach()
    assert pace.stand.deployment.syncer == new.address
    await pace.settled(pace.mirror())
    assert await pace.stand.agree() == 40


async def grant(pace: Pace, admin: Signer, to: Signer) -> None:
    data = GRANT_ROLE + SYNCER_ROLE + int(to.address, 16).to_bytes(32, "big")
    nonce = await pace.stand.node.nonce(admin.address)
    await pace.use_nonce(nonce, data=data, to=pace.stand.deployment.contract, signer=admin)
    pace.mine()


# -- Not ours. -----------------------------------------------------------------------


async def test_no_contract_is_known(stand: Stand) -> None:
    await stand.conn.execute("update chain.deployments set retired_at = now()")
    assert await refusal(stand, NotDeployedError) == (
        f"no contract is known on chain {stand.deployment.chain_id} at {stand.node.name}:"
        " `counterfoil chain deploy` makes one"
    )


async def test_another_chain_than_the_configured_one(stand: Stand) -> None:
    chain_id = stand.deployment.chain_id
    assert await refusal(stand, WrongChainError, chain_id=1) == (
        f"{stand.node.name} serves chain {chain_id}, COUNTERFOIL_CHAIN_ID says 1"
    )


async def test_the_contract_mirrors_another_ledger(stand: Stand) -> None:
    await stand.conn.execute("update chain.identity set ledger_id = %s", (uuid4(),))
    assert await refusal(stand, WrongChainError) == f"the contract {where(stand)} mirrors another ledger"


async def test_a_node_that_is_behind(stand: Stand) -> None:
    created = stand.deployment.deployed_block
    stand.node = LyingNode(stand.node, lag=1)
    assert await refusal(stand, NodeBehindError) == (
        f"{stand.node.name} is at block {created - 1}; the contract was created in block {created}"
    )
    stand.node.lag = 0
    await stand.reattach()


async def test_nobody_at_the_address(stand: Stand) -> None:
    stand.node = HttpNode(f"http://127.0.0.1:{unused_port()}")
    assert f"{stand.node.name} cannot be reached" in await refusal(stand, NodeUnreachableError)
    await stand.node.close()


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("0x", "there is no contract {}: the chain has lost it, or it is another chain, or behind"),
        (REFUSES_ALL, "the contract {} is not one of ours"),
        (ANSWERS_ALL, "the contract {} is not the one of this release"),
    ],
)
async def test_something_else_at_the_contracts_address(
    database: str, ledger: PostgresLedger, code: str, complaint: str
) -> None:
    async with paced(database, ledger) as pace:
        stand = pace.stand
        before = pace.anvil.rpc("eth_getCode", stand.deployment.contract, "latest")
        pace.anvil.rpc("anvil_setCode", stand.deployment.contract, code)
        assert await refusal(stand, WrongChainError) == complaint.format(where(stand))
        pace.anvil.rpc("anvil_setCode", stand.deployment.contract, before)
        await stand.reattach()


async def test_nothing_is_sent_to_where_the_contract_was(pace: Pace) -> None:
    """A transaction to an address without a contract would succeed, and do nothing."""
    address = pace.stand.deployment.contract
    before = pace.anvil.rpc("eth_getCode", address, "latest")
    pace.anvil.rpc("anvil_setCode", address, "0x")
    await pace.sell(2)
    await pace.rounds(pace.mirror(), 2)
    assert isinstance(pace.heard[-1], WrongChainError)
    assert await pace.states() == []
    pace.anvil.rpc("anvil_setCode", address, before)
    await pace.settled()
    assert await pace.stand.agree() == 2


async def test_what_was_sent_to_where_the_contract_was_is_not_taken_for_mined(pace: Pace) -> None:
    address = pace.stand.deployment.contract
    await pace.sell(2)
    mirror = await pace.step(pace.mirror())
    pace.anvil.rpc("anvil_setCode", address, ANSWERS_ALL)
    await pace.rounds(mirror, 1)
    assert isinstance(pace.heard[-1], WrongChainError)
    assert "has mined batch 1, and the contract" in str(pace.heard[-1])
    assert await pace.states() == ["sent"]
