"""Tickets: what holders have and do, and the gate."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import Annotated, Any
from uuid import UUID

import segno
from fastapi import Response
from pydantic import Field

from api.call import AsOf, AsOfInViews, Call
from api.chain_documents import TokenAnswer, token_document
from api.policy import AT_THE_GATE, ORGANIZER, SIGNED_IN
from api.routing import ContractRouter
from api.types import (
    PAGE_DEFAULT,
    Answer,
    Body,
    Cursor,
    Email,
    Limit,
    Page,
    Text,
    WalletAddress,
    from_cursor,
    to_cursor,
    to_json,
)
from commands.account import account_of
from commands.ticket import (
    AcceptTransfer,
    CheckIn,
    ClaimTicket,
    DeclineTransfer,
    DeliverTicket,
    ReturnTicket,
    RevokeTicket,
    TransferTicket,
    own_ticket,
)
from domain.event import Event
from domain.kernel import InvalidError, NotFoundError
from domain.seat import Seat
from domain.ticket import ADMITTING, Ticket, TicketStatus
from domain.ticket_refusals import CancelledError, NotPaidError
from projections import chain
from projections import ticket as tickets

router = ContractRouter("tickets")

QR_SCALE = 8
QR_ERROR_CORRECTION = "m"
"""15 % of a picture may be lost to glare and creases."""


class ClaimRequest(Body):
    attendee_name: Text


class TransferRequest(Body):
    to: Email
    needs_acceptance: Annotated[bool, Field(strict=True)] = False
    """Offer the ticket; it changes hands when the other accepts."""


class DeliverRequest(Body):
    wallet: WalletAddress


class RevokeRequest(Body):
    reason: Text


class CheckInRequest(Body):
    code: Annotated[str, Field(max_length=500)]
    gate: Text
    event_id: UUID | None = None
    """The event this gate admits to: a ticket for another one is refused as such."""


class TicketAnswer(Answer):
    ticket_id: UUID
    event_id: UUID
    tier_id: UUID
    order_id: UUID | None
    serial: int | None
    seat: Seat | None
    price: int
    status: TicketStatus
    holder_id: UUID | None
    """Nobody: it is available, or in a wallet that nobody has proved to be theirs."""
    wallet: str | None
    chain: TokenAnswer | None
    """As the first contract in use has it now. Told where one ticket is asked for; `…/chain` has all of it."""
    """The address that owns it on the chain; none: it is in custody."""
    held_until: datetime | None
    attendee_name: str | None
    offered_to: UUID | None
    checked_in_at: datetime | None
    gate: str | None
    cancel_reason: str | None
    version: int


class TicketFact(Answer):
    position: int
    type: str
    version: int
    at: datetime
    actor: str
    data: dict[str, Any]


class CodeAnswer(Answer):
    code: str


class CheckInAnswer(Answer):
    ticket_id: UUID
    event_id: UUID
    status: TicketStatus
    checked_in_at: datetime
    gate: str


def ticket_json(ticket: Ticket) -> bytes:
    return to_json(document(ticket, ticket.status))


def checked_in_json(ticket: Ticket) -> bytes:
    return to_json(
        {
            "ticket_id": ticket.id,
            "event_id": ticket.event_id,
            "status": ticket.status,
            "checked_in_at": ticket.checked_in_at,
            "gate": ticket.gate,
        }
    )


def document(ticket: Ticket, status: TicketStatus) -> dict[str, object]:
    seat = ticket.seat
    return {
        "ticket_id": ticket.id,
        "event_id": ticket.event_id,
        "tier_id": ticket.tier_id,
        "order_id": ticket.order_id,
        "serial": ticket.serial,
        "seat": {"section": seat.section, "row": seat.row, "number": seat.number} if seat is not None else None,
        "price": ticket.price,
        "status": status,
        "holder_id": ticket.holder_id,
        "wallet": ticket.wallet,
        "chain": None,
        "held_until": ticket.held_until,
        "attendee_name": ticket.attendee_name,
        "offered_to": ticket.offered_to,
        "checked_in_at": ticket.checked_in_at,
        "gate": ticket.gate,
        "cancel_reason": ticket.cancel_reason,
        "version": ticket.version,
    }


@router.on("GET", "/v1/tickets", policy=SIGNED_IN, returns=Page[TicketAnswer])
async def list_tickets(call: Call, as_of: AsOfInViews, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None) -> Response:
    """The tickets that the caller holds (or held as of then), latest acquired first."""
    start = from_cursor(cursor, int)
    before = start[0] if start else None
    if as_of is None:
        now = await tickets.held_by(call.app.views, call.user_id, before=before, limit=limit + 1)
        rows = [(row.ticket_id, row.acquired_position) for row in now]
    else:
        rows = await tickets.held_by_as_of(call.app.views, call.user_id, as_of, before=before, limit=limit + 1)
    found = await call.fold_all(Ticket, [ticket_id for ticket_id, _ in rows[:limit]], as_of)
    mine = [ticket for ticket in found if ticket.holder_id == call.user_id]
    event_ids = list({ticket.known_event_id for ticket in mine})
    events = {event.id: event for event in await call.fold_all(Event, event_ids, as_of)}
    items = [document(ticket, ticket.status_during(events[ticket.known_event_id])) for ticket in mine]
    following = to_cursor(rows[limit - 1][1]) if len(rows) > limit else None
    return _json(to_json({"items": items, "next_cursor": following}))


@router.on("GET", "/v1/tickets/{ticket_id}", policy=SIGNED_IN, returns=TicketAnswer)
async def get_ticket(ticket_id: UUID, call: Call, as_of: AsOf) -> Response:
    ticket, event = await call.ticket_seen_by_caller(ticket_id, as_of)
    tokens = await chain.tokens_of(call.app.views, ticket_id) if as_of is None else []
    on_chain = {"chain": token_document(tokens[0]) if tokens else None}
    return _json(to_json(document(ticket, ticket.status_during(event)) | on_chain))


@router.on("GET", "/v1/tickets/{ticket_id}/history", policy=SIGNED_IN, returns=Page[TicketFact])
async def ticket_history(
    ticket_id: UUID, call: Call, as_of: AsOf, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Response:
    """Everything that happened to the ticket, oldest first: its custody from the first hold to the entry."""
    await call.ticket_seen_by_caller(ticket_id, as_of)
    after = from_cursor(cursor, int)
    found = await call.app.history(ticket_id, after=after[0] if after else 0, limit=limit + 1)
    stored = [fact for fact in found if as_of is None or fact.position <= as_of]
    items = [
        {
            "position": fact.position,
            "type": fact.type,
            "version": fact.version,
            "at": fact.at,
            "actor": fact.actor,
            "data": fact.data,
        }
        for fact in stored[:limit]
    ]
    following = to_cursor(stored[limit - 1].version) if len(stored) > limit else None
    return _json(to_json({"items": items, "next_cursor": following}))


@router.on("POST", "/v1/tickets/{ticket_id}/claim", policy=SIGNED_IN, returns=TicketAnswer)
async def claim_ticket(ticket_id: UUID, body: ClaimRequest, call: Call) -> Response:
    command = ClaimTicket(ticket_id=ticket_id, holder_id=call.user_id, attendee_name=body.attendee_name)
    return await call.send(command, answer=ticket_json)


@router.on("POST", "/v1/tickets/{ticket_id}/transfer", policy=SIGNED_IN, returns=TicketAnswer)
async def transfer_ticket(ticket_id: UUID, body: TransferRequest, call: Call) -> Response:
    await own_ticket(ticket_id, call.user_id, ledger=call.ledger("TransferTicket"))
    try:
        to = await account_of(body.to, ledger=call.ledger("TransferTicket"))
    except NotFoundError as error:
        raise InvalidError(error.detail, pointer="/to") from error
    command = TransferTicket(
        ticket_id=ticket_id, holder_id=call.user_id, to=to.id, needs_acceptance=body.needs_acceptance
    )
    return await call.send(command, answer=ticket_json)


@router.on("POST", "/v1/tickets/{ticket_id}/transfer/accept", policy=SIGNED_IN, returns=TicketAnswer)
async def accept_transfer(ticket_id: UUID, call: Call) -> Response:
    return await call.send(AcceptTransfer(ticket_id=ticket_id, by=call.user_id), answer=ticket_json)


@router.on("POST", "/v1/tickets/{ticket_id}/transfer/decline", policy=SIGNED_IN, returns=TicketAnswer)
async def decline_transfer(ticket_id: UUID, call: Call) -> Response:
    """By the one it was offered to, or by the holder who takes the offer back."""
    return await call.send(DeclineTransfer(ticket_id=ticket_id, by=call.user_id), answer=ticket_json)


@router.on("POST", "/v1/tickets/{ticket_id}/deliver", policy=SIGNED_IN, returns=TicketAnswer)
async def deliver_ticket(ticket_id: UUID, body: DeliverRequest, call: Call) -> Response:
    """Into a wallet that the caller has linked; a code remains good."""
    command = DeliverTicket(ticket_id=ticket_id, holder_id=call.user_id, wallet=body.wallet)
    return await call.send(command, answer=ticket_json)


@router.on("POST", "/v1/tickets/{ticket_id}/return", policy=SIGNED_IN, returns=TicketAnswer)
async def return_ticket(ticket_id: UUID, call: Call) -> Response:
    """Out of the wallet, into custody again."""
    return await call.send(ReturnTicket(ticket_id=ticket_id, holder_id=call.user_id), answer=ticket_json)


@router.on("POST", "/v1/tickets/{ticket_id}/revoke", policy=ORGANIZER, returns=TicketAnswer)
async def revoke_ticket(ticket_id: UUID, body: RevokeRequest, call: Call) -> Response:
    command = RevokeTicket(ticket_id=ticket_id, organizer_id=call.user_id, reason=body.reason)
    return await call.send(command, answer=ticket_json)


@router.on("GET", "/v1/tickets/{ticket_id}/code", policy=SIGNED_IN, returns=CodeAnswer, answers=(409,))
async def ticket_code(ticket_id: UUID, call: Call) -> Response:
    return _secret(_json(to_json({"code": await _code(ticket_id, call)})))


@router.on("GET", "/v1/tickets/{ticket_id}/code.png", policy=SIGNED_IN, answers=(409,), media={200: "image/png"})
async def ticket_code_png(ticket_id: UUID, call: Call) -> Response:
    return _secret(Response(_picture(await _code(ticket_id, call), "png"), media_type="image/png"))


@router.on("GET", "/v1/tickets/{ticket_id}/code.svg", policy=SIGNED_IN, answers=(409,), media={200: "image/svg+xml"})
async def ticket_code_svg(ticket_id: UUID, call: Call) -> Response:
    return _secret(Response(_picture(await _code(ticket_id, call), "svg"), media_type="image/svg+xml"))


@router.on("POST", "/v1/check-ins", policy=AT_THE_GATE, returns=CheckInAnswer, answers=(404,))
async def check_in(body: CheckInRequest, call: Call) -> Response:
    command = CheckIn(code=body.code, gate=body.gate, by=call.user_id, event_id=body.event_id)
    return await call.send(command, answer=checked_in_json)


async def _code(ticket_id: UUID, call: Call) -> str:
    """Raises NotPaidError and CancelledError for a ticket that would not be admitted anyway."""
    ticket, event = await own_ticket(ticket_id, call.user_id, ledger=call.ledger("ReadCode"))
    status = ticket.status_during(event)
    if status is TicketStatus.HELD:
        raise NotPaidError
    if status not in ADMITTING and status is not TicketStatus.CHECKED_IN:
        raise CancelledError(f"the ticket is {status}")
    return call.app.codes.sign(ticket.id, ticket.custody)


def _picture(code: str, kind: str) -> bytes:
    out = BytesIO()
    segno.make(code, error=QR_ERROR_CORRECTION, micro=False).save(out, kind=kind, scale=QR_SCALE, border=4)
    return out.getvalue()


def _secret(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")
