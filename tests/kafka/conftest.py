"""One broker for the tests that leave it alone, and one of its own for each that does not."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.kafka.clients import KafkaSettings
from api.client import Client
from tests import kafka_broker
from tests.journeys.people import Person, newcomer, sign_in
from tests.kafka.parts import delete_topics, founded, settings_for
from tests.kafka_broker import Broker
from tests.projections.book import Book
from tests.projections.town import Town
from tests.server import ADMIN_EMAIL, ADMIN_PASSWORD, Server


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
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Person]:
    """Of the server that the test's own module starts."""
    async with Client(server.url) as client:
        admin = Person(client)
        await sign_in(admin, ADMIN_EMAIL, ADMIN_PASSWORD)
        yield admin


@pytest.fixture
async def organizer(admin: Person) -> Person:
    return await newcomer(admin, "organizer")


@pytest.fixture
def book(database: str) -> Iterator[Book]:
    book = Book(database)
    yield book
    book.connection.close()


@pytest.fixture
def town(book: Book) -> Town:
    """People who give the ledger something to tell."""
    return founded(book)
