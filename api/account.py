"""Accounts: registering, logging in, who one is, and what people may do."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Response
from pydantic import Field

from api.call import AsOf, AsOfInViews, Call
from api.policy import ADMIN, ANYONE, SIGNED_IN
from api.routing import ContractRouter
from api.types import (
    PAGE_DEFAULT,
    Answer,
    Body,
    Cursor,
    Distinct,
    Email,
    Limit,
    Page,
    Text,
    from_cursor,
    to_cursor,
    to_json,
)
from commands.account import (
    PASSWORD_LENGTH_MAX,
    PASSWORD_LENGTH_MIN,
    Register,
    SetRoles,
    TokenPair,
    authenticate,
)
from domain.account import Account, Role
from projections import account as accounts
from projections.kernel import POSITION_MAX

router = ContractRouter("accounts")

Password = Annotated[str, Field(min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX)]


class RegisterRequest(Body):
    email: Email
    password: Password
    name: Text


class LoginRequest(Body):
    email: Annotated[str, Field(max_length=254)]
    password: Annotated[str, Field(max_length=PASSWORD_LENGTH_MAX)]


class RefreshRequest(Body):
    refresh_token: Annotated[str, Field(max_length=200)]


class RolesRequest(Body):
    roles: Annotated[frozenset[Role], Field(max_length=len(Role)), Distinct]


class UserAnswer(Answer):
    user_id: UUID
    email: str | None
    """Null, as the name: the account was erased."""
    name: str | None
    roles: list[Role]


class TokensAnswer(Answer):
    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int


def user_json(account: Account) -> bytes:
    return to_json(user_document(account))


def user_document(account: Account) -> dict[str, object]:
    roles = [role for role in Role if role in account.roles]
    return {"user_id": account.id, "email": account.email, "name": account.name, "roles": roles}


@router.on("POST", "/v1/auth/register", policy=ANYONE, returns=UserAnswer, status=201)
async def register(body: RegisterRequest, call: Call) -> Response:
    command = Register(email=body.email, password=body.password, name=body.name)
    return await call.send(command, answer=user_json, status=201)


@router.on("POST", "/v1/auth/login", policy=ANYONE, returns=TokensAnswer, acts_outside=True)
async def login(body: LoginRequest, call: Call) -> Response:
    app = call.app
    account_id = await authenticate(body.email, body.password, ledger=call.ledger("LogIn"), passwords=app.passwords)
    return _tokens(await app.tokens.issue(account_id))


@router.on("POST", "/v1/auth/refresh", policy=ANYONE, returns=TokensAnswer, acts_outside=True)
async def refresh(body: RefreshRequest, call: Call) -> Response:
    return _tokens(await call.app.tokens.rotate(body.refresh_token))


@router.on("POST", "/v1/auth/logout", policy=ANYONE, status=204)
async def logout(body: RefreshRequest, call: Call) -> Response:
    await call.app.tokens.revoke(body.refresh_token)
    return Response(status_code=204)


@router.on("GET", "/v1/me", policy=SIGNED_IN, returns=UserAnswer, answers=(404,))
async def me(call: Call, as_of: AsOf) -> Response:
    return _json(user_json(await call.fold(Account, call.user_id, as_of)))


@router.on("PUT", "/v1/users/{user_id}/roles", policy=ADMIN, returns=UserAnswer)
async def set_roles(user_id: UUID, body: RolesRequest, call: Call) -> Response:
    command = SetRoles(user_id=user_id, roles=body.roles, by=call.user_id)
    return await call.send(command, answer=user_json)


@router.on("GET", "/v1/users", policy=ADMIN, returns=Page[UserAnswer])
async def list_users(call: Call, as_of: AsOfInViews, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None) -> Response:
    """Everybody, latest registered first."""
    start = from_cursor(cursor, int)
    before = min(start[0] if start else POSITION_MAX, POSITION_MAX if as_of is None else as_of + 1)
    rows = await accounts.listed(call.app.views, before=before, limit=limit + 1)
    found = await call.fold_all(Account, [row.account_id for row in rows[:limit]], as_of)
    following = to_cursor(rows[limit - 1].registered_position) if len(rows) > limit else None
    return _json(to_json({"items": [user_document(account) for account in found], "next_cursor": following}))


def _tokens(pair: TokenPair) -> Response:
    body = {
        "access_token": pair.access_token,
        "refresh_token": pair.refresh_token,
        "token_type": "Bearer",
        "expires_in": pair.expires_in_seconds,
    }
    response = _json(to_json(body))
    response.headers["Cache-Control"] = "no-store"
    return response


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
