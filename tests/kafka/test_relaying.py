"""What the relay tells: everything that is public, once, in order, as CloudEvents."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from pydantic_core import from_json

from adapters.kafka import ledger_pages
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.encoding import Outgoing, partition_of
from tests.domain.ticket_facts import HELD
from tests.kafka.parts import (
    PARTITIONS,
    TICKETS,
    administering,
    check,
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

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_everything_public_is_told_once_and_in_order(database: str, kafka: KafkaSettings, town: Town) -> None:
    town.act(600)
    relay = relay_to_the_head(database, kafka)
    messages = received(kafka)
    assert check(messages, database) == 0
    assert len(messages) == relay.messages_total
    assert len({(message.topic, message.partition) for message in messages}) == 3 * PARTITIONS
    positions = [message.position for message in messages if (message.topic, message.partition) == (TICKETS, 0)]
    assert positions == sorted(positions)


def test_a_relay_that_comes_back_has_nothing_to_say_again(database: str, kafka: KafkaSettings, town: Town) -> None:
    town.act(100)
    relay_to_the_head(database, kafka)
    assert relay_to_the_head(database, kafka).messages_total == 0
    town.act(100)
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) == 0


def test_a_message_is_a_cloud_event_in_binary_mode(database: str, kafka: KafkaSettings, book: Book) -> None:
    ticket_id = uuid4()
    book.append((ticket_id, HELD))
    relay_to_the_head(database, kafka)
    [message] = received(kafka)
    time = message.headers.pop("ce_time")
    assert INSTANT.fullmatch(time)
    assert message.headers == {
        "ce_specversion": "1.0",
        "ce_id": f"{ticket_id}:1",
        "ce_source": f"urn:uuid:{scalar(database, 'select ledger_id from chain.identity')}",
        "ce_type": "counterfoil.ticket.held",
        "ce_subject": str(ticket_id),
        "ce_sequence": "1",
        "ce_dataschema": "urn:counterfoil:message:ticket.held:v1",
        "content-type": "application/json; charset=utf-8",
    }
    assert (message.topic, message.key) == (TICKETS, str(ticket_id))
    assert from_json(message.value)["order_id"] == str(HELD.order_id)
    recorded_at = scalar(database, "select recorded_at from ledger.events")
    assert time == recorded_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert message.timestamp_ms == int(
        scalar(database, "select extract(epoch from recorded_at) * 1000 from ledger.events")
    )


def test_it_follows_the_ledger(database: str, kafka: KafkaSettings, book: Book) -> None:
    with relaying(database, kafka):
        for count in range(1, 4):
            position = book.append((uuid4(), HELD))
            until(lambda position=position: relayed(database) == position)  # type: ignore[misc]
            assert len(received(kafka)) == count


def test_what_stays_in_is_passed(database: str, kafka: KafkaSettings, book: Book) -> None:
    book.append_stored(
        (uuid4(), "email.claimed", b'{"at":"2031-05-01T10:00:00Z","account_id":"%s"}' % str(uuid4()).encode())
    )
    relay_to_the_head(database, kafka)
    assert relayed(database) == 1
    assert received(kafka) == []


def test_topics_are_made_as_configured(database: str, kafka: KafkaSettings, town: Town) -> None:
    town.act(20)
    relay_to_the_head(database, kafka._replace(partitions=5))
    with administering(kafka) as admin:
        [topic] = admin.describe_topics([TICKETS])
    assert [len(partition["replica_nodes"]) for partition in topic["partitions"]] == [1] * 5


def test_topics_that_are_there_are_taken_as_they_are(database: str, kafka: KafkaSettings, town: Town) -> None:
    town.act(50)
    with administering(kafka) as admin:
        admin.create_topics({TICKETS: {"num_partitions": 2}}, wait_for_metadata=True)
    relay_to_the_head(database, kafka)
    assert {message.partition for message in received(kafka, [TICKETS])} <= {0, 1}
    assert check(received(kafka), database) == 0


def test_streams_go_where_other_clients_would_put_them() -> None:
    """Of Kafka's own client: `Utils.toPositive(Utils.murmur2(key)) % partitions`."""
    assert [partition_of(key, 1_000) for key in (b"21", b"foobar", b"a-little-bit-long-string")] == [
        (value & 0x7FFFFFFF) % 1_000 for value in (-973932308, -790332482, -985981536)
    ]


def test_pages_are_bounded_in_bytes(
    database: str, kafka: KafkaSettings, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_pages, "PAGE_BYTES_MAX", 5_000)
    pages: list[int] = []
    begin = ledger_pages.LedgerPages._cut

    def cut(self: ledger_pages.LedgerPages) -> list[Outgoing]:
        messages = begin(self)
        pages.append(sum(message.size for message in messages))
        return messages

    monkeypatch.setattr(ledger_pages.LedgerPages, "_cut", cut)
    town.act(100)
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) == 0
    assert len(pages) > 5
    assert max(pages) <= 5_000


def test_a_message_larger_than_a_page_is_a_page(
    database: str, kafka: KafkaSettings, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_pages, "PAGE_BYTES_MAX", 1)
    town.act(30)
    relay_to_the_head(database, kafka)
    assert check(received(kafka), database) == 0


# -- Facts that are not understood. ----------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "payload", "why"),
    [
        ("ticket.teleported", b"{}", "this release knows no fact 'ticket.teleported'"),
        ("ticket.held@2", b"{}", "this release knows no fact 'ticket.held@2'"),
        ("ticket.held", b'{"at":"yesterday"}', "'ticket.held' cannot be read: ValidationError"),
    ],
)
def test_a_fact_that_should_go_out_and_is_not_understood_stops_the_relay(
    database: str, kafka: KafkaSettings, book: Book, topic: str, payload: bytes, why: str
) -> None:
    book.append((uuid4(), HELD))
    book.append_stored((uuid4(), topic, payload))
    with relaying(database, kafka):
        until(lambda: problem(database) == f"position 2: {why}")
    assert relayed(database) == 0
    assert head(database) == 2


def test_facts_of_other_programs_are_passed_over(database: str, kafka: KafkaSettings, book: Book) -> None:
    book.append_stored((uuid4(), "dog.trick_added", b"{}"))
    book.append_stored((uuid4(), "account.registered", b"no JSON"))
    book.append((uuid4(), HELD))
    relay_to_the_head(database, kafka)
    assert [message.position for message in received(kafka)] == [3]
