"""The transaction that creates a contract, stored with its signed bytes before it is sent.

A deployment that was cut off goes on where it was, instead of paying for a second contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from eth_utils.crypto import keccak
from psycopg import AsyncConnection
from psycopg.rows import class_row

from adapters.chain.node import (
    LATEST,
    BalanceTooLowError,
    ChainError,
    Node,
    NonceUsedError,
    Receipt,
    UnderpricedError,
)
from adapters.chain.signer import ETHER, GWEI, Fees, Offer, Signer

DEPLOY_GAS = 6_000_000
"""About 4.5 million are used; EIP-7825 allows sixteen."""
TRANSFER_GAS = 21_000
RLP_TEXT, RLP_LIST = 0x80, 0xC0
PASSED_MAX = 100
DEPLOY_SECONDS_MAX = 300.0
POLL_SECONDS = 0.2
SEND_AGAIN_POLLS = 100
UNSEEN_POLLS_MAX = 25
"""Polls after which it is believed that another transaction has taken the nonce."""


class Account(NamedTuple):
    """Whoever signs, on one chain."""

    chain_id: int
    genesis: bytes
    address: str


class Creation(NamedTuple):
    transaction: bytes
    nonce: int
    code_hash: bytes
    raw: bytes
    max_fee: int
    priority_fee: int


async def create(
    conn: AsyncConnection, node: Node, signer: Signer, offer: Offer, account: Account, code: bytes
) -> Receipt:
    """Create a contract, or find the one that an earlier call has sent. Raises ChainError.

    Whoever has noted the contract calls `forget`; until then the same code is not created twice.
    """
    stored = [creation for creation in await _stored(conn, account) if creation.code_hash == keccak(code)]
    nonce = await _pass_known_addresses(conn, node, signer, offer, account)
    receipt = await _receipt_of_stored(node, stored, nonce)
    if receipt is None:
        creation = await _sign(conn, node, signer, offer, account, code, stored, nonce)
        sent = [creation.transaction for creation in (*stored, creation)]
        receipt = await _wait(node, signer.address, creation.nonce, creation.raw, sent)
    if receipt.contract is None or not receipt.succeeded:
        await forget(conn, account)
        raise ChainError(f"{node.name} refused to create the contract")
    return receipt


async def forget(conn: AsyncConnection, account: Account) -> None:
    await conn.execute(
        "delete from chain.creations where chain_id = %s and genesis = %s and syncer = %s",
        account,
    )


async def _pass_known_addresses(
    conn: AsyncConnection, node: Node, signer: Signer, offer: Offer, account: Account
) -> int:
    """The next nonce. Facts name a contract by its address, and a chain that began anew would give the same one again."""
    for _ in range(PASSED_MAX):
        nonce = await node.nonce(signer.address)
        if not await _is_known(conn, account.chain_id, address_at(signer.address, nonce)):
            return nonce
        head = await node.block(LATEST)
        if head is None:
            raise ChainError(f"{node.name} has no blocks")
        fees = offer.first(head.base_fee, await node.tip())
        transaction, raw = signer.sign(
            chain_id=account.chain_id, nonce=nonce, to=signer.address, data=b"", gas=TRANSFER_GAS, fees=fees
        )
        await _wait(node, signer.address, nonce, raw, [transaction])
    raise ChainError(
        f"the next {PASSED_MAX} contracts of {signer.address} on {node.name} have addresses of earlier ones"
    )


def address_at(address: str, nonce: int) -> str:
    """Of the contract that the account's transaction with this nonce creates (Yellow Paper, 7): both as an RLP list."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    encoded = number if 0 < nonce < RLP_TEXT else bytes([RLP_TEXT + len(number)]) + number
    content = bytes([RLP_TEXT + 20]) + bytes.fromhex(address[2:]) + encoded
    return "0x" + keccak(bytes([RLP_LIST + len(content)]) + content)[12:].hex()


async def _is_known(conn: AsyncConnection, chain_id: int, contract: str) -> bool:
    cursor = await conn.execute(
        "select exists (select from chain.deployments where chain_id = %s and contract = %s)", (chain_id, contract)
    )
    return await cursor.fetchone() == (True,)


