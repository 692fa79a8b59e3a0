"""Whatever people do, each view says of every moment what the aggregates of that moment say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.kernel import Aggregate, Fact
from domain.ticket import TicketStatus
from projections import account, event_search, inventory, order, reconciliation, ticket, wallet
from projections.event_search import Search
from projections.registry import ALL
from tests.projections.book import Book
from tests.projections.conftest import Ask
from tests.projections.town import Town
from tests.projections.town_wallets import unidentified

SEEDS = range(4)
ACTS = 400
LIMIT = 1_000
FREE = (TicketStatus.AVAILABLE, TicketStatus.HELD)

Figures = dict[UUID, list[tuple[UUID, int, int, int, int, int]]]
Holdings = dict[UUID, set[UUID]]


class Topics:
    """What is written in a ledger that nobody reads."""

    def __init__(self) -> None:
        self.seen: set[type[Fact]] = set()

    def save(self, *aggregates: Aggregate) -> int:
        for aggregate in aggregates:
            self.seen |= {type(fact) for fact in aggregate.pending}
            aggregate.pending.clear()
        return 0


def test_the_town_brings_about_every_fact_that_a_view_handles() -> None:
    topics = Topics()
    for seed in SEEDS:
        Town(topics, Random(seed)).act(ACTS)
    assert {fact for projection in ALL for fact in projection.handlers} <= topics.seen


def figures(town: Town) -> Figures:
    """Of each event the tiers in order, with capacity, available, held, sold and checked in."""
    counts = Counter((t.tier_id, t.status) for t in town.tickets.values())
    result: Figures = {}
    for event in town.events.values():
        rows = result[event.id] = []
        for tier in event.tiers.values():
            held = counts[tier.tier_id, TicketStatus.HELD]
            sold = sum(counts[tier.tier_id, status] for status in TicketStatus if status not in FREE)
            entered = counts[tier.tier_id, TicketStatus.CHECKED_IN]
            rows.append((tier.tier_id, tier.capacity, tier.capacity - held - sold, held, sold, entered))
    return result


def holdings(town: Town) -> Holdings:
    return {p: {t.id for t in town.tickets.values() if t.holder_id == p} for p in town.people}


def linked(town: Town) -> Holdings:
    """The streams of everybody's wallets."""
    return {p: {w.id for w in town.wallets.values() if w.account_id == p} for p in town.people}


@pytest.mark.parametrize("seed", SEEDS)
def test_views_are_what_the_aggregates_are_now_and_were_at_every_position(
    book: Book, ask: Ask, caught_up: Callable[[], int], seed: int
) -> None:
    town = Town(book, Random(seed))
    moments: list[tuple[int, Figures, Holdings, Holdings, dict[UUID, str]]] = []
    for turn in range(ACTS):
        town.act()
        if turn % 40 == 39:
            statuses = {event.id: event.status.value for event in town.events.values()}
            moments.append((town.position, figures(town), holdings(town), linked(town), statuses))
        if turn % 150 == 149:
            caught_up()
    caught_up()

    assert_tickets(town, ask)
    assert_orders(town, ask)
    assert_accounts(town, ask)
    assert_wallets(town, ask)
    assert_rules(town, ask)
    assert_reconciliations(town, ask)
    for moment in moments:
        assert_moment(ask, *moment)
    assert {event_id: answer(ask, event_id, None) for event_id in town.events} == figures(town)


def answer(ask: Ask, event_id: UUID, as_of: int | None) -> list[tuple[UUID, int, int, int, int, int]]:
    tiers = ask(inventory.availability, event_id, as_of=as_of).tiers
    assert all(t.available + t.held + t.sold == t.capacity and t.available >= 0 for t in tiers)
    return [(t.tier_id, t.capacity, t.available, t.held, t.sold, t.checked_in) for t in tiers]


def assert_moment(
    ask: Ask, position: int, then: Figures, held: Holdings, wallets: Holdings, statuses: dict[UUID, str]
) -> None:
    assert {event_id: answer(ask, event_id, position) for event_id in then} == then
    for person, ids in held.items():
        rows = ask(ticket.held_by_as_of, person, position, limit=LIMIT)
        assert {ticket_id for ticket_id, _ in rows} == ids
        assert [at for _, at in rows] == sorted((at for _, at in rows), reverse=True)
    for person, ids in wallets.items():
        assert {wallet_id for wallet_id, _ in ask(wallet.of_account_as_of, person, position, limit=LIMIT)} == ids
    shown = ask(event_search.search, Search(as_of=position), limit=LIMIT)
    assert {e.event_id: e.status for e in shown} == {e: s for e, s in statuses.items() if s != "draft"}


