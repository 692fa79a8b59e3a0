"""What was once stored can be read for ever.

``tests/fixtures/facts-v<release>.jsonl`` holds the stored bytes of every fact of that release and is never changed: when a
fact is added, or its shape, a line under its new topic goes into the file of the release that brings it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic_core import from_json, to_json

import domain.kernel
from domain.kernel import Fact, Json, UnknownTopicError, Upcaster, decode
from tests.domain.happening import NOW
from tests.domain.stored_facts import CORPUS, FIXTURES, SLICES, Stored, known_facts

# -- The corpus. -------------------------------------------------------------------------


IN_TODAYS_SHAPE = [stored for stored in CORPUS if stored.decoded().stored_topic == stored.topic]

every_stored_fact = pytest.mark.parametrize(("topic", "payload"), CORPUS, ids=[stored.topic for stored in CORPUS])


@every_stored_fact
def test_everything_ever_stored_is_still_understood(topic: str, payload: bytes) -> None:
    assert decode(topic, payload).topic == topic.partition("@")[0]


@pytest.mark.parametrize("stored", IN_TODAYS_SHAPE, ids=[stored.topic for stored in IN_TODAYS_SHAPE])
def test_nothing_that_was_stored_in_todays_shape_is_lost_in_reading(stored: Stored) -> None:
    assert holds(from_json(stored.decoded().encode()), from_json(stored.payload))


def test_the_corpus_holds_every_fact_in_todays_shape() -> None:
    missing = {cls.stored_topic for cls in known_facts()} - {topic for topic, _ in CORPUS}
    assert not missing, f"add a line for each of {sorted(missing)} to the newest file in {FIXTURES}"


def test_every_slice_of_the_domain_has_facts_in_the_corpus() -> None:
    assert {module.__name__ for module in SLICES} == {cls.__module__ for cls in known_facts()}


def holds(new: Any, old: Any) -> bool:
    """Whether everything in the old value is in the new one, which may have grown fields since."""
    match new, old:
        case dict(), dict():
            return all(key in new and holds(new[key], value) for key, value in old.items())
        case list(), list():
            return len(new) == len(old) and all(map(holds, new, old))
        case _:
            return bool(new == old)


# -- Changing a shape. -------------------------------------------------------------------------


@pytest.fixture
def _own_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts that a test defines are forgotten when it ends."""
    monkeypatch.setattr(domain.kernel, "type_of_fact", dict(domain.kernel.type_of_fact))


pytestmark = pytest.mark.usefixtures("_own_facts")


def name_the_stool(stored: Json) -> Json:
    return {"at": stored["at"], "stool": f"stool {stored['number']}"}


def say_which_bar(stored: Json) -> Json:
    return stored | {"bar": "foyer"}


AT = to_json(NOW).decode()
V1 = f'{{"at":{AT},"number":4}}'.encode()
V2 = f'{{"at":{AT},"stool":"stool 4"}}'.encode()
V3 = f'{{"at":{AT},"stool":"stool 4","bar":"foyer"}}'.encode()


@pytest.fixture
def reserved(_own_facts: None) -> Fact:
    """A bar stool, as today's release knows it. It was a number once, and then had no bar."""

    class Reserved(Fact, topic="stool.reserved"):
        upcasters: ClassVar[tuple[Upcaster, ...]] = (name_the_stool, say_which_bar)

        stool: str
        bar: str

    return Reserved(stool="stool 4", bar="foyer", at=NOW)


def test_a_changed_shape_has_a_new_version_of_its_topic(reserved: Fact) -> None:
    assert (reserved.topic, reserved.stored_topic) == ("stool.reserved", "stool.reserved@3")


@pytest.mark.parametrize(("version", "payload"), [("", V1), ("@1", V1), ("@2", V2), ("@3", V3)])
def test_every_earlier_shape_is_brought_to_todays(reserved: Fact, version: str, payload: bytes) -> None:
    assert decode(f"stool.reserved{version}", payload) == reserved


def test_what_is_stored_today_comes_back_without_any_upcasting(reserved: Fact) -> None:
    elsewhere = reserved.model_copy(update={"bar": "balcony"})
    assert decode(elsewhere.stored_topic, elsewhere.encode()) == elsewhere


@pytest.mark.parametrize(
    "topic",
    [
        "stool.reserved@4",
        "stool.reserved@0",
        "stool.reserved@",
        "stool.reserved@-1",
        "stool.reserved@²",
        "stool.reserved@latest",
        "stool.reserved@3@2",
        "stool",
        "ticket.held@2",
        "",
    ],
)
@pytest.mark.usefixtures("reserved")
def test_a_topic_or_version_of_the_future_is_not_guessed_at(topic: str) -> None:
    with pytest.raises(UnknownTopicError):
        decode(topic, V3)


def test_one_topic_means_one_thing() -> None:
    def define() -> type[Fact]:
        class Poured(Fact, topic="tea.poured"):
            pass

        return Poured

    define()
    with pytest.raises(TypeError, match=r"tea\.poured"):
        define()


def test_a_reader_ignores_fields_that_a_newer_release_added() -> None:
    class Poured(Fact, topic="tea.poured"):
        drink: str

    payload = f'{{"at":{AT},"drink":"tea","sugar":{{"lumps":2}}}}'.encode()
    assert decode("tea.poured", payload) == Poured(drink="tea", at=NOW)


def test_a_field_that_was_added_with_a_default_needs_no_new_version() -> None:
    class Poured(Fact, topic="tea.poured"):
        drink: str
        sugar_lumps: int = 0

    assert decode("tea.poured", f'{{"at":{AT},"drink":"tea"}}'.encode()) == Poured(drink="tea", at=NOW)


@every_stored_fact
def test_readers_ignore_unknown_fields_in_every_fact_and_in_its_parts(topic: str, payload: bytes) -> None:
    assert decode(topic, to_json(grown(from_json(payload)))) == decode(topic, payload)


def grown(value: Any) -> Any:
    """The value with a field that nobody knows in each of its objects."""
    match value:
        case dict():
            return {key: grown(part) for key, part in value.items()} | {"added_since": [1]}
        case list():
            return [grown(part) for part in value]
        case _:
            return value
