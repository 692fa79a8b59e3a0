"""Random histories: what is mirrored is clean, and whatever somebody else does to the contract is repaired."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from uuid import UUID

import pytest

from adapters.chain import contract
from domain.event import Event
from domain.kernel import Fact
from domain.resale import ResaleRules
from domain.ticket import Ticket, TicketStatus
from tests.chain.out_of_step import Bench
from tests.chain.parts import NOW, RETURNED, Box, Stand, delivered, details, resold, transferred, wallet
from tests.contracts import operations as ops

pytestmark = pytest.mark.anyio

SEEDS = range(2)
STEPS = 100
ROUNDS_MAX = 4
CAP = 6_000


@dataclass
class History:
    """A ledger to which things happen that may."""

    box: Box
    random: Random
    events: list[UUID] = field(default_factory=list)
    over: set[UUID] = field(default_factory=set)
    """Events that are cancelled."""
    tickets: dict[UUID, tuple[UUID, Ticket]] = field(default_factory=dict)
    """And the event of each."""

    async def happen(self) -> None:
        """One thing."""
        open_events = [event for event in self.events if event not in self.over]
        chance = self.random.random()
        if not open_events or chance < 0.04:
            self.events.append(await self.box.event(rules=self._rules()))
        elif chance < 0.25:
            await self._sell(self.random.choice(open_events))
        elif chance < 0.30:
            await self._change(self.random.choice(open_events))
        elif self.tickets:
            await self._use(self.random.choice(list(self.tickets)))

    async def _sell(self, event: UUID) -> None:
        for ticket in await self.box.sell(event, self.random.randint(1, 8)):
            self.tickets[ticket] = event, Ticket(id=ticket, status=TicketStatus.PAID)

    async def _change(self, event: UUID) -> None:
        if self.random.random() < 0.2:
            self.over.add(event)
            await self.box.tell((event, Event.Cancelled(reason="rain", at=NOW)))
        elif self.random.random() < 0.5:
            await self.box.tell((event, Event.ResaleRulesSet(rules=self._rules(), at=NOW)))
        else:
            times = details(ends_at=NOW + timedelta(days=self.random.randint(9001, 9010)))
            await self.box.tell((event, Event.DetailsChanged(details=times, at=NOW)))

    def _rules(self) -> ResaleRules:
        return ResaleRules(price_max=CAP, royalty_basis_points=self.random.randint(0, 900))

    async def _use(self, ticket_id: UUID) -> None:
        event, ticket = self.tickets[ticket_id]
        fact = self._may(event, ticket)
        if fact is not None:
            fact.apply(ticket)
            await self.box.tell((ticket_id, fact))

    def _may(self, event: UUID, ticket: Ticket) -> Fact | None:
        if ticket.status is TicketStatus.CANCELLED:
            return None
        if event in self.over:  # its refunds
            return None if ticket.status is TicketStatus.CHECKED_IN else self.box.cancelled(event)
        hands = [delivered(self.random.randint(1, 5))] if ticket.wallet is None else [RETURNED]
        if ticket.status is TicketStatus.CHECKED_IN:
            return self.random.choice(hands)
        into = self.random.choice([None, 1, 2, 3])
        sale = resold(into, price=self.random.randint(1, CAP))
        choice: Fact = self.random.choice(
            [*hands, *hands, transferred(), sale, self.box.checked_in(event), self.box.cancelled(event)]
        )
        return choice


async def rogue_operations(stand: Stand, random: Random) -> bytes:
    """A few things that the ledger did not say, most of which the contract can do."""
    answer = await stand.node.call(stand.deployment.contract, contract.EVENT_COUNT)
    number = random.randint(1, contract.number_in(answer) + 1)
    event = contract.event_in(await stand.node.call(stand.deployment.contract, contract.event_of(number)))
    parts = [ops.rules(number, flags=random.choice([0, 0, ops.TRANSFERS_OPEN, ops.CANCELLED]))] * random.randint(0, 1)
    parts += [ops.issue(number, event.issued, random.randint(1, 4))] * random.randint(0, 1)
    for _ in range(random.randint(0, 5)):
        token = ops.token(number, random.randint(0, event.issued + 1))
        version = contract.states_in(await stand.node.call(stand.deployment.contract, contract.state([token])))[
            0
        ].version
        parts.append(
            random.choice(
                [
                    ops.deliver(token, version, wallet(66)),
                    ops.move(token, version, wallet(67)),
                    ops.move(token, version, ops.CUSTODY),
                    ops.check_in(token),
                    ops.undo_check_in(token),
                    ops.void(token),
                    ops.unvoid(token),
                    ops.check_in_word(number, 0, random.getrandbits(12)),
                    ops.void_word(number, 0, random.getrandbits(6)),
                ]
            )
        )
    return b"".join(parts)


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_on_the_ledger_is_clean_once_it_is_mirrored(stand: Stand, seed: int) -> None:
    bench, history = Bench(stand), History(stand.box, Random(seed))
    for step in range(STEPS):
        await history.happen()
        if step % 25 == 24:
            report = await bench.report()
            assert report.clean, report
            assert report.equal < report.tickets
            await stand.level()
            report = await bench.clean()
            assert report.tickets == len(history.tickets)


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_somebody_else_tells_the_contract_is_repaired(stand: Stand, seed: int) -> None:
    random = Random(seed)
    bench, history = Bench(stand), History(stand.box, random)
    for _ in range(STEPS // 2):
        await history.happen()
    await stand.level()
    for _ in range(4):
        for _ in range(random.randint(1, 3)):
            await bench.rogue(await rogue_operations(stand, random), seqs=random.randint(1, 20))
            for _ in range(random.randint(0, 4)):
                await history.happen()
        report = await bench.report()
        assert not report.hash_equal
        for _ in range(ROUNDS_MAX):
            if (report := await bench.repair(meanwhile=history.happen)).equal == report.tickets and report.clean:
                break
        await stand.level()
        await bench.clean(strangers=True)