def assert_tickets(town: Town, ask: Ask) -> None:
    for person in town.people:
        rows = ask(ticket.held_by, person, limit=LIMIT)
        assert {row.ticket_id for row in rows} == {t.id for t in town.tickets.values() if t.holder_id == person}
        for row in rows:
            t = town.tickets[row.ticket_id]
            seen = t.status_during(town.events[t.known_event_id])
            assert (row.status, row.version, row.custody, row.seat) == (seen, t.version, t.custody, t.seat)
            assert (row.order_id, row.offered_to, row.claimed) == (
                t.order_id,
                t.offered_to,
                t.attendee_name is not None,
            )
            assert (row.held_until, row.checked_in_at, row.gate) == (t.held_until, t.checked_in_at, t.gate)
            assert (row.price, row.serial, row.cancel_reason) == (t.price, t.serial, t.cancel_reason)
            assert row.wallet == t.wallet
    for event in town.events.values():
        for tier_id in event.tiers:
            taken = {row.ticket_id: row for row in ask(ticket.taken_of_tier, event.id, tier_id)}
            known = {t.id: t for t in town.tickets.values() if t.tier_id == tier_id}
            assert {k: (row.version, row.status) for k, row in taken.items()} == {
                k: (t.version, t.status) for k, t in known.items()
            }


def assert_orders(town: Town, ask: Ask) -> None:
    pending = dict(ask(order.pending, limit=LIMIT))
    assert pending == {o.id: o.expires_at for o in town.orders.values() if o.status == "pending"}
    for event in town.events.values():
        rows = {row.order_id: row for row in ask(order.of_event, event.id, limit=LIMIT)}
        mine = {o.id: o for o in town.orders.values() if o.event_id == event.id}
        assert {k: (row.status, row.version, row.refunded_amount) for k, row in rows.items()} == {
            k: (o.status_during(event), o.version, o.refunded_amount) for k, o in mine.items()
        }
        refundable = {o.id for o in mine.values() if o.status in ("paid", "partly_refunded")}
        assert set(ask(order.paid_of_event, event.id, limit=LIMIT)) == refundable


def assert_accounts(town: Town, ask: Ask) -> None:
    rows = ask(account.listed, limit=LIMIT)
    assert [row.account_id for row in rows] == [a.id for a in reversed(town.accounts)]
    assert [(row.email, row.erased, set(row.roles)) for row in rows] == [
        (a.email, a.erased, set(a.roles)) for a in reversed(town.accounts)
    ]


def assert_wallets(town: Town, ask: Ask) -> None:
    for person, ids in linked(town).items():
        rows = ask(wallet.of_account, person, limit=LIMIT)
        assert {wallet_id for wallet_id, _ in rows} == ids
        assert [at for _, at in rows] == sorted((at for _, at in rows), reverse=True)
    assert set(ask(wallet.unidentified_tickets, limit=LIMIT)) == unidentified(town)


def assert_rules(town: Town, ask: Ask) -> None:
    shown = ask(event_search.search, Search(), limit=LIMIT)
    assert {e.event_id: e.resale_rules for e in shown} == {
        e.id: e.resale_rules for e in town.events.values() if e.status != "draft"
    }


def assert_reconciliations(town: Town, ask: Ask) -> None:
    rows = ask(reconciliation.latest, limit=LIMIT)
    assert [(row.reconciliation_id, row.status, row.repair) for row in rows] == [
        (r.id, r.status, r.repair) for r in reversed(town.reconciliations)
    ]
    shown = {row.reconciliation_id: (row.tickets, row.unexplained, row.clean) for row in rows}
    told = {r.id: r.report for r in town.reconciliations}
    assert shown == {
        known: (None, None, None) if report is None else (report.tickets, report.unexplained, report.clean)
        for known, report in told.items()
    }


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=True))
def test_at_every_position_available_and_held_and_sold_make_up_the_capacity(
    book: Book, caught_up: Callable[[], int], random: Random
) -> None:
    Town(book, random).act(60)
    caught_up()
    checked, wrong = one(book, TALLY_CHECK)
    assert wrong == 0
    assert checked == one(book, "select count(*) from ledger.events where topic = any(%s)", TALLIED)[0]


TALLIED = ["event.tier_added", "event.released", "ticket.held", "ticket.released", "ticket.paid", "ticket.checked_in"]
TALLY_CHECK = """
    select count(*), count(*) filter (where available + held + sold <> capacity or checked_in > sold
                                         or least(available, held, sold, checked_in) < 0)
      from inventory.tally"""


def one(book: Book, query: str, *params: object) -> tuple[int, ...]:
    row = book.connection.execute(query.encode(), params).fetchone()
    assert row is not None
    return tuple(row)
