"""Every route × every role × own and foreign objects, generated from the routes; and tokens that are none.

What is expected follows from a route's policy and from the table below, which says whose a route's object is. A route
without a policy, or without a row in the table, fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4

import jwt
import pytest
from starlette.routing import Route

from adapters import tokens
from adapters.sealing import derive
from api.policy import OVERSEERS
from api.routing import ContractRoute
from domain.account import Role
from domain.kernel import utc_now
from tests.api.callers import Caller, eventually
from tests.api.chain_scene import CHAIN_ID, TOKEN, mirrored, reconciled
from tests.api.house import PASSWORD, SECRET, House, fresh_database, unserved_app
from tests.api.scenes import (
    PAYMENT,
    Json,
    bought,
    code_of,
    delivered_ticket,
    drafted,
    event_request,
    linked_wallet,
    on_sale,
    order_request,
    ordered,
    proof_of,
    ticket_of,
    tonight,
)
from tests.signer import Signer, new_signer, signer

FOR_MACHINES = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}
"""They say nothing of anybody's, and answer anyone."""

OWNER, HOLDER, INVITEE, STAFF, STRANGER, NOBODY = "owner", "holder", "invitee", "staff", "stranger", "nobody"
KEY = derive(SECRET, "access-tokens")
RELATIONS = (NOBODY, STRANGER, STAFF, INVITEE, HOLDER, OWNER)
"""To the objects of a scene: its event's organiser, who holds its tickets, whom they are offered to, its gate staff."""


@dataclass
class Scene:
    """People who all have the one role, and what was theirs before that."""

    role: Role
    people: dict[str, Caller]
    event: Json
    draft: Json
    unpublished: Json
    movable: Json
    doomed: Json
    over: Json
    order: Json
    reconciliation: str

    @property
    def holder(self) -> Caller:
        return self.people[HOLDER]

    def path(self, event: Json, *more: str) -> str:
        return "/".join(("/v1/events", event["event_id"], *more))

    def fresh_ticket(self, *more: str) -> str:
        return "/".join(("/v1/tickets", ticket_of(self.holder, self.event), *more))

    def offered_ticket(self, *more: str) -> str:
        ticket = self.fresh_ticket()
        offer = {"to": self.people[INVITEE].email, "needs_acceptance": True}
        self.holder.post(f"{ticket}/transfer", offer).ok()
        return "/".join((ticket, *more))

    def fresh_order(self, *more: str) -> str:
        return "/".join(("/v1/orders", ordered(self.holder, self.event)["order_id"], *more))

    def correction(self) -> tuple[str, Json]:
        order = self.holder.get(self.paid_order()).ok()
        correction = {"entry_id": order["payment_id"], "effective_at": "2026-08-31T12:00:00Z"} | WHY
        return f"/v1/orders/{order['order_id']}/corrections", correction

    def paid_order(self, *more: str) -> str:
        return "/".join(("/v1/orders", bought(self.holder, self.event)["order_id"], *more))

    @property
    def wallet(self) -> Signer:
        """The holder's, linked again should somebody have managed to unlink it."""
        linked = self.holder.get("/v1/wallets").ok()["items"]
        if HOLDERS_WALLET.address not in [wallet["address"] for wallet in linked]:
            linked_wallet(self.holder, HOLDERS_WALLET)
        return HOLDERS_WALLET

    def delivered_ticket(self, *more: str) -> str:
        return "/".join(("/v1/tickets", delivered_ticket(self.holder, self.event, self.wallet), *more))

    def fresh_code(self) -> str:
        return code_of(self.holder, ticket_of(self.holder, self.event))

    def tokens(self) -> Json:
        credentials = {"email": self.people[STRANGER].email, "password": PASSWORD}
        answer: Json = self.people[NOBODY].post("/v1/auth/login", credentials).ok()
        return answer

    def newcomer(self, path: str) -> str:
        body = {"email": f"{uuid4().hex}@y.test", "password": PASSWORD, "name": "X"}
        user: Json = self.people[NOBODY].post("/v1/auth/register", body).ok(201)
        return f"{path}/{user['user_id']}"

    def as_another_stranger(self, path: str) -> str:
        """For what only a stranger can do who is not needed afterwards. The one they stand in for comes back."""
        house = self.people[STRANGER].house
        assert isinstance(house, House)
        self.people[STRANGER] = house.person(uuid4().hex, self.role)
        return path


HOLDERS_WALLET = signer(1)


