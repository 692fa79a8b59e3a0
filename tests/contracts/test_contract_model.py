"""Random histories against a model: the contract and plain Python must say the same of each operation and each ticket."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.contracts import operations as op
from tests.contracts.chain import Chain, Node
from tests.contracts.history import ENCODERS, History, encoded
from tests.contracts.model import Model

SEEDS = (1, 2, 3, 4)
BATCHES = 22
OPERATIONS_PER_BATCH = 250
HOLDERS_PER_PAUSE = 8
STATES_PER_CALL = 500
LOCKS_COMPARED = 100
HORIZON_SECONDS = 10_000_000

assert len(SEEDS) * BATCHES * OPERATIONS_PER_BATCH >= 20_000


@pytest.mark.parametrize("seed", SEEDS)
def test_the_contract_does_what_the_model_does(on_anvil: Node, seed: int) -> None:
    chain = Chain(on_anvil)
    wallets = [chain.alice, chain.bob, chain.carol, chain.dave, chain.erin]
    model = Model(chain.address)
    history = History(seed, model, wallets, chain.now + HORIZON_SECONDS)
    applied: Counter[int] = Counter()
    skipped: Counter[int] = Counter()
    for number in range(BATCHES):
        seq, batch = chain.synced + 1, history.batch(OPERATIONS_PER_BATCH)
        outcome = chain.apply(*map(encoded, batch))
        assert outcome.said == model.apply(seq, batch, chain.now)
        skipped.update(reason for _, reason in outcome.skips)
        applied.update(Counter(kind for kind, _ in batch) - Counter(batch[index][0] for index, _ in outcome.skips))
        let_holders_act(chain, model, history, random.Random(seed * 1_000 + number))
    compare(chain, model, wallets)
    # Otherwise the seed proves less than it seems to: everything must have happened, and been refused.
    assert set(applied) == set(ENCODERS)
    assert set(skipped) == set(range(1, 15))


def let_holders_act(chain: Chain, model: Model, history: History, dice: random.Random) -> None:
    """Transfers by holders, between two batches: some are refused, the others outdate what the mirror knows."""
    in_wallets = sorted(ticket for ticket, place in model.places.items() if place.wallet is not None)
    for ticket in dice.sample(in_wallets, min(HOLDERS_PER_PAUSE, len(in_wallets))):
        holder, to = model.places[ticket].wallet, history.wallet()
        assert holder is not None
        refused = chain.refusal("transferFrom", holder, to, ticket, by=holder)
        said = [refused] if refused else chain.send("transferFrom", holder, to, ticket, by=holder).said
        assert said == model.transfer(ticket, to, chain.now)


def compare(chain: Chain, model: Model, wallets: Iterable[str]) -> None:
    """Every ticket, some that do not exist, every balance, every event."""
    tickets = [op.token(n, serial) for n, event in model.events.items() for serial in range(event.issued + 2)]
    tickets += [0, op.token(0, 1), op.token(77, 0), 2**64, 2**256 - 1]
    for start in range(0, len(tickets), STATES_PER_CALL):
        part = tickets[start : start + STATES_PER_CALL]
        assert chain.call("state", part) == [model.state(ticket) for ticket in part]
    balances = model.balances()
    for owner in (*wallets, chain.address):
        assert chain.call("balanceOf", owner) == balances[owner]
    assert chain.call("eventCount") == len(model.events)
    for number, event in model.events.items():
        terms = [event.issued, event.ends_at, event.cap, event.royalty, event.flags]
        assert chain.call("eventOf", number) == terms
    for ticket in sorted(model.places)[:LOCKS_COMPARED]:
        assert chain.call("locked", ticket) == model.locked(ticket)
