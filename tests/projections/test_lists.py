"""Lists of orders, tickets and accounts: newest first, page by page, now and as of a position; and their questions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from domain.account import Account, Role
from domain.event import Event
from domain.money import Money
from domain.order import Line, Order
from domain.seat import Seat
from domain.ticket import Ticket
from projections import account, inventory, order, ticket
from projections.event_search import search
from projections.kernel import Views
from projections.order import OrderRow
from projections.ticket import TicketRow
from tests.projections.book import Book
from tests.projections.conftest import Ask
from tests.projections.town import NOW, details

EVENT, TIER, BUYER, FRIEND = uuid4(), uuid4(), uuid4(), uuid4()


def placed(buyer_id: UUID = BUYER, event_id: UUID = EVENT, minutes: int = 10) -> Order.Placed:
    line = Line(ticket_id=uuid4(), tier_id=TIER, serial=1, price=4500)
    total, expires_at = Money(amount=4500, currency="EUR"), NOW + timedelta(minutes=minutes)
    return Order.Placed(buyer_id=buyer_id, event_id=event_id, lines=(line,), total=total, expires_at=expires_at, at=NOW)


def held(seat: Seat | None = None, buyer_id: UUID = BUYER) -> Ticket.Held:
    serial = None if seat else 1
    return Ticket.Held(
        event_id=EVENT,
        tier_id=TIER,
        serial=serial,
        seat=seat,
        price=1,
        order_id=uuid4(),
        buyer_id=buyer_id,
        until=NOW,
        at=NOW,
    )


def paid() -> Ticket.Paid:
    return Ticket.Paid(event_id=EVENT, tier_id=TIER, at=NOW)


def test_orders_by_buyer_and_by_event_in_pages(book: Book, caught_up: Callable[[], int], ask: Ask) -> None:
    mine = [uuid4() for _ in range(5)]
    for order_id in mine:
        book.append((order_id, placed()), (uuid4(), placed(buyer_id=FRIEND)), (uuid4(), placed(event_id=uuid4())))
    caught_up()

    pages: list[OrderRow] = []
    while page := ask(order.of_buyer, BUYER, before=pages[-1].placed_position if pages else None, limit=4):
        pages += page
    assert [row.placed_position for row in pages] == [15, 13, 12, 10, 9, 7, 6, 4, 3, 1]
    assert [row.order_id for row in pages if row.event_id == EVENT] == mine[::-1]
    assert [row.placed_position for row in ask(order.of_event, EVENT, limit=3)] == [14, 13, 11]
    assert [row.placed_position for row in ask(order.of_event, EVENT, as_of=5, limit=3)] == [5, 4, 2]
    assert [row.placed_position for row in ask(order.of_buyer, BUYER, as_of=6, before=6, limit=9)] == [4, 3, 1]
    first = pages[-1]
    assert (first.status, first.total_amount, first.currency, first.ticket_count) == ("pending", 4500, "EUR", 1)
    assert (first.placed_at, first.expires_at) == (NOW, NOW + timedelta(minutes=10))


def test_orders_that_wait_for_payment_soonest_first(book: Book, caught_up: Callable[[], int], ask: Ask) -> None:
    late, soon, gone = uuid4(), uuid4(), uuid4()
    book.append((late, placed(minutes=9)), (soon, placed(minutes=1)), (gone, placed()), (gone, Order.Expired(at=NOW)))
    caught_up()
    assert [order_id for order_id, _ in ask(order.pending, limit=10)] == [soon, late]
    assert ask(order.pending, limit=1) == [(soon, NOW + timedelta(minutes=1))]


@pytest.mark.parametrize(("end", "status"), [(Event.Ended(at=NOW), "fulfilled"), (Event.Archived(at=NOW), "paid")])
def test_an_order_that_was_paid_is_fulfilled_when_the_event_has_been(
    book: Book, caught_up: Callable[[], int], ask: Ask, end: Event.Ended | Event.Archived, status: str
) -> None:
    order_id, amount = uuid4(), Money(amount=4500, currency="EUR")
    payment = Order.Paid(payment_id=uuid4(), provider="sandbox", amount=amount, at=NOW)
    book.append((order_id, placed()), (order_id, payment), (uuid4(), placed()), (EVENT, end))
    caught_up()
    assert [row.status for row in ask(order.of_event, EVENT, limit=9)] == ["pending", status]


def test_money_that_is_to_come_back(book: Book, caught_up: Callable[[], int], ask: Ask) -> None:
    other, amount = uuid4(), Money(amount=4500, currency="EUR")
    paid_for, refunded, waiting, elsewhere = (uuid4() for _ in range(4))
    payment = Order.Paid(payment_id=uuid4(), provider="sandbox", amount=amount, at=NOW)
    refund = Order.Refunded(refund_id=uuid4(), ticket_ids=(uuid4(),), amount=amount, reason="asked", at=NOW)
    for order_id in (paid_for, refunded, waiting):
        book.append((order_id, placed()))
    book.append((elsewhere, placed(event_id=other)), (elsewhere, payment))
    book.append((paid_for, payment), (refunded, payment), (refunded, refund))
    for event_id in (EVENT, other):
        book.append((event_id, Event.Drafted(organizer_id=uuid4(), currency="EUR", details=details(), at=NOW)))
    book.append((EVENT, Event.Cancelled(reason="rain", at=NOW)))
    caught_up()
    assert ask(order.events_to_refund, limit=9) == [EVENT]
    assert ask(order.paid_of_event, EVENT, limit=9) == [paid_for]
    assert {row.order_id: row.status for row in ask(order.of_event, EVENT, limit=9)} == {
        paid_for: "paid",
        refunded: "refunded",
        waiting: "pending",
    }


def test_tickets_by_holder_in_the_order_in_which_they_came(book: Book, caught_up: Callable[[], int], ask: Ask) -> None:
    ids = [uuid4() for _ in range(4)]
    for ticket_id in ids:
        book.append((ticket_id, held()), (ticket_id, paid()))
    transferred = Ticket.Transferred(from_id=BUYER, to=FRIEND, at=NOW)
    book.append((ids[0], transferred))
    book.append((ids[2], transferred), (ids[2], Ticket.Transferred(from_id=FRIEND, to=BUYER, at=NOW)))
    caught_up()

    pages: list[TicketRow] = []
    while page := ask(ticket.held_by, BUYER, before=pages[-1].acquired_position if pages else None, limit=2):
        pages += page
    assert [(row.ticket_id, row.acquired_position) for row in pages] == [(ids[2], 11), (ids[3], 7), (ids[1], 3)]
    assert [row.ticket_id for row in ask(ticket.held_by, FRIEND, limit=9)] == [ids[0]]

    def then(holder_id: UUID, position: int, before: int | None = None) -> list[UUID]:
        return [row[0] for row in ask(ticket.held_by_as_of, holder_id, position, before=before, limit=2)]

    assert then(BUYER, 8) == [ids[3], ids[2]]
    assert then(BUYER, 8, before=5) == [ids[1], ids[0]]
    assert then(BUYER, 10) == [ids[3], ids[1]]
    assert then(FRIEND, 10) == [ids[2], ids[0]]
    assert then(FRIEND, 8) == []


@pytest.mark.parametrize(
    ("end", "status"), [(Event.Ended(at=NOW), "expired"), (Event.Cancelled(reason="rain", at=NOW), "cancelled")]
)
def test_one_fact_of_the_event_ends_all_its_unused_tickets(
    book: Book, caught_up: Callable[[], int], ask: Ask, end: Event.Ended | Event.Cancelled, status: str
) -> None:
    seats = [Seat(section="A", row="1", number=str(number)) for number in range(4)]
    waiting, unused, used, free = (uuid4() for _ in seats)
    for ticket_id, seat in zip((waiting, unused, used, free), seats, strict=True):
        book.append((ticket_id, held(seat)))
    book.append((unused, paid()), (used, paid()))
    book.append((used, Ticket.CheckedIn(event_id=EVENT, tier_id=TIER, gate="North", at=NOW)))
    book.append((free, Ticket.Released(cause="expired", event_id=EVENT, tier_id=TIER, at=NOW)), (EVENT, end))
    caught_up()
    shown = {row.ticket_id: row.status for row in ask(ticket.taken_seats, EVENT)}
    assert shown == {waiting: "held", unused: status, used: "checked_in"}
    assert {row.ticket_id: row.status for row in ask(ticket.held_by, BUYER, limit=9)} == shown
    own = {row.ticket_id: (row.version, row.status) for row in ask(ticket.taken_of_tier, EVENT, TIER)}
    assert own == {waiting: (1, "held"), unused: (2, "paid"), used: (3, "checked_in"), free: (2, "available")}


def test_availability_of_an_event_that_is_not_there_has_no_tiers(
    book: Book, caught_up: Callable[[], int], ask: Ask
) -> None:
    book.append((uuid4(), held()))
    caught_up()
    assert ask(inventory.availability, uuid4()) == (1, [])
    assert ask(inventory.availability, uuid4(), as_of=0) == (0, [])


def test_accounts_by_address_and_role(book: Book, caught_up: Callable[[], int], ask: Ask) -> None:
    for name, roles in (("ann", (Role.ADMIN, Role.GATE)), ("bob", (Role.GATE,)), ("cy", (Role.ATTENDEE,))):
        registered = Account.Registered(email=f"{name}@example.com", name=name, roles=roles, at=NOW)
        book.append((uuid4(), registered))
    caught_up()

    def names(**wanted: object) -> list[str | None]:
        return [row.name for row in ask(account.listed, limit=2, **wanted)]

    assert names() == ["cy", "bob"]
    assert names(before=2) == ["ann"]
    assert names(role="gate") == ["bob", "ann"]
    assert names(role="analyst") == []


def test_questions_are_asked_of_the_port_alone() -> None:
    """Nothing in projections/ knows what answers."""
    for question in (order.of_buyer, ticket.held_by, inventory.availability, account.listed, search):
        assert question.__annotations__["views"] == Views.__name__
