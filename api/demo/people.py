"""The people of the demo: they sign in, stay signed in, and insist on an answer."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from api.client import Caller, Client, ConnectionLost, Response

ATTEMPTS_MAX = 30
PAUSE_SECONDS = 0.25  # where the server names none
PAUSE_SECONDS_MAX = 30.0
RENEW_AFTER_SHARE = 0.5  # of a token's life: a request may have to wait before it is looked at


class DemoError(Exception):
    """The server refused or failed where the demo needs it to succeed; the message says what was asked."""


class Person:
    """One user. Every command carries an Idempotency-Key, so that asking again is always safe."""

    def __init__(self, client: Client, email: str, password: str) -> None:
        self.email = email
        self._password = password
        self._caller = Caller(client)
        self._stranger = Caller(client)
        self._renew_at = 0.0
        self._signing_in = asyncio.Lock()
        self.user_id = ""

    async def register(self, name: str) -> None:
        body = {"email": self.email, "password": self._password, "name": name}
        answer = await _insist(self._stranger, "POST", "/v1/auth/register", body)
        self.user_id = answer["user_id"]

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """The decoded answer, if it is a success; raises DemoError if it is none.

        Asks again, a bounded number of times, when the server is busy, limits the rate or goes away.
        """
        if asyncio.get_running_loop().time() >= self._renew_at:
            await self._sign_in()
        return await _insist(self._caller, method, path, body)

    def wait_for(self, position: int) -> None:
        """From now on read nothing older than ``position``, as if this person had caused it."""
        self._caller.position = max(self._caller.position, position)

    async def _sign_in(self) -> None:
        """With the password each time: were the answer to a refresh lost, its token could not be used."""
        async with self._signing_in:
            now = asyncio.get_running_loop().time()
            if now < self._renew_at:
                return  # someone else has just done it
            body = {"email": self.email, "password": self._password}
            answer = await _insist(self._stranger, "POST", "/v1/auth/login", body)
            self._caller.token = answer["access_token"]
            self._renew_at = now + answer["expires_in"] * RENEW_AFTER_SHARE


async def _insist(caller: Caller, method: str, path: str, body: object) -> Any:
    key = None if method == "GET" else secrets.token_hex(16)
    for _ in range(ATTEMPTS_MAX):
        try:
            response = await caller.request(method, path, body, key=key)
        except ConnectionLost as lost:
            outcome, pause = f"{type(lost).__name__}: {lost}", PAUSE_SECONDS
        else:
            if 200 <= response.status < 300:
                return response.json()
            outcome = f"{response.status} {response.body[:500].decode(errors='replace')}"
            if not _worth_repeating(response):
                raise DemoError(f"{method} {path} answered {outcome}")
            pause = _pause(response)
        await asyncio.sleep(pause)
    raise DemoError(f"{method} {path}, {ATTEMPTS_MAX} times: {outcome}")


def _worth_repeating(response: Response) -> bool:
    return response.status in {429, 503} or b'"idempotency-key-in-use"' in response.body


def _pause(response: Response) -> float:
    named = response.headers.get("retry-after", "")
    return min(float(named), PAUSE_SECONDS_MAX) if named.isdigit() else PAUSE_SECONDS