class Row(NamedTuple):
    """How to call a route in a scene, and whose its object is."""

    request: Callable[[Scene], tuple[str, object]]
    """Path and body. Called for each attempt."""
    of: frozenset[str] | None = None
    """Who may, as far as the object is concerned; None: it is nobody's."""
    overseen: bool = False
    """Overseers may, too."""
    refusal: int = 404


def of(*relations: str) -> frozenset[str]:
    return frozenset(relations)


CLAIM = {"attendee_name": "Ada"}
TIER = {"name": "Balcony", "price": 1, "quantity": 1}
MOVE = {"starts_at": "2040-01-10T20:00:00Z", "ends_at": "2040-01-10T23:00:00Z"}
WHY = {"reason": "Because"}

ROWS: dict[str, list[Row]] = {
    "register": [
        Row(lambda s: ("/v1/auth/register", {"email": f"{uuid4().hex}@y.test", "password": PASSWORD, "name": "X"}))
    ],
    "login": [Row(lambda s: ("/v1/auth/login", {"email": s.people[STRANGER].email, "password": PASSWORD}))],
    "refresh": [Row(lambda s: ("/v1/auth/refresh", {"refresh_token": s.tokens()["refresh_token"]}))],
    "logout": [Row(lambda s: ("/v1/auth/logout", {"refresh_token": "unknown"}))],
    "me": [Row(lambda s: ("/v1/me", None))],
    "export_me": [Row(lambda s: ("/v1/me/export", None))],
    "erase_me": [Row(lambda s: (s.as_another_stranger("/v1/me"), None))],
    "erase_user": [Row(lambda s: (s.newcomer("/v1/users"), None))],
    "set_roles": [Row(lambda s: (f"/v1/users/{s.people[NOBODY].user_id}/roles", {"roles": ["attendee"]}))],
    "list_users": [Row(lambda s: ("/v1/users", None))],
    "create_event": [Row(lambda s: ("/v1/events", event_request()))],
    "list_events": [Row(lambda s: ("/v1/events", None))],
    "get_event": [
        Row(lambda s: (s.path(s.event), None)),
        Row(lambda s: (s.path(s.draft), None), of(OWNER), overseen=True),
    ],
    "event_history": [
        Row(lambda s: (s.path(s.event, "history"), None)),
        Row(lambda s: (s.path(s.draft, "history"), None), of(OWNER), overseen=True),
    ],
    "availability": [
        Row(lambda s: (s.path(s.event, "availability"), None)),
        Row(lambda s: (s.path(s.draft, "availability"), None), of(OWNER), overseen=True),
    ],
    "seats": [
        Row(lambda s: (s.path(s.event, "seats"), None)),
        Row(lambda s: (s.path(s.draft, "seats"), None), of(OWNER), overseen=True),
    ],
    "change_event": [Row(lambda s: (s.path(s.event), {"title": "Changed"}), of(OWNER))],
    "publish_event": [Row(lambda s: (s.path(s.unpublished, "publish"), None), of(OWNER))],
    "cancel_event": [Row(lambda s: (s.path(s.doomed, "cancel"), WHY), of(OWNER))],
    "postpone_event": [Row(lambda s: (s.path(s.movable, "postpone"), MOVE), of(OWNER))],
    "archive_event": [Row(lambda s: (s.path(s.over, "archive"), None), of(OWNER))],
    "add_tier": [Row(lambda s: (s.path(s.event, "tiers"), TIER), of(OWNER))],
    "release_tickets": [
        Row(
            lambda s: (s.path(s.event, "tiers", s.event["tiers"][0]["tier_id"], "releases"), {"quantity": 1}), of(OWNER)
        )
    ],
    "staff_gates": [Row(lambda s: (s.path(s.movable, "gate-staff"), {"user_ids": []}), of(OWNER))],
    "set_resale_rules": [Row(lambda s: (s.path(s.event, "resale-rules"), {"price_max": 1}), of(OWNER))],
    "place_order": [Row(lambda s: ("/v1/orders", order_request(s.event)))],
    "get_order": [Row(lambda s: (f"/v1/orders/{s.order['order_id']}", None), of(HOLDER, OWNER), overseen=True)],
    "list_orders": [
        Row(lambda s: ("/v1/orders", None)),
        Row(lambda s: (f"/v1/orders?event_id={s.event['event_id']}", None), of(OWNER), overseen=True),
    ],
    "pay_order": [Row(lambda s: (s.fresh_order("payments"), PAYMENT), of(HOLDER))],
    "cancel_order": [Row(lambda s: (s.fresh_order("cancel"), None), of(HOLDER))],
    "refund_order": [Row(lambda s: (s.paid_order("refunds"), WHY), of(OWNER))],
    "event_sales": [Row(lambda s: (s.path(s.event, "sales"), None), of(OWNER), overseen=True)],
    "correct_order": [Row(lambda s: s.correction(), of(OWNER))],
    "list_tickets": [Row(lambda s: ("/v1/tickets", None))],
    "get_ticket": [Row(lambda s: (s.offered_ticket(), None), of(HOLDER, INVITEE, OWNER), overseen=True)],
    "ticket_history": [Row(lambda s: (s.offered_ticket("history"), None), of(HOLDER, INVITEE, OWNER), overseen=True)],
    "claim_ticket": [Row(lambda s: (s.offered_ticket("claim"), CLAIM), of(HOLDER))],
    "transfer_ticket": [Row(lambda s: (s.fresh_ticket("transfer"), {"to": s.people[STRANGER].email}), of(HOLDER))],
    "accept_transfer": [Row(lambda s: (s.offered_ticket("transfer", "accept"), None), of(INVITEE, HOLDER))],
    "decline_transfer": [Row(lambda s: (s.offered_ticket("transfer", "decline"), None), of(INVITEE, HOLDER))],
    "deliver_ticket": [Row(lambda s: (s.fresh_ticket("deliver"), {"wallet": s.wallet.address}), of(HOLDER))],
    "return_ticket": [Row(lambda s: (s.delivered_ticket("return"), None), of(HOLDER))],
    "revoke_ticket": [Row(lambda s: (s.fresh_ticket("revoke"), WHY), of(OWNER))],
    "ticket_code": [Row(lambda s: (s.offered_ticket("code"), None), of(HOLDER))],
    "ticket_code_png": [Row(lambda s: (s.offered_ticket("code.png"), None), of(HOLDER))],
    "ticket_code_svg": [Row(lambda s: (s.offered_ticket("code.svg"), None), of(HOLDER))],
    "check_in": [
        Row(lambda s: ("/v1/check-ins", {"code": s.fresh_code(), "gate": "N"}), of(OWNER, STAFF), refusal=403)
    ],
    "challenge": [Row(lambda s: ("/v1/wallets/challenges", {"address": new_signer().address}))],
    "link_wallet": [Row(lambda s: ("/v1/wallets", proof_of(s.people[STRANGER], new_signer())))],
    "list_wallets": [Row(lambda s: ("/v1/wallets", None))],
    "unlink_wallet": [Row(lambda s: (f"/v1/wallets/{s.wallet.address}", None), of(HOLDER))],
    "chain_status": [Row(lambda s: ("/v1/chain/status", None))],
    "ticket_on_chain": [Row(lambda s: (s.offered_ticket("chain"), None), of(HOLDER, INVITEE, OWNER), overseen=True)],
    "token_metadata": [Row(lambda s: (f"/v1/chains/{CHAIN_ID}/tokens/{TOKEN}", None))],
    "request_reconciliation": [Row(lambda s: ("/v1/chain/reconciliations", {}))],
    "list_reconciliations": [Row(lambda s: ("/v1/chain/reconciliations", None))],
    "get_reconciliation": [Row(lambda s: (s.reconciliation, None))],
    "reconciliation_csv": [Row(lambda s: (f"{s.reconciliation}/report.csv", None))],
    "reconciliation_file": [Row(lambda s: (f"{s.reconciliation}/report.json", None))],
    "ledger_events": [Row(lambda s: ("/v1/ledger/events", None))],
    "ledger_head": [Row(lambda s: ("/v1/ledger/head", None))],
    "ledger_heads": [Row(lambda s: ("/v1/ledger/heads", None))],
    "ledger_keys": [Row(lambda s: ("/v1/ledger/keys", None))],
    "inclusion_proof": [Row(lambda s: ("/v1/ledger/proofs/inclusion?position=1", None))],
    "consistency_proof": [Row(lambda s: ("/v1/ledger/proofs/consistency?from=1", None))],
    "ticket_proof": [
        Row(
            lambda s: (f"/v1/tickets/{s.order['tickets'][0]['ticket_id']}/proof", None),
            of(HOLDER, OWNER),
            overseen=True,
        )
    ],
}


