"""Nodes refuse, repeat themselves, leave things out and lag behind; the watcher gets there all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from adapters.chain.log_reader import LOGS_WANTED_MAX, LOOKS_MAX, SPAN_FIRST, SPAN_MAX, LogReader
from adapters.chain.node import ChainError, Log, RangeRefusedError
from adapters.chain.watcher import FOLLOWED_MAX
from tests.chain.holding import Holder, Watch, watching
from tests.chain.lying_node import doubled, emptied, honest
from tests.chain.parts import Stand

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("stand", ["anvil"], indirect=True)]
CONFIRMATIONS = 3
FAR = FOLLOWED_MAX + CONFIRMATIONS + 10
"""So many blocks behind, the watcher reads by ranges."""


@pytest.fixture
async def watch(stand: Stand) -> AsyncIterator[Watch]:
    async with watching(stand, confirmations=CONFIRMATIONS) as watch:
        yield watch


async def given(watch: Watch) -> tuple[Holder, UUID]:
    """A ticket that has gone to somebody else in the latest block; who, and which."""
    anna, ben = await watch.holders(2)
    (ticket,) = await watch.deliver(anna)
    await watch.follow()
    await watch.give(anna, ticket, ben)
    return ben, ticket


async def settled(watch: Watch) -> list[str]:
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    return await watch.states()


# -- What is said twice, or not at all. ------------------------------------------------


async def test_a_log_that_is_given_twice_is_one_transfer(watch: Watch) -> None:
    watch.node.spoil_blocks = watch.node.spoil_ranges = doubled
    await given(watch)
    await watch.follow()
    assert await settled(watch) == ["recorded"]
    assert len(watch.heard) == 1


async def test_a_log_that_a_range_gives_twice_is_one_transfer(watch: Watch) -> None:
    watch.node.spoil_ranges = doubled
    await given(watch)
    await watch.mine(FAR)
    await watch.follow()
    assert await watch.states() == ["recorded"]
    assert len(watch.heard) == 1


async def test_a_filter_that_names_us_makes_the_watcher_look_again(watch: Watch) -> None:
    await given(watch)
    watch.node.spoil_blocks = emptied
    watcher = watch.watcher()
    for _ in range(LOOKS_MAX - 1):
        await watcher.step()
        assert not await watch.is_level()
    watch.node.spoil_blocks = honest
    await watch.follow(watcher)
    assert await watch.states() == ["provisional"]


async def test_a_log_left_out_near_the_head_is_found_once_it_is_final(watch: Watch) -> None:
    ben, ticket = await given(watch)
    watch.node.spoil_blocks = emptied
    watcher = await watch.follow()
    assert await watch.states() == []
    await watch.mine(CONFIRMATIONS)
    with capture_logs() as logs:
        await watch.follow(watcher)
    assert await watch.states() == ["recorded"]
    assert (await watch.ticket(ticket)).wallet == ben.address
    assert [entry["transfers"] for entry in logs if entry["event"] == "transfers_left_out_at_first"] == [1]


async def test_of_an_honest_node_nothing_is_said(watch: Watch) -> None:
    await given(watch)
    with capture_logs() as logs:
        await watch.follow()
        assert await settled(watch) == ["recorded"]
    assert [entry for entry in logs if entry["log_level"] != "info"] == []


async def test_a_filter_that_is_wrong_does_not_stop_the_watcher(watch: Watch) -> None:
    """As false positives do: however often it looks, there is nothing."""
    anna, ben, cleo = await watch.holders(3)
    hidden, shown = await watch.deliver(anna, 2)
    await watch.follow()
    await watch.give(anna, hidden, ben)
    watch.node.spoil_blocks = watch.node.spoil_ranges = emptied
    await watch.follow()
    await watch.mine(CONFIRMATIONS)
    await watch.follow()
    watch.node.spoil_blocks = watch.node.spoil_ranges = honest
    await watch.give(anna, shown, cleo)
    assert await settled(watch) == ["recorded"]
    assert [transfer.ticket_id for transfer in watch.heard] == [shown]


async def test_logs_of_another_block_than_asked_for_are_not_believed(watch: Watch) -> None:
    def moved(logs: list[Log]) -> list[Log]:
        return [log._replace(block_hash=bytes(32)) for log in logs]

    await given(watch)
    watch.node.spoil_blocks = moved
    with pytest.raises(ChainError, match="gives logs of another block than"):
        await watch.follow()
    watch.node.spoil_blocks = honest
    await watch.follow()
    watch.node.spoil_ranges = moved
    with pytest.raises(ChainError, match="gives final logs of blocks that are not part of its chain"):
        await settled(watch)
    watch.node.spoil_ranges = honest
    assert await settled(watch) == ["recorded"]


async def test_logs_outside_the_range_asked_for_are_not_believed(watch: Watch) -> None:
    def shifted(logs: list[Log]) -> list[Log]:
        return [log._replace(block_number=log.block_number + 10_000) for log in logs]

    await given(watch)
    await watch.mine(FAR)
    watch.node.spoil_ranges = shifted
    with pytest.raises(ChainError, match="gives logs of other blocks than"):
        await watch.follow()


async def test_a_log_that_our_contract_does_not_write_is_not_believed(watch: Watch) -> None:
    def cut(logs: list[Log]) -> list[Log]:
        return [log._replace(topics=log.topics[:2]) for log in logs]

    await given(watch)
    watch.node.spoil_blocks = cut
    with pytest.raises(ChainError, match="cannot be understood"):
        await watch.follow()


# -- What is refused. --------------------------------------------------------------------


async def test_ranges_are_halved_until_they_are_taken(watch: Watch) -> None:
    await given(watch)
    await watch.mine(6 * FAR)
    watch.node.span_max = 20
    await watch.follow()
    assert await watch.states() == ["recorded"]
    refused = [last - first + 1 for first, last in watch.node.spans if last - first + 1 > 20]
    assert refused[:3] == sorted(refused[:3], reverse=True)
    assert len(refused) < len(watch.node.spans) / 3
    covered = [block for first, last in watch.node.spans if last - first + 1 <= 20 for block in range(first, last + 1)]
    assert covered == sorted(set(covered))


async def test_a_single_block_that_is_refused_is_said_to_be(watch: Watch) -> None:
    reader = LogReader(watch.node, watch.stand.deployment.contract)
    watch.node.span_max = 0
    with pytest.raises(RangeRefusedError):
        await reader.of_range(0, 3)
    assert [last - first + 1 for first, last in watch.node.spans] == [4, 2, 1]


async def test_spans_grow_again_slowly_and_not_for_ever(watch: Watch) -> None:
    reader = LogReader(watch.node, watch.stand.deployment.contract)
    spans = []
    for _ in range(40):
        await reader.of_range(0, 0)
        spans.append(reader.span)
    assert spans[0] == SPAN_FIRST + SPAN_FIRST // 8 + 1
    assert spans == sorted(spans)
    assert spans[-1] == SPAN_MAX


async def test_an_answer_that_is_very_long_makes_the_next_span_shorter(watch: Watch) -> None:
    def many(logs: list[Log]) -> list[Log]:
        return logs * (LOGS_WANTED_MAX + 1)

    await given(watch)
    head = await watch.stand.node.block("latest")
    assert head is not None
    watch.node.spoil_ranges = many
    reader = LogReader(watch.node, watch.stand.deployment.contract)
    seen, until = await reader.of_range(watch.stand.deployment.deployed_block, head.number)
    assert (len(seen), until, reader.span) == (1, head.number, SPAN_FIRST // 2)


# -- Who comes too late. -------------------------------------------------------------------


async def test_a_node_that_lags_for_a_moment_takes_nothing_back(watch: Watch) -> None:
    await given(watch)
    watcher = await watch.follow()
    watch.node.lag = 2
    with capture_logs() as logs:
        assert not await watcher.step()
    assert await watch.states() == ["provisional"]
    assert logs == []
    watch.node.lag = 0
    assert await settled(watch) == ["recorded"]


async def test_a_node_that_is_behind_all_the_time_is_followed_as_far_as_it_goes(watch: Watch) -> None:
    watch.node.lag = 5
    await given(watch)
    await watch.mine(4)
    await watch.follow()
    assert await watch.states() == []
    await watch.mine(1)
    await watch.follow()
    assert await watch.states() == ["provisional"]
    assert await settled(watch) == ["recorded"]


async def test_whichever_question_is_not_answered_the_next_step_goes_on(watch: Watch) -> None:
    anna, ben, cleo = await watch.holders(3)
    far, near = await watch.deliver(anna, 2)
    await watch.give(anna, far, ben)
    await watch.mine(FAR)
    assert await stubborn(watch) >= 4  # a range
    assert await watch.states() == ["recorded"]
    await watch.follow()
    await watch.give(anna, near, cleo)
    assert await stubborn(watch) >= 4  # blocks
    assert await watch.states() == ["recorded", "provisional"]
    await watch.mine(CONFIRMATIONS)
    assert await stubborn(watch) >= 4  # settling
    await watch.follow()
    assert await watch.states() == ["recorded", "recorded"]
    assert [heard.ticket_id for heard in watch.heard] == [far, near]


async def stubborn(watch: Watch) -> int:
    """Step until no question of a step is left unanswered, the first time its first, and so on; how many there were."""
    for unanswered in count():
        watch.node.fails_at = len(watch.node.asked) + unanswered + 1
        try:
            await watch.watcher().step()
        except ChainError:
            continue
        watch.node.fails_at = None
        return unanswered
    raise AssertionError
