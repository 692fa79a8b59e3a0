"""Topics that are not as the relay left them: deleted, behind, ahead, grown, trimmed, written to by others."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from kafka import KafkaProducer, TopicPartition

from adapters.kafka import relay as relay_room
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.cursor import TOLD_TO_LOOK, begin_again
from adapters.postgres import migrate
from tests.domain.ticket_facts import HELD
from tests.kafka.parts import (
    TICKETS,
    Received,
    administering,
    check,
    delete_topics,
    head,
    problem,
    received,
    relay_to_the_head,
    relayed,
    relaying,
    scalar,
    until,
)
from tests.projections.book import Book
from tests.projections.town import Town


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an operator puts right is looked for at once."""
    monkeypatch.setattr(relay_room, "HELD_SECONDS", 0.2)


@pytest.fixture
def told(database: str, kafka: KafkaSettings, town: Town) -> list[Received]:
    """Everything has been relayed."""
    town.act(300)
    relay_to_the_head(database, kafka)
    return received(kafka)


def send(kafka: KafkaSettings, topic: str, partition: int, *headers: tuple[str, bytes]) -> None:
    """Somebody else does."""
    producer = KafkaProducer(bootstrap_servers=list(kafka.bootstrap))
    producer.send(topic, b"?", b"key", list(headers), partition).get(10)
    producer.close()