async def _sign(
    conn: AsyncConnection,
    node: Node,
    signer: Signer,
    offer: Offer,
    account: Account,
    code: bytes,
    stored: Sequence[Creation],
    nonce: int,
) -> Creation:
    """At this nonce, with more than was offered there before; or what is stored, when it still pays enough."""
    head = await node.block(LATEST)
    if head is None:
        raise ChainError(f"{node.name} has no blocks")
    for creation in stored:
        if creation.nonce == nonce and creation.max_fee >= head.base_fee:
            return creation
    tip = await node.tip()
    before = await _offered(conn, account, nonce)
    fees = offer.first(head.base_fee, tip) if before is None else offer.more(before, head.base_fee, tip)
    if fees is None:
        raise ChainError(
            f"a transaction of {signer.address} waits on {node.name}, and the limit of {offer.most // GWEI} gwei does not"
            " allow to outbid it"
        )
    await _refuse_when_poor(node, signer.address, fees)
    transaction, raw = signer.sign(
        chain_id=account.chain_id, nonce=nonce, to=None, data=code, gas=DEPLOY_GAS, fees=fees
    )
    creation = Creation(transaction, nonce, keccak(code), raw, fees.most, fees.tip)
    await conn.execute(
        "insert into chain.creations (chain_id, genesis, syncer, transaction, nonce, code_hash, raw, max_fee,"
        " priority_fee) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (*account, *creation),
    )
    return creation


async def _refuse_when_poor(node: Node, address: str, fees: Fees) -> None:
    most = fees.most * DEPLOY_GAS
    balance = await node.balance(address)
    if balance < most:
        raise BalanceTooLowError(
            f"{address} has {balance / ETHER:.6f} ether on {node.name}, a deployment may take {most / ETHER:.6f}:"
            " send it more"
        )


async def _wait(node: Node, address: str, nonce: int, raw: bytes, transactions: Sequence[bytes]) -> Receipt:
    """Send one and see which of them is mined; all have the same nonce."""
    unseen = polls = 0
    try:
        async with asyncio.timeout(DEPLOY_SECONDS_MAX):
            while True:
                if polls % SEND_AGAIN_POLLS == 0:
                    await _hand_in(node, raw)
                receipt = await _receipt_of(node, transactions)
                if receipt is not None:
                    return receipt
                unseen += await node.nonce(address) > nonce
                if unseen > UNSEEN_POLLS_MAX:
                    raise ChainError(
                        f"another transaction of {address} was mined on {node.name} in place of the one that creates the"
                        " contract: try again"
                    )
                polls += 1
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise ChainError(
            f"{node.name} has not mined the contract within {DEPLOY_SECONDS_MAX:.0f} s: try again to go on waiting for it"
        ) from error


async def _hand_in(node: Node, raw: bytes) -> None:
    try:
        await node.send(raw)
    except (NonceUsedError, UnderpricedError):
        return  # whether it is ours that was faster, the receipt says


async def _receipt_of_stored(node: Node, stored: Sequence[Creation], nonce: int) -> Receipt | None:
    """Asked for after the nonce: what was mined between the two questions is found here, or is still at that nonce.

    A nonce that is used and has no receipt may be that of another transaction, or the node's answers are not of one block.
    """
    transactions = [creation.transaction for creation in stored]
    receipt = await _receipt_of(node, transactions)
    polls = UNSEEN_POLLS_MAX if any(creation.nonce < nonce for creation in stored) else 0
    while receipt is None and polls:
        await asyncio.sleep(POLL_SECONDS)
        receipt = await _receipt_of(node, transactions)
        polls -= 1
    return receipt


async def _receipt_of(node: Node, transactions: Sequence[bytes]) -> Receipt | None:
    receipts = await node.receipts(transactions) if transactions else []
    return next((receipt for receipt in receipts if receipt is not None), None)


async def _stored(conn: AsyncConnection, account: Account) -> list[Creation]:
    async with conn.cursor(row_factory=class_row(Creation)) as cursor:
        await cursor.execute(
            "select transaction, nonce, code_hash, raw, max_fee, priority_fee from chain.creations"
            " where chain_id = %s and genesis = %s and syncer = %s order by nonce desc, max_fee desc",
            account,
        )
        return [
            creation._replace(max_fee=int(creation.max_fee), priority_fee=int(creation.priority_fee))
            for creation in await cursor.fetchall()
        ]


async def _offered(conn: AsyncConnection, account: Account, nonce: int) -> Fees | None:
    """The most that any transaction of ours has offered at a nonce: only a higher offer takes its place."""
    cursor = await conn.execute(
        "select max(max_fee), max(priority_fee) from ("
        "   select max_fee, priority_fee from chain.creations"
        "    where chain_id = %(chain_id)s and genesis = %(genesis)s and syncer = %(address)s and nonce = %(nonce)s"
        "   union all select a.max_fee, a.priority_fee from chain.attempts a join chain.deployments d on d.id = a.deployment"
        "    where d.chain_id = %(chain_id)s and d.genesis = %(genesis)s and d.syncer = %(address)s"
        "      and a.nonce = %(nonce)s) offers",
        {**account._asdict(), "nonce": nonce},
    )
    row = await cursor.fetchone()
    assert row is not None
    return Fees(int(row[0]), int(row[1])) if row[0] is not None else None
