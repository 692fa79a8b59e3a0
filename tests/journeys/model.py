"""What Counterfoil does, said again in plain Python: no ledger, no clock, no concurrency, one event.

Each method is one command. It answers with the refusal the API must give, or None and the state has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from tests.journeys.model_state import ADMITTING, Item, Order, State, Ticket


class Refused(NamedTuple):
    status: int
    code: str


NOT_FOUND = Refused(404, "not-found")
FORBIDDEN = Refused(403, "forbidden")
INVALID = Refused(422, "invalid")
BAD_CODE = Refused(422, "bad-code")
DECLINED = Refused(402, "payment-declined")
UNUSABLE = {
    "cancelled": "cancelled",
    "checked_in": "already-checked-in",
    "held": "not-paid",
    "available": "not-paid",
}
"""Status → the code of the refusal to do anything with such a ticket."""


def conflict(code: str) -> Refused:
    return Refused(409, code)


class Model(State):
    # -- The event. -----------------------------------------------------------------

    def publish(self) -> Refused | None:
        if self.status != "draft":
            return conflict("not-a-draft")
        self.status = "published"
        return None

    def cancel(self) -> Refused | None:
        """And what the worker makes of it: everybody who paid is refunded."""
        if self.status == "cancelled":
            return conflict("event-over")
        self.status = "cancelled"
        for order_id, order in self.orders.items():
            if order.status in ("paid", "partly_refunded"):
                self.refund(order_id)
        return None

    def open_doors(self) -> Refused | None:
        if self.status == "cancelled":
            return conflict("event-over")
        self.doors_open = True
        return None

    def staff_gates(self, people: Iterable[str]) -> Refused | None:
        if not set(people) <= set(self.gates):
            return INVALID
        if self.status == "cancelled":
            return conflict("event-over")
        self.staff = frozenset(people)
        return None

    def release(self, tier: str, places: Sequence[int | str]) -> Refused | None:
        if self.status == "cancelled":
            return conflict("event-over")
        if not set(places).isdisjoint(self.tiers[tier].places):
            return conflict("seat-exists")
        self.tiers[tier].places += places
        return None

    # -- Orders. --------------------------------------------------------------------

    def place(self, buyer: str, items: Sequence[Item]) -> Refused | None:
        """Only decides: which places it is to be is the server's choice, see `placed`."""
        named = [seat for item in items for seat in item.seats or ()]
        by_seat = {item.tier for item in items if item.seats is not None}
        if len(set(named)) < len(named) or any(item.seats is None and item.tier in by_seat for item in items):
            return INVALID
        if self.status != "published":
            return conflict("not-on-sale")
        count = sum(item.quantity or len(item.seats or ()) for item in items)
        if count > self.order_max:
            return conflict("limit-exceeded")
        wanted: dict[str, int] = {}
        for item in items:
            if (refused := self._unavailable(item, wanted)) is not None:
                return refused
        if self.buyer_max is not None and self.taken_by(buyer) + count > self.buyer_max:
            return conflict("limit-exceeded")
        return None

    def _unavailable(self, item: Item, wanted: dict[str, int]) -> Refused | None:
        tier = self.tiers[item.tier]
        free = self.free(item.tier)
        if item.seats is None:
            wanted[item.tier] = wanted.get(item.tier, 0) + (item.quantity or 0)
            return conflict("sold-out") if wanted[item.tier] > len(free) else None
        if not tier.seated or not set(item.seats) <= set(tier.places):
            return INVALID
        return None if set(item.seats) <= free else conflict("seat-taken")

    def placed(self, order_id: str, buyer: str, places: dict[str, tuple[str, int | str]]) -> None:
        """The order holds these tickets (id → tier and place), all of which were free."""
        for ticket_id, (name, place) in places.items():
            assert place in self.free(name), f"{name} {place} was not free"
            ticket = self.tickets.setdefault(ticket_id, Ticket(place, name, self.tiers[name].price))
            assert (ticket.place, ticket.tier) == (place, name), "a place changed its ticket"
            ticket.status, ticket.order, ticket.holder = "held", order_id, buyer
            ticket.custody += 1
            ticket.record("held")
        total = sum(self.tiers[name].price for name, _ in places.values())
        self.orders[order_id] = Order(buyer, list(places), total)

    def pay(self, caller: str, order_id: str, provider: str, token: str) -> Refused | None:
        order = self.orders[order_id]
        if caller != order.buyer:
            return NOT_FOUND
        if provider != "sandbox":
            return INVALID
        if (refused := self._not_payable(order)) is not None:
            return refused
        match token:
            case "tok_ok":
                self._settle(order, "paid")
                return None
            case "tok_declined":
                order.facts += 1
                return DECLINED
        return INVALID

    def _not_payable(self, order: Order) -> Refused | None:
        if order.status != "pending":
            return conflict("order-not-pending")
        return conflict("event-over") if self.status == "cancelled" else None

    def give_up(self, caller: str, order_id: str) -> Refused | None:
        order = self.orders[order_id]
        if caller != order.buyer:
            return NOT_FOUND
        if order.status != "pending":
            return conflict("order-not-pending")
        self._settle(order, "cancelled")
        return None

    def _settle(self, order: Order, status: str) -> None:
        order.status = status
        order.facts += 1
        for ticket_id in order.tickets:
            ticket = self.tickets[ticket_id]
            if status == "paid":
                ticket.status = "paid"
                ticket.record("paid")
            else:
                ticket.status, ticket.order, ticket.holder = "available", None, None
                ticket.record("released")

    def refund(self, order_id: str, ticket_ids: Collection[str] | None = None) -> Refused | None:
        order = self.orders[order_id]
        if order.status not in ("paid", "partly_refunded"):
            return conflict("order-not-paid")
        wanted = order.tickets if ticket_ids is None else ticket_ids
        if not set(wanted) <= set(order.tickets):
            return NOT_FOUND
        due = [ticket_id for ticket_id in wanted if ticket_id not in order.refunded]
        if not due:
            return conflict("order-not-paid")
        order.facts += 1
        order.refunded |= {ticket_id: self.tickets[ticket_id].price for ticket_id in due}
        order.status = "refunded" if len(order.refunded) == len(order.tickets) else "partly_refunded"
        for ticket_id in wanted:
            if self.tickets[ticket_id].status in ADMITTING:
                self._void(self.tickets[ticket_id])
        return None

    # -- Tickets. -------------------------------------------------------------------

    def claim(self, caller: str, ticket_id: str, name: str) -> Refused | None:
        ticket = self.tickets[ticket_id]
        if ticket.holder != caller:
            return NOT_FOUND
        if (refused := self._not_admitting(ticket)) is not None:
            return refused
        if (ticket.status, ticket.name) != ("claimed", name):
            ticket.status, ticket.name = "claimed", name
            ticket.record("claimed")
        return None

    def transfer(self, caller: str, ticket_id: str, to: str | None, *, offer: bool) -> Refused | None:
        """``to`` is None when nobody has the address."""
        ticket = self.tickets[ticket_id]
        if ticket.holder != caller:
            return NOT_FOUND
        if to is None:
            return INVALID
        if (refused := self._not_admitting(ticket)) is not None:
            return refused
        if to == caller:
            return conflict("same-holder")
        if not offer:
            self._hand_over(ticket, to)
        elif ticket.offered_to is not None:
            return conflict("transfer-pending")
        else:
            ticket.offered_to = to
            ticket.record("transfer_offered")
        return None

    def accept(self, caller: str, ticket_id: str) -> Refused | None:
        ticket = self.tickets[ticket_id]
        if caller not in (ticket.offered_to, ticket.holder):
            return NOT_FOUND
        if (refused := self._not_admitting(ticket)) is not None:
            return refused
        if ticket.offered_to != caller:
            return conflict("no-transfer")
        self._hand_over(ticket, caller)
        return None

    def decline(self, caller: str, ticket_id: str) -> Refused | None:
        ticket = self.tickets[ticket_id]
        if caller not in (ticket.offered_to, ticket.holder):
            return NOT_FOUND
        if ticket.offered_to is None:
            return conflict("no-transfer")
        ticket.offered_to = None
        ticket.record("transfer_declined")
        return None

    def revoke(self, caller: str, ticket_id: str) -> Refused | None:
        if caller != self.organizer:
            return FORBIDDEN
        ticket = self.tickets[ticket_id]
        if (refused := self._not_usable(ticket)) is not None:
            return refused
        self._void(ticket)
        return None

    def check_in(self, caller: str, ticket_id: str, custody: int, *, elsewhere: bool) -> Refused | None:
        """With a code that we signed, for the ticket's ``custody``-th change of hands."""
        ticket = self.tickets[ticket_id]
        if caller != self.organizer and caller not in self.staff:
            return FORBIDDEN
        if elsewhere:
            return conflict("wrong-event")
        if (refused := self._not_to_be_admitted(ticket, custody)) is not None:
            return refused
        ticket.status = "checked_in"
        ticket.record("checked_in")
        return None

    def _not_to_be_admitted(self, ticket: Ticket, custody: int) -> Refused | None:
        if "cancelled" in (ticket.status, self.status):
            return conflict("cancelled")
        if custody != ticket.custody:
            return BAD_CODE
        if (refused := self._not_usable(ticket)) is not None:
            return refused
        return None if self.doors_open else conflict("not-yet-open")

    def code(self, caller: str, ticket_id: str) -> Refused | None:
        ticket = self.tickets[ticket_id]
        if ticket.holder != caller:
            return NOT_FOUND
        if ticket.status == "held":
            return conflict("not-paid")
        return conflict("cancelled") if self.seen(ticket) == "cancelled" else None

    def _hand_over(self, ticket: Ticket, to: str) -> None:
        ticket.holder, ticket.status, ticket.name, ticket.offered_to = to, "paid", None, None
        ticket.custody += 1
        ticket.record("transferred")

    def _void(self, ticket: Ticket) -> None:
        ticket.status, ticket.offered_to = "cancelled", None
        ticket.custody += 1
        ticket.record("cancelled")

    def _not_admitting(self, ticket: Ticket) -> Refused | None:
        return conflict("cancelled") if self.seen(ticket) == "cancelled" else self._not_usable(ticket)

    def _not_usable(self, ticket: Ticket) -> Refused | None:
        return conflict(UNUSABLE[ticket.status]) if ticket.status in UNUSABLE else None
