"""Who holds which ticket, now and at any position; which places of an event are taken. Async."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, NamedTuple
from uuid import UUID

from domain.event import Event
from domain.seat import Seat
from domain.ticket import Ticket
from projections.kernel import Projection, Recorded, Spell, Table, Views, before_or_all, when
from projections.rows import Rows

TICKETS = Table(
    "tickets",
    key=("ticket_id",),
    columns={
        "ticket_id": "uuid",
        "event_id": "uuid",
        "tier_id": "uuid",
        "serial": "int4 null",
        "section": "text null",
        "row_label": "text null",
        "number": "text null",
        "price": "int8",
        "stage": "text",
        "order_id": "uuid null",
        "holder_id": "uuid null",
        "wallet": "text null",
        "held_until": "timestamptz null",
        "claimed": "bool",
        "offered_to": "uuid null",
        "checked_in_at": "timestamptz null",
        "gate": "text null",
        "cancel_reason": "text null",
        "custody": "int4",
        "version": "int4",
        "acquired_position": "int8",
    },
    derived={"status": ("text", "case when stage = 'paid' and claimed then 'claimed' else stage end")},
    indexes=(
        "(holder_id, acquired_position)",
        "(event_id, tier_id)",
        "(wallet) where holder_id is null and wallet is not null",
    ),
)
"""Every place that was ever held; ``status`` is what the ticket's own facts say, and FATES what its event's do.

``stage`` leaves out who was named to come: a change of hands on a chain, which may come at any stage, forgets that name
without knowing the stage.
"""

CUSTODY = Table(
    "custody",
    key=("ticket_id", "from_position"),
    columns={"ticket_id": "uuid", "from_position": "int8", "holder_id": "uuid null"},
    indexes=("(holder_id, from_position)",),
    append_only=True,
)
"""Who had each ticket from which position on; nobody once a hold was given up, or while its wallet is nobody's."""

FATES = Table("fates", key=("event_id",), columns={"event_id": "uuid", "fate": "text"})
"""What an event's end or cancellation makes of all its unused tickets: one row, however many tickets they are."""


