"""What can be asked of a node, whichever it is: one suite for a real one and for the EVM in the process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from eth_account import Account

from adapters.chain import contract
from adapters.chain.node import (
    FINALIZED,
    LATEST,
    BalanceTooLowError,
    NonceUsedError,
    RevertedError,
)
from adapters.chain.signer import GWEI, Fees, Signer
from tests.chain.holding import give_money
from tests.chain.parts import Stand

pytestmark = pytest.mark.anyio
FEES = Fees(20 * GWEI, GWEI)
NOBODY = "0x" + "99" * 20

# -- One suite for both. -------------------------------------------------------------


async def test_blocks_are_known_by_number_and_hash(stand: Stand) -> None:
    head = await stand.node.block(LATEST)
    assert head is not None
    before = await stand.node.block(head.number - 1)
    assert before is not None
    assert head.parent == before.hash
    assert len(head.hash) == 32
    assert len(head.bloom) == 256
    assert await stand.node.blocks([head.number, head.number + 9, before.number]) == [head, None, before]
    final = await stand.node.block(FINALIZED)
    assert final is not None
    assert final.number <= head.number


async def test_a_transaction_is_mined_once_however_often_it_is_handed_in(stand: Stand) -> None:
    signer = Signer(bytes(Account.create().key))
    await give_money(stand.node, signer.address)
    transaction, raw = transfer(stand, signer, 0)
    await stand.node.send(raw)
    receipt = await mined(stand, transaction)
    assert receipt.succeeded
    assert receipt.gas_used == 21_000
    block = await stand.node.block(receipt.block_number)
    assert block is not None
    assert block.hash == receipt.block_hash
    assert await stand.node.nonce(signer.address) == 1
    for again in (raw, transfer(stand, signer, 0, tip=2 * GWEI)[1]):
        with pytest.raises(NonceUsedError):
            await stand.node.send(again)


async def test_who_has_nothing_cannot_pay(stand: Stand) -> None:
    with pytest.raises(BalanceTooLowError):
        await stand.node.send(transfer(stand, Signer(bytes(Account.create().key)), 0)[1])


async def test_a_call_answers_bytes_or_is_refused_with_the_contracts_error(stand: Stand) -> None:
    address = stand.deployment.contract
    assert contract.number_in(await stand.node.call(address, contract.VERSION)) == 1
    with pytest.raises(RevertedError, match="revert") as refusal:
        await stand.node.call(address, contract.apply_batch(1, 1, b""))
    assert refusal.value.data[:4] == contract.selector("AccessControlUnauthorizedAccount(address,bytes32)")
    assert refusal.value.data[-32:] == contract.SYNCER_ROLE
    assert await stand.node.call(NOBODY, contract.VERSION) == b""


async def test_what_is_not_there_is_none_or_nothing(stand: Stand) -> None:
    assert await stand.node.receipts([b"\1" * 32, b"\2" * 32]) == [None, None]
    assert await stand.node.receipts([]) == []
    assert await stand.node.blocks([]) == []
    assert await stand.node.code(NOBODY) == b""
    assert await stand.node.balance(NOBODY) == 0
    assert await stand.node.nonce(NOBODY) == 0


async def test_logs_are_found_by_range_and_by_block(stand: Stand) -> None:
    await stand.box.sell(await stand.box.event(), 3)
    await stand.level()
    (row,) = await stand.states()
    assert row.block_number is not None
    assert row.block_hash is not None
    address, topics = stand.deployment.contract, [contract.TRANSFER, contract.BATCH_APPLIED]
    found = await stand.node.logs(address, topics, stand.deployment.deployed_block, row.block_number)
    assert [log.topics[0] for log in found] == [contract.TRANSFER] * 3 + [contract.BATCH_APPLIED]
    assert {log.block_hash for log in found} == {row.block_hash}
    assert await stand.node.logs_of_block(address, topics, row.block_hash) == found
    assert await stand.node.logs_of_block(NOBODY, topics, row.block_hash) == []


def transfer(stand: Stand, signer: Signer, nonce: int, *, tip: int = GWEI) -> tuple[bytes, bytes]:
    fees = FEES._replace(tip=tip)
    chain_id = stand.deployment.chain_id
    return signer.sign(chain_id=chain_id, nonce=nonce, to=NOBODY_ELSE, data=b"", gas=21_000, fees=fees)


NOBODY_ELSE = "0x" + "98" * 20


async def mined(stand: Stand, transaction: bytes) -> Any:
    for _ in range(500):
        (receipt,) = await stand.node.receipts([transaction])
        if receipt is not None:
            return receipt
        await asyncio.sleep(0.01)
    raise AssertionError("it is not mined")
