"""Two courses of one history held against each other: the figures of each event as they are, and as they would be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from domain.event import Event
from domain.kernel import Fact, Refusal
from domain.order import Order
from domain.ticket import Ticket

EXAMPLES_MAX = 5
"""Of each reason why something was refused."""

Facts = Iterable[tuple[UUID, Fact]]


@dataclass(slots=True)
class Figures:
    """What facts of one event come to. Amounts are minor units of its currency."""

    orders: int = 0
    """Placed."""
    paid_orders: int = 0
    expired_orders: int = 0
    cancelled_orders: int = 0
    tickets: int = 0
    """Paid for, those that were refunded later included."""
    revenue: int = 0
    """For them."""
    refunded_tickets: int = 0
    refunds: int = 0
    late_payments: int = 0
    """That came when the hold had ended, and were sent back."""
    admitted: int = 0
    capacity: int = 0
    free: int = 0
    """Neither held nor sold. A cancelled ticket's place is not sold again."""
    sold_out_at: datetime | None = None
    """When for the first time nothing was free."""

    def take(self, facts: Facts) -> None:
        for _, fact in facts:
            self._take(fact)

    def _take(self, fact: Fact) -> None:
        match fact:
            case Ticket.Held():
                self._use(-1, fact.at)
            case Ticket.Released():
                self.free += 1
            case Ticket.Paid():
                self.tickets += 1
            case Ticket.CheckedIn():
                self.admitted += 1
            case Event.Released():
                self.capacity += fact.release.quantity
                self._use(fact.release.quantity, fact.at)
            case _ if fact.stream_type == Order.stream_type:
                self._take_order(fact)

    def _use(self, change: int, at: datetime) -> None:
        self.free += change
        if self.free == 0 and self.sold_out_at is None:
            self.sold_out_at = at

    def _take_order(self, fact: Fact) -> None:
        match fact:
            case Order.Placed():
                self.orders += 1
            case Order.Paid():
                self.paid_orders += 1
                self.revenue += fact.amount.amount
            case Order.Expired():
                self.expired_orders += 1
            case Order.Cancelled():
                self.cancelled_orders += 1
            case Order.Refunded():
                self.refunded_tickets += len(fact.ticket_ids)
                self.refunds += fact.amount.amount
            case Order.LatePaymentRefunded():
                self.late_payments += 1

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in self.values().items()
        }

    def values(self) -> dict[str, int | datetime | None]:
        return {each.name: getattr(self, each.name) for each in fields(self)}


SUMMED = tuple(each.name for each in fields(Figures) if each.name != "sold_out_at")


@dataclass(slots=True)
class Course:
    """One event in both courses."""

    title: str = ""
    currency: str = ""
    recorded: Figures = field(default_factory=Figures)
    decided: Figures = field(default_factory=Figures)

    @property
    def same(self) -> bool:
        return self.recorded == self.decided


class Example(NamedTuple):
    position: int
    stream_id: UUID
    detail: str


@dataclass(slots=True)
class Refusals:
    """Of one thing that was asked for, for one reason."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)


class Comparison:
    """Both courses so far. O(events) of memory."""

    def __init__(self) -> None:
        self.courses: defaultdict[UUID, Course] = defaultdict(Course)
        self.refusals: defaultdict[tuple[str, str], Refusals] = defaultdict(Refusals)
        """(topic of what was asked for, code) → how often, and for example."""
        self.intentions: Counter[bool] = Counter()
        """By whether they came to the same facts."""

    def take(self, event_id: UUID, recorded: Facts, decided: Facts, *, asked: bool, same: bool) -> None:
        """``asked``: somebody did; otherwise it was due."""
        course = self.courses[event_id]
        if not course.currency:
            for _, fact in recorded:
                if isinstance(fact, Event.Drafted):
                    course.title, course.currency = fact.details.title, fact.currency
        course.recorded.take(recorded)
        course.decided.take(decided)
        if asked:
            self.intentions[same] += 1

    def refuse(self, asked: str, refusal: Refusal, position: int, stream_id: UUID) -> None:
        refused = self.refusals[asked, refusal.code]
        refused.count += 1
        if len(refused.examples) < EXAMPLES_MAX:
            refused.examples.append(Example(position, stream_id, refusal.detail))

    @property
    def same(self) -> bool:
        """Whether every intention came to the facts that are recorded, and nothing else did."""
        return not self.intentions[False] and all(course.same for course in self.courses.values())

    def changed(self) -> list[tuple[UUID, Course]]:
        """Events whose figures differ, in the order in which they were drafted."""
        return [(event_id, course) for event_id, course in self.courses.items() if not course.same]

    def totals(self) -> list[Course]:
        """For each currency the sums over its events."""
        sums: dict[str, Course] = {}
        for course in self.courses.values():
            total = sums.setdefault(course.currency, Course(currency=course.currency))
            _add(total.recorded, course.recorded)
            _add(total.decided, course.decided)
        return [sums[currency] for currency in sorted(sums)]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "same": self.same,
            "intentions": {"same": self.intentions[True], "different": self.intentions[False]},
            "totals": [_sides(total, SUMMED) | {"currency": total.currency} for total in self.totals()],
            "refusals": self._refusals(),
            "events": [
                {"event_id": str(event_id), "title": course.title, "currency": course.currency} | _sides(course)
                for event_id, course in self.courses.items()
            ],
        }

    def _refusals(self) -> list[dict[str, Any]]:
        return [
            {
                "asked": asked,
                "code": code,
                "count": refused.count,
                "examples": [
                    {"position": example.position, "stream_id": str(example.stream_id), "detail": example.detail}
                    for example in refused.examples
                ],
            }
            for (asked, code), refused in sorted(self.refusals.items())
        ]


def _add(total: Figures, more: Figures) -> None:
    for name in SUMMED:
        setattr(total, name, getattr(total, name) + getattr(more, name))


def _sides(course: Course, names: Sequence[str] | None = None) -> dict[str, Any]:
    sides = {"recorded": course.recorded.document(), "what_if": course.decided.document()}
    return {side: {name: figures[name] for name in names or figures} for side, figures in sides.items()}
