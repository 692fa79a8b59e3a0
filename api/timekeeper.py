"""What happens without anyone asking: holds end, doors open, a cancellation is refunded, a wallet's tickets find a holder.

A process manager: it remembers deadlines from the views and the ledger, and issues commands that may be repeated.
Losing it loses nothing; whoever starts next reads the same deadlines again.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

import structlog

from api.bootstrap import Application, Followed
from commands.event import KeepTime
from commands.kernel import OverloadedError
from commands.order import ExpireOrder, RefundOrder
from commands.ticket import IdentifyHolder
from domain.event import Event
from domain.kernel import Refusal
from domain.order import Order
from domain.ticket import Ticket
from domain.wallet import Wallet
from projections import event_search as catalogue
from projections import order as orders
from projections import wallet as wallets

AT_ONCE_MAX = 256
"""Commands under way together; they share the ledger's transactions."""
SWEEP_SECONDS = 30.0
"""How often the views are asked for what was overlooked."""
RETRY_SECONDS = 0.5
SWEEP_ROWS_MAX = 10_000
ACTOR = "system:timekeeper"

log = structlog.get_logger()


class Timekeeper:
    """Runs until cancelled. One is enough; more do no harm."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._deadlines: list[tuple[datetime, int, UUID, type[Order | Event]]] = []
        self._pending: dict[UUID, datetime] = {}
        self._order = count()
        self._sooner = asyncio.Event()
        self._cancelled: set[UUID] = set()
        self._unidentified = True
        """Tickets may have come into a wallet that is somebody's, without a holder; at the start, nobody has looked."""
        self.expired = 0
        self.identified = 0
        app.store.follower.listen(self._hear)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again_and_again(self._sweep, SWEEP_SECONDS))
            tasks.create_task(self._again_and_again(self._keep, 0.0))

    async def _again_and_again(self, work: Callable[[], Awaitable[None]], pause_seconds: float) -> None:
        while True:
            try:
                await work()
                await asyncio.sleep(pause_seconds)
            except OverloadedError as error:
                log.warning("timekeeper_waits", reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("timekeeper_failed")
                await asyncio.sleep(RETRY_SECONDS)

    # -- Learning deadlines -------------------------------------------------------------

    def _hear(self, batch: Sequence[Followed]) -> None:
        for followed in batch:
            match followed.fact:
                case Order.Placed() as placed:
                    self._remember(placed.expires_at, followed.stream_id, Order)
                case Order.Paid() | Order.Cancelled() | Order.Expired():
                    self._pending.pop(followed.stream_id, None)
                case Event.Cancelled():
                    self._cancelled.add(followed.stream_id)
                    self._sooner.set()
                case Wallet.Linked() | Ticket.TransferredOnChain(to=None):
                    self._unidentified = True
                    self._sooner.set()
                case Event.Published() | Event.DetailsChanged() | Event.Postponed() | Event.WentLive():
                    self._remember(followed.recorded_at, followed.stream_id, Event)

    def _remember(self, due: datetime, stream_id: UUID, kind: type[Order | Event]) -> None:
        if kind is Order:
            self._pending[stream_id] = due
        if not self._deadlines or due < self._deadlines[0][0]:
            self._sooner.set()
        heapq.heappush(self._deadlines, (due, next(self._order), stream_id, kind))

    async def _sweep(self) -> None:
        """Ask the views: at the start for everything, later for what a missed fact would have left behind."""
        await self._app.view_positions.wait_for(self._app.store.follower.position)
        for order_id, expires_at in await orders.pending(self._app.views, limit=SWEEP_ROWS_MAX):
            if order_id not in self._pending:
                self._remember(expires_at, order_id, Order)
        for event_id, due in await catalogue.running(self._app.views, limit=SWEEP_ROWS_MAX):
            self._remember(due, event_id, Event)
        self._cancelled.update(await orders.events_to_refund(self._app.views, limit=SWEEP_ROWS_MAX))
        self._unidentified = True
        self._sooner.set()

    # -- Keeping them -------------------------------------------------------------------

    async def _keep(self) -> None:
        await self._wait_for_the_next()
        due = self._due(self._app.clock())
        await self._together(self._end_hold(stream) for stream, kind in due if kind is Order)
        await self._together(self._keep_event(stream) for stream in {s for s, kind in due if kind is Event})
        while self._cancelled:
            await self._refund_all(next(iter(self._cancelled)))
        if self._unidentified:
            await self._identify_holders()

    async def _wait_for_the_next(self) -> None:
        seconds = 0.0 if self._unidentified else SWEEP_SECONDS
        if self._deadlines:
            seconds = min(seconds, (self._deadlines[0][0] - self._app.clock()) / timedelta(seconds=1))
        if seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._sooner.wait()
            except TimeoutError:
                pass
        self._sooner.clear()

    def _due(self, now: datetime) -> list[tuple[UUID, type[Order | Event]]]:
        due: list[tuple[UUID, type[Order | Event]]] = []
        while self._deadlines and self._deadlines[0][0] <= now and len(due) < AT_ONCE_MAX:
            _, _, stream_id, kind = heapq.heappop(self._deadlines)
            if kind is Event or stream_id in self._pending:
                due.append((stream_id, kind))
        return due

    async def _together(self, work: Iterable[Awaitable[None]]) -> None:
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(outcome, Exception):
                log.warning("timekeeper_command_failed", error=repr(outcome))

    async def _end_hold(self, order_id: UUID) -> None:
        try:
            await self._app.execute(ExpireOrder(order_id=order_id), actor=ACTOR)
            self._pending.pop(order_id, None)
            self.expired += 1
        except OverloadedError:
            self._remember(self._app.clock() + timedelta(seconds=RETRY_SECONDS), order_id, Order)
        except Exception:
            self._pending.pop(order_id, None)  # the next sweep finds it again
            raise

    async def _keep_event(self, event_id: UUID) -> None:
        try:
            event: Event = await self._app.execute(KeepTime(event_id=event_id), actor=ACTOR)
            following = event.next_time()
        except OverloadedError:
            following = self._app.clock() + timedelta(seconds=RETRY_SECONDS)
        if following is not None:
            self._remember(following, event_id, Event)

    async def _refund_all(self, event_id: UUID) -> None:
        """Everybody who paid for a cancelled event gets the money back."""
        await self._app.view_positions.wait_for(self._app.store.follower.position)
        event = (await self._app.store.load(Event, (event_id,)))[0]
        reason = event.cancel_reason or "the event was cancelled"
        due = await orders.paid_of_event(self._app.views, event_id, limit=AT_ONCE_MAX)
        if not due:
            self._cancelled.discard(event_id)
            return
        await self._together(self._refund(order_id, reason) for order_id in due)

    async def _refund(self, order_id: UUID, reason: str) -> None:
        try:
            command = RefundOrder(order_id=order_id, organizer_id=None, ticket_ids=None, reason=reason)
            await self._app.execute(command, actor=ACTOR)
        except Refusal as refusal:
            log.info("refund_not_due", order_id=str(order_id), reason=refusal.detail)

    async def _identify_holders(self) -> None:
        """Of tickets that came into a wallet before it was linked, or while it was."""
        self._unidentified = False  # whatever is heard from here on has us look again
        try:
            await self._app.view_positions.wait_for(self._app.store.follower.position)
            due = await wallets.unidentified_tickets(self._app.views, limit=AT_ONCE_MAX)
        except Exception:
            self._unidentified = True
            raise
        before = self.identified
        await self._together(self._identify(ticket_id) for ticket_id in due)
        if len(due) == AT_ONCE_MAX and self.identified > before:  # without progress it is for the next sweep
            self._unidentified = True

    async def _identify(self, ticket_id: UUID) -> None:
        ticket: Ticket = await self._app.execute(IdentifyHolder(ticket_id=ticket_id), actor=ACTOR)
        self.identified += ticket.holder_id is not None
