"""People who organise, buy, pay, give up, hand on and attend at random in a shop: a history that nobody thought up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from commands import event as events
from commands import ticket as tickets
from commands.order import CancelOrder, CorrectOrder, ExpireOrder, Item, PlaceOrder, RefundOrder
from domain.event import Event
from domain.kernel import Refusal
from domain.order import Order
from domain.ticket import Ticket
from tests.commands.shop import Shop, seated, standing
from tests.domain.event_facts import seat
from tests.domain.happening import BUYER, DOORS, FRIEND, NOW, ORGANIZER, STRANGER
from tests.signer import Signer

PEOPLE = (BUYER, FRIEND, STRANGER)
TOKENS = ("tok_ok", "tok_ok", "tok_ok", "tok_declined")
STEP_SECONDS_MAX = 40
ORDERS_BEFORE_RAIN = 12


class Stroll:
    """Of one event. Whatever is refused leaves no trace, as ever."""

    def __init__(self, shop: Shop, random: Random) -> None:
        self.shop = shop
        self.random = random
        self.event: Event
        self.orders: list[Order] = []
        self.wallets: dict[UUID, Signer] = {}

    async def begin(self) -> None:
        self.shop.clock.now = NOW
        tiers = (
            standing(15, max_tickets_per_order=self.random.choice((None, 2))),
            seated(*(seat(number) for number in range(1, 5)), price=9_000),
        )
        limit = self.random.choice((None, 8))
        window = self.random.choice((None, 300))
        self.event = await self.shop.event_on_sale(
            *tiers, max_tickets_per_buyer=limit, buyer_window_seconds=window, max_tickets_per_order=3, hold_seconds=300
        )

    async def go_on(self, steps: int) -> None:
        for step in range(steps):
            seconds = self.random.randrange(STEP_SECONDS_MAX)
            self.shop.clock.now += timedelta(seconds=seconds)
            if step == steps * 2 // 3:
                self.shop.clock.now = max(self.shop.clock.now, DOORS + timedelta(minutes=1))
            with suppress(Refusal):
                await self.random.choices(list(LIKELY), list(LIKELY.values()))[0](self)

    # -- Buyers. -------------------------------------------------------------------------

    async def order(self) -> None:
        floor, stalls = self.event.tiers
        chosen = tuple(self.random.sample([seat(number) for number in range(1, 5)], self.random.randrange(1, 3)))
        items = self.random.choice(
            (
                (Item(tier_id=floor, quantity=self.random.randrange(1, 4)),),
                (Item(tier_id=stalls, seats=chosen),),
                (Item(tier_id=stalls, quantity=1), Item(tier_id=floor, quantity=1)),
                (Item(tier_id=floor, quantity=1), Item(tier_id=stalls, seats=chosen), Item(tier_id=floor, quantity=1)),
            )
        )
        buyer_id = self.random.choice(PEOPLE)
        self.orders.append(await self.do(PlaceOrder(buyer_id=buyer_id, event_id=self.event.id, items=items)))

    async def pay(self) -> None:
        await self.shop.pay(self.some_order(), self.random.choice(TOKENS))

    async def pay_while_the_hold_ends(self) -> None:
        order = self.some_order()

        async def end() -> None:
            self.shop.clock.now += timedelta(seconds=301)
            await self.do(ExpireOrder(order_id=order.id))

        self.shop.payments.meanwhile = end
        try:
            await self.shop.pay(order)
        finally:
            self.shop.payments.meanwhile = None

    async def cancel(self) -> None:
        order = self.some_order()
        assert order.buyer_id is not None
        await self.do(CancelOrder(order_id=order.id, buyer_id=order.buyer_id))

    async def keep_time(self) -> None:
        for order in self.orders:
            await self.do(ExpireOrder(order_id=order.id))

    async def refund(self) -> None:
        order = self.some_order()
        ids = frozenset(line.ticket_id for line in order.lines)
        some = frozenset({min(ids)}) if self.random.random() < 0.5 else None
        await self.do(RefundOrder(order_id=order.id, organizer_id=ORGANIZER, ticket_ids=some, reason="asked for"))

    async def correct(self) -> None:
        order = await self.shop.order_now(self.some_order())
        command = CorrectOrder(
            order_id=order.id,
            organizer_id=ORGANIZER,
            entry_id=order.payment_id or order.id,
            effective_at=NOW,
            reason="April",
        )
        await self.do(command)

    # -- Holders. ------------------------------------------------------------------------

    async def hand_on(self) -> None:
        ticket = await self.some_ticket()
        holder = ticket.holder_id or BUYER
        friend = self.random.choice(PEOPLE)
        command = self.random.choice(
            (
                tickets.ClaimTicket(ticket_id=ticket.id, holder_id=holder, attendee_name="Łucja"),
                tickets.TransferTicket(ticket_id=ticket.id, holder_id=holder, to=friend),
                tickets.TransferTicket(ticket_id=ticket.id, holder_id=holder, to=friend, needs_acceptance=True),
                tickets.AcceptTransfer(ticket_id=ticket.id, by=ticket.offered_to or holder),
                tickets.DeclineTransfer(ticket_id=ticket.id, by=holder),
                tickets.RevokeTicket(ticket_id=ticket.id, organizer_id=ORGANIZER, reason="counterfeit"),
            )
        )
        await self.do(command)

    async def deliver(self) -> None:
        ticket = await self.some_ticket()
        holder = ticket.holder_id or BUYER
        if holder not in self.wallets:
            self.wallets[holder] = await self.shop.wallet(holder)
        wallet = self.wallets[holder]
        if ticket.wallet is not None:
            await self.do(tickets.ReturnTicket(ticket_id=ticket.id, holder_id=holder))
        else:
            await self.do(tickets.DeliverTicket(ticket_id=ticket.id, holder_id=holder, wallet=wallet.address))

    async def check_in(self) -> None:
        ticket = await self.some_ticket()
        code = self.shop.codes.sign(ticket.id, ticket.custody)
        await self.do(tickets.CheckIn(code=code, gate="North", by=ORGANIZER))

    # -- The organiser. ------------------------------------------------------------------

    async def organise(self) -> None:
        changes = {
            "max_tickets_per_buyer": self.random.choice((None, 5)),
            "hold_seconds": self.random.choice((200, 300, 400)),
        }
        release = events.NewRelease(quantity=1)
        floor = next(iter(self.event.tiers))
        command = self.random.choice(
            (
                events.ChangeEvent(event_id=self.event.id, organizer_id=ORGANIZER, changes=changes),
                events.ReleaseTickets(event_id=self.event.id, organizer_id=ORGANIZER, tier_id=floor, release=release),
                events.KeepTime(event_id=self.event.id),
            )
        )
        await self.do(command)

    async def call_off(self) -> None:
        if len(self.orders) > ORDERS_BEFORE_RAIN:
            await self.do(events.CancelEvent(event_id=self.event.id, organizer_id=ORGANIZER, reason="rain"))

    async def do(self, command: Any) -> Any:
        return await self.shop.do(command)

    def some_order(self) -> Order:
        if not self.orders:
            raise Refusal
        return self.random.choice(self.orders[-8:])

    async def some_ticket(self) -> Ticket:
        return self.random.choice(await self.shop.tickets_of(self.some_order()))


LIKELY: dict[Callable[[Stroll], Awaitable[None]], int] = {
    Stroll.order: 30,
    Stroll.pay: 25,
    Stroll.pay_while_the_hold_ends: 4,
    Stroll.cancel: 4,
    Stroll.keep_time: 12,
    Stroll.refund: 4,
    Stroll.correct: 2,
    Stroll.hand_on: 20,
    Stroll.deliver: 4,
    Stroll.check_in: 12,
    Stroll.organise: 6,
    Stroll.call_off: 1,
}
