"""Relays that are killed, lose their database, or meet each other."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import psycopg
import pytest

from adapters.kafka import ledger_pages
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.relay import ACKNOWLEDGED, RECORDED, SENT, Relay
from tests.kafka.deaths import DEATH_SECONDS_MAX, let_die
from tests.kafka.parts import check, head, received, relay_to_the_head, relayed, relaying, until
from tests.projections.town import Town

PAGE_FACTS = 100


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_pages, "PAGE_FACTS_MAX", PAGE_FACTS)


def die_at(database: str, kafka: KafkaSettings, step: str, pages: int) -> None:
    """A relay in a process of its own, which kills itself there."""
    let_die("tests.kafka.dying_relay", database, kafka.bootstrap[0], step, pages, PAGE_FACTS)


@pytest.mark.parametrize("pages", [1, 3])
def test_a_relay_killed_before_the_acknowledgement_leaves_nothing_out(
    database: str, kafka: KafkaSettings, town: Town, pages: int
) -> None:
    town.act(1_000)
    die_at(database, kafka, SENT, pages)
    assert relayed(database) == (pages - 1) * PAGE_FACTS
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) <= PAGE_FACTS


@pytest.mark.parametrize("pages", [1, 3])
def test_a_relay_killed_between_acknowledgement_and_cursor_says_nothing_twice(
    database: str, kafka: KafkaSettings, town: Town, pages: int
) -> None:
    town.act(1_000)
    die_at(database, kafka, ACKNOWLEDGED, pages)
    assert relayed(database) == (pages - 1) * PAGE_FACTS
    there = received(kafka)
    assert max(message.position for message in there) > relayed(database)
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) == 0


def test_a_relay_killed_after_its_cursor_moved_says_nothing_twice(
    database: str, kafka: KafkaSettings, town: Town
) -> None:
    town.act(1_000)
    die_at(database, kafka, RECORDED, 2)
    assert relayed(database) == 2 * PAGE_FACTS
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) == 0


def test_relays_that_die_again_and_again_get_there(database: str, kafka: KafkaSettings, town: Town) -> None:
    town.act(1_000)
    for step in (SENT, ACKNOWLEDGED, SENT, RECORDED, ACKNOWLEDGED):
        die_at(database, kafka, step, 1)
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) <= 2 * PAGE_FACTS


def test_of_two_relays_one_relays(database: str, kafka: KafkaSettings, town: Town) -> None:
    town.act(200)
    with ExitStack() as relays:
        first = relays.enter_context(relaying(database, kafka))
        until(lambda: first.messages_total)
        second = relays.enter_context(relaying(database, kafka))
        town.act(500)
        until(lambda: relayed(database) == head(database))
        assert second.messages_total == 0
    assert check(received(kafka), database) == 0


def test_who_stands_by_takes_over(database: str, kafka: KafkaSettings, town: Town) -> None:
    with relaying(database, kafka) as second:
        with relaying(database, kafka):
            town.act(300)
            until(lambda: relayed(database) == head(database))
        town.act(300)
        until(lambda: relayed(database) == head(database))
    assert check(received(kafka), database) == 0
    assert second.messages_total


def test_a_relay_that_has_lost_its_lead_moves_no_cursor(database: str, kafka: KafkaSettings, town: Town) -> None:
    """Its session ends while a page is on its way: the page may arrive, but is not noted down by a relay without lead."""
    town.act(1_000)
    cut = threading.Event()
    stop = threading.Event()

    def end_session(step: str) -> None:
        if step == SENT and not cut.is_set() and relayed(database) == PAGE_FACTS:
            cut.set()
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(
                    b"select pg_terminate_backend(pid) from pg_stat_activity"
                    b" where datname = current_database() and application_name = 'counterfoil relay'"
                )
            stop.set()

    relay = Relay(database, kafka)
    relay.on_step = end_session
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    thread.join(DEATH_SECONDS_MAX)
    assert cut.is_set()
    assert relayed(database) == PAGE_FACTS
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) <= PAGE_FACTS


def test_a_relay_goes_on_when_its_database_connection_breaks(database: str, kafka: KafkaSettings, town: Town) -> None:
    with relaying(database, kafka):
        until(lambda: relayed(database) == head(database))
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                b"select pg_terminate_backend(pid) from pg_stat_activity"
                b" where datname = current_database() and application_name = 'counterfoil relay'"
            )
        town.act(300)
        until(lambda: relayed(database) == head(database))
    assert check(received(kafka), database) == 0
