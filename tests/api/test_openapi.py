"""The OpenAPI document tells the truth: requests generated from it, good and bad, and the answers held against it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis

from domain.account import Role
from tests.api.callers import Caller
from tests.api.house import House, fresh_database, unserved_app
from tests.api.scenes import Json, bought, drafted, on_sale, ordered, tonight

SEED = 20180916
EXAMPLES = 12
"""For each operation and caller, on top of the systematic ones."""

DOCUMENT = unserved_app().openapi()
CONFIG = schemathesis.Config.from_dict(
    {
        "seed": SEED,
        "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
        "checks": {
            # What no schema can say: an event ends after it starts, a time zone exists, this e-mail address is known.
            "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "402", "403", "404", "409", "412", "422"]},
        },
    }
)
schema = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    with fresh_database(postgres) as url, House(url) as house:
        yield house


@pytest.fixture(scope="module")
def known(house: House) -> Json:
    """Ids of things that are there, so that well-formed requests get somewhere."""
    organizer = house.person("olga", *Role)
    event = on_sale(organizer, tonight(tiers=[{"name": "Standing", "price": 1, "quantity": 100_000}]))
    order = bought(organizer, event)
    return {
        "event_id": event["event_id"],
        "tier_id": event["tiers"][0]["tier_id"],
        "order_id": order["order_id"],
        "ticket_id": order["tickets"][0]["ticket_id"],
        "user_id": house.person("somebody").user_id,
    }


@pytest.fixture(scope="module", params=["nobody", "attendee", "everything"])
def caller(house: House, request: pytest.FixtureRequest) -> Caller:
    match request.param:
        case "nobody":
            return house.anyone
        case "attendee":
            return house.person("bea")
        case _:
            return house.person("olga", *Role)


@schema.parametrize()
def test_every_operation_keeps_to_the_document(
    case: schemathesis.Case, house: House, known: Json, caller: Caller
) -> None:
    if case.meta is None or case.meta.generation.mode.is_positive:
        case.path_parameters.update({name: known[name] for name in case.path_parameters})
    headers = {} if caller.token is None else {"Authorization": f"Bearer {caller.token}"}
    case.call_and_validate(base_url=f"http://127.0.0.1:{house.port}", headers=headers)
