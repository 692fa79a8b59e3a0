"""A ledger, a projector that has caught up with it, and the questions that its views answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from adapters.projector import Projector
from adapters.views import PostgresViews
from tests.projections.book import Book

T = TypeVar("T")


class Ask(Protocol):
    def __call__(self, question: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """The answer of the views as they are."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def book(database: str) -> Iterator[Book]:
    book = Book(database)
    yield book
    book.connection.close()


@pytest.fixture
def ask(database: str) -> Iterator[Ask]:
    views = PostgresViews(database)

    def answer(question: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        async def call() -> T:
            return await question(views, *args, **kwargs)

        return runner.run(call())

    with asyncio.Runner() as runner:
        runner.run(views.start())
        yield answer
        runner.run(views.stop())


@pytest.fixture
def caught_up(database: str) -> Callable[[], int]:
    """Bring every view to the head of the ledger."""
    return Projector(database).catch_up
