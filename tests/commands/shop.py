"""A process that sells, made of the real ledger, inventory, codes and sandbox payments, by a clock that is set by hand.

Scenarios are coroutines: ``@in_a_shop`` opens a shop, runs one, and closes the shop again. What the ledger holds from
before is none of its business.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Self
from uuid import UUID

import psycopg
import uvloop
from psycopg_pool import AsyncConnectionPool

from adapters.codes import Ed25519TicketCodes
from adapters.inventory import PooledInventory, Taken
from adapters.ledger import PostgresLedger
from adapters.payments import SandboxPayments
from adapters.postgres import conninfo
from adapters.sealing import Sealer
from adapters.vault import LocalMasterKey, PostgresVault
from adapters.wallet_proofs import Erc4361Proofs
from commands import account as accounts
from commands import event as events
from commands import order as orders
from commands import privacy
from commands import ticket as tickets
from commands import wallet as wallets
from commands.kernel import Command, Handler, Ledger, decide, new_metadata
from commands.order import Capture, Pick
from domain.account import Account, Role
from domain.event import Event, Tier
from domain.kernel import Fact, decode, new_id
from domain.money import Money
from domain.order import Order
from domain.seat import Seat
from domain.ticket import Ticket, TicketStatus
from domain.wallet import Wallet
from tests.adapters.ledger_parts import until
from tests.domain.event_facts import details
from tests.domain.happening import BUYER, NOW, ORGANIZER
from tests.signer import Signer, new_signer

SECRET = b"a secret that only these tests share"
SCENARIO_SECONDS_MAX = 30.0

Meanwhile = Callable[[], Awaitable[object]]


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class WatchedPayments(SandboxPayments):
    """The sandbox, telling what it did; ``meanwhile`` happens once, while the provider is still working."""

    def __init__(self) -> None:
        self.captured: list[UUID] = []
        self.refunded: list[tuple[UUID, int]] = []
        self.meanwhile: Meanwhile | None = None

    async def capture(self, payment_id: UUID, amount: Money, token: str) -> Capture:
        capture = await super().capture(payment_id, amount, token)
        if capture.captured:
            self.captured.append(payment_id)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return capture

    async def refund(self, payment_id: UUID, amount: Money) -> None:
        await super().refund(payment_id, amount)
        self.refunded.append((payment_id, amount.amount))


class WatchedInventory(PooledInventory):
    """The inventory; ``meanwhile`` happens once, when places were picked and the order is still to be appended."""

    meanwhile: Meanwhile | None = None

    async def pick(self, event: Event, tier: Tier, quantity: int, *, adjacent: bool, at: datetime) -> list[Pick]:
        picks = await super().pick(event, tier, quantity, adjacent=adjacent, at=at)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return picks


class Shop:
    """Several on one database stand for several processes."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.clock = HandClock()
        self.store = PostgresLedger(database, Sealer(SECRET))
        self.codes = Ed25519TicketCodes(SECRET)
        self.proofs = Erc4361Proofs(SECRET, "https://tickets.example", None)
        self.payments = WatchedPayments()
        self.inventory = WatchedInventory(self.store.follower, self._taken_of_tier, self.tickets)
        self.pool = AsyncConnectionPool(
            conninfo(database, "counterfoil_app"), min_size=1, max_size=4, kwargs={"autocommit": True}, open=False
        )
        self.vault = PostgresVault(self.pool, LocalMasterKey(SECRET))
        self._handlers = self._all_handlers()
        self._opened_at = 0

    async def __aenter__(self) -> Self:
        await self.pool.open(wait=True)
        await self.store.start()
        self._opened_at = self.store.follower.position
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.stop()
        await self.pool.close()

    async def do(self, command: Command) -> Any:
        """Have it decided and recorded, as the API would. Raises the refusal."""
        return await decide(self._handlers[type(command)], command, self.ledger(type(command).__name__))

    def ledger(self, command: str) -> Ledger:
        """The ledger as one command sees it."""
        return Ledger(self.store, new_metadata("a test", command))

    def _all_handlers(self) -> dict[type[Command], Handler]:
        clock = self.clock
        providers: dict[str, orders.PaymentProvider] = {"sandbox": self.payments}
        return {
            privacy.EraseAccount: partial(privacy.erase_account, vault=self.vault, linked=self, clock=clock),
            accounts.SetRoles: partial(accounts.set_roles, clock=clock),
            events.CreateEvent: partial(events.create_event, clock=clock),
            events.ChangeEvent: partial(events.change_event, clock=clock),
            events.PublishEvent: partial(events.publish_event, clock=clock),
            events.CancelEvent: partial(events.cancel_event, clock=clock),
            events.PostponeEvent: partial(events.postpone_event, clock=clock),
            events.ArchiveEvent: partial(events.archive_event, clock=clock),
            events.AddTier: partial(events.add_tier, clock=clock),
            events.ReleaseTickets: partial(events.release_tickets, clock=clock),
            events.StaffGates: partial(events.staff_gates, clock=clock),
            events.SetResaleRules: partial(events.set_resale_rules, clock=clock),
            events.KeepTime: partial(events.keep_time, clock=clock),
            orders.PlaceOrder: partial(orders.place_order, inventory=self.inventory, clock=clock),
            orders.PayOrder: partial(orders.pay_order, providers=providers, clock=clock),
            orders.CancelOrder: partial(orders.cancel_order, clock=clock),
            orders.ExpireOrder: partial(orders.expire_order, clock=clock),
            orders.CorrectOrder: partial(orders.correct_order, clock=clock),
            orders.RefundOrder: partial(orders.refund_order, providers=providers, clock=clock),
            tickets.ClaimTicket: partial(tickets.claim_ticket, vault=self.vault, clock=clock),
            tickets.TransferTicket: partial(tickets.transfer_ticket, clock=clock),
            tickets.AcceptTransfer: partial(tickets.accept_transfer, clock=clock),
            tickets.DeclineTransfer: partial(tickets.decline_transfer, clock=clock),
            tickets.DeliverTicket: partial(tickets.deliver_ticket, clock=clock),
            tickets.ReturnTicket: partial(tickets.return_ticket, clock=clock),
            tickets.RecordChainTransfer: partial(tickets.record_chain_transfer, clock=clock),
            tickets.IdentifyHolder: partial(tickets.identify_holder, clock=clock),
            tickets.RevokeTicket: partial(tickets.revoke_ticket, clock=clock),
            tickets.CheckIn: partial(tickets.check_in, codes=self.codes, clock=clock),
            wallets.ChallengeWallet: partial(wallets.challenge_wallet, proofs=self.proofs, clock=clock),
            wallets.LinkWallet: partial(wallets.link_wallet, proofs=self.proofs, vault=self.vault, clock=clock),
            wallets.UnlinkWallet: partial(wallets.unlink_wallet, clock=clock),
        }

    # -- Scenes that scenarios begin with. -------------------------------------------------

    async def event_on_sale(self, *tiers: events.NewTier, **changes: Any) -> Event:
        """Published, with these tiers, or one of ten places."""
        created: Event = await self.do(
            events.CreateEvent(
                organizer_id=ORGANIZER, currency="EUR", details=details(**changes), tiers=tiers or (standing(10),)
            )
        )
        published: Event = await self.do(events.PublishEvent(event_id=created.id, organizer_id=ORGANIZER))
        return published

    async def somebody(self, *roles: Role) -> UUID:
        """A new account with these roles and no password."""
        account = Account(id=new_id())
        account.register(email=f"{account.id}@example.com", name="Somebody", roles=frozenset(roles), at=self.clock())
        return (await self.ledger("Register").append(account)).id

    async def order(self, event: Event, quantity: int = 1, *, buyer_id: UUID = BUYER, **more: Any) -> Order:
        """Held, in the event's first tier."""
        items = (orders.Item(tier_id=first_tier(event), quantity=quantity, **more),)
        placed: Order = await self.do(orders.PlaceOrder(buyer_id=buyer_id, event_id=event.id, items=items))
        return placed

    async def seats(self, event: Event, *seats: Seat, buyer_id: UUID = BUYER) -> Order:
        """These seats held, in the event's first tier."""
        items = (orders.Item(tier_id=first_tier(event), seats=seats),)
        placed: Order = await self.do(orders.PlaceOrder(buyer_id=buyer_id, event_id=event.id, items=items))
        return placed

    async def pay(self, placed: Order, token: str = "tok_ok") -> Order:
        assert placed.buyer_id is not None
        command = orders.PayOrder(order_id=placed.id, buyer_id=placed.buyer_id, provider="sandbox", token=token)
        paid: Order = await self.do(command)
        return paid

    async def bought(self, event: Event, quantity: int = 1, *, buyer_id: UUID = BUYER) -> Order:
        return await self.pay(await self.order(event, quantity, buyer_id=buyer_id))

    async def ticket(self, event: Event, *, buyer_id: UUID = BUYER) -> Ticket:
        """One, paid for."""
        return (await self.tickets_of(await self.bought(event, buyer_id=buyer_id)))[0]

    async def proof(self, wallet: Signer, account_id: UUID) -> wallets.LinkWallet:
        """What links the wallet to the account: a challenge of now, signed."""
        asked = wallets.ChallengeWallet(address=wallet.address, chain_id=None, account_id=account_id)
        message = (await self.do(asked)).message
        return wallets.LinkWallet(message=message, signature=wallet.sign(message), account_id=account_id)

    async def wallet(self, account_id: UUID) -> Signer:
        """A new one, linked to the account."""
        wallet = new_signer()
        await self.do(await self.proof(wallet, account_id))
        return wallet

    # -- What the ledger holds. --------------------------------------------------------------

    async def tickets(self, ticket_ids: Sequence[UUID]) -> list[Ticket]:
        return await self.store.load(Ticket, ticket_ids)

    async def tickets_of(self, order: Order) -> list[Ticket]:
        return await self.tickets([line.ticket_id for line in order.lines])

    async def order_now(self, placed: Order) -> Order:
        return (await self.store.load(Order, [placed.id]))[0]

    async def of(self, account_id: UUID) -> frozenset[str]:
        """The wallets that were linked to the account, as `commands.privacy.LinkedWallets` finds them."""
        links = self._query("select payload from ledger.events where topic = %s", Wallet.Linked.stored_topic)
        known = [Wallet.Linked.model_validate_json(payload) for (payload,) in links]
        return frozenset(link.address for link in known if link.account_id == account_id)

    async def caught_up(self) -> None:
        """Until this process has heard of everything that is recorded by now."""
        (head,) = self._query("select position from ledger.head")[0]
        await until(lambda: self.store.follower.position >= head)

    def facts(self, stream_id: UUID | None = None) -> list[Fact]:
        """Everything recorded since the shop was opened, or everything of one stream, in order."""
        return [fact for stream, fact in self.history() if stream_id in (None, stream)]

    def history(self) -> list[tuple[UUID, Fact]]:
        query = "select stream_id, topic, payload from ledger.events where position > %s order by position"
        return [
            (stream_id, decode(topic, payload)) for stream_id, topic, payload in self._query(query, self._opened_at)
        ]

    async def _taken_of_tier(self, event_id: UUID, tier_id: UUID, position: int) -> list[Taken]:
        """From the ledger itself, which has always reached the position."""
        query = "select distinct stream_id from ledger.events where topic = %s and position(%s::bytea in payload) > 0"
        held = self._query(query, Ticket.Held.stored_topic, str(tier_id).encode())
        return [_taken(ticket) for ticket in await self.tickets([stream_id for (stream_id,) in held])]

    def _query(self, query: str, *arguments: Any) -> list[Any]:
        with psycopg.connect(self.database) as conn:
            return conn.execute(query.encode(), arguments).fetchall()


