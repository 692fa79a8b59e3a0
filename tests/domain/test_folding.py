"""Applying a fact never refuses: it runs on every replay, and what has happened has happened."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from domain.account import Account, EmailClaim
from domain.allowance import Allowance
from domain.event import Event
from domain.kernel import Aggregate, Fact
from domain.order import Order
from domain.reconciliation import Reconciliation
from domain.ticket import Ticket
from domain.wallet import Wallet
from tests.domain.stored_facts import CORPUS, known_facts
from tests.given import STREAM, folded

KINDS: list[type[Aggregate]] = [EmailClaim, Account, Event, Ticket, Order, Allowance, Wallet, Reconciliation]
OPENINGS: dict[type[Aggregate], tuple[type[Fact], ...]] = {Event: (Event.Drafted, Event.TierAdded)}
"""An event's later facts speak of its content and its tiers, so no decision records them before these."""

FACTS: dict[str, list[Fact]] = {kind.stream_type: [] for kind in KINDS}
for entry in CORPUS:
    FACTS[entry.decoded().stream_type].append(entry.decoded())


def opening(kind: type[Aggregate]) -> list[Fact]:
    wanted = OPENINGS.get(kind, ())
    return [fact for fact in FACTS[kind.stream_type] if isinstance(fact, wanted)]


def test_every_fact_belongs_to_an_aggregate_of_its_own() -> None:
    assert {cls.topic.partition(".")[0] for cls in known_facts()} == {kind.stream_type for kind in KINDS}
    assert all(cls.__qualname__.split(".")[0] in {kind.__name__ for kind in KINDS} for cls in known_facts())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100)
@for_all(data=st.data())
def test_any_history_folds_even_one_that_no_decision_would_allow(kind: type[Aggregate], data: Any) -> None:
    history = [*opening(kind), *data.draw(st.lists(st.sampled_from(FACTS[kind.stream_type]), max_size=30))]
    aggregate = kind(id=STREAM).fold(history)
    assert (aggregate.version, aggregate.pending) == (len(history), [])
    assert folded(kind, *history) == aggregate