ROUTES = [route for route in unserved_app().routes if isinstance(route, Route)]
CONTRACT = [route for route in ROUTES if isinstance(route, ContractRoute)]


def method_of(route: ContractRoute) -> str:
    return next(iter(route.methods or ()))


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    with fresh_database(postgres) as url, House(url) as house:
        yield house


@pytest.fixture(scope="module", params=list(Role))
def scene(house: House, request: pytest.FixtureRequest) -> Scene:
    role: Role = request.param
    people = {
        relation: house.person(relation, Role.ORGANIZER, Role.GATE) for relation in RELATIONS if relation != NOBODY
    }
    people[NOBODY] = Caller(house, user_id=house.person("somebody").user_id)
    for person in people.values():
        if person.token:
            house.admin.put(f"/v1/users/{person.user_id}/roles", {"roles": [Role.ORGANIZER, Role.GATE]}).ok()
    owner = people[OWNER]
    event = on_sale(owner, tonight(tiers=[{"name": "Standing", "price": 1, "quantity": 1000}]))
    owner.put(f"/v1/events/{event['event_id']}/gate-staff", {"user_ids": [people[STAFF].user_id]}).ok()
    over = on_sale(owner)
    owner.post(f"/v1/events/{over['event_id']}/cancel", WHY).ok()
    scene = Scene(
        role=role,
        people=people,
        event=event,
        draft=drafted(owner),
        unpublished=drafted(owner),
        movable=on_sale(owner),
        doomed=on_sale(owner),
        over=over,
        order=ordered(people[HOLDER], event),
        reconciliation=f"/v1/chain/reconciliations/{reconciled(house)}",
    )
    mirrored(house, ticket_of(people[HOLDER], event))
    for person in people.values():
        if person.token:
            house.admin.put(f"/v1/users/{person.user_id}/roles", {"roles": [role]}).ok()
    return scene


