"""Holders with keys of their own, who transfer tokens on the chain without asking us, and a watcher that sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from eth_account import Account
from eth_utils.crypto import keccak
from psycopg import AsyncConnection
from psycopg.rows import class_row

from adapters.chain import contract, transfers
from adapters.chain.embedded_node import EmbeddedNode
from adapters.chain.http_node import HttpNode
from adapters.chain.lookout import Probe, unheard
from adapters.chain.node import LATEST, Node
from adapters.chain.signer import GWEI, Fees, Signer
from adapters.chain.watcher import Transfer, Watcher
from adapters.postgres import connect
from commands.kernel import Ledger
from commands.ticket import RecordChainTransfer, record_chain_transfer
from domain.resale import ResaleRules
from domain.ticket import Ticket
from tests.chain.lying_node import LyingNode
from tests.chain.parts import METADATA, NOW, Stand

TRANSFER_FROM = contract.selector("transferFrom(address,address,uint256)")
GAS = 120_000
FEES = Fees(20 * GWEI, GWEI)
PLAY_MONEY = 10**20
FOLLOWED_SECONDS_MAX = 60.0
MINED_SECONDS_MAX = 30.0
OPEN = ResaleRules(direct_transfers=True)


class Row(NamedTuple):
    """A transfer as it is stored."""

    token: int
    to_wallet: str
    version: int
    state: str
    block_number: int


class Holder:
    """A wallet that is nobody's on the ledger."""

    def __init__(self) -> None:
        self.signer = Signer(bytes(Account.create().key))
        self.address = self.signer.address
        self.nonce = 0

    def transfer(self, stand: Stand, token: int, to: Holder, *, nonce: int | None = None) -> bytes:
        """The signed transaction."""
        words = (int(self.address, 16), int(to.address, 16), token)
        data = TRANSFER_FROM + b"".join(word.to_bytes(32, "big") for word in words)
        if nonce is None:
            nonce, self.nonce = self.nonce, self.nonce + 1
        chain_id, address = stand.deployment.chain_id, stand.deployment.contract
        return self.signer.sign(chain_id=chain_id, nonce=nonce, to=address, data=data, gas=GAS, fees=FEES)[1]


@dataclass
class Watch:
    """A stand whose contract is watched through a node that can be told to lie."""

    stand: Stand
    conn: AsyncConnection
    node: LyingNode
    confirmations: int = 0
    heard: list[Transfer] = field(default_factory=list)
    """Everything that was handed over, repetitions included."""

    async def holders(self, quantity: int) -> list[Holder]:
        found = [Holder() for _ in range(quantity)]
        for holder in found:
            await give_money(self.stand.node, holder.address)
        return found

    async def deliver(self, holder: Holder, quantity: int = 1) -> list[UUID]:
        """So many tickets of an event that allows direct transfers, minted into the holder's wallet."""
        box = self.stand.box
        tickets = await box.sell(await box.event(rules=OPEN), quantity)
        await box.tell(*((ticket, Ticket.Delivered(wallet=holder.address, at=NOW)) for ticket in tickets))
        await self.stand.level()
        return tickets

    async def send(self, *raws: bytes) -> None:
        for raw in raws:
            await self.stand.node.send(raw)

    async def give(self, holder: Holder, ticket: UUID, to: Holder) -> None:
        """A transfer, mined."""
        await self.land(holder.transfer(self.stand, await self.token(ticket), to))

    async def land(self, raw: bytes) -> None:
        """A transaction, mined."""
        await self.send(raw)
        async with asyncio.timeout(MINED_SECONDS_MAX):
            while await self.stand.node.receipts([keccak(raw)]) == [None]:  # noqa: ASYNC110 - a node has no signal
                await asyncio.sleep(0.01)

    def watcher(self, probe: Probe = unheard) -> Watcher:
        """A fresh one, as after a crash: it knows nothing but what is stored."""
        return Watcher(
            self.conn, self.node, self.stand.deployment, self.record, confirmations=self.confirmations, probe=probe
        )

    async def record(self, transfer: Transfer) -> None:
        """As the worker does it."""
        self.heard.append(transfer)
        ledger = Ledger(self.stand.box.ledger, METADATA)
        ticket = await record_chain_transfer(
            RecordChainTransfer(**transfer._asdict()), ledger=ledger, clock=lambda: NOW
        )
        self.stand.box.versions[ticket.id] = ticket.version

    async def follow(self, watcher: Watcher | None = None) -> Watcher:
        """Step until everything that the node shows has been followed, settled and handed over."""
        watcher = watcher or self.watcher()
        deadline = monotonic() + FOLLOWED_SECONDS_MAX
        while monotonic() < deadline:
            if not await watcher.step() and await self.is_level():
                return watcher
        raise AssertionError(f"the watcher is not level after {FOLLOWED_SECONDS_MAX} seconds")

    async def is_level(self) -> bool:
        head, at = await self.node.block(LATEST), await transfers.checkpoint(self.conn, self.stand.deployment.id)
        return head is not None and at is not None and at.last.hash == head.hash

    async def rows(self, *states: str) -> list[Row]:
        """All transfers that were seen, or those in the states, in the chain's order."""
        async with self.conn.cursor(row_factory=class_row(Row)) as cursor:
            await cursor.execute(
                "select token, to_wallet, version, state, block_number from chain.transfers"
                " where deployment = %s and (%s or state = any(%s)) order by block_number, log_index",
                (self.stand.deployment.id, not states, list(states)),
            )
            return await cursor.fetchall()

    async def states(self) -> list[str]:
        return [row.state for row in await self.rows()]

    async def token(self, ticket: UUID) -> int:
        cursor = await self.conn.execute(
            "select token from chain.tokens where deployment = %s and ticket_id = %s",
            (self.stand.deployment.id, ticket),
        )
        row = await cursor.fetchone()
        assert row is not None
        token: int = row[0]
        return token

    async def on_chain(self, ticket: UUID) -> tuple[str | None, int]:
        """Its wallet and version, as the contract says them."""
        token = await self.token(ticket)
        return (await self.stand.on_chain([token]))[token][:2]

    async def ticket(self, ticket: UUID) -> Ticket:
        """As the ledger has it."""
        return await Ledger(self.stand.box.ledger, METADATA).load(Ticket, ticket)

    async def recorded(self, ticket: UUID) -> list[str]:
        """To which wallets the ledger has seen it go on the chain."""
        cursor = await self.conn.execute(
            "select convert_from(payload, 'utf8')::json ->> 'to_wallet' from ledger.events"
            " where stream_id = %s and topic like 'ticket.transferred_on_chain%%' order by position",
            (ticket,),
        )
        return [row[0] for row in await cursor.fetchall()]

    async def mine(self, blocks: int) -> None:
        await mine(self.stand.node, blocks)


@asynccontextmanager
async def watching(stand: Stand, *, confirmations: int = 0) -> AsyncIterator[Watch]:
    async with await connect(stand.database, "counterfoil_app") as conn:
        yield Watch(stand, conn, LyingNode(stand.node), confirmations)


async def give_money(node: Node, address: str) -> None:
    if isinstance(node, EmbeddedNode):
        await node.endow(address)
    else:
        assert isinstance(node, HttpNode)
        await node.rpc("anvil_setBalance", address, hex(PLAY_MONEY))


async def mine(node: Node, blocks: int) -> None:
    """Blocks with nothing in them, but for what waits."""
    if isinstance(node, EmbeddedNode):
        await node._do(node.tester.mine_blocks, blocks)
    else:
        assert isinstance(node, HttpNode)
        await node.rpc("anvil_mine", hex(blocks))
