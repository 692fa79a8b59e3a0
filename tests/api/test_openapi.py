"""The OpenAPI document tells the truth: requests generated from it, good and bad, and the answers held against it.

(Every answer that any other test here gets is held against it as well: see `document.py`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
import schemathesis

from domain.account import Role
from tests.api.callers import Answer, Caller
from tests.api.document import Document
from tests.api.house import House, fresh_database, unserved_app
from tests.api.scenes import Json, bought, on_sale, tonight

SEED = 20180916
EXAMPLES = 10
"""Random ones for each operation, on top of the systematic ones."""
EXAMPLES_AS_OTHERS = 3
"""As callers whom the routes refuse for the most part: who may what is tested elsewhere."""
PARTLY: dict[str, list[Role]] = {
    "nobody": [],
    "attendee": [Role.ATTENDEE],
    "gate": [Role.GATE],
    "auditor": [Role.AUDITOR],
}

WELL_FORMED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
A_KEY = re.compile(r"[!-~]{1,255}")
DOCUMENT = unserved_app().openapi()
HEAD = (
    b'{"position": 1, "recorded_at": "2026-09-16T19:00:00Z", "tree_size": 0, "root": "", "ledger_id": null,'
    b' "at": null, "key_id": null, "signature": null}'
)
"""What `GET /v1/ledger/head` may answer."""


def generated(*, examples: int, systematic: bool) -> Any:
    """Requests from the document, without the header that would have the server wait for positions that never come."""
    document = deepcopy(DOCUMENT)
    for operations in document["paths"].values():
        for operation in operations.values():
            parameters = operation.get("parameters", [])
            operation["parameters"] = [p for p in parameters if p["name"] != "Ledger-Position"]
    config = {
        "seed": SEED,
        "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
        "phases": {"coverage": {"enabled": systematic}},
        "checks": {
            # What no schema can say: an event ends after it starts, a time zone exists, a token is somebody's.
            "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "402", "403", "404", "409", "412", "422"]},
        },
    }
    return schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(config))


everything = generated(examples=EXAMPLES, systematic=True)
a_little = generated(examples=EXAMPLES_AS_OTHERS, systematic=False)


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    with fresh_database(postgres) as url, House(url) as house:
        yield house


@pytest.fixture(scope="module")
def owner(house: House) -> Caller:
    """Somebody with every role, whose everything is."""
    return house.person("olga", *Role)


class Things:
    """Things that are there, so that well-formed requests get somewhere; others for each operation."""

    def __init__(self, owner: Caller, somebody: Caller) -> None:
        self._owner = owner
        self._somebody = somebody

    @cache  # noqa: B019 - it lives as long as the tests
    def known_to(self, operation: str) -> Json:
        """Ids by the names that they go by."""
        tier = {"name": f"For {operation}", "price": 1, "quantity": 10_000}
        event = on_sale(self._owner, tonight(tiers=[tier]))
        order = bought(self._owner, event)
        return {
            "event_id": event["event_id"],
            "tier_id": event["tiers"][0]["tier_id"],
            "order_id": order["order_id"],
            "ticket_id": order["tickets"][0]["ticket_id"],
            "user_id": self._somebody.user_id,
        }


@pytest.fixture(scope="module")
def things(house: House, owner: Caller) -> Things:
    return Things(owner, house.person("somebody"))


def placed(value: Any, known: Json, name: str = "") -> Any:
    """The same with every well-formed id made one of something that is there: a request as good, or as bad, as before."""
    match value:
        case dict():
            return {name: placed(member, known, name) for name, member in value.items()}
        case list():
            return [placed(item, known, name) for item in value]
        case str() if name in known and WELL_FORMED.fullmatch(value):
            return known[name]
    return value


def ask(case: schemathesis.Case[Any], caller: Caller, things: Things) -> None:
    known = things.known_to(case.operation.label)
    case.path_parameters = placed(case.path_parameters, known)
    case.body = placed(case.body, known)
    if A_KEY.fullmatch(str(dict(case.headers).get("Idempotency-Key", ""))):
        case.headers["Idempotency-Key"] = uuid4().hex  # the same for all would have all but the first refused
    headers = {} if caller.token is None else {"Authorization": f"Bearer {caller.token}"}
    case.call_and_validate(base_url=f"http://127.0.0.1:{caller.house.port}", headers=headers)


@everything.parametrize()  # type: ignore[untyped-decorator]
def test_every_operation_keeps_to_the_document(case: schemathesis.Case[Any], owner: Caller, things: Things) -> None:
    ask(case, owner, things)


@a_little.parametrize()  # type: ignore[untyped-decorator]
@pytest.mark.parametrize("who", PARTLY)
def test_whoever_asks(case: schemathesis.Case[Any], house: House, things: Things, who: str) -> None:
    ask(case, house.person(who, *PARTLY[who]) if PARTLY[who] else house.anyone, things)


# -- The document --------------------------------------------------------------------------


def operations() -> Iterator[tuple[str, str, Json]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_document_that_is_served_is_the_one_that_was_tested(house: House) -> None:
    assert house.anyone.get("/openapi.json").ok() == DOCUMENT


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_what_any_route_can_answer_is_described_for_every_route() -> None:
    for method, path, operation in operations():
        if path.startswith("/v1/"):
            wanted = {"401", "413", "422", "429", "500", "503"} | ({"409"} if method != "GET" else set())
            assert operation["responses"].keys() >= wanted, f"{method} {path}"
            for status in ("429", "503"):
                assert operation["responses"][status]["headers"]["Retry-After"]["required"]


def test_every_refusal_is_described_as_a_problem() -> None:
    for method, path, operation in operations():
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], f"{method} {path} {status}"


def test_the_headers_of_the_contract_are_parameters() -> None:
    for method, path, operation in operations():
        if path.startswith("/v1/"):
            wanted = "Ledger-Position" if method == "GET" else "Idempotency-Key"
            assert wanted in [parameter["name"] for parameter in operation["parameters"]], f"{method} {path}"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(418, {"content-type": "application/json"}, b"{}"),
        Answer(200, {"content-type": "text/plain"}, HEAD),
        Answer(200, {"content-type": "application/json"}, HEAD.replace(b'"position": 1, ', b"")),
        Answer(200, {"content-type": "application/json"}, HEAD.replace(b'"position": 1', b'"position": "1"')),
        Answer(200, {"content-type": "application/json"}, HEAD.replace(b"}", b', "more": 1}')),
        Answer(404, {"content-type": "application/problem+json"}, b"{}"),
        Answer(503, {"content-type": "application/problem+json"}, b'{"title": "no more"}'),
        Answer(200, {}, b""),
    ],
)
def test_the_witness_sees_an_answer_that_is_not_described(answer: Answer) -> None:
    with pytest.raises(AssertionError):
        Document(DOCUMENT).check("GET", "/v1/ledger/head", answer)


def test_the_witness_lets_a_described_answer_pass() -> None:
    good = Answer(200, {"content-type": "application/json"}, HEAD)
    Document(DOCUMENT).check("GET", "/v1/ledger/head?x=1", good)
