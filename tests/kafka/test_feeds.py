"""Views fed from a topic are the views that the table makes, whoever comes, goes, dies or says things twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from kafka import KafkaProducer

from adapters import projector_session
from adapters.kafka import clients
from adapters.kafka import feed as feed_room
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.facts import FACTS, PARTITIONS, PREVIOUS
from adapters.kafka.feed import COMMITTED, TAKEN, Feed
from adapters.projector import Projector
from adapters.rebuild import Rebuild
from domain.personal import stored_text
from projections.inventory import Inventory
from projections.registry import ALL
from tests.kafka.deaths import DEATH_SECONDS_MAX, let_die
from tests.kafka.feeding import (
    FED,
    SECRET,
    SMALL_PAGE,
    check_views,
    feed,
    feeding,
    projecting,
    reached,
    until_level,
)
from tests.kafka.parts import (
    Received,
    administering,
    delete_topics,
    head,
    received,
    relayed,
    relaying,
    scalar,
    until,
)
from tests.projections.town import Town

NEVER = 1e9


@pytest.fixture(autouse=True)
def _only_the_feeds_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table does not help; where a test is about that, it says so."""
    monkeypatch.setattr(projector_session, "FEED_SECONDS_MAX", NEVER)
    monkeypatch.setattr(feed_room, "PAGE_FACTS", SMALL_PAGE)


@pytest.fixture
def told(database: str, kafka: KafkaSettings, town: Town) -> Iterator[None]:
    """A relay is at work, and a projector for the views that are not fed."""
    with relaying(database, kafka, SECRET), projecting(database):
        until(lambda: reached(database) >= 0)
        yield


def help_from_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector_session, "FEED_SECONDS_MAX", 0.5)


def facts(kafka: KafkaSettings) -> list[Received]:
    return received(kafka, [FACTS])


# -- Coming and going. -------------------------------------------------------------------------


def test_feeds_share_the_partitions_and_make_the_views_of_the_ledger(
    database: str, kafka: KafkaSettings, told: None, town: Town
) -> None:
    feeds = [feed(database, kafka) for _ in range(2)]
    with feeding(*feeds):
        until(lambda: all(one.partitions for one in feeds))
        assert not feeds[0].partitions & feeds[1].partitions
        town.act(600)
        until_level(database)
    assert all(one.facts_total for one in feeds)
    assert sum(one.facts_total for one in feeds) == head(database), "each fact once, by one of them"
    check_views(database)


def test_a_rebalance_loses_and_repeats_nothing(database: str, kafka: KafkaSettings, told: None, town: Town) -> None:
    """Feeds join and leave while people are busy; those that stay see their partitions come and go."""
    staying = feed(database, kafka)
    with feeding(staying):
        until(lambda: len(staying.partitions) == kafka.partitions)
        for _ in range(3):
            passing = feed(database, kafka)
            with feeding(passing):
                town.act(100)
                until(lambda passing=passing: town.act(5) and passing.facts_total)  # type: ignore[misc]
                until(lambda: len(staying.partitions) < kafka.partitions)
                town.act(100)
            until(lambda: len(staying.partitions) == kafka.partitions)
        until_level(database)
    check_views(database)


@pytest.mark.parametrize("step", [TAKEN, COMMITTED])
def test_a_feed_killed_before_or_after_its_commit_loses_and_repeats_nothing(
    database: str, kafka: KafkaSettings, told: None, town: Town, step: str
) -> None:
    town.act(200)
    for times in (1, 3):
        let_die("tests.kafka.feeding", database, kafka.bootstrap[0], step, times)
    with feeding(feed(database, kafka)):
        town.act(100)
        until_level(database)
    check_views(database)


