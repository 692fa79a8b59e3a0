"""What must hold of a ledger whatever became of those who wrote it. Everything is recomputed from the facts alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.journeys.crash_clients import Command

Json = dict[str, Any]

OF_REFUSALS = {"order.payment_declined", "order.late_payment_refunded"}
"""What a command that was refused may leave behind: it says that money was asked for, and changes nothing else."""
ENTITLED = ("paid", "checked_in")


@dataclass(slots=True)
class TicketState:
    tier: str
    place: str
    status: str = "available"
    order: str = ""
    admissions: int = 0


@dataclass(slots=True)
class OrderState:
    tickets: list[str]
    command: str
    status: str = "pending"


@dataclass(slots=True)
class Books:
    """The ledger folded by hand, refusing what must never happen as soon as a fact says it did."""

    tickets: dict[str, TicketState] = field(default_factory=dict)
    orders: dict[str, OrderState] = field(default_factory=dict)
    capacity: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    places: dict[tuple[str, str], str] = field(default_factory=dict)
    held_by_command: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    versions: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @classmethod
    def of(cls, facts: Sequence[Json]) -> Books:
        assert [fact["position"] for fact in facts] == list(range(1, len(facts) + 1)), "positions have a gap"
        books = cls()
        for fact in facts:
            books._add(fact)
        books._balance()
        return books

    def _add(self, fact: Json) -> None:
        stream, data = fact["stream_id"], fact["data"]
        self.versions[stream] += 1
        assert fact["version"] == self.versions[stream], f"version {fact['version']} of {stream} is out of order"
        kind, _, what = fact["type"].partition(".")
        if kind == "ticket":
            self._ticket(stream, what, fact)
        elif kind == "order":
            self._order(stream, what, fact)
        elif fact["type"] == "event.released":
            self.capacity[data["tier_id"]] += data["release"]["quantity"]

    def _ticket(self, stream: str, what: str, fact: Json) -> None:
        data = fact["data"]
        if what == "held":
            place = str(data["serial"] or data["seat"]["number"])
            assert self.places.setdefault((data["tier_id"], place), stream) == stream, f"{place} has two tickets"
            ticket = self.tickets.setdefault(stream, TicketState(data["tier_id"], place))
            self._moves(stream, "available", "held")
            ticket.order = data["order_id"]
            self.held_by_command[fact["command_id"]].append(stream)
        elif what == "released":
            self._moves(stream, "held", "available")
        elif what == "paid":
            self._moves(stream, "held", "paid")
        elif what == "checked_in":
            self._moves(stream, "paid", "checked_in")
            self.tickets[stream].admissions += 1

    def _moves(self, stream: str, before: str, after: str) -> None:
        ticket = self.tickets[stream]
        assert ticket.status == before, f"ticket {stream} became {after} when it was {ticket.status}"
        ticket.status = after

    def _order(self, stream: str, what: str, fact: Json) -> None:
        if what == "placed":
            tickets = [line["ticket_id"] for line in fact["data"]["lines"]]
            self.orders[stream] = OrderState(tickets, fact["command_id"])
        elif what in ("paid", "cancelled", "expired"):
            order = self.orders[stream]
            assert order.status == "pending", f"order {stream} became {what} when it was {order.status}"
            order.status = what

    def _balance(self) -> None:
        """What no single fact shows: orders and their tickets tell the same."""
        for order_id, order in self.orders.items():
            assert sorted(self.held_by_command[order.command]) == sorted(order.tickets), f"{order_id} is not whole"
            wanted = {"paid": ENTITLED, "pending": ("held",)}.get(order.status)
            states = [self.tickets[ticket] for ticket in order.tickets]
            if wanted is not None:
                whole = all(state.order == order_id and state.status in wanted for state in states)
                assert whole, f"order {order_id} is {order.status}, its tickets are {states}"
        statuses = {"held": "pending", "paid": "paid", "checked_in": "paid"}
        for ticket_id, ticket in self.tickets.items():
            expected = statuses.get(ticket.status)
            if expected is not None:
                assert self.orders[ticket.order].status == expected, f"ticket {ticket_id} without its order: {ticket}"
                assert ticket_id in self.orders[ticket.order].tickets
            assert ticket.admissions <= 1
        for tier, figures in self.figures().items():
            assert figures["held"] + figures["sold"] <= self.capacity[tier], f"tier {tier} is oversold: {figures}"

    def figures(self) -> dict[str, dict[str, int]]:
        """Of each tier what its availability has to say."""
        figures = {tier: {"capacity": n, "available": n, "held": 0, "sold": 0} for tier, n in self.capacity.items()}
        for ticket in self.tickets.values():
            if ticket.status != "available":
                of_tier = figures[ticket.tier]
                of_tier["available"] -= 1
                of_tier["held" if ticket.status == "held" else "sold"] += 1
        return figures


def check_journal(commands: Iterable[Command], facts: Sequence[Json]) -> None:
    """Each acknowledged command is in the ledger once and where its answer said; nothing else was done by anybody."""
    by_correlation: dict[str, list[Json]] = defaultdict(list)
    for fact in facts:
        by_correlation[fact["correlation_id"]].append(fact)
    keys = set()
    for command in commands:
        keys.add(command.key)
        mine = by_correlation.get(command.key, [])
        told = f"{command.method} {command.path} was answered {command.status} and has the facts {mine}"
        if command.acknowledged:
            assert len({fact["command_id"] for fact in mine}) == 1, f"not once: {told}"
            assert mine[-1]["position"] == command.position, f"not where it said: {told}"
        else:
            assert 400 <= command.status < 500, f"without an outcome: {told}"
            assert {fact["type"] for fact in mine} <= OF_REFUSALS, f"refused and done: {told}"
    started = min(fact["position"] for fact in facts if fact["correlation_id"] in keys)
    for fact in facts[started:]:
        assert fact["correlation_id"] in keys or fact["actor"].startswith("system:"), f"nobody asked for {fact}"
