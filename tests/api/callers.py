"""Who speaks HTTP to a house in the tests: requests over real sockets, answers that can be asserted in one line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from tests.api.document import Document

TIMEOUT_SECONDS = 30.0
EVENTUALLY_SECONDS_MAX = 15.0
POLL_SECONDS = 0.02
NOTHING: Mapping[str, str] = {}
NOBODYS = "6f1d0c52-9a3e-4b7c-8d21-5e0f7a9b3c44"
"""The id of nothing. One for every process that runs tests, as their names are made of it."""

PROBLEM = {"type", "title", "status", "detail", "code"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    """Lower-case names."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def position(self) -> int:
        """Of the command's last fact."""
        return int(self.headers["ledger-position"])

    @property
    def replayed(self) -> bool:
        return self.headers.get("idempotent-replayed") == "true"

    def ok(self, status: int = 200) -> Any:
        """The document of an answer that is expected to be a success."""
        assert self.status == status, f"{self.status}: {self.body!r}"
        assert self.headers["content-type"] == "application/json"
        return self.json

    def refused(self, status: int, code: str) -> Any:
        """The problem document of an answer that is expected to be this refusal."""
        problem = self.problem()
        assert (self.status, problem["code"]) == (status, code), f"{self.status}: {self.body!r}"
        return problem

    def invalid(self, *pointers: str) -> Any:
        """The problem document of a 422 that points at these places in the request, in this order."""
        problem = self.refused(422, "invalid")
        assert [error["pointer"] for error in problem["errors"]] == list(pointers), problem
        return problem

    def problem(self) -> Any:
        """Any refusal, checked to be what RFC 9457 and the contract want."""
        assert self.status >= 400, f"{self.status}: {self.body!r}"
        assert self.headers["content-type"] == "application/problem+json"
        problem = self.json
        assert problem.keys() >= PROBLEM, problem
        assert problem["type"] == f"/problems/{problem['code']}"
        assert problem["status"] == self.status
        assert all(isinstance(problem[text], str) and problem[text] for text in ("title", "detail", "code"))
        return problem


class Address(Protocol):
    """Where a house listens, what it says of itself, and the last position that any of its callers was told of."""

    port: int
    position: int
    document: Document


class Caller:
    """Somebody with a token, or nobody. GETs echo the last position, so that everybody reads everybody's writes."""

    def __init__(self, house: Address, token: str | None = None, *, user_id: str = "", email: str = "") -> None:
        self.house = house
        self.token = token
        self.user_id = user_id
        self.email = email

    def get(self, path: str, query: Mapping[str, object] | None = None, headers: Mapping[str, str] = NOTHING) -> Answer:
        if query:
            path = f"{path}?{urlencode({name: str(value) for name, value in query.items()})}"
        return self.send("GET", path, headers={"ledger-position": str(self.house.position), **headers})

    def post(self, path: str, body: object = None, *, key: str | None = None) -> Answer:
        return self.send("POST", path, body, headers=_keyed(key))

    def put(self, path: str, body: object, *, key: str | None = None) -> Answer:
        return self.send("PUT", path, body, headers=_keyed(key))

    def patch(self, path: str, body: object, headers: Mapping[str, str] = NOTHING) -> Answer:
        return self.send("PATCH", path, body, headers=headers)

    def delete(self, path: str, *, key: str | None = None) -> Answer:
        return self.send("DELETE", path, headers=_keyed(key))

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] = NOTHING) -> Answer:
        """One exchange. ``body`` is sent as it is when it is bytes, else as JSON; header values None are left out."""
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        lines: dict[str, str] = {"content-type": "application/json"} if payload is not None else {}
        if self.token is not None:
            lines["authorization"] = f"Bearer {self.token}"
        answer = exchange(self.house.port, method, path, payload, lines | dict(headers))
        self.house.document.check(method, path, answer)
        self.house.position = max(self.house.position, int(answer.headers.get("ledger-position", 0)))
        return answer


def exchange(port: int, method: str, path: str, payload: bytes | None, headers: Mapping[str, str]) -> Answer:
    """One request on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, payload, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def eventually(holds: Callable[[], bool]) -> None:
    """Until it holds. What the timekeeper does within a second is given more on a busy machine, yet not for ever."""
    deadline = time.monotonic() + EVENTUALLY_SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(POLL_SECONDS)


def _keyed(key: str | None) -> dict[str, str]:
    return {} if key is None else {"idempotency-key": key}
