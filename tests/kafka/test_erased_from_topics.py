"""After an erasure every byte is searched that the database and the broker have on their disks."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from adapters.kafka.clients import KafkaSettings
from api.client import Client
from tests.journeys.people import PASSWORD, Person, newcomer, sign_in
from tests.kafka.parts import EVENT, received
from tests.kafka_broker import Broker
from tests.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server, counterfoil

WAIT_SECONDS_MAX = 60.0
POLL_SECONDS = 0.2
EMAIL, NAME, ATTENDEE = "zbigniew@brzeczyszczykiewicz.test", "Zbigniew Brzeczyszczykiewicz", "Gwendolyn Threepwood"
TITLE = "Quartets for people who are still known"
PLAIN = (EMAIL, "brzeczyszczykiewicz", NAME, ATTENDEE)

pytestmark = pytest.mark.anyio


def files_with(text: str, *directories: Path) -> list[Path]:
    """Those with these characters in any case, in UTF-8."""
    wanted = text.lower().encode()
    files = [path for directory in directories for path in directory.rglob("*") if path.is_file()]
    return [path for path in files if wanted in path.read_bytes().lower()]


async def test_nothing_is_left_of_who_was_erased(tmp_path: Path, broker: Broker) -> None:
    with Server(tmp_path, COUNTERFOIL_KAFKA_BOOTSTRAP=broker.bootstrap, COUNTERFOIL_KAFKA_PARTITIONS="2") as server:
        async with Client(server.url) as client:
            admin = Person(client)
            await sign_in(admin, ADMIN_EMAIL, ADMIN_PASSWORD)
            await _live_and_be_forgotten(admin)
            with anyio.fail_after(WAIT_SECONDS_MAX):
                while not _is_told(broker):  # noqa: ASYNC110 - another process's doing
                    await anyio.sleep(POLL_SECONDS)
        server.shut_down()
        replayed = counterfoil("replay", "--format", "jsonl", environment=server.environment)
        assert replayed.returncode == 0, replayed.stderr
        assert '"attendee_name":null' in replayed.stdout
        searched = (server.data_dir, broker.directory)
        for directory in searched:
            assert files_with(TITLE, directory), "what is searched for is found where it is"
        for text in PLAIN:
            assert text.lower() not in replayed.stdout.lower()
            assert files_with(text, *searched) == []


async def _live_and_be_forgotten(admin: Person) -> None:
    organizer, person = await newcomer(admin, "organizer"), Person(admin.client)
    event = await organizer.ask("POST", "/v1/events", EVENT | {"title": TITLE})
    await organizer.ask("POST", f"/v1/events/{event['event_id']}/publish")
    await person.ask("POST", "/v1/auth/register", {"email": EMAIL, "password": PASSWORD, "name": NAME}, key="register")
    await sign_in(person, EMAIL, PASSWORD)
    order = await person.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 2})
    await person.pay(order)
    ticket = order["tickets"][0]["ticket_id"]
    await person.ask("POST", f"/v1/tickets/{ticket}/claim", {"attendee_name": ATTENDEE}, key="claim")
    export = await person.ask("GET", "/v1/me/export")
    assert NAME in str(export)
    assert ATTENDEE in str(export)
    await person.ask("DELETE", "/v1/me")


def _is_told(broker: Broker) -> bool:
    """Whether the topics have what the person did last."""
    found = received(KafkaSettings((broker.bootstrap,), 2, None))
    return any(message.headers["ce_type"] == "counterfoil.ticket.claimed" for message in found)
