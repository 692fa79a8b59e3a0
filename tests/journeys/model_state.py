"""What Counterfoil knows, said again in plain Python: the state that the model of `model.py` changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

SOLD = ("paid", "claimed", "checked_in", "cancelled")
ADMITTING = ("paid", "claimed")


@dataclass(slots=True)
class Ticket:
    """A place that somebody once held. ``facts`` are the types of its facts, in order."""

    place: int | str
    """The serial, or the number of the seat."""
    tier: str
    price: int
    status: str = "available"
    order: str | None = None
    holder: str | None = None
    name: str | None = None
    offered_to: str | None = None
    custody: int = 0
    facts: list[str] = field(default_factory=list)

    def record(self, fact: str) -> None:
        self.facts.append(f"ticket.{fact}")


@dataclass(slots=True)
class Order:
    buyer: str
    tickets: list[str]
    total: int
    status: str = "pending"
    refunded: dict[str, int] = field(default_factory=dict)
    """Ticket → what was given back for it."""
    facts: int = 1


@dataclass(slots=True)
class Tier:
    price: int
    places: list[int | str]
    seated: bool


class Item(NamedTuple):
    tier: str
    quantity: int | None = None
    seats: Sequence[str] | None = None


@dataclass(slots=True)
class State:
    """One event, its orders and its tickets, and what can be asked of them."""

    organizer: str
    gates: Collection[str]
    """Who has the role; only some of them are on the staff."""
    tiers: dict[str, Tier]
    order_max: int
    buyer_max: int | None
    doors_open: bool
    status: str = "draft"
    staff: frozenset[str] = frozenset()
    tickets: dict[str, Ticket] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)

    def copy(self) -> Self:
        return deepcopy(self)

    def seen(self, ticket: Ticket) -> str:
        """The status as people see it: a cancelled event admits nobody."""
        return "cancelled" if self.status == "cancelled" and ticket.status in ADMITTING else ticket.status

    def free(self, tier: str) -> set[int | str]:
        taken = {t.place for t in self.tickets.values() if t.tier == tier and t.status != "available"}
        return set(self.tiers[tier].places) - taken

    def availability(self) -> dict[str, dict[str, int]]:
        return {name: self._figures(name) for name in self.tiers}

    def _figures(self, tier: str) -> dict[str, int]:
        states = [ticket.status for ticket in self.tickets.values() if ticket.tier == tier]
        return {
            "capacity": len(self.tiers[tier].places),
            "available": len(self.free(tier)),
            "held": states.count("held"),
            "sold": sum(states.count(status) for status in SOLD),
        }

    def order_document(self, order_id: str) -> dict[str, Any]:
        """What of an order's document does not depend on chance."""
        order = self.orders[order_id]
        tickets = [(ticket_id, self.tickets[ticket_id]) for ticket_id in order.tickets]
        return {
            "status": order.status,
            "total": order.total,
            "refunded": sum(order.refunded.values()),
            "version": order.facts,
            "tickets": {i: self.seen(t) if t.order == order_id else "available" for i, t in tickets},
        }

    def taken_by(self, buyer: str) -> int:
        return sum(len(o.tickets) for o in self.orders.values() if o.buyer == buyer and o.status != "cancelled")
