"""How deep JSON may be: said once, and held to whatever Python's limit on recursion has been raised to."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from json import JSONDecodeError

import pytest

from api.protection import BODY_BYTES_MAX
from api.strict_json import DEPTH_MAX, read

SECONDS_MAX = 5.0
"""For a body of the largest size; what is quadratic takes hours."""


@pytest.fixture(autouse=True)
def _raised_limit() -> Iterator[None]:
    """As the libraries of the chain raise it."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.parametrize(("opening", "closing", "each"), [("[", "]", 1), ('{"a":', "}", 1), ('[{"a":', "}]", 2)])
def test_depth_has_a_limit(opening: str, closing: str, each: int) -> None:
    times = DEPTH_MAX // each
    body = (opening * times + "1" + closing * times).encode()
    assert read(body) == json.loads(body)
    with pytest.raises(JSONDecodeError, match="deep"):
        read(b"[" + body + b"]")


@pytest.mark.parametrize("body", [b"[" * 1_000_000, b'{"a":' * 500_000, b"[" * 1_000_000 + b"]" * 1_000_000])
def test_what_is_far_too_deep_ends_nothing_but_the_request(body: bytes) -> None:
    with pytest.raises(JSONDecodeError, match="deep"):
        read(body)


@pytest.mark.parametrize("text", ["[" * 1000, '"[' * 1000, "\\" * 999 + '"' + "{" * 1000, '\\"[[[' * 500])
def test_brackets_within_strings_do_not_count(text: str) -> None:
    body = json.dumps({"title": text, "tags": [text] * 2}).encode()
    assert read(body) == json.loads(body)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    body = json.dumps([{"row": [number]} for number in range(10_000)]).encode()
    assert read(body) == json.loads(body)


@pytest.mark.parametrize("piece", [b'"', b'\\"', b'["', b"[]", b"\\", b'"\\', b"{", b'[""]'])
def test_looking_takes_no_longer_than_the_body_is_long(piece: bytes) -> None:
    body = b"[" * (DEPTH_MAX + 1) + piece * ((BODY_BYTES_MAX - DEPTH_MAX) // len(piece))
    began = time.monotonic()
    with pytest.raises(JSONDecodeError):
        read(body)
    assert time.monotonic() - began < SECONDS_MAX
