"""What a holder does on the chain without asking us comes back to the ledger, once it is final, and only once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.chain import contract
from adapters.chain.log_reader import bloom_of
from adapters.chain.node import LATEST
from tests.chain.holding import Watch, watching
from tests.chain.parts import Stand

pytestmark = pytest.mark.anyio
CONFIRMATIONS = 3


@pytest.fixture
async def watch(stand: Stand) -> AsyncIterator[Watch]:
    async with watching(stand, confirmations=CONFIRMATIONS) as watch:
        yield watch


async def test_a_transfer_is_provisional_until_its_block_is_final(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    watcher = await watch.follow()
    assert await watch.states() == ["provisional"]
    assert watch.heard == []
    await watch.mine(CONFIRMATIONS - 1)
    await watch.follow(watcher)
    assert await watch.states() == ["provisional"]
    await watch.mine(1)
    await watch.follow(watcher)
    assert await watch.states() == ["recorded"]
    assert await watch.recorded(ticket) == [ben.address]
    assert (await watch.ticket(ticket)).wallet == ben.address


async def test_the_ledger_hears_of_a_transfer_where_and_what_it_was(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    (heard,) = watch.heard
    deployment = watch.stand.deployment
    block = await watch.stand.node.block(heard.block_number)
    assert block is not None
    assert heard.block_hash == "0x" + block.hash.hex()
    assert (heard.ticket_id, heard.token_id) == (ticket, await watch.token(ticket))
    assert (heard.chain_id, heard.contract) == (deployment.chain_id, deployment.contract)
    assert (heard.from_wallet, heard.to_wallet) == (anna.address, ben.address)
    assert await watch.on_chain(ticket) == (ben.address, heard.version)


async def test_what_the_ledger_has_taken_over_is_not_echoed_to_the_chain(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    await watch.stand.level()
    assert (await watch.on_chain(ticket))[0] == ben.address
    assert await watch.stand.agree() == 1
    assert await batch_count(watch) == 1


async def test_a_token_that_goes_from_hand_to_hand_is_followed_in_order(watch: Watch) -> None:
    anna, ben, cleo = await watch.holders(3)
    (ticket,) = await watch.deliver(anna)
    for sender, receiver in ((anna, ben), (ben, cleo), (cleo, anna), (anna, cleo)):
        await watch.give(sender, ticket, receiver)
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    assert await watch.recorded(ticket) == [ben.address, cleo.address, anna.address, cleo.address]
    await watch.stand.level()
    assert await watch.stand.agree() == 1


async def test_a_token_that_no_ticket_stands_behind_holds_nothing_up(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    lost, kept = await watch.deliver(anna, 2)
    await watch.give(anna, lost, ben)
    await watch.give(anna, kept, ben)
    await watch.mine(CONFIRMATIONS)
    await watch.conn.execute("update chain.tokens set ticket_id = null where ticket_id = %s", (lost,))
    await watch.follow()
    assert await watch.states() == ["refused", "recorded"]
    assert [transfer.ticket_id for transfer in watch.heard] == [kept]


async def test_a_transfer_that_the_ledger_refuses_holds_nothing_up(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    odd, kept = await watch.deliver(anna, 2)
    await watch.give(anna, odd, ben)
    await watch.give(anna, kept, ben)
    await watch.mine(CONFIRMATIONS)
    await watch.conn.execute("update chain.tokens set ticket_id = gen_random_uuid() where ticket_id = %s", (odd,))
    await watch.follow()
    assert await watch.states() == ["refused", "recorded"]


async def test_nothing_is_asked_twice_of_a_head_at_which_all_is_done(watch: Watch) -> None:
    (anna,) = await watch.holders(1)
    await watch.deliver(anna)
    watcher = await watch.follow()
    watch.node.asked.clear()
    assert not await watcher.step()
    assert watch.node.asked == ["block"]


async def test_our_own_batches_are_not_taken_for_holders_transfers(watch: Watch) -> None:
    (anna,) = await watch.holders(1)
    await watch.deliver(anna, 5)
    await watch.follow()
    assert await watch.rows() == []


async def test_a_blocks_filter_names_the_contract_and_its_transfers(watch: Watch) -> None:
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.give(anna, ticket, ben)
    address = bytes.fromhex(watch.stand.deployment.contract.removeprefix("0x"))
    wanted = bloom_of((address, contract.HOLDER_TRANSFER))
    head = await watch.stand.node.block(LATEST)
    assert head is not None
    assert int.from_bytes(head.bloom, "big") & wanted == wanted
    empty = await watch.stand.node.block(0)
    assert empty is not None
    assert int.from_bytes(empty.bloom, "big") & wanted == 0


async def batch_count(watch: Watch) -> int:
    cursor = await watch.conn.execute("select count(*) from chain.batches")
    row = await cursor.fetchone()
    assert row is not None
    count: int = row[0]
    return count