class Tickets(Projection):
    name: ClassVar[str] = "tickets"
    version: ClassVar[int] = 3
    tables: ClassVar[tuple[Table, ...]] = (TICKETS, CUSTODY, FATES)

    @when(Ticket.Held)
    def held(self, recorded: Recorded, held: Ticket.Held, rows: Rows) -> None:
        position, ticket_id = recorded.position, recorded.stream_id
        rows.append(CUSTODY, ticket_id=ticket_id, from_position=position, holder_id=held.buyer_id)
        if recorded.version > 1:  # an earlier hold was given up
            self._hold_again(recorded, held, rows)
            return
        seat = held.seat
        rows.insert(
            TICKETS,
            ticket_id,
            event_id=held.event_id,
            tier_id=held.tier_id,
            serial=held.serial,
            section=seat.section if seat else None,
            row_label=seat.row if seat else None,
            number=seat.number if seat else None,
            price=held.price,
            stage="held",
            order_id=held.order_id,
            holder_id=held.buyer_id,
            wallet=None,
            held_until=held.until,
            claimed=False,
            offered_to=None,
            checked_in_at=None,
            gate=None,
            cancel_reason=None,
            custody=1,
            version=1,
            acquired_position=position,
        )

    @staticmethod
    def _hold_again(recorded: Recorded, held: Ticket.Held, rows: Rows) -> None:
        rows.add(TICKETS, recorded.stream_id, custody=1)
        rows.patch(
            TICKETS,
            recorded.stream_id,
            stage="held",
            price=held.price,
            order_id=held.order_id,
            holder_id=held.buyer_id,
            held_until=held.until,
            version=recorded.version,
            acquired_position=recorded.position,
        )

    @when(Ticket.Released)
    def released(self, recorded: Recorded, _: Ticket.Released, rows: Rows) -> None:
        ticket_id, version = recorded.stream_id, recorded.version
        rows.patch(
            TICKETS, ticket_id, stage="available", order_id=None, holder_id=None, held_until=None, version=version
        )
        rows.append(CUSTODY, ticket_id=ticket_id, from_position=recorded.position, holder_id=None)

    @when(Ticket.Paid)
    def paid(self, recorded: Recorded, _: Ticket.Paid, rows: Rows) -> None:
        rows.patch(TICKETS, recorded.stream_id, stage="paid", held_until=None, version=recorded.version)

    @when(Ticket.Claimed)
    def claimed(self, recorded: Recorded, _: Ticket.Claimed, rows: Rows) -> None:
        rows.patch(TICKETS, recorded.stream_id, claimed=True, version=recorded.version)

    @when(Ticket.TransferOffered)
    def offered(self, recorded: Recorded, offer: Ticket.TransferOffered, rows: Rows) -> None:
        rows.patch(TICKETS, recorded.stream_id, offered_to=offer.to, version=recorded.version)

    @when(Ticket.TransferDeclined)
    def declined(self, recorded: Recorded, _: Ticket.TransferDeclined, rows: Rows) -> None:
        rows.patch(TICKETS, recorded.stream_id, offered_to=None, version=recorded.version)

    @when(Ticket.Transferred)
    def transferred(self, recorded: Recorded, transfer: Ticket.Transferred, rows: Rows) -> None:
        _change_hands(recorded, rows, transfer.to, wallet=None)

    @when(Ticket.Resold)
    def resold(self, recorded: Recorded, resale: Ticket.Resold, rows: Rows) -> None:
        _change_hands(recorded, rows, resale.to, wallet=resale.wallet)

    @when(Ticket.TransferredOnChain)
    def transferred_on_chain(self, recorded: Recorded, transfer: Ticket.TransferredOnChain, rows: Rows) -> None:
        _change_hands(recorded, rows, transfer.to, wallet=transfer.to_wallet)

    @when(Ticket.HolderIdentified)
    def holder_identified(self, recorded: Recorded, proof: Ticket.HolderIdentified, rows: Rows) -> None:
        _change_hands(recorded, rows, proof.holder_id, wallet=proof.wallet)

    @when(Ticket.Delivered)
    def delivered(self, recorded: Recorded, delivery: Ticket.Delivered, rows: Rows) -> None:
        rows.patch(TICKETS, recorded.stream_id, wallet=delivery.wallet, version=recorded.version)

    @when(Ticket.ReturnedToCustody)
    def returned_to_custody(self, recorded: Recorded, _: Ticket.ReturnedToCustody, rows: Rows) -> None:
        rows.patch(TICKETS, recorded.stream_id, wallet=None, version=recorded.version)

    @when(Ticket.CheckedIn)
    def checked_in(self, recorded: Recorded, entry: Ticket.CheckedIn, rows: Rows) -> None:
        ticket_id, version = recorded.stream_id, recorded.version
        rows.patch(TICKETS, ticket_id, stage="checked_in", checked_in_at=entry.at, gate=entry.gate, version=version)

    @when(Ticket.Cancelled)
    def cancelled(self, recorded: Recorded, end: Ticket.Cancelled, rows: Rows) -> None:
        ticket_id, version, reason = recorded.stream_id, recorded.version, end.reason
        rows.add(TICKETS, ticket_id, custody=1)
        rows.patch(TICKETS, ticket_id, stage="cancelled", cancel_reason=reason, offered_to=None, version=version)

    @when(Event.Ended)
    def event_ended(self, recorded: Recorded, _: Event.Ended, rows: Rows) -> None:
        rows.put(FATES, recorded.stream_id, fate="expired")

    @when(Event.Cancelled)
    def event_cancelled(self, recorded: Recorded, _: Event.Cancelled, rows: Rows) -> None:
        rows.put(FATES, recorded.stream_id, fate="cancelled")


def _change_hands(recorded: Recorded, rows: Rows, to: UUID | None, *, wallet: str | None) -> None:
    """`Ticket.change_hands`, in rows."""
    ticket_id, position = recorded.stream_id, recorded.position
    rows.add(TICKETS, ticket_id, custody=1)
    rows.patch(
        TICKETS,
        ticket_id,
        holder_id=to,
        wallet=wallet,
        claimed=False,
        offered_to=None,
        version=recorded.version,
        acquired_position=position,
    )
    rows.append(CUSTODY, ticket_id=ticket_id, from_position=position, holder_id=to)


# -- Questions. ----------------------------------------------------------------------

STATUS = "case when t.status in ('paid', 'claimed') then coalesce(f.fate, t.status) else t.status end"
"""`Ticket.status_during`, in SQL."""

ROW = f"""
    select t.ticket_id, t.event_id, t.tier_id, t.serial, t.section, t.row_label, t.number, t.price, {STATUS},
           t.order_id, t.holder_id, t.wallet, t.held_until, t.claimed, t.offered_to, t.checked_in_at, t.gate,
           t.cancel_reason, t.custody, t.version, t.acquired_position
      from tickets.tickets t left join tickets.fates f using (event_id)"""