def execute(database: str, query: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(query.encode())


# -- Deleted. ------------------------------------------------------------------------------


def test_a_deleted_topic_is_filled_again_and_the_others_hear_nothing_twice(
    database: str, kafka: KafkaSettings, told: list[Received]
) -> None:
    delete_topics(kafka, TICKETS)
    again = relay_to_the_head(database, kafka)
    assert check(received(kafka), database) == 0
    assert again.messages_total == len([message for message in told if message.topic == TICKETS])


def test_a_topic_deleted_under_a_relay_that_is_at_work_is_filled_again(
    database: str, kafka: KafkaSettings, town: Town
) -> None:
    with relaying(database, kafka):
        until(lambda: relayed(database) == head(database))
        delete_topics(kafka, TICKETS)
        town.act(300)
        until(lambda: relayed(database) == head(database))
    assert check(received(kafka), database) == 0


def test_a_topic_made_again_under_a_relay_that_is_at_work_is_filled_again(
    database: str, kafka: KafkaSettings, town: Town
) -> None:
    """The relay's producer finds a topic of that name, and goes on in it, were it not for the offsets."""
    town.act(300)
    with relaying(database, kafka):
        until(lambda: relayed(database) == head(database))
        delete_topics(kafka, TICKETS)
        with administering(kafka) as admin:
            admin.create_topics({TICKETS: {"num_partitions": kafka.partitions}}, wait_for_metadata=True)
        town.act(100)
        until(lambda: relayed(database) == head(database))
    assert check(received(kafka), database) == 0


def test_an_idle_relay_looks_when_it_is_told_to(database: str, kafka: KafkaSettings, town: Town) -> None:
    town.act(100)
    with relaying(database, kafka):
        until(lambda: relayed(database) == head(database))
        delete_topics(kafka, TICKETS)
        assert begin_again(database, 0)
        until(lambda: relayed(database) == head(database))
    assert check(received(kafka), database) == 0


@pytest.mark.parametrize("after", [None, 0])
def test_looking_again_is_a_problem_until_somebody_has(
    database: str, kafka: KafkaSettings, told: list[Received], after: int | None
) -> None:
    """Whoever asked for it would otherwise take the cursor's word for what the topics have."""
    delete_topics(kafka, TICKETS)
    assert begin_again(database, after)
    assert problem(database) == TOLD_TO_LOOK
    with relaying(database, kafka):
        until(lambda: problem(database) is None and relayed(database) == head(database))
        assert check(received(kafka), database) == 0


def test_beginning_again_sends_nothing_that_is_there(database: str, kafka: KafkaSettings, told: list[Received]) -> None:
    assert begin_again(database, 0)
    assert relay_to_the_head(database, kafka).messages_total == 0
    assert received(kafka) == told


def test_a_beginning_waives_what_is_before_it(database: str, kafka: KafkaSettings, told: list[Received]) -> None:
    middle = head(database) // 2
    delete_topics(kafka)
    assert begin_again(database, middle)
    relay_to_the_head(database, kafka)
    assert [message.id for message in received(kafka)] == [message.id for message in told if message.position > middle]


def test_nobody_begins_beyond_the_ledger(database: str, told: list[Received]) -> None:
    assert not begin_again(database, head(database) + 1)
    assert relayed(database) == head(database)


# -- Behind and ahead. -----------------------------------------------------------------------


def test_a_cursor_that_is_behind_the_topics_sends_nothing_twice(
    database: str, kafka: KafkaSettings, told: list[Received]
) -> None:
    execute(database, "update relay.cursor set position = 3")
    execute(
        database,
        "update relay.topics set positions = array_fill(0::bigint, array[3]), offsets = array_fill(-1::bigint, array[3])",
    )
    assert relay_to_the_head(database, kafka).messages_total == 0
    assert received(kafka) == told


def test_a_relay_that_remembers_nothing_sends_nothing_twice(
    database: str, kafka: KafkaSettings, told: list[Received]
) -> None:
    execute(database, "delete from relay.cursor; delete from relay.topics")
    assert relay_to_the_head(database, kafka).messages_total == 0
    assert received(kafka) == told


def test_what_a_broker_has_lost_of_a_partitions_end_is_sent_again(
    database: str, kafka: KafkaSettings, told: list[Received]
) -> None:
    """As after the election of a leader that did not have everything: the relay remembers more than there is."""
    delete_topics(kafka, TICKETS)
    with administering(kafka) as admin:
        admin.create_topics({TICKETS: {"num_partitions": kafka.partitions}}, wait_for_metadata=True)
        [topic] = admin.describe_topics([TICKETS])
    kept = [message for message in told if message.topic == TICKETS][::1]
    of_first = [message for message in kept if message.partition == 0]
    producer = KafkaProducer(bootstrap_servers=list(kafka.bootstrap))
    for message in of_first[: len(of_first) // 2]:
        headers = [(name, value.encode()) for name, value in message.headers.items()]
        producer.send(TICKETS, message.value, message.key.encode(), headers, 0, message.timestamp_ms)
    producer.flush()
    producer.close()
    execute(database, f"update relay.topics set topic_id = '{topic['topic_id']}' where topic = '{TICKETS}'")
    again = relay_to_the_head(database, kafka)
    assert check(received(kafka), database) == 0
    assert again.messages_total == len(kept) - len(of_first) // 2


def test_a_ledger_that_was_restored_to_before_what_was_told_is_not_mixed_with_it(
    database: str, kafka: KafkaSettings, told: list[Received], empty_database: str
) -> None:
    """The same ledger, ending earlier, and gone on from there: its positions mean something else now."""
    ledger_id = scalar(database, "select ledger_id from chain.identity")
    with psycopg.connect(empty_database, autocommit=True) as connection:
        ours = connection.execute(
            b"select format('%I', nspname) from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'"
        ).fetchall()
        for (schema,) in ours:
            connection.execute(f"drop schema {schema} cascade".encode())
        connection.execute(b"create schema public")
    migrate(empty_database)
    execute(empty_database, f"update chain.identity set ledger_id = '{ledger_id}'")
    restored = Book(empty_database)
    for _ in range(len(told) * 3):
        restored.append((uuid4(), HELD))
    restored.connection.close()
    with relaying(empty_database, kafka):
        until(lambda: "restored to before" in (problem(empty_database) or ""))
        assert received(kafka) == told
        delete_topics(kafka)
        until(lambda: relayed(empty_database) == head(empty_database))
    assert check(received(kafka), empty_database) == 0


# -- Grown, trimmed. ---------------------------------------------------------------------------


def test_what_retention_has_taken_is_not_sent_again(database: str, kafka: KafkaSettings, told: list[Received]) -> None:
    with administering(kafka) as admin:
        ends = {TopicPartition(TICKETS, n): -1 for n in range(kafka.partitions)}  # -1: everything
        admin.delete_records(ends)
    assert received(kafka, [TICKETS]) == []
    assert relay_to_the_head(database, kafka).messages_total == 0


def test_partitions_that_were_added_lose_nothing(
    database: str, kafka: KafkaSettings, told: list[Received], town: Town
) -> None:
    with administering(kafka) as admin:
        admin.create_partitions({TICKETS: kafka.partitions + 2})
        admin.wait_for_topics([TICKETS])
    town.act(300)
    again = relay_to_the_head(database, kafka)
    messages = received(kafka)
    assert len(messages) == len(told) + again.messages_total
    assert {message.id for message in told} < {message.id for message in messages}
    assert len({message.id for message in messages}) == len(messages)
    assert {message.partition for message in messages if message.topic == TICKETS} == set(range(kafka.partitions + 2))


# -- Written to by others. ---------------------------------------------------------------------


def test_a_message_that_is_none_of_ours_is_passed_by(
    database: str, kafka: KafkaSettings, told: list[Received], town: Town
) -> None:
    send(kafka, TICKETS, 0)
    send(kafka, TICKETS, 1, ("ce_source", b"urn:x"), ("ce_id", b"1"), ("ce_sequence", b"many"))
    town.act(300)
    relay_to_the_head(database, kafka)
    assert check([message for message in received(kafka) if message.value != b"?"], database) == 0


def test_two_ledgers_do_not_share_a_topic(database: str, kafka: KafkaSettings, told: list[Received]) -> None:
    other = (("ce_source", uuid4().urn.encode()), ("ce_id", b"1:1"), ("ce_sequence", b"1"))
    send(kafka, TICKETS, 2, *other)
    with relaying(database, kafka):
        until(lambda: f"{TICKETS}, partition 2 has messages of another ledger" in (problem(database) or ""))
        assert len(received(kafka)) == len(told) + 1
        delete_topics(kafka, TICKETS)
        until(lambda: problem(database) is None)
        until(lambda: relayed(database) == head(database))
    assert check(received(kafka), database) == 0