MAY = range(200, 300)


def expected(route: ContractRoute, row: Row, role: Role, relation: str) -> int | range:
    """From the policy first, then from whose the object is."""
    policy = route.policy
    if relation == NOBODY and not policy.anyone:
        return 401
    if policy.roles and role not in policy.roles:
        return 403
    overseer = row.overseen and relation != NOBODY and role in OVERSEERS
    if row.of is None or relation in row.of or overseer:
        return MAY
    return row.refusal


@pytest.mark.parametrize("route", CONTRACT, ids=lambda route: route.operation_id)
def test_a_route_answers_those_it_is_for_and_no_others(scene: Scene, route: ContractRoute) -> None:
    method = method_of(route)
    known = dict(scene.people)
    for row in ROWS[route.operation_id or ""]:
        relations = RELATIONS if row.of is not None else (NOBODY, STRANGER)
        for relation in relations:
            path, body = row.request(scene)
            answer = scene.people[relation].send(method, path, body)
            wanted = expected(route, row, scene.role, relation)
            told = f"{relation} with the role {scene.role}: {method} {path}: {answer.status} {answer.body!r}"
            if isinstance(wanted, int):
                assert answer.status == wanted, told
                answer.problem()
            elif (route.operation_id, relation) == ("accept_transfer", HOLDER):
                answer.refused(409, "no-transfer")  # they may know of the offer, which is not theirs to accept
            elif (route.operation_id, scene.role) == ("erase_me", Role.ADMIN):
                answer.refused(409, "admin-erasure")  # somebody has to be in charge
            else:
                assert answer.status in wanted, told
            scene.people.update(known)


def test_every_route_declares_a_policy_and_has_its_row() -> None:
    undeclared = {route.path for route in ROUTES if getattr(route, "policy", None) is None}
    assert undeclared == FOR_MACHINES
    assert {route.operation_id for route in CONTRACT} == ROWS.keys()


def test_the_document_says_which_routes_need_a_token() -> None:
    paths = unserved_app().openapi()["paths"]
    for route in CONTRACT:
        operation = paths[route.path_format][method_of(route).lower()]
        assert operation["x-policy"] == route.policy.name
        assert operation.get("security", []) == ([] if route.policy.anyone else [{"bearer": []}])


# -- What belongs to others -----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/tickets"])
def test_lists_hold_only_what_is_ones_own(house: House, path: str) -> None:
    organizer, buyer, stranger = house.person("olga", Role.ORGANIZER), house.person("bea"), house.person("stan")
    bought(buyer, on_sale(organizer))
    assert buyer.get(path).ok()["items"]
    assert stranger.get(path).ok()["items"] == organizer.get(path).ok()["items"] == []


def test_unknown_and_foreign_are_not_told_apart(house: House) -> None:
    organizer, buyer, stranger = house.person("olga", Role.ORGANIZER), house.person("bea"), house.person("stan")
    order = bought(buyer, on_sale(organizer))
    for kind, known in (("orders", order["order_id"]), ("tickets", order["tickets"][0]["ticket_id"])):
        foreign = stranger.get(f"/v1/{kind}/{known}").refused(404, "not-found")
        assert stranger.get(f"/v1/{kind}/{uuid4()}").refused(404, "not-found") == foreign


