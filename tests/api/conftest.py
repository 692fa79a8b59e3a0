"""One house for all tests that can share one; a test that cannot has a house of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from domain.account import Role
from tests.api.callers import Caller
from tests.api.house import House, fresh_database


@pytest.fixture(scope="session")
def house(postgres: str) -> Iterator[House]:
    with fresh_database(postgres) as url, House(url) as house:
        yield house


@pytest.fixture
def organizer(house: House) -> Caller:
    return house.person("olga", Role.ATTENDEE, Role.ORGANIZER)


@pytest.fixture
def buyer(house: House) -> Caller:
    return house.person("bea")


@pytest.fixture
def other(house: House) -> Caller:
    """Somebody whom none of this belongs to, though with the roles to own such things."""
    return house.person("omar", Role.ATTENDEE, Role.ORGANIZER)


@pytest.fixture
def unmoved(house: House, organizer: Caller, buyer: Caller, other: Caller) -> Iterator[None]:
    """What the test does records nothing; in a house without a timekeeper, once everybody is there."""
    head = house.head
    yield
    assert house.head == head
