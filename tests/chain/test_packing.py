"""Operations are packed so that the contract does with them what it would have done with each by itself, for less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count, groupby
from math import ceil
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.chain.packing import (
    CHECK_IN,
    CHECK_IN_WORD,
    DELIVER,
    FACTS_MAX,
    GAS_LIMIT_MAX,
    GAS_MAX,
    ISSUE,
    MARGIN,
    MOVE,
    RESALE,
    SIZES,
    UNDO_CHECK_IN,
    UNVOID,
    VOID,
    VOID_WORD,
    Draft,
    encode,
    steps_in,
)
from domain.kernel import Fact
from domain.reconciliation import CORRECTIONS_MAX, ISSUES_MAX
from domain.ticket import Ticket
from projections.chain_operations import (
    CheckIn,
    Configure,
    Deliver,
    Issue,
    Move,
    Operation,
    Resale,
    UndoCheckIn,
    Unvoid,
    Void,
    token_id,
)
from tests.chain.crowd import Crowd
from tests.chain.holding import OPEN
from tests.chain.parts import NOW, Row, Stand, delivered, resold, wallet

EIP_7825 = 1 << 24
WASTE_MAX = 2.5

# -- The bytes. ----------------------------------------------------------------------

tokens = st.builds(token_id, st.integers(1, 3), st.integers(0, 600))
operations = st.one_of(
    st.builds(Configure, st.integers(1, 3), st.just(2**33), st.just(9000), st.just(500), st.just(0)),
    st.builds(Issue, tokens),
    st.builds(Deliver, tokens, st.integers(0, 9), st.just(wallet(1))),
    st.builds(Move, tokens, st.integers(0, 9), st.sampled_from([None, wallet(2)])),
    st.builds(Resale, tokens, st.integers(0, 9), st.sampled_from([None, wallet(3)]), st.integers(0, 9000)),
    st.builds(CheckIn, tokens, st.booleans()),
    st.builds(UndoCheckIn, tokens),
    st.builds(Void, tokens, st.booleans()),
    st.builds(Unvoid, tokens),
)


def packed(stream: Sequence[Operation]) -> list[list[Operation]]:
    """Each operation is a fact of its own, as most are."""
    drafts = [Draft()]
    for operation in stream:
        if not drafts[-1].takes([operation]):
            drafts.append(Draft())
        drafts[-1].add([operation])
    return [draft.operations for draft in drafts]


KINDS: dict[type[Operation], int] = {
    Issue: ISSUE,
    Deliver: DELIVER,
    Move: MOVE,
    Resale: RESALE,
    CheckIn: CHECK_IN,
    UndoCheckIn: UNDO_CHECK_IN,
    Void: VOID,
    Unvoid: UNVOID,
}
ALIKE = {CHECK_IN_WORD: CHECK_IN, VOID_WORD: VOID}


def of(token: int, batch: Sequence[Operation]) -> list[Operation]:
    return [operation for operation in batch if not isinstance(operation, Configure) and operation.token == token]


def without_repeats(kinds: Iterable[int]) -> list[int]:
    """A mark that is set twice may be told once: a word has one bit for it."""
    return [kind for kind, _ in groupby(kinds)]


@given(st.lists(operations, max_size=60))
def test_what_is_done_to_one_token_keeps_its_order(stream: list[Operation]) -> None:
    for batch in packed(stream):
        steps = steps_in(encode(batch))
        for token in {operation.token for operation in batch if not isinstance(operation, Configure)}:
            told = without_repeats(ALIKE.get(step.kind, step.kind) for step in steps if token in step.tokens)
            assert told == without_repeats(KINDS[type(operation)] for operation in of(token, batch))


@given(st.lists(operations, max_size=60))
def test_rules_are_told_before_what_they_are_about_and_after_what_they_are_not(stream: list[Operation]) -> None:
    for batch in packed(stream):
        begun: set[int] = set()
        for operation in batch:
            if isinstance(operation, Configure):
                assert operation.number not in begun
            elif not isinstance(operation, Issue):  # which no rule is about
                begun.add(operation.token >> 32)


@given(st.lists(operations, max_size=60))
def test_nothing_is_lost_and_nothing_invented(stream: list[Operation]) -> None:
    batches = packed(stream)
    assert [operation for batch in batches for operation in batch] == stream
    for batch in batches:
        told = Counter(
            (ALIKE.get(step.kind, step.kind), token) for step in steps_in(encode(batch)) for token in step.tokens
        )
        meant = Counter((KINDS[type(o)], o.token) for o in batch if not isinstance(o, Configure))
        assert set(told) == set(meant)
        assert all(told[key] == meant[key] or key[0] in (CHECK_IN, VOID) for key in told)


@given(st.lists(operations, max_size=60))
def test_a_batch_is_as_long_as_its_operations(stream: list[Operation]) -> None:
    encoded = encode(stream)
    assert sum(SIZES[step.kind] for step in steps_in(encoded)) == len(encoded)


def test_consecutive_serials_are_one_operation() -> None:
    batch = [Issue(token_id(number, serial)) for serial in range(300) for number in (1, 2)]
    assert encode(batch) == bytes.fromhex("020000000100000000012c 020000000200000000012c")


def test_entries_in_one_word_are_one_operation_and_those_from_wallets_are_told_one_by_one() -> None:
    seats = [token_id(7, serial) for serial in (256, 258, 511)]
    batch = [CheckIn(token, in_custody=True) for token in seats] + [CheckIn(token_id(7, 300), in_custody=False)]
    mask = 1 << 0 | 1 << 2 | 1 << 255
    assert encode(batch) == bytes.fromhex(f"0700000007000001{mask:064x} 06000000070000012c")


# -- When a batch is full. -----------------------------------------------------------


def filled(operation: Callable[[int], Operation]) -> Draft:
    draft = Draft()
    for serial in count():
        if not draft.takes([operation(serial)]):
            return draft
        draft.add([operation(serial)])
    raise AssertionError


def test_a_batch_closes_at_a_thousand_facts() -> None:
    draft = filled(lambda serial: Issue(token_id(1, serial)))
    assert draft.facts == FACTS_MAX == 1_000


def test_a_batch_closes_at_twelve_million_gas() -> None:
    draft = filled(lambda serial: Deliver(token_id(1, serial), 0, wallet(serial)))
    assert GAS_MAX - 60_000 < draft.gas <= GAS_MAX == 12_000_000
    assert draft.gas_limit == int(draft.gas * MARGIN) < GAS_LIMIT_MAX


def test_no_transaction_asks_for_more_gas_than_a_transaction_may() -> None:
    draft = Draft()
    draft.add([Deliver(token_id(1, serial), 0, wallet(serial)) for serial in range(1_000)])
    assert draft.gas_limit == GAS_LIMIT_MAX == EIP_7825


def test_the_longest_orders_of_a_reconciliation_fit_into_a_transaction() -> None:
    """No other fact is more than a few operations, so nothing in a ledger can be too much for a batch by itself."""
    tokens: list[Operation] = []
    for index in range(CORRECTIONS_MAX):
        token = token_id(1 + index, 256 * index)
        tokens += [Unvoid(token), Deliver(token, 0, wallet(index)), UndoCheckIn(token), Void(token, in_custody=False)]
    issues: list[Operation] = [Issue(token_id(1, serial)) for serial in range(ISSUES_MAX)]
    for operations in (tokens, [Configure(1, 2**33, 9000, 500, 0), *issues]):
        draft = Draft()
        draft.add(operations)
        assert draft.gas <= GAS_MAX


# -- What it takes, on a node. -------------------------------------------------------


def hold_estimates(batches: Sequence[Row]) -> None:
    for batch in batches:
        assert batch.gas_used is not None
        estimate = ceil(batch.gas_limit / MARGIN)
        assert batch.attempts == 1  # with too little, it would have been sent again with more
        assert batch.gas_used <= estimate <= WASTE_MAX * batch.gas_used, batch


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(3))
async def test_estimates_are_never_too_low_and_not_far_too_high(stand_on_anvil: Stand, seed: int) -> None:
    crowd = await Crowd(stand_on_anvil.box, Random(seed)).open(3)
    for _ in range(4):
        await stand_on_anvil.box.tell(*crowd.happen(200))
        await stand_on_anvil.level()
    batches = await stand_on_anvil.states()
    assert len(batches) >= 4
    hold_estimates(batches)
    assert await stand_on_anvil.agree() == len(crowd.papers)


@pytest.mark.anyio
async def test_estimates_hold_where_nothing_is_shared(stand_on_anvil: Stand) -> None:
    """Each ticket is of an event of its own: every word of storage is met for the first time."""
    stand, box = stand_on_anvil, stand_on_anvil.box
    events = [await box.event(rules=OPEN) for _ in range(30)]
    tickets = [(await box.sell(event, 1))[0] for event in events]
    steps: list[Callable[[int], Fact]] = [
        delivered,
        lambda index: resold(100 + index),
        lambda index: Ticket.Delivered(wallet=wallet(200 + index), at=NOW),
        lambda index: box.checked_in(events[index]),
    ]
    await stand.level()
    for step in steps:
        await box.tell(*((ticket, step(index)) for index, ticket in enumerate(tickets[:15])))
        await stand.level()
    await box.tell(*((ticket, box.cancelled(events[15 + index])) for index, ticket in enumerate(tickets[15:])))
    await stand.level()
    batches = await stand.states()
    assert len(batches) == 6
    hold_estimates(batches)
    assert await stand.agree() == 30


@pytest.mark.anyio
async def test_estimates_hold_where_everything_is_shared(stand_on_anvil: Stand) -> None:
    box, stand = stand_on_anvil.box, stand_on_anvil
    tickets = await box.sell(event := await box.event(), FACTS_MAX - 1)
    await stand.level()
    await box.tell(*((ticket, box.checked_in(event)) for ticket in tickets[::2]))
    await stand.level()
    sale, entries = await stand.states()
    hold_estimates([sale])
    assert entries.gas_used is not None
    assert entries.gas_used <= ceil(entries.gas_limit / MARGIN)  # four words, for five hundred tickets
    assert await stand.agree() == FACTS_MAX - 1
