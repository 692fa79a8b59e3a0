"""A mirror among others: on the same contract, on a contract that has been replaced, on other chains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random

import pytest
from eth_utils.crypto import keccak

from adapters.chain.attach import Roles, deploy
from adapters.chain.embedded_node import EmbeddedNode
from adapters.chain.http_node import HttpNode
from adapters.chain.mirror import FencedError, Mirror, RetiredError
from adapters.ledger import PostgresLedger
from adapters.postgres import connect
from domain.ticket import Ticket
from tests.anvil import Anvil
from tests.chain.crowd import Crowd
from tests.chain.holding import OPEN, Holder, give_money
from tests.chain.parts import NOW, TREASURY, Stand, on_anvil

pytestmark = pytest.mark.anyio
POLLS_MAX, POLL_SECONDS = 500, 0.02


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


@pytest.fixture
async def stands(database: str, ledger: PostgresLedger, automine: Anvil) -> AsyncIterator[list[Stand]]:
    """The same ledger on three chains."""
    embedded = EmbeddedNode()
    with Anvil("--prune-history", "64", chain_id=4242) as other:
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
            yield stands
        await node.close()
    await embedded.close()


async def test_several_chains_are_mirrored_each_at_its_own_pace(stands: list[Stand]) -> None:
    box = stands[0].box
    crowd = await Crowd(box, Random(1)).open(2)
    for lagging in (*stands, None):
        await box.tell(*crowd.happen(60))
        for stand in stands:
            if stand is not lagging:
                await stand.level()
    assert [await stand.agree() for stand in stands] == [len(crowd.papers)] * 3


async def test_what_a_holder_did_on_one_chain_is_told_to_the_others_alone(stands: list[Stand]) -> None:
    here, *others = stands
    holder, receiver = Holder(), Holder()
    (ticket,) = await here.box.sell(await here.box.event(rules=OPEN), 1)
    await here.box.tell((ticket, Ticket.Delivered(wallet=holder.address, at=NOW)))
    for stand in stands:
        await stand.level()
    (token,) = await here.planned()
    await give_money(here.node, holder.address)
    await mined(here, holder.transfer(here, token, receiver))
    owner, version, *_ = (await here.on_chain([token]))[token]
    assert owner == receiver.address
    await here.box.tell((ticket, seen(here, token, holder, receiver, version)))
    for stand in stands:
        await stand.level()
        assert await stand.agree() == 1
    assert len(await here.states()) == 1  # nothing was told to the chain it came from
    assert [len(await stand.states()) for stand in others] == [2, 2]
    assert [(await stand.on_chain([token]))[token][0] for stand in others] == [receiver.address] * 2


async def mined(stand: Stand, raw: bytes) -> None:
    await stand.node.send(raw)
    for _ in range(POLLS_MAX):
        (receipt,) = await stand.node.receipts([keccak(raw)])
        if receipt is not None:
            assert receipt.succeeded
            return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError("it is not mined")


def seen(stand: Stand, token: int, holder: Holder, receiver: Holder, version: int) -> Ticket.TransferredOnChain:
    return Ticket.TransferredOnChain(
        chain_id=stand.deployment.chain_id,
        contract=stand.deployment.contract,
        token_id=token,
        version=version,
        from_wallet=holder.address,
        to_wallet=receiver.address,
        from_id=None,
        to=None,
        block_number=1,
        block_hash="0x" + "11" * 32,
        transaction_hash="0x" + "22" * 32,
        log_index=0,
        at=NOW,
    )