def test_who_has_lost_a_partition_and_does_not_know_changes_nothing(
    database: str, kafka: KafkaSettings, told: None, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that both believe to have every partition, each in a group of its own."""
    joined = clients.group_member
    monkeypatch.setattr(clients, "group_member", lambda settings, group: joined(settings, f"{group}.{uuid4()}"))
    feeds = [feed(database, kafka) for _ in range(2)]
    with feeding(*feeds):
        until(lambda: all(len(one.partitions) == kafka.partitions for one in feeds))
        town.act(500)
        until_level(database)
    assert sum(one.facts_total for one in feeds) == head(database)
    check_views(database)


# -- Topics that are not as they were. -----------------------------------------------------------


def test_what_is_said_twice_is_projected_once(database: str, kafka: KafkaSettings, told: None, town: Town) -> None:
    one = feed(database, kafka)
    with feeding(one):
        until_level(database)
        producer = KafkaProducer(bootstrap_servers=list(kafka.bootstrap))
        for message in facts(kafka)[::-1]:
            headers = [(name, value.encode()) for name, value in message.headers.items()]
            producer.send(FACTS, message.value, message.key.encode(), headers, message.partition)
        producer.close()
        town.act(100)
        until_level(database)
        assert one.facts_total == head(database)
    check_views(database)


def test_what_cannot_be_opened_or_belongs_elsewhere_is_passed_over(
    database: str, kafka: KafkaSettings, told: None, town: Town
) -> None:
    one = feed(database, kafka)
    with feeding(one):
        until_level(database)
        producer = KafkaProducer(bootstrap_servers=list(kafka.bootstrap))
        for message in facts(kafka):
            headers = [(name, value.encode()) for name, value in message.headers.items()]
            bare = [header for header in headers if header[0] not in (PREVIOUS, PARTITIONS)]
            elsewhere = (message.partition + 1) % kafka.partitions
            producer.send(FACTS, message.value, b"a copy", bare, message.partition)
            producer.send(FACTS, b"garbage", b"a copy", headers, message.partition)
            producer.send(FACTS, None, b"a copy", headers, message.partition)
            producer.send(FACTS, message.value, b"a copy", headers, elsewhere)
        producer.close()
        town.act(100)
        until_level(database)
        assert one.facts_total == head(database)
    check_views(database)


def test_whatever_fails_in_a_feed_is_tried_again(database: str, kafka: KafkaSettings, told: None, town: Town) -> None:
    """Kafka's client raises more than its own errors."""
    failures: list[Exception] = [AttributeError("of the client"), psycopg.OperationalError("of the database")]

    def fail(step: str) -> None:
        if failures:
            raise failures.pop()

    one = feed(database, kafka)
    one.on_step = fail
    with feeding(one):
        town.act(100)
        until_level(database)
    assert not failures
    check_views(database)


def test_a_topic_that_is_deleted_is_filled_again_and_the_views_are_kept_up_meanwhile(
    database: str, kafka: KafkaSettings, told: None, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    help_from_the_table(monkeypatch)
    one = feed(database, kafka)
    with feeding(one):
        until_level(database)
        delete_topics(kafka, FACTS)
        town.act(200)
        until_level(database)
        total = one.facts_total
        until(lambda: town.act(1) and one.facts_total > total)
        until_level(database)
    check_views(database)


def test_partitions_that_are_added_lose_and_repeat_nothing(
    database: str, kafka: KafkaSettings, told: None, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    help_from_the_table(monkeypatch)
    one = feed(database, kafka)
    with feeding(one):
        until_level(database)
        with administering(kafka) as admin:
            admin.create_partitions({FACTS: kafka.partitions + 2})
            admin.wait_for_topics([FACTS])
        _restart_relay(database)
        until(lambda: town.act(5) and len(one.partitions) == kafka.partitions + 2)
        total = one.facts_total
        until(lambda: town.act(5) and one.facts_total > total + 50)
        until_level(database)
    assert {message.partition for message in facts(kafka)} > set(range(kafka.partitions))
    check_views(database)


def test_a_rebalance_that_ends_between_two_polls_is_not_forgotten(kafka: KafkaSettings) -> None:
    topic = f"grows-{uuid4()}"
    with administering(kafka) as admin, clients.group_member(kafka, topic) as member:
        admin.create_topics({topic: {"num_partitions": 1}}, wait_for_metadata=True)
        member.subscribe([topic])
        until(lambda: member.poll(500) or len(member.assignment()) == 1)
        admin.create_partitions({topic: 3})
        group = member._coordinator
        until(group.need_rejoin)
        member.poll(0)
        until(lambda: group._join_task is not None and group._join_task.is_done)
        assert not group.need_rejoin(), "kafka-python remembers by itself: `is_joining` can go"
        assert clients.is_joining(member)
        until(lambda: member.poll(500) or len(member.assignment()) == 3)
        assert not clients.is_joining(member)


def _restart_relay(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            b"select pg_terminate_backend(pid) from pg_stat_activity"
            b" where datname = current_database() and application_name = 'counterfoil relay'"
        )


# -- The table beside the topic. -------------------------------------------------------------------


def test_where_no_feed_is_at_work_the_table_keeps_the_views_up(
    database: str, kafka: KafkaSettings, told: None, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    help_from_the_table(monkeypatch)
    town.act(100)
    until_level(database)
    one = feed(database, kafka)
    with feeding(one):
        until(lambda: town.act(1) and one.facts_total)
        until_level(database)
    check_views(database)


def test_who_goes_back_to_the_table_projects_nothing_again(database: str, kafka: KafkaSettings, town: Town) -> None:
    """Views that have some partitions and lack others: the table brings what they lack, and only that."""
    held = threading.Event()

    def never_commit(step: str) -> None:
        assert step == TAKEN
        held.wait(DEATH_SECONDS_MAX)
        raise psycopg.OperationalError("the connection broke")

    working, stuck = feed(database, kafka), feed(database, kafka)
    stuck.on_step = never_commit
    with relaying(database, kafka, SECRET), projecting(database), feeding(working):
        until_level(database)
        with feeding(stuck):
            until(lambda: working.partitions and stuck.partitions)
            town.act(200)
            until(lambda: relayed(database) == head(database))
            until(lambda: _mark(database) == _last_told(database, working.partitions))
            held.set()
    assert not stuck.facts_total
    assert reached(database) < _mark(database)
    town.act(50)
    Projector(database).catch_up()
    check_views(database)


def _mark(database: str) -> int:
    return int(scalar(database, "select max(position) from projections.marks where name = 'tickets'") or 0)


def _last_told(database: str, partitions: frozenset[int]) -> int:
    told = scalar(database, f"select positions from relay.topics where topic = '{FACTS}'")
    return max(int(told[partition]) for partition in partitions)


def test_views_are_made_again_while_they_are_fed(database: str, kafka: KafkaSettings, told: None, town: Town) -> None:
    one = feed(database, kafka)
    with feeding(one):
        for _ in range(3):
            town.act(100)
            reports = Rebuild(database, ALL).run()
            assert all(report.equal is not False for report in reports)
        town.act(100)
        until_level(database)
    check_views(database)


def test_a_view_whose_rows_are_of_several_streams_cannot_be_fed(kafka: KafkaSettings) -> None:
    with pytest.raises(ValueError, match="inventory cannot be spread"):
        Feed("", kafka, SECRET, [*FED, Inventory()])


# -- What the topic has. -------------------------------------------------------------------------


def test_nothing_that_is_stored_can_be_read_in_the_topic(
    database: str, kafka: KafkaSettings, told: None, town: Town
) -> None:
    town.register()
    until(lambda: len(facts(kafka)) == head(database))
    everything = b"".join(message.value for message in facts(kafka))
    assert town.accounts
    for words in (b"example.com", b"account_id", stored_text(town.accounts[-1].name or "").encode()):
        assert words not in everything
