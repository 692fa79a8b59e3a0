"""JSON bodies, read strictly (RFC 8259, with RFC 7493's rule on names): what two parsers read in two ways is refused."""

from __future__ import annotations

import re
from itertools import accumulate
from json import JSONDecodeError, JSONDecoder
from typing import Any

from starlette.requests import Request as HttpRequest

DEPTH_MAX = 100
"""Arrays and objects within each other. Python's own limit on recursion does not protect us: libraries of the chain
raise it (py_ecc to 100,000), and then it is the stack that ends, and the process with it."""
OPENING, CLOSING = b"[{", b"]}"
NOT_BRACKETS = bytes(set(range(256)) - {*OPENING, *CLOSING})
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
"""One that does not end reaches to the end of the body, so that each byte is looked at once."""


class StrictRequest(HttpRequest):
    """A request whose `json` is strict. FastAPI answers JSONDecodeError as a mistake of the client."""

    async def json(self) -> Any:
        return read(await self.body())


def read(body: bytes) -> Any:
    """Raises JSONDecodeError for what is not JSON in UTF-8, names a member twice, or is too deep to be meant."""
    if _depth(body) > DEPTH_MAX:
        raise JSONDecodeError("this is nested too deeply", "", 0)
    try:
        return _decoder.decode(body.decode())
    except JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise JSONDecodeError("this is not UTF-8", "", 0) from error
    except ValueError as error:  # a member named twice, NaN, an integer of thousands of digits
        raise JSONDecodeError(str(error), "", 0) from error


def _depth(body: bytes) -> int:
    """At least that of what a parser gets to see before the first mistake."""
    if sum(map(body.count, (b"[", b"{"))) <= DEPTH_MAX:  # nearly every body
        return 0
    brackets = STRING.sub(b"", body).translate(None, NOT_BRACKETS)
    return max(accumulate(1 if bracket in OPENING else -1 for bracket in brackets), default=0)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice in one object")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
