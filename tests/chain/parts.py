"""A ledger with an event's life on it, and a mirror of it on a chain."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple
from uuid import UUID, uuid4

from eth_account import Account
from psycopg import AsyncConnection
from psycopg.rows import class_row

from adapters.chain import batches, contract, deployments
from adapters.chain.attach import Roles, attach, deploy
from adapters.chain.deployments import Deployment
from adapters.chain.http_node import HttpNode
from adapters.chain.lookout import Probe, unheard
from adapters.chain.mirror import Mirror
from adapters.chain.node import LATEST, ChainError, Node
from adapters.chain.signer import Offer, Signer
from adapters.ledger import PostgresLedger
from adapters.postgres import connect
from commands.kernel import NewFact, Request, new_metadata
from domain.event import Event
from domain.event_details import Details, Display, Venue
from domain.kernel import Fact
from domain.resale import ResaleRules
from domain.ticket import Ticket
from tests.anvil import Anvil, dev_key

NOW = datetime(2031, 5, 1, 10, 0, tzinfo=UTC)
LEVEL_SECONDS_MAX = 60.0
ADMIN, PAUSER, TREASURY = (f"0x{number:040x}" for number in (0xAD, 0xBA, 0x7E))
METADATA = new_metadata("system:test", "Tell")


def wallet(number: int) -> str:
    return f"0x{0x1000 + number:040x}"


def details(**more: object) -> Details:
    base = Details(
        title="A night",
        description=None,
        venue=Venue(name="Hall"),
        starts_at=NOW + timedelta(days=9000),
        ends_at=NOW + timedelta(days=9001),
        doors_open_at=NOW + timedelta(days=8999),
        timezone="UTC",
        tags=(),
        max_tickets_per_order=20,
        max_tickets_per_buyer=None,
        buyer_window_seconds=None,
        hold_seconds=600,
        display=Display(),
    )
    return base.model_copy(update=more)


@dataclass
class Box:
    """Tells the ledger what happened, without asking whether it may."""

    ledger: PostgresLedger
    versions: dict[UUID, int] = field(default_factory=dict)
    tier: UUID = field(default_factory=uuid4)
    serials: count[int] = field(default_factory=lambda: count(1))

    async def tell(self, *happened: tuple[UUID, Fact]) -> int:
        facts = []
        for stream, fact in happened:
            self.versions[stream] = self.versions.get(stream, 0) + 1
            facts.append(NewFact(stream, self.versions[stream], fact))
        return await self.ledger.append(Request(facts, METADATA))

    async def event(self, *, rules: ResaleRules | None = None) -> UUID:
        event = uuid4()
        happened: list[tuple[UUID, Fact]] = [
            (event, Event.Drafted(organizer_id=uuid4(), currency="EUR", details=details(), at=NOW)),
            (event, Event.Published(at=NOW)),
        ]
        if rules is not None:
            happened.insert(1, (event, Event.ResaleRulesSet(rules=rules, at=NOW)))
        await self.tell(*happened)
        return event

    async def sell(self, event: UUID, quantity: int) -> list[UUID]:
        tickets = [uuid4() for _ in range(quantity)]
        for start in range(0, quantity, 1_000):
            await self.tell(*(pair for ticket in tickets[start : start + 1_000] for pair in self.sale(event, ticket)))
        return tickets

    def sale(self, event: UUID, ticket: UUID) -> list[tuple[UUID, Fact]]:
        held = Ticket.Held(
            event_id=event,
            tier_id=self.tier,
            serial=next(self.serials),
            price=4500,
            order_id=event,
            buyer_id=event,
            until=NOW,
            at=NOW,
        )
        return [(ticket, held), (ticket, Ticket.Paid(event_id=event, tier_id=self.tier, at=NOW))]

    def checked_in(self, event: UUID) -> Ticket.CheckedIn:
        return Ticket.CheckedIn(event_id=event, tier_id=self.tier, gate="North", at=NOW)

    def cancelled(self, event: UUID) -> Ticket.Cancelled:
        return Ticket.Cancelled(event_id=event, tier_id=self.tier, reason="revoked", at=NOW)


RETURNED = Ticket.ReturnedToCustody(at=NOW)


def delivered(number: int) -> Ticket.Delivered:
    return Ticket.Delivered(wallet=wallet(number), at=NOW)


def transferred() -> Ticket.Transferred:
    return Ticket.Transferred(from_id=uuid4(), to=uuid4(), at=NOW)


def resold(number: int | None, price: int = 5000) -> Ticket.Resold:
    to = wallet(number) if number is not None else None
    return Ticket.Resold(from_id=uuid4(), to=uuid4(), price=price, wallet=to, at=NOW)


class Row(NamedTuple):
    """A batch as it is stored."""

    number: int
    state: str
    nonce: int | None
    block_number: int | None
    block_hash: bytes | None
    facts: int
    gas_limit: int
    gas_used: int | None
    attempts: int


@dataclass
class Stand:
    """Everything a test of the mirror wants to hold."""

    database: str
    conn: AsyncConnection
    node: Node
    signer: Signer
    offer: Offer
    deployment: Deployment
    box: Box
    confirmations: int | None

    def mirror(self, probe: Probe = unheard) -> Mirror:
        """A fresh one, as after a crash: it knows nothing but what is stored."""
        return Mirror(
            self.conn,
            self.node,
            self.deployment,
            self.signer,
            self.offer,
            confirmations=self.confirmations,
            probe=probe,
        )

    async def level(self, mirror: Mirror | None = None, *, forgiving: bool = True) -> Mirror:
        """Run a mirror until everything that the ledger holds has been mined."""
        mirror = mirror or self.mirror()
        async with asyncio.timeout(LEVEL_SECONDS_MAX):
            while True:
                try:
                    await mirror.step()
                except ChainError:
                    if not forgiving:
                        raise
                if await self.is_level():
                    return mirror
                await asyncio.sleep(0.05)

    async def is_level(self) -> bool:
        """Whether the plan has the whole ledger and no batch is unmined; nothing said of facts that wait for company."""
        cursor = await self.conn.execute(
            "select not exists (select from chain.batches b where b.deployment = d.id and b.state not in ('mined',"
            " 'finalized')) and not exists (select from ledger.events e where e.position > d.planned_position and"
            " e.topic like any (array['ticket.paid', 'ticket.checked_in', 'ticket.delivered', 'ticket.trans%%',"
            " 'ticket.cancelled', 'ticket.resold', 'ticket.returned%%', 'event.published', 'event.cancelled',"
            " 'reconciliation.corrected'])) from chain.deployments d where d.id = %s",
            (self.deployment.id,),
        )
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def planned(self) -> dict[int, tuple[str | None, int, bool, bool]]:
        cursor = await self.conn.execute(
            "select t.token, t.wallet, t.version, t.checked_in, t.voided or exists (select from chain.events e where"
            " e.deployment = t.deployment and e.number = t.token >> 32 and e.flags & 2 <> 0)"
            " from chain.tokens t where t.deployment = %s order by t.token",
            (self.deployment.id,),
        )
        return {row[0]: (row[1], row[2], row[3], row[4]) for row in await cursor.fetchall()}

    async def on_chain(self, tokens: Sequence[int]) -> dict[int, tuple[str | None, int, bool, bool]]:
        answer = await self.node.call(self.deployment.contract, contract.state(tokens))
        states = contract.states_in(answer)
        return {
            token: (None if state.in_custody else state.owner, state.version, state.checked_in, state.voided)
            for token, state in zip(tokens, states, strict=True)
            if state.issued
        }

    async def minted(self) -> Counter[int]:
        """How often each token was minted: transfers from nobody, as ERC-721 has it."""
        logs = await self.node.logs(
            self.deployment.contract, [contract.TRANSFER], self.deployment.deployed_block, await head_number(self.node)
        )
        return Counter(int.from_bytes(log.topics[3], "big") for log in logs if log.topics[1] == contract.NO_HASH)

    async def states(self) -> list[Row]:
        """The batches as they are stored, in order."""
        async with self.conn.cursor(row_factory=class_row(Row)) as cursor:
            await cursor.execute(
                "select number, state, nonce, block_number, block_hash, facts, gas_limit, gas_used, (select count(*) from"
                " chain.attempts a where a.deployment = b.deployment and a.batch = b.number) attempts"
                " from chain.batches b where deployment = %s order by number",
                (self.deployment.id,),
            )
            return await cursor.fetchall()

    async def problem(self) -> str | None:
        """What the status says to be wrong."""
        cursor = await self.conn.execute("select problem from chain.deployments where id = %s", (self.deployment.id,))
        row = await cursor.fetchone()
        assert row is not None
        return row[0]  # type: ignore[no-any-return]

    async def agree(self) -> int:
        """How many tokens there are; the contract says of each what the ledger does, and its hash is ours.

        None was minted twice.
        """
        planned = await self.planned()
        tokens = list(planned)
        for start in range(0, len(tokens), 1_000):
            part = tokens[start : start + 1_000]
            assert await self.on_chain(part) == {token: planned[token] for token in part}
        cursor = contract.number_in(await self.node.call(self.deployment.contract, contract.SYNCED_THROUGH))
        found = await self.node.call(self.deployment.contract, contract.RUNNING_HASH)
        self.deployment = await deployments.by_id(self.conn, self.deployment.id)
        assert cursor == self.deployment.planned_seq
        assert found == self.deployment.planned_hash
        assert await batches.is_ours(self.conn, self.deployment.id, cursor, found)
        minted = await self.minted()
        assert set(minted) == set(tokens)
        assert set(minted.values()) <= {1}
        return len(tokens)

    @asynccontextmanager
    async def again(self) -> AsyncIterator[Stand]:
        """Another contract on the same chain, in place of this one."""
        roles = Roles(self.signer.address, self.signer.address, TREASURY)
        fresh = await deploy(self.conn, self.node, self.signer, self.offer, roles, chain_id=None, base_uri="")
        yield replace(self, deployment=fresh)

    async def reattach(self) -> None:
        self.deployment = await attach(self.conn, self.node, self.signer, chain_id=None)


@asynccontextmanager
async def standing(
    database: str, ledger: PostgresLedger, node: Node, *, key: bytes | None = None, confirmations: int | None = 0
) -> AsyncIterator[Stand]:
    signer = Signer(key or bytes(Account.create().key))
    offer = Offer(gwei_max=300)
    async with await connect(database, "counterfoil_app") as conn:
        roles = Roles(signer.address, signer.address, TREASURY)
        deployment = await deploy(conn, node, signer, offer, roles, chain_id=None, base_uri="https://tickets.example/")
        yield Stand(database, conn, node, signer, offer, deployment, Box(ledger), confirmations)


@asynccontextmanager
async def on_anvil(
    anvil: Anvil, database: str, ledger: PostgresLedger, *, confirmations: int | None = 0
) -> AsyncIterator[Stand]:
    node = HttpNode(anvil.url)
    key = bytes.fromhex(dev_key(0).removeprefix("0x"))
    try:
        async with standing(database, ledger, node, key=key, confirmations=confirmations) as stand:
            yield stand
    finally:
        await node.close()


async def head_number(node: Node) -> int:
    block = await node.block(LATEST)
    assert block is not None
    return block.number
