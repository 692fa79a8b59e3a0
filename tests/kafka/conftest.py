"""One broker for the tests that leave it alone, and one of its own for each that does not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from adapters.kafka.clients import KafkaSettings
from tests import kafka_broker
from tests.kafka.parts import delete_topics, founded, settings_for
from tests.kafka_broker import Broker
from tests.projections.book import Book
from tests.projections.town import Town


def skip_or_fail(reason: str) -> None:
    """Where checks are made for everybody, one that is not made is an error."""
    text = f"no Kafka: {reason}; name a broker with {kafka_broker.NAMED}"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def shared_bootstrap() -> Iterator[str]:
    if (named := kafka_broker.named()) is not None:
        yield named
        return
    if (reason := kafka_broker.missing()) is not None:
        skip_or_fail(reason)
    with Broker() as broker:
        yield broker.bootstrap


@pytest.fixture
def kafka(shared_bootstrap: str) -> KafkaSettings:
    """A broker without any of our topics."""
    settings = settings_for(shared_bootstrap)
    delete_topics(settings)
    return settings


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker of the test's own, to be killed."""
    if (reason := kafka_broker.missing()) is not None:
        skip_or_fail(reason)
    with Broker() as broker:
        yield broker


@pytest.fixture
def book(database: str) -> Iterator[Book]:
    book = Book(database)
    yield book
    book.connection.close()


@pytest.fixture
def town(book: Book) -> Town:
    """People who give the ledger something to tell."""
    return founded(book)
