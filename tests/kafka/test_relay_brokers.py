"""Brokers that are away, die, and come back; selling goes on."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kafka.errors import KafkaConnectionError

from adapters.kafka import clients
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.relay import SENT, Relay
from tests.domain.ticket_facts import HELD
from tests.kafka.parts import (
    WAIT_SECONDS_MAX,
    check,
    head,
    problem,
    received,
    relay_to_the_head,
    relayed,
    relaying,
    settings_for,
    until,
)
from tests.kafka_broker import Broker
from tests.projections.book import Book
from tests.projections.town import Town
from tests.server import HOST, free_port

DESCRIPTORS_MORE_MAX = 3

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """kafka-python leaves the sockets of refused connections to be collected, which is to happen here."""
    yield
    gc.collect()


def test_a_broker_killed_while_a_page_is_on_its_way_gets_everything_in_the_end(
    database: str, broker: Broker, town: Town
) -> None:
    """Back soon enough for the producer to go on by itself."""
    town.act(2_000)
    kafka = settings_for(broker.bootstrap)
    relay, stop, killed = Relay(database, kafka), threading.Event(), threading.Event()

    def kill(step: str) -> None:
        if step == SENT and not killed.is_set():
            broker.kill()
            killed.set()

    relay.on_step = kill
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        assert killed.wait(WAIT_SECONDS_MAX)
        broker.start()
        until(lambda: relayed(database) == head(database))
    finally:
        stop.set()
        thread.join(WAIT_SECONDS_MAX)
    assert check(received(kafka), database) == 0


def test_a_broker_that_is_away_for_long_is_waited_for_and_selling_goes_on(
    database: str, broker: Broker, town: Town, book: Book
) -> None:
    kafka = settings_for(broker.bootstrap)
    with relaying(database, kafka):
        until(lambda: relayed(database) == head(database))
        broker.kill()
        town.act(300)
        until(lambda: problem(database) is not None, 2 * clients.DELIVERY_SECONDS_MAX)
        before = head(database)
        for _ in range(50):
            book.append((uuid4(), HELD))
        assert head(database) == before + 50
        broker.start()
        until(lambda: relayed(database) == head(database))
        assert problem(database) is None
    assert check(received(kafka), database) == 0


def test_waiting_for_a_broker_costs_nothing_that_runs_out(database: str) -> None:
    nobody = KafkaSettings((f"{HOST}:{free_port()}",), 3, 1)
    with relaying(database, nobody):
        until(lambda: problem(database) == f"no broker answers at {nobody.bootstrap[0]}")
        open_before, threads = descriptors(), threading.active_count()
        threading.Event().wait(3.0)
        assert descriptors() <= open_before + DESCRIPTORS_MORE_MAX
        assert threading.active_count() <= threads


def test_a_relay_stops_at_once_though_its_broker_has_gone(database: str, broker: Broker, town: Town) -> None:
    town.act(500)
    kafka = settings_for(broker.bootstrap)
    relay, stop, sent = Relay(database, kafka), threading.Event(), threading.Event()

    def kill(step: str) -> None:
        if step == SENT and not sent.is_set():
            broker.kill()
            sent.set()

    relay.on_step = kill
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    assert sent.wait(WAIT_SECONDS_MAX)
    stop.set()
    thread.join(clients.CLOSE_SECONDS_MAX)
    assert not thread.is_alive()
    assert relayed(database) == 0
    broker.start()
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) == 0


def test_a_broker_that_says_nothing_is_given_up(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka's client would wait for some answers for ever."""
    monkeypatch.setattr(clients, "ATTENDED_SECONDS_MAX", 0.5)
    with clients.admin(settings_for(broker.bootstrap)) as admin:
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            with pytest.raises(KafkaConnectionError):
                admin.list_topics()
        finally:
            os.kill(broker.pid, signal.SIGCONT)


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))
