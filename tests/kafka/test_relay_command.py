"""The relay as operators meet it: beside `serve`, as a worker, as a command, in the metrics and in `admin status`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from adapters.kafka.clients import KafkaSettings
from api.settings import Settings, SettingsError
from tests.journeys.people import Person
from tests.kafka.parts import EVENT, delete_topics, received
from tests.server import Server, counterfoil, terminate

WAIT_SECONDS_MAX = 60.0
POLL_SECONDS = 0.2
DRAFTED = ["counterfoil.event.drafted", "counterfoil.event.tier_added", "counterfoil.event.released"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(tmp_path: Path, kafka: KafkaSettings) -> Iterator[Server]:
    with Server(tmp_path, COUNTERFOIL_KAFKA_BOOTSTRAP=kafka.bootstrap[0], COUNTERFOIL_KAFKA_PARTITIONS="2") as server:
        yield server


async def metric(admin: Person, name: str) -> float:
    lines = (await admin.request("GET", "/metrics")).body.decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


async def test_serve_relays_and_says_how_far_it_is(
    server: Server, admin: Person, organizer: Person, kafka: KafkaSettings
) -> None:
    await organizer.ask("POST", "/v1/events", EVENT)
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while len(found := received(kafka)) < len(DRAFTED):  # noqa: ASYNC110 - another process's doing
            await anyio.sleep(POLL_SECONDS)
        while await metric(admin, "counterfoil_relay_lag_facts"):  # noqa: ASYNC110
            await anyio.sleep(POLL_SECONDS)
    assert [message.headers["ce_type"] for message in found] == DRAFTED
    assert {message.partition for message in found} <= {0, 1}
    assert await metric(admin, "counterfoil_relay_problem") == 0
    status = server.command("admin", "status")
    assert "0 facts and 0.0 seconds behind" in status.stdout


@pytest.mark.parametrize("options", [(), ("--from", "0")], ids=["", "from-0"])
async def test_a_wiped_topic_is_filled_by_one_command(
    server: Server, organizer: Person, kafka: KafkaSettings, options: tuple[str, ...]
) -> None:
    """The relay beside `serve` idles and has not noticed."""
    await organizer.ask("POST", "/v1/events", EVENT)
    with anyio.fail_after(WAIT_SECONDS_MAX):
        while len(received(kafka)) < len(DRAFTED):  # noqa: ASYNC110 - another process's doing
            await anyio.sleep(POLL_SECONDS)
    delete_topics(kafka)
    done = server.command("relay", *options)
    assert done.returncode == 0, done.stderr
    assert "Kafka has everything up to position" in done.stdout
    assert [message.headers["ce_type"] for message in received(kafka)] == DRAFTED


async def test_the_command_relays_by_itself_where_no_worker_does(
    server: Server, organizer: Person, kafka: KafkaSettings
) -> None:
    await organizer.ask("POST", "/v1/events", EVENT)
    server.shut_down()
    delete_topics(kafka)
    done = server.command("relay")
    assert done.returncode == 0, done.stderr
    assert [message.headers["ce_type"] for message in received(kafka)] == DRAFTED


async def test_it_begins_where_there_is_something(server: Server) -> None:
    done = server.command("relay", "--from", "1000000")
    assert done.returncode == 1
    assert "there is no position 1,000,000: the ledger ends at" in done.stderr


async def test_the_worker_ends_when_it_is_told_to(server: Server) -> None:
    worker = server.spawn("worker", "relay")
    try:
        with anyio.fail_after(WAIT_SECONDS_MAX):
            while "relay_stands_by" not in server.tail():  # noqa: ASYNC110 - another process's doing
                await anyio.sleep(POLL_SECONDS)
    finally:
        code = terminate(worker)
    assert code == 0


@pytest.mark.parametrize("command", [("relay",), ("worker", "relay")])
async def test_without_a_broker_there_is_nothing_to_relay_to(database: str, command: tuple[str, ...]) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERFOIL_")}
    done = counterfoil(
        *command, environment=inherited | {"COUNTERFOIL_DATABASE_URL": database, "COUNTERFOIL_SECRET": "s" * 32}
    )
    assert done.returncode == 1
    assert "COUNTERFOIL_KAFKA_BOOTSTRAP names no broker" in done.stderr


# -- Settings. -----------------------------------------------------------------------------


async def test_without_any_the_relay_is_off() -> None:
    settings = Settings.from_environment({})
    assert (settings.kafka_bootstrap, settings.kafka_partitions, settings.kafka_replication) == ((), 6, None)


async def test_brokers_are_taken_by_host_and_port() -> None:
    settings = Settings.from_environment(
        {
            "COUNTERFOIL_KAFKA_BOOTSTRAP": "kafka-1:9092, 10.0.0.7:19092,[::1]:9092,",
            "COUNTERFOIL_KAFKA_PARTITIONS": "12",
            "COUNTERFOIL_KAFKA_REPLICATION": "3",
        }
    )
    assert settings.kafka_bootstrap == ("kafka-1:9092", "10.0.0.7:19092", "[::1]:9092")
    assert (settings.kafka_partitions, settings.kafka_replication) == (12, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("COUNTERFOIL_KAFKA_BOOTSTRAP", value) for value in ("kafka", "kafka:0", "kafka:65536", ":9092", "a b:1")),
        *(("COUNTERFOIL_KAFKA_PARTITIONS", value) for value in ("-1", "1001", "many")),
        *(("COUNTERFOIL_KAFKA_REPLICATION", value) for value in ("-1", "101", "²")),
    ],
)
async def test_a_value_that_cannot_be_meant_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: value})
