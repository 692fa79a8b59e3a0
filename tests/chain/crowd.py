"""What a crowd does to a box office: a random history in which everything is allowed that happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from uuid import UUID, uuid4

from domain.event import Event
from domain.kernel import Fact
from domain.resale import ResaleRules
from tests.chain.parts import NOW, RETURNED, Box, delivered, resold, transferred

Happened = list[tuple[UUID, Fact]]
WALLETS = 40
PRICE_MAX = 6000


@dataclass(slots=True)
class Paper:
    """A ticket as its holder knows it."""

    id: UUID
    event: UUID
    in_wallet: bool = False
    spent: bool = False


@dataclass
class Crowd:
    box: Box
    random: Random
    events: list[UUID] = field(default_factory=list)
    papers: list[Paper] = field(default_factory=list)

    async def open(self, events: int) -> Crowd:
        for _ in range(events):
            self.events.append(await self.box.event(rules=ResaleRules(price_max=PRICE_MAX, royalty_basis_points=500)))
        return self

    def happen(self, quantity: int) -> Happened:
        """So many things, in one go; the shares are those of an ordinary week."""
        done: Happened = []
        for _ in range(quantity):
            (act,) = self.random.choices(ACTS, WEIGHTS)
            done += act(self)
        return done

    def _sell(self) -> Happened:
        paper = Paper(uuid4(), self.random.choice(self.events))
        self.papers.append(paper)
        return self.box.sale(paper.event, paper.id)

    def _hand_on(self) -> Happened:
        """To a wallet, out of one, from one holder to the next."""
        paper = self._valid()
        if paper is None:
            return self._sell()
        number = self.random.randrange(WALLETS)
        if self.random.random() < 1 / 3:
            to = number if self.random.random() < 1 / 2 else None
            paper.in_wallet = to is not None
            return [(paper.id, resold(to, self.random.randrange(PRICE_MAX)))]
        if self.random.random() < 1 / 4:
            paper.in_wallet = False
            return [(paper.id, transferred())]
        paper.in_wallet = not paper.in_wallet
        return [(paper.id, delivered(number) if paper.in_wallet else RETURNED)]

    def _enter(self) -> Happened:
        return self._spend(lambda paper: self.box.checked_in(paper.event))

    def _revoke(self) -> Happened:
        return self._spend(lambda paper: self.box.cancelled(paper.event))

    def _spend(self, fact: Callable[[Paper], Fact]) -> Happened:
        paper = self._valid()
        if paper is None:
            return self._sell()
        paper.spent = True
        return [(paper.id, fact(paper))]

    def _change_rules(self) -> Happened:
        event = self.random.choice(self.events)
        rules = ResaleRules(price_max=PRICE_MAX + self.random.randrange(100), royalty_basis_points=250)
        return [(event, Event.ResaleRulesSet(rules=rules, at=NOW))]

    def _valid(self) -> Paper | None:
        for _ in range(10):
            paper = self.random.choice(self.papers) if self.papers else None
            if paper is not None and not paper.spent:
                return paper
        return None


ACTS: list[Callable[[Crowd], Happened]] = [
    Crowd._sell,
    Crowd._hand_on,
    Crowd._enter,
    Crowd._revoke,
    Crowd._change_rules,
]
WEIGHTS = (50, 24, 20, 5, 1)
