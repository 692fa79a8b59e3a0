"""How many places of each tier are free, held and sold, at every position: ``available + held + sold = capacity``. Async."""

from __future__ import annotations

from typing import ClassVar, NamedTuple
from uuid import UUID

from domain.event import Event
from domain.ticket import Ticket
from projections.kernel import POSITION_MAX, Projection, Recorded, Table, Views, when
from projections.rows import Rows

OFFERS = Table(
    "offers",
    key=("tier_id",),
    columns={"tier_id": "uuid", "event_id": "uuid", "name": "text", "price": "int8", "added_position": "int8"},
    indexes=("(event_id, added_position)",),
)

TALLY = Table(
    "tally",
    key=("tier_id", "position"),
    columns={
        "tier_id": "uuid",
        "position": "int8",
        "capacity": "int4",
        "available": "int4",
        "held": "int4",
        "sold": "int4",
        "checked_in": "int4",
    },
    append_only=True,
)
"""The totals of a tier after each fact that changed them; a cancelled ticket stays sold, for its place is not resold."""


class Inventory(Projection):
    name: ClassVar[str] = "inventory"
    version: ClassVar[int] = 2
    tables: ClassVar[tuple[Table, ...]] = (OFFERS, TALLY)
    by_stream: ClassVar[bool] = False
    """A tier's totals are of all its tickets, in the ledger's order."""

    @when(Event.TierAdded)
    def tier_added(self, recorded: Recorded, tier: Event.TierAdded, rows: Rows) -> None:
        position = recorded.position
        rows.insert(
            OFFERS,
            tier.tier_id,
            event_id=recorded.stream_id,
            name=tier.name,
            price=tier.price,
            added_position=position,
        )
        rows.tally(TALLY, tier.tier_id, position)

    @when(Event.Released)
    def released(self, recorded: Recorded, fact: Event.Released, rows: Rows) -> None:
        quantity = fact.release.quantity
        rows.tally(TALLY, fact.tier_id, recorded.position, capacity=quantity, available=quantity)

    @when(Ticket.Held)
    def held(self, recorded: Recorded, fact: Ticket.Held, rows: Rows) -> None:
        rows.tally(TALLY, fact.tier_id, recorded.position, available=-1, held=1)

    @when(Ticket.Released)
    def given_up(self, recorded: Recorded, fact: Ticket.Released, rows: Rows) -> None:
        rows.tally(TALLY, fact.tier_id, recorded.position, available=1, held=-1)

    @when(Ticket.Paid)
    def sold(self, recorded: Recorded, fact: Ticket.Paid, rows: Rows) -> None:
        rows.tally(TALLY, fact.tier_id, recorded.position, held=-1, sold=1)

    @when(Ticket.CheckedIn)
    def checked_in(self, recorded: Recorded, fact: Ticket.CheckedIn, rows: Rows) -> None:
        rows.tally(TALLY, fact.tier_id, recorded.position, checked_in=1)


# -- Questions. ----------------------------------------------------------------------


class TierRow(NamedTuple):
    tier_id: UUID
    name: str
    price: int
    capacity: int
    available: int
    held: int
    sold: int
    checked_in: int


class Availability(NamedTuple):
    position: int
    """The position of the ledger that the figures are of."""
    tiers: list[TierRow]
    """In the order in which they were added."""


AVAILABILITY = """
    select c.position, t.tier_id, t.name, t.price, n.capacity, n.available, n.held, n.sold, n.checked_in
      from projections.cursors c
      left join inventory.offers t on t.event_id = %(event)s and t.added_position <= %(position)s
      left join lateral (
          select * from inventory.tally y
           where y.tier_id = t.tier_id and y.position <= %(position)s
           order by y.position desc limit 1
      ) n on true
     where c.name = 'inventory' order by t.added_position"""


async def availability(views: Views, event_id: UUID, *, as_of: int | None = None) -> Availability:
    """The figures of an event's tiers, now or at a position: O(tiers · log facts). No tiers: no such event (yet)."""
    position = POSITION_MAX if as_of is None else as_of
    rows = await views.fetch(AVAILABILITY, {"event": event_id, "position": position})
    current = rows[0][0] if rows else 0
    tiers = [TierRow(*row[1:]) for row in rows if row[1] is not None]
    return Availability(current if as_of is None else as_of, tiers)
