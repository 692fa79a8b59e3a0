"""JSON bodies, read strictly (RFC 8259, with RFC 7493's rule on names): what two parsers read in two ways is refused."""

from __future__ import annotations

from json import JSONDecodeError, JSONDecoder
from typing import Any

from starlette.requests import Request as HttpRequest


class StrictRequest(HttpRequest):
    """A request whose `json` is strict. FastAPI answers JSONDecodeError as a mistake of the client."""

    async def json(self) -> Any:
        return read(await self.body())


def read(body: bytes) -> Any:
    """Raises JSONDecodeError for what is not JSON in UTF-8, names a member twice, or is too deep to be meant."""
    try:
        return _decoder.decode(body.decode())
    except JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise JSONDecodeError("this is not UTF-8", "", 0) from error
    except RecursionError as error:
        raise JSONDecodeError("this is nested too deeply", "", 0) from error
    except ValueError as error:  # a member named twice, NaN, an integer of thousands of digits
        raise JSONDecodeError(str(error), "", 0) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice in one object")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_decoder = JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
