"""Two courses of one history, counted: what is summed, what is kept for example, and what people are shown of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from adapters.what_if import WhatIf
from api.cli import what_if
from domain.event import Event
from domain.kernel import Fact
from domain.money import Money
from domain.order import Order, SoldOutError
from domain.ticket import Ticket
from projections.what_if import EXAMPLES_MAX, Comparison, Figures
from tests.domain.event_facts import details, released
from tests.domain.happening import BUYER, EVENT, MOMENT, NOW, ORDER, ORGANIZER, PAYMENT, TIER, numbered


def drafted(title: str, currency: str = "EUR") -> Event.Drafted:
    return Event.Drafted(organizer_id=ORGANIZER, currency=currency, details=details(title=title), at=NOW)


def paid(amount: int, currency: str = "EUR") -> Order.Paid:
    money = Money(amount=amount, currency=currency)
    return Order.Paid(payment_id=PAYMENT, provider="sandbox", amount=money, at=NOW)


def held(minutes: int) -> Ticket.Held:
    at = NOW + timedelta(minutes=minutes)
    return Ticket.Held(
        event_id=EVENT, tier_id=TIER, serial=1, price=1, order_id=ORDER, buyer_id=BUYER, until=at + MOMENT, at=at
    )


def let_go(minutes: int) -> Ticket.Released:
    return Ticket.Released(cause="expired", event_id=EVENT, tier_id=TIER, at=NOW + timedelta(minutes=minutes))


def figures(*facts: Fact) -> Figures:
    counted = Figures()
    counted.take((EVENT, fact) for fact in facts)
    return counted


def compared(comparison: Comparison, number: int, recorded: list[Fact], decided: list[Fact]) -> None:
    was, now = ([(numbered(number), fact) for fact in facts] for facts in (recorded, decided))
    comparison.take(numbered(number), was, now, asked=True, same=was == now)


def shown(comparison: Comparison, capsys: pytest.CaptureFixture[str], *unmet: str, unread: int = 0) -> tuple[str, str]:
    what_if._show(WhatIf(comparison, 7, unread, list(unmet)))
    told = capsys.readouterr()
    return told.out, told.err


def test_sold_out_is_the_first_instant_at_which_nothing_was_free() -> None:
    assert figures(released(2), held(1)).sold_out_at is None
    again = figures(released(2), held(1), held(2), let_go(3), held(4))
    assert again.sold_out_at == NOW + timedelta(minutes=2)
    assert (again.free, again.capacity) == (0, 2)
    assert figures(released(2), held(1), held(2), let_go(3), released(5)).free == 6


def test_currencies_are_not_added_up() -> None:
    comparison = Comparison()
    for number, currency, amount in ((1, "USD", 5), (2, "EUR", 7), (3, "USD", 11)):
        fact = drafted("A concert", currency)
        compared(comparison, number, [fact, paid(amount, currency)], [fact, paid(2 * amount, currency)])
    totals = [(total.currency, total.recorded.revenue, total.decided.revenue) for total in comparison.totals()]
    assert totals == [("EUR", 7, 14), ("USD", 16, 32)]


def test_of_each_reason_a_few_examples_are_kept_and_all_are_counted() -> None:
    comparison = Comparison()
    for position in range(1, 3 * EXAMPLES_MAX):
        comparison.refuse("order.placed", SoldOutError(), position, numbered(position))
    (refused,) = comparison.refusals.values()
    assert refused.count == 3 * EXAMPLES_MAX - 1
    assert [example.position for example in refused.examples] == list(range(1, EXAMPLES_MAX + 1))


def test_where_facts_differ_and_figures_do_not_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = Comparison()
    compared(comparison, 1, [drafted("One")], [drafted("Another")])
    assert not comparison.same
    out, err = shown(comparison, capsys, "prices.Standng", unread=3)
    assert "intentions decided again: 1; differently: 1." in out
    assert "No figure would have differed." in out
    assert err.splitlines() == [
        "nothing in the history is named by prices.Standng",
        "3 facts could not be read by this release and are left out",
    ]


def test_the_events_that_differ_most_are_shown_as_they_are_called(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = Comparison()
    for number in range(1, what_if.EVENTS_SHOWN_MAX + 3):
        fact = drafted(f"[bold]{number:02}[/]")
        compared(comparison, number, [fact, paid(1_000)], [fact, paid(1_000 - number)])
    out, _ = shown(comparison, capsys)
    titles = [line.split()[1] for line in out.splitlines() if "[bold]" in line]
    assert titles == [f"[bold]{number:02}[/]" for number in range(what_if.EVENTS_SHOWN_MAX + 2, 2, -1)]
    assert "and 2 more; --json has all of them" in out
