"""Repeats: the first answer to an Idempotency-Key is kept in the ledger's own transaction, and given again.

A key is looked up only by trying to record it, so that the common case, a fresh key, costs no extra round trip; unless
the command acts on more than the ledger. Within one process a repeat waits for the first; between processes the first to
commit wins and the other gives its answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from uuid import UUID

from starlette.responses import Response

from api.call import Call
from api.errors import KeyInUseError, problem_of
from commands.kernel import AlreadyAnsweredError, Answer, Key, KeyReusedError, Request, Store, new_metadata
from domain.kernel import InvalidError

HEADER = "idempotency-key"
KEY_PATTERN = re.compile(r"[\x21-\x7e]{1,255}")
WAIT_SECONDS_MAX = 10.0
NEVER_REPLAYED = (401, 429)
"""Besides 5xx: these say something about the moment or the connection, not about the command."""


LookUp = Callable[[Key], Awaitable[Answer | None]]
"""The answer that was given to a key. Raises KeyReusedError."""


class InFlight:
    """One request at a time for each key, in this process."""

    def __init__(self) -> None:
        self._busy: dict[UUID, asyncio.Future[None]] = {}

    async def begin(self, key_id: UUID) -> None:
        """Wait for whoever is ahead. Raises KeyInUseError when that takes too long."""
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS_MAX
        while (other := self._busy.get(key_id)) is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    await asyncio.shield(other)
            except TimeoutError as error:
                raise KeyInUseError from error
        self._busy[key_id] = asyncio.get_running_loop().create_future()

    def end(self, key_id: UUID) -> None:
        self._busy.pop(key_id).set_result(None)


def check(text: str) -> str:
    """Raises InvalidError for a key that is empty, longer than 255 or not printable ASCII."""
    if KEY_PATTERN.fullmatch(text) is None:
        raise InvalidError("1 to 255 printable ASCII characters", pointer="/idempotency-key")
    return text


def replay(answer: Answer) -> Response:
    media_type = "application/json" if answer.status < 400 else "application/problem+json"
    response = Response(answer.body or None, answer.status, media_type=media_type if answer.body else None)
    response.headers["Idempotent-Replayed"] = "true"
    response.headers["Cache-Control"] = "no-store"  # it may hold tokens
    if answer.position:
        response.headers["Ledger-Position"] = str(answer.position)
    return response


async def answer_once(
    call: Call,
    key: Key,
    *,
    store: Store,
    in_flight: InFlight,
    look_up: LookUp | None,
    respond: Callable[[], Awaitable[Response]],
) -> Response:
    """Respond, unless this key was answered before; keep the answer when the command itself has not."""
    await in_flight.begin(key.id)
    try:
        if look_up is not None and (answer := await look_up(key)) is not None:
            return replay(answer)
        return await _answer(call, key, store=store, respond=respond)
    finally:
        in_flight.end(key.id)


async def _answer(call: Call, key: Key, *, store: Store, respond: Callable[[], Awaitable[Response]]) -> Response:
    try:
        response = await respond()
    except AlreadyAnsweredError as repeated:
        return replay(repeated.answer)
    except Exception as error:  # noqa: BLE001 - every error is answered, and most answers are kept
        response = problem_of(error)
    if call.recorded or response.status_code >= 500 or response.status_code in NEVER_REPLAYED:
        return response
    metadata = new_metadata(call.caller, f"{call.method} {call.url.path}")
    answer = Answer(response.status_code, bytes(response.body))
    try:
        await store.append(Request((), metadata, (), key, answer))
    except AlreadyAnsweredError as repeated:
        return replay(repeated.answer)
    except KeyReusedError as error:
        return problem_of(error)
    return response
