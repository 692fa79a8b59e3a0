"""Rules that a history may be decided again under: limits, holds and prices other than the organisers' own.

They are read from TOML and put into the organisers' facts before anything is decided: whoever decides does not know
that they were not always so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from domain.event import QUANTITY_MAX, Event
from domain.event_details import Details
from domain.kernel import Fact
from domain.money import PRICE_MAX, Price
from domain.order import ORDER_TICKETS_MAX

FACTOR_MAX = 1_000
SECONDS_MAX = 10 * 365 * 86_400
ERRORS_SHOWN_MAX = 5
NO_LIMIT = "none"
"""TOML has no null."""
EVERY_TIER = "*"


class RulesError(ValueError):
    """The rules cannot be meant. Says where, and what would be right."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _unlimited(value: object) -> object:
    return None if value == NO_LIMIT else value


OrderTickets = Annotated[int, Field(ge=1, le=ORDER_TICKETS_MAX, strict=True)]
Seconds = Annotated[int, Field(ge=1, le=SECONDS_MAX, strict=True)]


class Limits(_Table):
    """What is not said stays as it was; ``"none"`` lifts a limit."""

    max_tickets_per_order: OrderTickets = ORDER_TICKETS_MAX
    max_tickets_per_buyer: Annotated[
        Annotated[int, Field(ge=1, le=QUANTITY_MAX, strict=True)] | None, BeforeValidator(_unlimited)
    ] = None
    buyer_window_seconds: Annotated[Seconds | None, BeforeValidator(_unlimited)] = None
    tiers: dict[str, Annotated[OrderTickets | None, BeforeValidator(_unlimited)]] = {}
    """In one order, by the tier's id or name."""


class Holds(_Table):
    seconds: Seconds


class Factor(_Table):
    """Of the price that the organiser set; rounded to the minor unit, halves away from zero."""

    factor: Annotated[Decimal, Field(gt=0, le=FACTOR_MAX)]

    def of(self, price: int) -> int:
        changed = int((price * self.factor).to_integral_value(ROUND_HALF_UP))
        if changed > PRICE_MAX:
            raise RulesError(f"{self.factor} × {price} is more than a ticket may cost")
        return changed


def _kind_of_price(value: object) -> Literal["amount", "factor"]:
    return "factor" if isinstance(value, dict | Factor) else "amount"


NewPrice = Annotated[
    Annotated[Price, Tag("amount")] | Annotated[Factor, Tag("factor")],
    Discriminator(_kind_of_price),
]


class EventRules(_Table):
    limits: Limits = Limits()
    holds: Holds | None = None
    prices: dict[str, NewPrice] = {}
    """By the tier's id or name, or ``*``: minor units, or a factor."""


class Rules(EventRules):
    event_ids: Annotated[frozenset[UUID], Field(min_length=1)] | None = None
    """Decide only the histories of these events again. None: of all."""
    events: dict[UUID, EventRules] = {}
    """For one event, before those for all."""


