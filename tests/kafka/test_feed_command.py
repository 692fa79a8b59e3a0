"""Feeds as operators meet them: workers of `serve` and beside it, told by one setting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from adapters.kafka.clients import KafkaSettings
from api.settings import Settings, SettingsError
from tests.journeys.people import Person
from tests.kafka.parts import EVENT, until
from tests.server import Server, terminate, verdicts

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path: Path, kafka: KafkaSettings) -> Iterator[Server]:
    settings = {"COUNTERFOIL_KAFKA_BOOTSTRAP": kafka.bootstrap[0], "COUNTERFOIL_PROJECTORS": "kafka"}
    with Server(tmp_path, **settings) as server:
        until(lambda: said(server, "feed_begins") and said(server, "relay_begins"))  # the workers start after the API
        yield server


def said(server: Server, words: str) -> int:
    return server.log.read_text().count(words)


async def test_workers_share_what_is_to_be_projected(server: Server, organizer: Person) -> None:
    """Whoever reads what they have just written finds it, and every view is what a rebuild makes of the ledger."""
    second = server.spawn("worker", "views")
    try:
        await anyio.to_thread.run_sync(until, lambda: said(server, "feed_begins") == 2)
        for number in range(10):
            drafted = await organizer.ask("POST", "/v1/events", EVENT | {"title": f"Evening {number}"})
            await organizer.ask("POST", f"/v1/events/{drafted['event_id']}/publish")
            listed = await organizer.ask("GET", "/v1/events?limit=100")
            assert f"Evening {number}" in {event["title"] for event in listed["items"]}
    finally:
        code = terminate(second)
    assert code == 0
    rebuilt = server.command("rebuild")
    assert set(verdicts(rebuilt).values()) == {"equal"}, rebuilt.stdout


@pytest.mark.parametrize("value", ["topic", "KAFKA"])
async def test_a_feed_that_cannot_be_meant_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="COUNTERFOIL_PROJECTORS is either table or kafka"):
        Settings.from_environment({"COUNTERFOIL_PROJECTORS": value})


async def test_without_a_broker_nothing_is_fed() -> None:
    with pytest.raises(SettingsError, match="COUNTERFOIL_KAFKA_BOOTSTRAP names no broker"):
        Settings.from_environment({"COUNTERFOIL_PROJECTORS": "kafka"})
    assert Settings.from_environment({}).projectors == "table"
