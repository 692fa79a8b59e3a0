"""The ledger as lines: any number of facts in the memory that a page takes, as fast as the reader takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from api.bootstrap import Application, Found, Wanted
from api.http_server import hang_up_of
from api.openapi import Lines
from api.types import to_json
from commands.kernel import OverloadedError

NDJSON = "application/x-ndjson"
PAGE_FACTS = 500
"""One page is in memory at a time, and no connection to the database is held while the reader takes it."""
PIECE_BYTES = 1 << 16
"""However large the facts of a page are, so little is sent at once."""
STALL_SECONDS_MAX = 60.0
"""A reader who has not taken a piece by then is hung up on: nobody keeps one of the streams by not reading it."""
STREAMS_MAX = 32
"""At a time, in one process. Each is worth a page of memory, and takes a turn at the pool for every page."""
RETRY_SECONDS = 10

log = structlog.get_logger()

LINES = Lines(
    NDJSON,
    'Facts as in `items`, one a line, and lines `{"reached": 4711, "complete": false}` where a long search has found'
    " nothing. The last line is one with `complete` true: without it the stream was cut short. Either way it goes on"
    f" `after` the last position that was read. Who takes less than {PIECE_BYTES // 1024} KiB in {STALL_SECONDS_MAX:.0f}"
    " seconds is hung up on.",
)


class Search(NamedTuple):
    app: Application
    wanted: Wanted
    after: int
    until: int
    """Where the ledger ended, or is to end, when the search began: what comes meanwhile is not waited for."""

    async def page(self, limit: int) -> Found:
        return await self.app.find_facts(self.wanted, after=self.after, until=self.until, limit=limit)


def wants_lines(accept: str) -> bool:
    """Whether a client that accepts these media types (RFC 9110, 12.5.1) prefers lines to a page."""
    weights = dict(_weight(part) for part in accept.split(","))
    lines = weights.get(NDJSON, 0.0)
    return lines > 0 and lines >= weights.get("application/json", 0.0)


def _weight(part: str) -> tuple[str, float]:
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return media_type, float(parameter[2:])
            except ValueError:
                return media_type, 0.0
    return media_type, 1.0


class ReaderStalledError(Exception):
    """What was sent has not been taken in time."""


class LinesResponse(StreamingResponse):
    """Raises OverloadedError when too many are under way."""

    under_way = 0

    def __init__(self, search: Search) -> None:
        if LinesResponse.under_way >= STREAMS_MAX:
            raise OverloadedError("too many streams are being read", retry_after_seconds=RETRY_SECONDS)
        super().__init__(_pages(search), media_type=NDJSON)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        LinesResponse.under_way += 1
        try:
            await super().__call__(scope, receive, _in_time(send))
        except ReaderStalledError:
            log.warning("stream_stalled", client=scope.get("client"), seconds=STALL_SECONDS_MAX)
            if (hang_up := hang_up_of(scope)) is None:
                raise
            hang_up()
            while (await receive())["type"] != "http.disconnect":
                pass  # until the server knows, it takes an answer that has no end for a mistake
        finally:
            LinesResponse.under_way -= 1


def _in_time(send: Send) -> Send:
    """The server makes us wait while the client does not take what was sent before."""

    async def sent(message: Message) -> None:
        try:
            async with asyncio.timeout(STALL_SECONDS_MAX):
                await send(message)
        except TimeoutError as error:
            raise ReaderStalledError from error

    return sent


async def _pages(search: Search) -> AsyncIterator[bytes]:
    """The server takes the next when the client has taken most of the one before."""
    while search.after < search.until:
        found = await search.page(PAGE_FACTS)
        search = search._replace(after=found.reached)
        if found.facts:
            for piece in _pieces(b"".join(to_json(fact._asdict()) + b"\n" for fact in found.facts)):
                yield piece
        elif search.after < search.until:
            yield _progress(search.after, complete=False)
    yield _progress(search.after, complete=True)


def _pieces(page: bytes) -> Iterator[bytes]:
    for begin in range(0, len(page), PIECE_BYTES):
        yield page[begin : begin + PIECE_BYTES]


def _progress(reached: int, *, complete: bool) -> bytes:
    return to_json({"reached": reached, "complete": complete}) + b"\n"