# -- Tokens ----------------------------------------------------------------------------------


def claims(house: House, **changes: object) -> Json:
    """Those of a good token; a claim that is changed to None is left out."""
    now = utc_now()
    good = {"sub": house.person("bea").user_id, "iss": tokens.ISSUER, "aud": tokens.AUDIENCE}
    times = {"iat": now, "exp": now + timedelta(minutes=5)}
    return {name: value for name, value in (good | times | changes).items() if value is not None}


def signed(
    payload: Json, *, key: bytes | str = KEY, algorithm: str = "HS256", typ: str | None = tokens.TOKEN_TYPE
) -> str:
    """Also what PyJWT would refuse to encode: claims of the wrong type."""
    content = json.dumps(payload, default=datetime.timestamp).encode()
    return jwt.api_jws.encode(content, key, algorithm, {"typ": typ})


def refused(house: House, authorization: str) -> None:
    """On routes that need a token and on those that do not: who shows a token means it."""
    for path in ("/v1/me", "/v1/events"):
        headers = {"authorization": authorization}
        answer = house.anyone.get(path, headers=headers)
        answer.refused(401, "not-authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_of_ours_is_good(house: House) -> None:
    assert Caller(house, signed(claims(house))).get("/v1/me").ok()["user_id"] == house.person("bea").user_id


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"iss": None},
        {"aud": None},
        {"sub": None},
        {"iat": None},
        {"iss": "somebody-else"},
        {"aud": "somebody-else"},
        {"sub": "not-a-uuid"},
        {"sub": "00000000-0000-4000-8000-000000000000"},
        {"sub": 7},
        {"exp": 1_000_000_000},
        {"exp": "never"},
        {"exp": -1},
        {"exp": True},
        {"exp": []},
    ],
    ids=str,
)
def test_a_token_with_a_claim_that_is_wrong_or_missing_is_refused(house: House, changes: Json) -> None:
    refused(house, f"Bearer {signed(claims(house, **changes))}")


@pytest.mark.parametrize(
    "forge",
    [
        lambda payload: signed(payload, key=b"x" * 32),
        lambda payload: signed(payload, key=SECRET),
        lambda payload: signed(payload, algorithm="none", key=""),
        lambda payload: signed(payload, algorithm="HS512", key=KEY * 2),
        lambda payload: signed(payload, typ="JWT"),
        lambda payload: signed(payload, typ=None),
        lambda payload: signed(payload)[:-1],
        lambda payload: signed(payload) + "A",
        lambda payload: signed(payload).rpartition(".")[0] + ".",
        lambda payload: flipped(signed(payload), part=0),
        lambda payload: flipped(signed(payload), part=1),
        lambda payload: flipped(signed(payload), part=2),
    ],
    ids=["key", "secret", "none", "algorithm", "typ", "no-typ", "cut", "grown", "unsigned", "header", "claims", "mac"],
)
def test_a_forged_token_is_refused(house: House, forge: Callable[[Json], str]) -> None:
    refused(house, f"Bearer {forge(claims(house))}")


def flipped(token: str, *, part: int) -> str:
    """Another letter in the middle of one of the three parts."""
    parts = token.split(".")
    middle = len(parts[part]) // 2
    letter = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + letter + parts[part][middle + 1 :]
    return ".".join(parts)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer ..",
        "Bearer a.b.c",
        "Bearer " + "x." * 500,
        "Basic YmVhOnB3",
        "Token x",
        "Bearer ümläut".encode().decode("latin-1"),
        "Bearer e30.e30.e30",
        "Bearer bnVsbA.bnVsbA.bnVsbA",
    ],
)
def test_what_is_no_token_is_refused(house: House, authorization: str) -> None:
    refused(house, authorization)


def test_a_token_ends_when_it_says_so_however_often_it_was_good(house: House) -> None:
    lifetime, bea = timedelta(seconds=1.5), UUID(house.person("bea").user_id)
    caller = Caller(house, house.application.tokens.access_token(bea, utc_now(), lifetime))
    caller.get("/v1/me").ok()
    caller.get("/v1/me").ok()
    eventually(lambda: caller.get("/v1/me").status == 401)
    caller.get("/v1/me").refused(401, "not-authenticated")


def test_a_refresh_token_opens_no_route(house: House) -> None:
    credentials = {"email": house.person("bea").email, "password": PASSWORD}
    refresh_token = house.anyone.post("/v1/auth/login", credentials).ok()["refresh_token"]
    refused(house, f"Bearer {refresh_token}")