class TicketRow(NamedTuple):
    ticket_id: UUID
    event_id: UUID
    tier_id: UUID
    serial: int | None
    section: str | None
    row_label: str | None
    number: str | None
    price: int
    status: str
    """As people see it: the event's end and cancellation count."""
    order_id: UUID | None
    holder_id: UUID | None
    wallet: str | None
    held_until: datetime | None
    claimed: bool
    offered_to: UUID | None
    checked_in_at: datetime | None
    gate: str | None
    cancel_reason: str | None
    custody: int
    version: int
    acquired_position: int
    """Where the present holder got it: the order and the cursor of lists."""

    @property
    def seat(self) -> Seat | None:
        if self.section is None or self.row_label is None or self.number is None:
            return None
        return Seat(section=self.section, row=self.row_label, number=self.number)


class TakenSeat(NamedTuple):
    ticket_id: UUID
    tier_id: UUID
    section: str
    row: str
    number: str
    status: str


class Taken(NamedTuple):
    """A place of a tier that has a stream. ``version`` is the stream's, ``status`` the ticket's own."""

    ticket_id: UUID
    serial: int | None
    section: str | None
    row_label: str | None
    number: str | None
    version: int
    status: str


async def held_by(views: Views, holder_id: UUID, *, before: int | None = None, limit: int) -> list[TicketRow]:
    """The tickets somebody has, latest acquired first. ``before`` is the `acquired_position` the last page ended with."""
    sql = (
        f"{ROW} where t.holder_id = %(holder)s and t.acquired_position < %(before)s"
        " order by t.acquired_position desc limit %(limit)s"
    )
    params = {"holder": holder_id, "before": before_or_all(before), "limit": limit}
    return [TicketRow(*row) for row in await views.fetch(sql, params)]


async def held_by_as_of(
    views: Views, holder_id: UUID, position: int, *, before: int | None = None, limit: int
) -> list[tuple[UUID, int]]:
    """The ids of the tickets somebody had at a position, each with where they got it; ordered as `held_by`."""
    sql = """
        select c.ticket_id, c.from_position from tickets.custody c
         where c.holder_id = %(holder)s and c.from_position <= %(position)s and c.from_position < %(before)s
           and not exists (
               select from tickets.custody later
                where later.ticket_id = c.ticket_id
                  and later.from_position > c.from_position and later.from_position <= %(position)s)
         order by c.from_position desc limit %(limit)s"""
    params = {"holder": holder_id, "position": position, "before": before_or_all(before), "limit": limit}
    return [(row[0], row[1]) for row in await views.fetch(sql, params)]


async def spells_of(views: Views, holder_id: UUID, *, before: int | None = None, limit: int) -> list[Spell]:
    """When somebody had which ticket, also those that they have passed on; latest acquired first."""
    sql = """
        select c.ticket_id, c.from_position, (
                   select min(later.from_position) from tickets.custody later
                    where later.ticket_id = c.ticket_id and later.from_position > c.from_position)
          from tickets.custody c
         where c.holder_id = %(holder)s and c.from_position < %(before)s
         order by c.from_position desc limit %(limit)s"""
    params = {"holder": holder_id, "before": before_or_all(before), "limit": limit}
    return [Spell(*row) for row in await views.fetch(sql, params)]


async def taken_seats(views: Views, event_id: UUID) -> list[TakenSeat]:
    """Every numbered place of an event that is not available, in no particular order."""
    sql = f"""
        select t.ticket_id, t.tier_id, t.section, t.row_label, t.number, {STATUS}
          from tickets.tickets t left join tickets.fates f using (event_id)
         where t.event_id = %(event)s and t.section is not null and t.status <> 'available'"""
    return [TakenSeat(*row) for row in await views.fetch(sql, {"event": event_id})]


async def taken_of_tier(views: Views, event_id: UUID, tier_id: UUID) -> list[Taken]:
    """Every place of a tier that was ever held, with the version its stream has: what the pools of places start from."""
    sql = """
        select ticket_id, serial, section, row_label, number, version, status
          from tickets.tickets where event_id = %(event)s and tier_id = %(tier)s"""
    return [Taken(*row) for row in await views.fetch(sql, {"event": event_id, "tier": tier_id})]
