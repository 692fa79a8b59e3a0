"""What the ledger says about the week: read back through the API, counting nothing that the demo did itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from api.demo.people import DemoError, Person

PAGE_FACTS = 200
CURRENCY = "USD"


@dataclass(slots=True)
class Figures:
    """``sold`` as the availability of the events states it, ``admitted`` and ``gross_cents`` from the facts."""

    sold: int = 0
    admitted: int = 0
    gross_cents: int = 0


class LedgerReader:
    """Adds up the facts of the given events (event id → the figures of its show), page by page in any order.

    Positions have no gaps, so pages can be asked for side by side; each must be complete.
    """

    def __init__(self, auditor: Person, figures: Mapping[str, Figures]) -> None:
        self._auditor = auditor
        self._figures = figures
        self._event_of_order: dict[str, str] = {}
        self._takings: list[tuple[str, int]] = []  # order id, cents

    async def add_sold(self, event_id: str) -> int:
        availability = await self._auditor.ask("GET", f"/v1/events/{event_id}/availability")
        self._figures[event_id].sold += sum(tier["sold"] for tier in availability["tiers"])
        return 1

    async def add_page(self, after_and_last: tuple[int, int]) -> int:
        """Read the facts after the first position up to the second; how many there were."""
        after, last = after_and_last
        page = await self._auditor.ask("GET", f"/v1/ledger/events?after={after}&limit={last - after}")
        facts = page["items"]
        if [fact["position"] for fact in facts] != list(range(after + 1, last + 1)):
            raise DemoError(f"the ledger did not show every position from {after + 1} to {last}")
        for fact in facts:
            self._add(fact["type"], fact["stream_id"], fact["data"])
        return len(facts)

    def add_takings(self) -> None:
        """Once all pages are read: an order is paid after it is placed, but perhaps on a page read before."""
        for order_id, cents in self._takings:
            figures = self._figures.get(self._event_of_order.get(order_id, ""))
            if figures is not None:
                figures.gross_cents += cents

    def _add(self, fact: str, stream_id: str, data: dict[str, Any]) -> None:
        match fact:
            case "order.placed":
                self._event_of_order[stream_id] = data["event_id"]
            case "order.paid":
                self._takings.append((stream_id, _cents(data["amount"])))
            case "order.refunded":
                self._takings.append((stream_id, -_cents(data["amount"])))
            case "ticket.checked_in" if data["event_id"] in self._figures:
                self._figures[data["event_id"]].admitted += 1


def pages(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The ranges (after, up to) of at most PAGE_FACTS that cover every position after ``first`` up to ``last``."""
    for after in range(first, last, PAGE_FACTS):
        yield after, min(after + PAGE_FACTS, last)


def _cents(money: dict[str, Any]) -> int:
    if money["currency"] != CURRENCY:
        raise DemoError(f"the ledger shows {money}, the demo sold in {CURRENCY}")
    return int(money["amount"])
