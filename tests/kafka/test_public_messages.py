"""Every fact is either published, field by field, or kept in for a reason; and nothing personal is published."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from pydantic_core import from_json, to_json

from domain.kernel import Fact, decode
from domain.order import ORDER_TICKETS_MAX, Line, Order
from domain.seat import Seat
from projections.messages.kernel import Message, channel_of, message_for, schema
from projections.messages.registry import CHANNELS, INTERNAL, PUBLISHED
from tests.domain.stored_facts import CORPUS, Stored, known_facts

PERSONAL = frozenset(
    [
        "email",
        "name",
        "attendee_name",
        "wallet",
        "address",
        "from_wallet",
        "to_wallet",
        "message",
        "signature",
        "reason",
        "user_ids",
        "transaction_hash",
        "token_id",
        "contract",
    ]
)
"""Fields of facts that hold, or lead to, who somebody is; and free text, in which they may be named."""
OF_THE_EVENT = {("event.tier_added", "name"), ("event.cancelled", "reason")}
"""What organisers tell the public themselves."""
MARK = "somebody in particular"
VALUE_BYTES_MAX = 100_000

PUBLIC = [stored for stored in CORPUS if type(stored.decoded()) in PUBLISHED]
every_public_fact = pytest.mark.parametrize("stored", PUBLIC, ids=[stored.topic for stored in PUBLIC])
every_message = pytest.mark.parametrize("message", PUBLISHED.values(), ids=[m.slug for m in PUBLISHED.values()])


def told(fact: Fact) -> bytes:
    return PUBLISHED[type(fact)].of(fact).encode()


def test_every_fact_is_published_or_kept_in_for_a_reason() -> None:
    undecided = set(known_facts()) - PUBLISHED.keys() - INTERNAL.keys()
    assert not undecided, f"say in projections/messages what becomes of {sorted(fact.topic for fact in undecided)}"
    assert not PUBLISHED.keys() & INTERNAL.keys()
    assert all(INTERNAL.values())


def test_every_message_is_of_a_fact_of_the_domain() -> None:
    assert {*PUBLISHED, *INTERNAL} <= set(known_facts())


def test_there_is_a_topic_for_each_kind_of_stream() -> None:
    assert CHANNELS == ("counterfoil.events.v1", "counterfoil.orders.v1", "counterfoil.tickets.v1")
    assert all(message.channel == channel_of(fact.topic) for fact, message in PUBLISHED.items())


def test_a_fact_has_one_message() -> None:
    with pytest.raises(TypeError, match=r"order\.placed"):
        type("Again", (Message,), {"__module__": __name__}, of=Order.Placed)
    assert message_for[Order.Placed].__name__ == "OrderPlaced"


@every_public_fact
def test_what_is_personal_stays_in(stored: Stored) -> None:
    """Whatever is written into such a field, at whatever depth, is not in the message."""
    marked = marking(stored.topic, from_json(stored.payload))
    assert MARK.encode() not in told(decode(stored.topic, to_json(marked)))


def test_marks_would_be_found_where_they_go_out() -> None:
    cancelled = next(stored for stored in PUBLIC if stored.topic == "event.cancelled")
    fact = decode("event.cancelled", to_json(from_json(cancelled.payload) | {"reason": MARK}))
    assert MARK.encode() in told(fact)
    marked = [stored.topic for stored in PUBLIC if MARK in str(marking(stored.topic, from_json(stored.payload)))]
    assert {"ticket.claimed", "ticket.cancelled", "order.refunded"} <= set(marked)


@every_message
def test_no_field_of_a_message_is_named_after_something_personal(message: type[Message]) -> None:
    top = {name for name in message.model_fields if (message.slug, name) not in OF_THE_EVENT}
    assert not top & PERSONAL


@every_public_fact
def test_messages_are_what_their_schema_says(stored: Stored) -> None:
    fact = stored.decoded()
    validator = jsonschema_rs.Draft202012Validator(dict(schema(PUBLISHED[type(fact)])), validate_formats=True)
    validator.validate(from_json(told(fact)))


def test_every_message_has_a_fact_in_the_corpus() -> None:
    assert {type(stored.decoded()) for stored in PUBLIC} == set(PUBLISHED)


def test_the_largest_order_is_a_message_that_brokers_take() -> None:
    stored = next(stored for stored in PUBLIC if stored.topic == "order.placed").decoded()
    assert isinstance(stored, Order.Placed)
    seat = Seat(section="🎭" * 32, row="🎭" * 32, number="🎭" * 32)
    line: Line = stored.lines[0].model_copy(update={"seat": seat})
    assert len(told(stored.model_copy(update={"lines": (line,) * ORDER_TICKETS_MAX}))) < VALUE_BYTES_MAX


def marking(topic: str, value: Any, name: str = "") -> Any:
    """The payload, with a mark in every text that is in a field of those, as far as the fact takes any text there."""
    match value:
        case dict():
            return {key: marking(topic, part, key) for key, part in value.items()}
        case list():
            return [marking(topic, part, name) for part in value]
        case str() if name in PERSONAL and (topic, name) not in OF_THE_EVENT and not value.startswith("0x"):
            public_text = topic.startswith("event.") and name == "name"  # of the venue
            return value if public_text else MARK
        case _:
            return value
