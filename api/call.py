"""One request: who is calling, what they may see, and how their command reaches the ledger and comes back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from api.errors import NotAuthenticatedError
from api.policy import OVERSEERS, Policy
from api.strict_json import StrictRequest
from api.types import AnyInstant
from commands.account import BadTokenError
from commands.kernel import Command, Key, Ledger, Render, decide, new_metadata
from domain.account import Account
from domain.event import Event, EventStatus
from domain.kernel import Aggregate, ForbiddenError, InvalidError, NotFoundError
from domain.ticket import Ticket

if TYPE_CHECKING:
    from api.bootstrap import Application

POSITION_HEADER = "ledger-position"
POSITION_PATTERN = re.compile(r"[0-9]{1,18}")
REQUEST_ID_PATTERN = re.compile(r"[\x21-\x7e]{1,128}")
A = TypeVar("A", bound=Aggregate)


class Call(StrictRequest):
    """A request whose caller is known. Being a request, it is handed to routes as it is, without a dependency."""

    def __init__(self, request: HttpRequest, fields: dict[str, str], account: Account | None) -> None:
        super().__init__(request.scope, request.receive)
        self.fields = fields
        """The headers: lower-case names; of repeated ones the last."""
        self.account = account
        self.key: Key | None = None
        self.recorded = False
        """Whether the answer has been kept with the facts it belongs to."""
        self.caller = str(account.id) if account is not None else "anonymous"
        """Who an Idempotency-Key belongs to, and who the ledger says acted."""

    @property
    def app(self) -> Application:
        application: Application = self.scope["app"].state.application
        return application

    @property
    def user_id(self) -> UUID:
        if self.account is None:
            raise NotAuthenticatedError
        return self.account.id

    @property
    def oversees(self) -> bool:
        """Whether the caller may read what belongs to others."""
        return self.account is not None and not OVERSEERS.isdisjoint(self.account.roles)

    def ledger(self, command: str, render: Render | None = None, status: int = 200) -> Ledger:
        request_id = self.fields.get("x-request-id", "")
        correlation_id = request_id if REQUEST_ID_PATTERN.fullmatch(request_id) else ""
        metadata = new_metadata(self.caller, command, correlation_id=correlation_id)
        return Ledger(self.app.store, metadata, self.key, render, status)

    async def send(self, command: Command, *, answer: Callable[[Any], bytes], status: int = 200) -> Response:
        """Have a command decided and appended; the answer is rendered before the append and stored with it."""
        ledger = self.ledger(type(command).__name__, answer, status)
        result = await decide(self.app.handlers[type(command)], command, ledger)
        body = ledger.body if ledger.body is not None else answer(result)
        if self.key is not None:
            self.recorded = True
        headers = {"Ledger-Position": str(ledger.position)} if ledger.position else None
        return Response(body, status, headers, media_type="application/json" if body else None)

    async def event_seen_by_caller(self, event_id: UUID, as_of: int | None = None) -> Event:
        """Raises NotFoundError for a draft of somebody else's."""
        event = await self.fold(Event, event_id, as_of)
        if not event.exists or (event.status is EventStatus.DRAFT and not self.sees_drafts_of(event)):
            raise NotFoundError
        return event

    async def ticket_seen_by_caller(self, ticket_id: UUID, as_of: int | None = None) -> tuple[Ticket, Event]:
        """Raises NotFoundError unless the caller holds it (or held it then), was offered it, sells it or oversees."""
        ticket = await self.fold(Ticket, ticket_id, as_of)
        event = (await self.fold_all(Event, (ticket.known_event_id,), as_of))[0]
        mine = self.user_id in (ticket.holder_id, ticket.offered_to, event.organizer_id)
        if not mine and not self.oversees:
            raise NotFoundError
        return ticket, event

    def sees_drafts_of(self, event: Event) -> bool:
        """Whether the caller may know what the event is, or was, before it is published."""
        return self.oversees or (self.account is not None and event.organizer_id == self.account.id)

    async def fold_all(self, kind: type[A], stream_ids: Sequence[UUID], as_of: int | None = None) -> list[A]:
        """Aggregates as they are, or as they were; blank where there was nothing yet."""
        if as_of is None:
            return await self.app.store.load(kind, stream_ids)
        return await self.app.load_as_of(kind, stream_ids, as_of)

    async def fold(self, kind: type[A], stream_id: UUID, as_of: int | None = None) -> A:
        """An aggregate as it is, or as it was. Raises NotFoundError when it did not exist."""
        aggregate = (await self.fold_all(kind, (stream_id,), as_of))[0]
        if not aggregate.exists:
            raise NotFoundError
        return aggregate


async def open_call(request: HttpRequest, policy: Policy) -> Call:
    """Raises NotAuthenticatedError, ForbiddenError, TooManyRequestsError, OverloadedError."""
    app: Application = request.app.state.application
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
    try:
        account = await _account(app, headers.get("authorization"))
    except NotAuthenticatedError:  # trying out tokens counts, too
        app.limits.admit(request, None, anonymous=policy.anyone)
        raise
    call = Call(request, headers, account)
    app.limits.admit(request, call.caller if account is not None else None, anonymous=policy.anyone)
    if account is None and not policy.anyone:
        raise NotAuthenticatedError
    if policy.roles and (account is None or policy.roles.isdisjoint(account.roles)):
        raise ForbiddenError
    if request.method == "GET" and POSITION_HEADER in headers:
        await _reach(app, headers[POSITION_HEADER])
    return call


async def _account(app: Application, header: str | None) -> Account | None:
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise NotAuthenticatedError("the scheme is Bearer")
    try:
        account_id = app.tokens.verify(token)
    except BadTokenError as error:
        raise NotAuthenticatedError(error.detail) from error
    account = await app.store.peek(Account, account_id)
    if not account.exists or account.erased:
        raise NotAuthenticatedError("the account is gone")
    return account


async def _reach(app: Application, header: str) -> None:
    if POSITION_PATTERN.fullmatch(header) is None:
        raise InvalidError("a position is a whole number", pointer="/ledger-position")
    await app.view_positions.wait_for(int(header))


_instant: TypeAdapter[datetime] = TypeAdapter(AnyInstant)


async def as_of_position(
    call: Call,
    as_of: Annotated[
        str | None,
        Query(
            description="A position of the ledger, or an RFC 3339 instant: the answer is what was true then.",
            max_length=40,
            pattern=r"^[0-9]{1,18}$|^[0-9]{4}-.*$",
        ),
    ] = None,
) -> int | None:
    """Raises InvalidError for what is neither, and for a position that is still to come."""
    if as_of is None:
        return None
    if as_of.isdigit():
        position = int(as_of)
        if position > await call.app.head():
            raise InvalidError("the ledger has not reached this position", pointer="/query/as_of")
        return position
    try:
        instant = _instant.validate_python(as_of)
    except ValidationError as error:
        raise InvalidError(
            "neither a position nor an RFC 3339 instant with an offset", pointer="/query/as_of"
        ) from error
    return await call.app.position_at(instant)


AsOf = Annotated[int | None, Depends(as_of_position)]


async def as_of_in_views(call: Call, position: AsOf) -> int | None:
    """The same for what is found in views: they may not have got there yet. Raises OverloadedError when they do not."""
    if position is not None:
        await call.app.view_positions.wait_for(position)
    return position


AsOfInViews = Annotated[int | None, Depends(as_of_in_views)]
