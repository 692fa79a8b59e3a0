"""The contract, accounts: registering, tokens and what becomes of them, roles."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from domain.account import Role
from tests.api.callers import Caller
from tests.api.house import PASSWORD, House
from tests.api.scenes import Json, drafted


def registration(**changes: object) -> Json:
    return {"email": f"{uuid4().hex}@house.test", "password": PASSWORD, "name": "Ada"} | changes


def logged_in(house: House, name: str) -> Json:
    person = house.person(name)
    tokens: Json = house.anyone.post("/v1/auth/login", {"email": person.email, "password": PASSWORD}).ok()
    return tokens


def refreshed(house: House, tokens: Json) -> Json:
    fresh: Json = house.anyone.post("/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]}).ok()
    return fresh


def test_registering_answers_with_the_user_an_attendee(house: House) -> None:
    request = registration()
    answer = house.anyone.post("/v1/auth/register", request)
    user = answer.ok(201)
    assert str(UUID(user["user_id"])) == user.pop("user_id")
    assert user == {"email": request["email"], "name": "Ada", "roles": ["attendee"]}
    assert answer.position > 0


def test_an_address_can_be_taken_once_however_it_is_spelled(house: House) -> None:
    request = registration()
    house.anyone.post("/v1/auth/register", request).ok(201)
    house.anyone.post("/v1/auth/register", request).refused(409, "email-taken")
    shouted = request | {"email": request["email"].upper()}
    house.anyone.post("/v1/auth/register", shouted).refused(409, "email-taken")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"email": "not an address"}, "/email"),
        ({"password": "short"}, "/password"),
        ({"password": "x" * 257}, "/password"),
        ({"name": ""}, "/name"),
        ({"roles": ["admin"]}, "/roles"),
    ],
)
def test_a_registration_that_cannot_be_meant_is_refused(house: House, changes: Json, pointer: str) -> None:
    house.anyone.post("/v1/auth/register", registration(**changes)).invalid(pointer)


def test_logging_in_answers_with_tokens_that_open_the_door(house: House) -> None:
    tokens = logged_in(house, "lars")
    assert tokens.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
    assert tokens["token_type"] == "Bearer"
    assert isinstance(tokens["expires_in"], int)
    me = Caller(house, tokens["access_token"]).get("/v1/me").ok()
    assert me == {
        "user_id": house.person("lars").user_id,
        "email": "lars@house.test",
        "name": "Lars",
        "roles": ["attendee"],
    }


@pytest.mark.parametrize("email", ["lars@house.test", "nobody@house.test"])
def test_a_wrong_password_and_an_unknown_address_are_not_told_apart(house: House, email: str) -> None:
    house.person("lars")
    answer = house.anyone.post("/v1/auth/login", {"email": email, "password": "wrong password"})
    problem = answer.refused(401, "bad-credentials")
    assert problem["detail"] == "The e-mail address or the password is wrong"
    assert "www-authenticate" in answer.headers


def test_a_refresh_token_rotates(house: House) -> None:
    first = logged_in(house, "rita")
    second = refreshed(house, first)
    assert second.keys() == first.keys()
    assert second["refresh_token"] != first["refresh_token"]
    Caller(house, second["access_token"]).get("/v1/me").ok()


def test_a_refresh_token_that_is_used_again_revokes_its_whole_family(house: House) -> None:
    first = logged_in(house, "rita")
    second = refreshed(house, first)
    elsewhere = logged_in(house, "rita")
    for stolen in (first, second):
        again = house.anyone.post("/v1/auth/refresh", {"refresh_token": stolen["refresh_token"]})
        again.refused(401, "bad-token")
    refreshed(house, elsewhere)


def test_logging_out_ends_the_family_and_may_be_repeated(house: House) -> None:
    tokens = logged_in(house, "rita")
    for _ in range(2):
        answer = house.anyone.post("/v1/auth/logout", {"refresh_token": tokens["refresh_token"]})
        assert (answer.status, answer.body) == (204, b"")
    again = house.anyone.post("/v1/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    again.refused(401, "bad-token")


def test_a_refresh_token_that_was_never_given_out_is_refused_and_logs_nobody_out(house: House) -> None:
    house.anyone.post("/v1/auth/refresh", {"refresh_token": "made up"}).refused(401, "bad-token")
    assert house.anyone.post("/v1/auth/logout", {"refresh_token": "made up"}).status == 204


def test_tokens_are_not_to_be_stored_by_caches(house: House) -> None:
    person = house.person("lars")
    for key in (None, "login-once", "login-once"):
        answer = house.anyone.post("/v1/auth/login", {"email": person.email, "password": PASSWORD}, key=key)
        assert answer.headers["cache-control"] == "no-store"


def test_an_admin_sets_roles_and_they_count_at_once_for_tokens_given_out_before(house: House) -> None:
    person = house.person("petra")
    person.post("/v1/events", {}).refused(403, "forbidden")
    user = house.admin.put(f"/v1/users/{person.user_id}/roles", {"roles": ["organizer", "attendee"]}).ok()
    assert user == {
        "user_id": person.user_id,
        "email": person.email,
        "name": "Petra",
        "roles": ["attendee", "organizer"],
    }
    drafted(person)
    house.admin.put(f"/v1/users/{person.user_id}/roles", {"roles": ["attendee"]}).ok()
    person.post("/v1/events", {}).refused(403, "forbidden")


@pytest.mark.parametrize("role", list(Role))
def test_every_role_can_be_given(house: House, role: Role) -> None:
    person = house.person("petra")
    assert house.admin.put(f"/v1/users/{person.user_id}/roles", {"roles": [role]}).ok()["roles"] == [role]
    assert person.get("/v1/me").ok()["roles"] == [role]


def test_roles_that_do_not_exist_and_users_that_do_not_exist(house: House) -> None:
    person = house.person("petra")
    house.admin.put(f"/v1/users/{person.user_id}/roles", {"roles": ["emperor"]}).invalid("/roles/0")
    house.admin.put(f"/v1/users/{uuid4()}/roles", {"roles": ["gate"]}).refused(404, "not-found")


def test_an_admin_cannot_lock_the_house_from_outside(house: House) -> None:
    house.admin.put(f"/v1/users/{house.admin.user_id}/roles", {"roles": ["attendee"]}).refused(409, "last-admin")
