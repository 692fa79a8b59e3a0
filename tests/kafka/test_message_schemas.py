"""The schemas in docs/messages are what is sent, and nobody who reads v1 is broken by a change of them."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import jsonschema_rs
import pytest

from projections.messages.kernel import Message, schema
from projections.messages.registry import PUBLISHED
from tests.kafka.compatibility import breaks
from tests.kafka.write_schemas import BASELINE, DOCS, path_of, text_of

PROMISED: dict[str, Any] = json.loads(BASELINE.read_text())
"""By `schema_id`, as released."""

every_message = pytest.mark.parametrize("message", PUBLISHED.values(), ids=[m.slug for m in PUBLISHED.values()])


@every_message
def test_the_documented_schema_is_the_one_that_messages_have(message: type[Message]) -> None:
    assert path_of(message).read_text() == text_of(message), "python -m tests.kafka.write_schemas"


@every_message
def test_the_schema_is_one(message: type[Message]) -> None:
    jsonschema_rs.meta.validate(dict(schema(message)))
    assert schema(message)["$id"] == message.schema_id


def test_nothing_else_is_documented() -> None:
    assert {path.name for path in DOCS.iterdir()} == {path_of(message).name for message in PUBLISHED.values()}


@every_message
def test_readers_of_v1_are_not_broken(message: type[Message]) -> None:
    assert message.schema_id in PROMISED, f"a new message: add its schema to {BASELINE.name}"
    assert breaks(PROMISED[message.schema_id], schema(message)) == []


def test_every_message_that_was_promised_is_still_sent() -> None:
    assert set(PROMISED) <= {message.schema_id for message in PUBLISHED.values()}


# -- What counts as breaking. --------------------------------------------------------------

OLD: dict[str, Any] = {
    "$defs": {"Seat": {"type": "object", "properties": {"row": {"type": "string"}}, "required": ["row"]}},
    "type": "object",
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "price": {"type": "integer"},
        "seat": {"anyOf": [{"$ref": "#/$defs/Seat"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string"},
    },
    "required": ["at", "price", "seat", "tags"],
}


def changed(*path: str, to: object = None) -> dict[str, Any]:
    """The schema with another value at the path; none: without it."""
    new = deepcopy(OLD)
    at = new
    for step in path[:-1]:
        at = at[step]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return new


HARMLESS = {
    "nothing": OLD,
    "a field that may be there": changed("properties", "more", to={"type": "string"}),
    "a field within a part that may be there": changed("$defs", "Seat", "properties", "view", to={"type": "string"}),
    "words for people": changed("description", to="A ticket"),
    "a part inline": changed(
        "properties", "seat", "anyOf", to=[{**OLD["$defs"]["Seat"], "title": "Seat"}, {"type": "null"}]
    ),
}
HARMFUL = {
    "a field removed": (changed("properties", "price"), "/price: removed"),
    "a field that could be absent removed": (changed("properties", "note"), "/note: removed"),
    "a field of a part removed": (changed("$defs", "Seat", "properties", "row"), "/seat/row: removed"),
    "another type": (changed("properties", "price", "type", to="string"), "/price: was integer, is string"),
    "a number that need not be whole": (
        changed("properties", "price", "type", to="number"),
        "/price: was integer, is number",
    ),
    "may now be null": (
        changed("properties", "price", to={"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        "/price: was integer, is integer or null",
    ),
    "may no longer be null": (changed("properties", "seat", to={"$ref": "#/$defs/Seat"}), "/seat: was null or object"),
    "another format": (changed("properties", "at", "format", to="date"), "/at: string was"),
    "a format less": (changed("properties", "at", "format"), "/at: string was"),
    "other elements": (changed("properties", "tags", "items", "type", to="integer"), "/tags/*: was string"),
    "values listed": (changed("properties", "note", "enum", to=["a", "b"]), "/note: string was"),
    "no longer always there": (changed("required", to=["at", "price", "seat"]), "/tags: no longer always there"),
    "required since": (changed("required", to=[*OLD["required"], "note"]), "/note: required, and messages from before"),
    "a new field that is required": (
        changed("properties", "more", to={"type": "string"}) | {"required": [*OLD["required"], "more"]},
        "/more: required, and messages from before",
    ),
    "closed to fields to come": (changed("additionalProperties", to={"type": "string"}), "/: object was"),
}


@pytest.mark.parametrize("new", HARMLESS.values(), ids=HARMLESS)
def test_a_harmless_change_is_let_through(new: dict[str, Any]) -> None:
    assert breaks(OLD, new) == []


@pytest.mark.parametrize(("new", "why"), HARMFUL.values(), ids=HARMFUL)
def test_a_harmful_change_is_found(new: dict[str, Any], why: str) -> None:
    found = breaks(OLD, new)
    assert any(one.startswith(why) for one in found), found