class Changes:
    """Rules at work, and which of their names have been met."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._met: set[tuple[str, ...]] = set()

    def concerns(self, event_id: UUID) -> bool:
        return self.rules.event_ids is None or event_id in self.rules.event_ids

    def change(self, event_id: UUID, fact: Fact) -> Fact:
        """The fact as it would have been. Raises RulesError for a price that no ticket may have."""
        layers = self._layers(event_id)
        match fact:
            case Event.Drafted() | Event.DetailsChanged():
                return fact.model_copy(update={"details": _details(fact.details, layers)})
            case Event.TierAdded():
                return self._tier(fact, layers)
        return fact

    def unmet(self) -> list[str]:
        """Names in the rules that nothing in the history has: misspelt, most likely."""
        named = {(*path, key) for path, rules in self._all() for path, key in _names(path, rules)}
        named |= {("events", str(event_id)) for event_id in self.rules.events}
        named |= {("event_ids", str(event_id)) for event_id in self.rules.event_ids or ()}
        return sorted(".".join(name) for name in named - self._met if name[-1] != EVERY_TIER)

    def _all(self) -> Iterator[tuple[tuple[str, ...], EventRules]]:
        yield (), self.rules
        for event_id, rules in self.rules.events.items():
            yield ("events", str(event_id)), rules

    def _layers(self, event_id: UUID) -> list[tuple[tuple[str, ...], EventRules]]:
        """Those for all events, then those for this one, which has the last word."""
        self._met |= {("event_ids", str(event_id)), ("events", str(event_id))}
        own = self.rules.events.get(event_id)
        return [((), self.rules)] + ([(("events", str(event_id)), own)] if own is not None else [])

    def _tier(self, tier: Event.TierAdded, layers: list[tuple[tuple[str, ...], EventRules]]) -> Event.TierAdded:
        update: dict[str, Any] = {}
        for path, rules in layers:
            for name in (EVERY_TIER, tier.name, str(tier.tier_id)):  # the most exact has the last word
                if name in rules.prices:
                    self._met.add((*path, "prices", name))
                    new = rules.prices[name]
                    update["price"] = new.of(tier.price) if isinstance(new, Factor) else new
                if name in rules.limits.tiers:
                    self._met.add((*path, "limits", "tiers", name))
                    update["max_tickets_per_order"] = rules.limits.tiers[name]
        return tier.model_copy(update=update)


def _details(details: Details, layers: list[tuple[tuple[str, ...], EventRules]]) -> Details:
    update: dict[str, Any] = {}
    for _, rules in layers:
        update |= {name: getattr(rules.limits, name) for name in rules.limits.model_fields_set - {"tiers"}}
        if rules.holds is not None:
            update["hold_seconds"] = rules.holds.seconds
    return details.model_copy(update=update)


def _names(path: tuple[str, ...], rules: EventRules) -> Iterator[tuple[tuple[str, ...], str]]:
    yield from (((*path, "prices"), name) for name in rules.prices)
    yield from (((*path, "limits", "tiers"), name) for name in rules.limits.tiers)


# -- From TOML. ------------------------------------------------------------------------


def read_rules(text: str) -> Rules:
    """Raises RulesError, with the lines that are wrong."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(str(error)) from error
    try:
        return Rules.model_validate(document)
    except ValidationError as error:
        lines = _lines(text)
        found = [_explain(each, document, lines) for each in error.errors()[:ERRORS_SHOWN_MAX]]
        raise RulesError("; ".join(found)) from error


def _explain(error: Mapping[str, Any], document: dict[str, Any], lines: dict[tuple[str, ...], int]) -> str:
    path = _path(error["loc"], document)
    line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), 0)
    what = "there is no such rule" if error["type"] == "extra_forbidden" else str(error["msg"])
    where = ".".join(path) or "the rules"
    return f"line {line}: {where}: {what}" if line else f"{where}: {what}"


def _path(location: tuple[int | str, ...], document: dict[str, Any]) -> tuple[str, ...]:
    """Where it is in the document: the location without what only the validator knows of."""
    path: list[str] = []
    inside: Any = document
    for part in location:
        if isinstance(inside, dict) and str(part) in inside:
            path.append(str(part))
            inside = inside[str(part)]
    return tuple(path)


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """On which line each table and key stands. The parser does not say, so its headers and keys are parsed singly."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            path = _keys(line)
            table = path or table
        else:
            path = table + _keys(line)
        for end in range(1, len(path) + 1):
            lines.setdefault(path[:end], number)
        if path != table:
            lines[path] = number
    return lines


def _keys(line: str) -> tuple[str, ...]:
    """The path that one line alone leads to; none for the middle of a value, or a comment."""
    for text in (line, *(line[:at] + "= 0" for at, letter in enumerate(line) if letter == "=")):
        try:
            inside: Any = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        path: list[str] = []
        while isinstance(inside, dict) and len(inside) == 1:
            key, inside = next(iter(inside.items()))
            path.append(key)
        return tuple(path)
    return ()
