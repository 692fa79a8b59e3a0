"""Which parts of facts say who somebody is; and that what is sealed survives storage as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args
from uuid import UUID

import pytest

from domain.account import Account
from domain.kernel import Fact, decode, type_of_fact
from domain.personal import Sealed
from domain.ticket import Ticket
from tests.domain.happening import BUYER, NOW

PERSONAL = {
    "account.registered": {"email", "name"},
    "ticket.claimed": {"attendee_name"},
    "wallet.linked": {"message", "signature"},
}
SUSPICIOUS = ("name", "mail", "attendee", "phone", "message", "signature", "birth")
OF_NOBODY = {
    "event.tier_added": {"name"},
}
"""What sounds personal and is about a thing."""


def fields_of(fact: type[Fact]) -> Iterator[tuple[str, bool]]:
    for name, field in fact.model_fields.items():
        yield name, Sealed in get_args(field.annotation)


@pytest.mark.parametrize("topic", sorted(type_of_fact))
def test_what_says_who_somebody_is_can_be_sealed(topic: str) -> None:
    fields = dict(fields_of(type_of_fact[topic]))
    assert {name for name, personal in fields.items() if personal} == PERSONAL.get(topic, set())
    suspicious = {name for name in fields if any(word in name for word in SUSPICIOUS)}
    assert suspicious <= PERSONAL.get(topic, set()) | OF_NOBODY.get(topic, set())


@pytest.mark.parametrize(
    "fact",
    [
        Ticket.Claimed(attendee_name=Sealed(BUYER, "c2VhbGVk"), at=NOW),
        Account.Registered(email=Sealed(BUYER, "YQ"), name="plain, as it once was", roles=(), at=NOW),
    ],
)
def test_what_is_sealed_is_stored_and_read_again(fact: Fact) -> None:
    assert decode(fact.stored_topic, fact.encode()) == fact


def test_it_is_stored_in_the_form_that_docs_and_readers_know() -> None:
    stored = Ticket.Claimed(attendee_name=Sealed(UUID(int=7), "c2VhbGVk"), at=NOW).encode()
    assert b'"attendee_name":{"subject":"00000000-0000-0000-0000-000000000007","sealed":"c2VhbGVk"}' in stored