def _taken(ticket: Ticket) -> Taken:
    place = ticket.seat.key if ticket.seat is not None else ticket.serial
    assert place is not None
    return Taken(place, ticket.id, ticket.version, ticket.status is TicketStatus.AVAILABLE)


def standing(quantity: int, *, price: int = 4500, **more: Any) -> events.NewTier:
    return events.NewTier(name="Standing", price=price, release=events.NewRelease(quantity=quantity), **more)


def seated(*seats: Seat, price: int = 4500) -> events.NewTier:
    return events.NewTier(name="Stalls", price=price, release=events.NewRelease(seats=seats))


def first_tier(event: Event) -> UUID:
    return next(iter(event.tiers))


async def together(*attempts: Awaitable[Any]) -> list[Any]:
    """What each came to, an answer or an error, all under way at once."""
    return await asyncio.gather(*attempts, return_exceptions=True)


def names(outcomes: Sequence[object]) -> list[str]:
    """The types of what attempts came to, sorted, for comparing."""
    return sorted(type(outcome).__name__ for outcome in outcomes)


def in_a_shop(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine whose first argument is the shop. Raises TimeoutError after SCENARIO_SECONDS_MAX."""

    @functools.wraps(scenario)
    def test(shop_database: str, **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_play(scenario, shop_database, arguments))

    _, *others = inspect.signature(scenario).parameters.values()
    fixture = inspect.Parameter("shop_database", inspect.Parameter.KEYWORD_ONLY)
    named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in others]
    test.__signature__ = inspect.Signature([fixture, *named])  # type: ignore[attr-defined]
    return test


async def _play(scenario: Callable[..., Awaitable[None]], database: str, arguments: dict[str, Any]) -> None:
    async with asyncio.timeout(SCENARIO_SECONDS_MAX), Shop(database) as shop:
        await scenario(shop, **arguments)
