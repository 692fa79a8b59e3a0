"""Reconciliations as commands: asked for, completed with what they order, or failed; each of them once."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from commands.kernel import Command, Handler, decide
from commands.reconciliation import (
    CompleteReconciliation,
    FailReconciliation,
    RequestReconciliation,
    complete_reconciliation,
    fail_reconciliation,
    request_reconciliation,
)
from domain.reconciliation import NotRunningError, Reconciliation, Repair, Report
from tests.commands.shop import Shop, in_a_shop, together
from tests.domain.reconciliation_facts import CONTRACT, CORRECTION, TELL, report

REPAIRS = (Repair(events=(TELL,)), Repair(tokens=(CORRECTION,)))


class Desk:
    """Where a shop's reconciliations are asked for and carried out."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._handlers: dict[type[Command], Handler] = {
            RequestReconciliation: partial(request_reconciliation, clock=shop.clock),
            CompleteReconciliation: partial(complete_reconciliation, clock=shop.clock),
            FailReconciliation: partial(fail_reconciliation, clock=shop.clock),
        }

    async def do(self, command: Command) -> Any:
        return await decide(self._handlers[type(command)], command, self._shop.ledger(type(command).__name__))

    async def asked(self, *, repair: bool = False) -> Reconciliation:
        command = RequestReconciliation(chain_id=31_337, contract=CONTRACT, repair=repair, by="an auditor")
        asked: Reconciliation = await self.do(command)
        return asked

    async def completed(self, asked: Reconciliation, found: Report) -> Reconciliation:
        command = CompleteReconciliation(reconciliation_id=asked.id, report=found, repairs=REPAIRS)
        done: Reconciliation = await self.do(command)
        return done

    async def stored(self, asked: Reconciliation) -> Reconciliation:
        return await self._shop.ledger("Look").load(Reconciliation, asked.id)


@in_a_shop
async def test_what_was_asked_for_waits_for_the_worker(shop: Shop) -> None:
    desk = Desk(shop)
    stored = await desk.stored(await desk.asked(repair=True))
    assert (stored.status, stored.repair, stored.requested_by) == ("requested", True, "an auditor")
    assert (stored.chain_id, stored.contract, stored.requested_at) == (31_337, CONTRACT, shop.clock())


@in_a_shop
async def test_a_report_alone_orders_nothing(shop: Shop) -> None:
    desk = Desk(shop)
    asked = await desk.asked()
    await desk.completed(asked, report())
    stored = await desk.stored(asked)
    assert (stored.status, stored.report, stored.corrections, stored.version) == ("completed", report(), 0, 2)


@in_a_shop
async def test_a_repair_is_recorded_with_its_report_or_not_at_all(shop: Shop) -> None:
    desk = Desk(shop)
    asked = await desk.asked(repair=True)
    await desk.completed(asked, report(unexplained=2))
    stored = await desk.stored(asked)
    assert (stored.status, stored.corrections, stored.version) == ("completed", 2, 4)


@in_a_shop
async def test_a_failure_is_recorded_with_its_reason(shop: Shop) -> None:
    desk = Desk(shop)
    asked = await desk.asked(repair=True)
    await desk.do(FailReconciliation(reconciliation_id=asked.id, reason="the node does not answer"))
    stored = await desk.stored(asked)
    assert (stored.status, stored.failure) == ("failed", "the node does not answer")
    with pytest.raises(NotRunningError):
        await desk.completed(asked, report())


@in_a_shop
async def test_of_two_workers_one_completes_it(shop: Shop) -> None:
    desk = Desk(shop)
    asked = await desk.asked(repair=True)
    outcomes = await together(desk.completed(asked, report()), desk.completed(asked, report()))
    assert sorted(type(outcome) is NotRunningError for outcome in outcomes) == [False, True]
    assert (await desk.stored(asked)).version == 4


@in_a_shop
async def test_what_nobody_asked_for_is_not_completed(shop: Shop) -> None:
    with pytest.raises(NotRunningError):
        await Desk(shop).completed(Reconciliation(id=uuid4()), report())
