"""The canonical bytes of a fact: the worked example of the documentation, and that no two facts share theirs."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.canonical import at_position, canonical, from_line, join, position_of, split, to_line
from projections.ledger_head import head_from, key_from, key_id_of, signed_text
from projections.merkle import leaf_hash

PAGE = (Path(__file__).parents[2] / "docs" / "proofs.md").read_text()
EXAMPLE: tuple[Any, ...] = (
    7,
    UUID("0198c7f6-4d1e-7a3b-9c55-2f6e8d0a1b3c"),
    2,
    "ticket.paid",
    b'{"at":"2026-09-16T19:00:00Z","event_id":"0198c7f6-0000-7000-8000-000000000001"}',
    b'{"actor":"system:example"}',
    datetime(2026, 9, 16, 19, 0, 0, 123456, tzinfo=UTC),
)

rows = st.tuples(
    st.integers(1, 2**63 - 1),
    st.uuids(),
    st.integers(1, 2**31 - 1),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.binary(max_size=40),
    st.binary(max_size=40),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001 - they get one
)


def block(name: str) -> str:
    """A fenced block of the page, by the word behind its language."""
    found = re.search(rf"^```[a-z]* ?{name}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no block {name}"
    return found[1]


def test_the_documented_example_has_the_documented_bytes() -> None:
    documented = "".join(line.partition("#")[0] for line in block("canonical").splitlines())
    assert canonical(*EXAMPLE) == bytes.fromhex(documented)


def test_the_documented_example_has_the_documented_hash() -> None:
    assert leaf_hash(canonical(*EXAMPLE)).hex() == block("leaf").strip()


def test_the_documented_line_is_the_documented_example() -> None:
    line = json.loads(block("line"))
    assert from_line(line) == canonical(*EXAMPLE)
    assert to_line(canonical(*EXAMPLE)) == line


def test_the_documented_head_is_signed_by_the_documented_key() -> None:
    from adapters.heads import is_signed  # noqa: PLC0415 - only this test looks so far

    head, key = head_from(json.loads(block("head"))), key_from(json.loads(block("key")))
    assert head.signed_text == block("signed").encode()
    assert is_signed(head, key)


@given(rows)
def test_a_fact_comes_back_whole(row: tuple[Any, ...]) -> None:
    content = canonical(*row)
    assert position_of(content) == row[0]
    assert join(split(content)) == content
    assert from_line(json.loads(json.dumps(to_line(content)))) == content


@given(rows, rows)
def test_two_facts_share_their_bytes_only_when_they_are_one(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert (canonical(*one) == canonical(*other)) == (one == other)


@given(rows, st.integers(1, 2**63 - 1))
def test_a_fact_elsewhere_differs_in_nothing_else(row: tuple[Any, ...], position: int) -> None:
    assert at_position(canonical(*row), position) == canonical(position, *row[1:])


@given(rows, st.integers(0), st.integers(0, 7))
def test_bytes_of_which_one_bit_is_another_are_another_facts_or_none(row: tuple[Any, ...], at: int, bit: int) -> None:
    content = bytearray(canonical(*row))
    content[at % len(content)] ^= 1 << bit
    try:
        fields = split(bytes(content))
    except ValueError:
        return
    assert fields != split(canonical(*row))


def test_bytes_that_are_no_text_are_told_as_such() -> None:
    content = canonical(*(*EXAMPLE[:4], b"\xff\x00", *EXAMPLE[5:]))
    assert to_line(content)["payload_base64"] == "/wA="
    assert "payload" not in to_line(content)


@pytest.mark.parametrize(
    "change",
    [
        {"position": "7"},
        {"position": 2**63},
        {"version": None},
        {"stream_id": "not an id"},
        {"topic": 7},
        {"payload_base64": "no base64!"},
        {"metadata": None},
        {"recorded_at": "yesterday"},
        {"recorded_at": 1.5},
    ],
)
def test_a_line_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".*"):
        from_line(to_line(canonical(*EXAMPLE)) | change)


def test_a_key_that_has_anothers_id_is_refused() -> None:
    key = json.loads(block("key"))
    with pytest.raises(ValueError, match="not the one it says"):
        key_from(key | {"key_id": key_id_of(bytes(32))})


@pytest.mark.parametrize(
    "change",
    [
        {"root": "AA=="},
        {"root": "no base64!"},
        {"at": "2026-09-16T19:00:00"},
        {"at": "9999-12-31T23:59:59-14:00"},
        {"at": None},
        {"tree_size": -1},
        {"tree_size": 1.0},
        {"tree_size": "1"},
        {"tree_size": True},
        {"ledger_id": 1},
        {"signature": None},
    ],
)
def test_a_head_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a signed head"):
        head_from(json.loads(block("head")) | change)


@pytest.mark.parametrize(
    "change",
    [
        {"public_key": "AA=="},
        {"valid_from": "2026-09-01T00:00:00"},
        {"valid_from": None},
        {"retired_at": "0001-01-01T00:00:00+14:00"},
        {"retired_at": 7},
    ],
)
def test_a_key_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a key"):
        key_from(json.loads(block("key")) | change)


def test_what_is_signed_has_one_spelling() -> None:
    head = head_from(json.loads(block("head")))
    elsewhere = datetime.fromisoformat(head.at.isoformat().replace("+00:00", "") + "+00:00")
    assert signed_text(head.ledger_id, head.tree_size, head.root, elsewhere) == head.signed_text
