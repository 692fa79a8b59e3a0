"""A ledger in memory, and the places that are free in it: what a history is decided again against."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from commands.kernel import Request
from commands.order import Capture, Pick
from domain.allowance import Allowance
from domain.event import Event, Tier
from domain.kernel import Aggregate, Fact
from domain.money import Money
from domain.order import Order, OrderStatus, SoldOutError
from domain.seat import ticket_id
from domain.ticket import Ticket, TicketStatus

A = TypeVar("A", bound=Aggregate)
T = TypeVar("T")

KINDS: dict[str, type[Aggregate]] = {kind.stream_type: kind for kind in (Allowance, Event, Order, Ticket)}
GIVEN_UP = (OrderStatus.CANCELLED, OrderStatus.EXPIRED)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a handler comes to when nothing it calls ever waits: no event loop is needed, or wanted in a tight one."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    raise AssertionError("a handler waited for something, and in memory there is nothing to wait for")


class MemoryLedger:
    """`commands.kernel.Store`. One caller at a time, so nothing can conflict.

    A place that is free again, and an allowance that is whole again, are as if they had never been: they are forgotten.
    """

    def __init__(self) -> None:
        self.appended: list[tuple[UUID, Fact]] = []
        """Since it was last cleared."""
        self.places = MemoryPlaces(self)
        self._kept: dict[UUID, Aggregate] = {}

    def __contains__(self, stream_id: UUID) -> bool:
        return stream_id in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, kind: type[A], stream_id: UUID) -> A:
        """To look at. Blank where there is no stream."""
        kept = self._kept.get(stream_id)
        return kept if isinstance(kept, kind) else kind(id=stream_id)

    async def load(self, kind: type[A], ids: Sequence[UUID]) -> list[A]:
        return [_copy(self.find(kind, stream_id)) for stream_id in ids]

    async def peek(self, kind: type[A], stream_id: UUID) -> A:
        return self.find(kind, stream_id)

    async def append(self, request: Request) -> int:
        for stream_id, _, fact in request.facts:
            self.fold(stream_id, fact)
        return 0

    def fold(self, stream_id: UUID, fact: Fact) -> None:
        kept = self._kept.get(stream_id)
        if kept is None:
            kept = self._kept[stream_id] = KINDS[fact.stream_type](id=stream_id)
        kept.fold((fact,))
        self.appended.append((stream_id, fact))
        if isinstance(kept, Ticket):
            self._keep_place(kept)
        elif isinstance(kept, Allowance) and not kept.taken:
            del self._kept[stream_id]

    def give_up(self, order_id: UUID) -> None:
        """Nothing can come of this order but money that is sent back: what was in it may be forgotten."""
        order = self.find(Order, order_id)
        if order.status in GIVEN_UP:
            order.lines = ()

    def _keep_place(self, ticket: Ticket) -> None:
        free = ticket.status is TicketStatus.AVAILABLE
        if free:
            del self._kept[ticket.id]
        if ticket.tier_id is not None and ticket.serial is not None:
            self.places.know(ticket.tier_id, ticket.serial, free=free)


def _copy(aggregate: A) -> A:
    """A handler may decide half of something and then be refused."""
    if isinstance(aggregate, Allowance):
        return replace(aggregate, pending=[], taken=dict(aggregate.taken))
    return replace(aggregate, pending=[])


class MemoryPlaces:
    """`commands.order.Inventory` of general admission. The place that was had in reality, if it is free; else another."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self._returned: dict[UUID, set[int]] = {}
        """For each tier the free serials up to those of `_seen`."""
        self._seen: dict[UUID, int] = {}
        self._wanted: dict[UUID, list[int]] = {}
        self._picked: set[UUID] = set()

    def want(self, serials: dict[UUID, list[int]]) -> None:
        """For each tier the places that the next order had."""
        self._wanted = serials
        self._picked = set()

    def know(self, tier_id: UUID, serial: int, *, free: bool) -> None:
        if serial <= self._seen.get(tier_id, 0):
            returned = self._returned.setdefault(tier_id, set())
            returned.add(serial) if free else returned.discard(serial)

    async def pick(
        self,
        event: Event,
        tier: Tier,
        quantity: int,
        *,
        adjacent: bool,  # noqa: ARG002 - serials have no neighbours
        at: datetime,
    ) -> list[Pick]:
        on_sale = tier.on_sale_count(at)
        wanted = self._wanted.get(tier.tier_id, [])
        hoped, wanted[:quantity] = wanted[:quantity], []
        places = {serial: ticket_id(event.id, tier.tier_id, serial) for serial in hoped if serial <= on_sale}
        had = {serial: ticket for serial, ticket in places.items() if self._free(ticket)}
        self._picked.update(had.values())
        for index, serial in enumerate(hoped):
            if serial not in had:
                hoped[index] = self._another(event, tier, on_sale)
        return [Pick(serial, ticket_id(event.id, tier.tier_id, serial), 0) for serial in hoped]

    def put_back(self, event_id: UUID, tier_id: UUID, picks: Sequence[Pick]) -> None:
        """Nothing was taken out: a place is gone when it is held."""

    def _another(self, event: Event, tier: Tier, on_sale: int) -> int:
        returned = self._returned.setdefault(tier.tier_id, set())
        for serial in returned:
            ticket = ticket_id(event.id, tier.tier_id, serial)
            if ticket not in self._picked:
                self._picked.add(ticket)
                return serial
        for serial in range(self._seen.get(tier.tier_id, 0) + 1, on_sale + 1):
            self._seen[tier.tier_id] = serial
            ticket = ticket_id(event.id, tier.tier_id, serial)
            if ticket not in self._ledger:
                returned.add(serial)
                if ticket not in self._picked:
                    self._picked.add(ticket)
                    return serial
        raise SoldOutError

    def _free(self, ticket: UUID) -> bool:
        return ticket not in self._ledger and ticket not in self._picked


class Till:
    """`commands.order.PaymentProvider`: money that came in reality comes again, and none is moved."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def capture(self, payment_id: UUID, amount: Money, token: str) -> Capture:  # noqa: ARG002 - the port's shape
        return Capture(captured=True)

    async def refund(self, payment_id: UUID, amount: Money) -> None:
        """It is written down, which is all."""
