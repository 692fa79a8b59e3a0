"""The ledger becomes batches: full ones at once, others after a while, and not everything is kept in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from adapters.chain import deployments, feed
from adapters.chain.feed import Feed
from projections.chain_plan import Plan
from tests.chain.crowd import Crowd
from tests.chain.parts import Stand

pytestmark = pytest.mark.anyio


async def test_a_batch_that_is_not_full_waits_two_seconds_for_more(
    stand_on_anvil: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CLOSE_AFTER", timedelta(seconds=2))
    stand = stand_on_anvil
    reader = await a_feed(stand)
    await stand.box.sell(event := await stand.box.event(), 2)
    now = datetime.now(UTC)
    assert await reader.next(now) is None
    await stand.box.sell(event, 1)
    assert await reader.next(now + timedelta(seconds=1)) is None
    filled = await reader.next(now + timedelta(seconds=2))
    assert filled is not None
    assert filled.draft.facts == 4  # the event's publication is one
    assert await reader.next(now + timedelta(seconds=9)) is None


async def test_a_database_whose_clock_is_ahead_does_not_hold_a_batch_back(
    stand_on_anvil: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CLOSE_AFTER", timedelta(seconds=2))
    reader = await a_feed(stand_on_anvil)
    await stand_on_anvil.box.sell(await stand_on_anvil.box.event(), 2)
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert await reader.next(an_hour_ago) is None
    assert await reader.next(an_hour_ago + timedelta(seconds=2)) is not None


async def test_tokens_are_forgotten_and_remembered(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "TOKENS_KEPT_MAX", 20)
    monkeypatch.setattr(feed, "PAGE_FACTS", 30)
    crowd = await Crowd(stand.box, Random(5)).open(2)
    for _ in range(4):
        await stand.box.tell(*crowd.happen(150))
    mirror = await stand.level()
    assert mirror.feed is not None
    assert len(mirror.feed.plan.tokens) < len(crowd.papers) / 2
    assert await stand.agree() == len(crowd.papers)


async def a_feed(stand: Stand) -> Feed:
    deployment = await deployments.by_id(stand.conn, stand.deployment.id)
    return Feed(stand.conn, deployment.id, Plan(deployment.chain), deployment.planned_position)
