"""Chains: how far the mirror is, a ticket as a contract has it, and the reconciliation of both sides."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path, Response

from api.call import AsOf, AsOfInViews, Call
from api.chain_documents import (
    CHAIN_ID_MAX,
    ListedReconciliationAnswer,
    MetadataAnswer,
    ReconcileRequest,
    ReconciliationAnswer,
    StatusAnswer,
    TicketChainsAnswer,
    as_csv,
    listed_document,
    listed_then,
    reconciliation_document,
    skipped_document,
    status_document,
    token_document,
    transfer_document,
)
from api.policy import ANYONE, CHAIN_AUDITOR, SIGNED_IN
from api.routing import ContractRouter
from api.types import PAGE_DEFAULT, Cursor, Limit, Page, WholeNumber, from_cursor, to_cursor, to_json
from commands.reconciliation import RequestReconciliation
from domain.account import Role
from domain.event import Event
from domain.kernel import ForbiddenError, InvalidError, NotFoundError
from domain.reconciliation import Reconciliation
from domain.ticket import Ticket
from projections import chain, reconciliation

router = ContractRouter("chain")

TOKEN_MAX = 2**63 - 1
SHOWN_MAX = 50
"""Skipped operations and direct transfers of one token in an answer, latest first."""

ChainId = Annotated[WholeNumber, Path(ge=1, le=CHAIN_ID_MAX)]


@router.on("GET", "/v1/chain/status", policy=SIGNED_IN, returns=StatusAnswer)
async def chain_status(call: Call) -> Response:
    """Every contract in use: how much of the ledger it has, and how sure that is."""
    found = await chain.status(call.app.views)
    position = await call.app.head()
    return _json({"ledger_position": position, "chains": [status_document(status) for status in found]})


@router.on("GET", "/v1/tickets/{ticket_id}/chain", policy=SIGNED_IN, returns=TicketChainsAnswer)
async def ticket_on_chain(ticket_id: UUID, call: Call) -> Response:
    """The ticket's token on each chain: its owner, what was passed over, what its holders did there by themselves."""
    await call.ticket_seen_by_caller(ticket_id)
    tokens = []
    for token in await chain.tokens_of(call.app.views, ticket_id):
        skipped = await chain.skipped_of(call.app.views, token, limit=SHOWN_MAX)
        transfers = await chain.transfers_of(call.app.views, token, limit=SHOWN_MAX)
        more = {
            "skipped": [skipped_document(operation) for operation in skipped],
            "direct_transfers": [transfer_document(transfer) for transfer in transfers],
        }
        tokens.append(token_document(token) | more)
    return _json({"ticket_id": ticket_id, "tokens": tokens})


@router.on("GET", "/v1/chains/{chain_id}/tokens/{token_id}", policy=ANYONE, returns=MetadataAnswer)
async def token_metadata(
    chain_id: ChainId, token_id: Annotated[WholeNumber, Path(ge=0, le=TOKEN_MAX)], call: Call, as_of: AsOf
) -> Response:
    """A token's metadata (ERC-721): what the ticket is for. Nothing about who holds it."""
    ticket_id = await chain.ticket_of(call.app.views, chain_id, token_id)
    if ticket_id is None:
        raise NotFoundError
    ticket = await call.fold(Ticket, ticket_id, as_of)
    event = await call.fold(Event, ticket.known_event_id, as_of)
    return _json(metadata(ticket, event, public_url=call.app.settings.public_url))


@router.on("POST", "/v1/chain/reconciliations", policy=CHAIN_AUDITOR, returns=ReconciliationAnswer, status=202)
async def request_reconciliation(body: ReconcileRequest, call: Call) -> Response:
    """Compare both sides, ticket by ticket, at a finalized block; the mirror's worker does it. Repairs are for admins."""
    if body.repair and (call.account is None or Role.ADMIN not in call.account.roles):
        raise ForbiddenError("only an admin may have the chain repaired")
    there = [d for d in await chain.deployments(call.app.views) if body.chain_id in (None, d.chain_id)]
    if not there:
        raise InvalidError("the ledger is not mirrored to this chain", pointer="/chain_id")
    if len(there) > 1 and body.chain_id is None:
        raise InvalidError("the ledger is mirrored to several chains: say which", pointer="/chain_id")
    command = RequestReconciliation(
        chain_id=there[0].chain_id, contract=there[0].contract, repair=body.repair, by=str(call.user_id)
    )
    return await call.send(command, answer=reconciliation_json, status=202)


@router.on("GET", "/v1/chain/reconciliations", policy=CHAIN_AUDITOR, returns=Page[ListedReconciliationAnswer])
async def list_reconciliations(
    call: Call, as_of: AsOfInViews, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Response:
    """Latest first."""
    start = from_cursor(cursor, int)
    before = start[0] if start else None
    found = await reconciliation.latest(call.app.views, before=before, as_of=as_of, limit=limit + 1)
    following = to_cursor(found[limit - 1].position) if len(found) > limit else None
    if as_of is None:
        items = [listed_document(row) for row in found[:limit]]
    else:
        then = await call.fold_all(Reconciliation, [row.reconciliation_id for row in found[:limit]], as_of)
        items = [listed_then(reconciliation) for reconciliation in then]
    return _json({"items": items, "next_cursor": following})


@router.on("GET", "/v1/chain/reconciliations/{reconciliation_id}", policy=CHAIN_AUDITOR, returns=ReconciliationAnswer)
async def get_reconciliation(reconciliation_id: UUID, call: Call, as_of: AsOf) -> Response:
    """How far it has got is not recorded, and only said of the present."""
    found = await call.fold(Reconciliation, reconciliation_id, as_of)
    progress = await chain.progress_of(call.app.views, reconciliation_id) if as_of is None else None
    return _json(reconciliation_document(found, progress))


@router.on(
    "GET",
    "/v1/chain/reconciliations/{reconciliation_id}/report.csv",
    policy=CHAIN_AUDITOR,
    media={200: "text/csv"},
)
async def reconciliation_csv(reconciliation_id: UUID, call: Call, as_of: AsOf) -> Response:
    """What was found, a line each."""
    found = await call.fold(Reconciliation, reconciliation_id, as_of)
    if found.report is None:
        raise NotFoundError("there is no report yet")
    headers = {"Content-Disposition": f'attachment; filename="reconciliation-{reconciliation_id}.csv"'}
    return Response("".join(as_csv(found.report)), headers=headers, media_type="text/csv")


@router.on(
    "GET",
    "/v1/chain/reconciliations/{reconciliation_id}/report.json",
    policy=CHAIN_AUDITOR,
    returns=ReconciliationAnswer,
)
async def reconciliation_file(reconciliation_id: UUID, call: Call, as_of: AsOf) -> Response:
    """The whole of it, as a file to keep."""
    found = await call.fold(Reconciliation, reconciliation_id, as_of)
    if found.report is None:
        raise NotFoundError("there is no report yet")
    response = _json(reconciliation_document(found, None))
    response.headers["Content-Disposition"] = f'attachment; filename="reconciliation-{reconciliation_id}.json"'
    return response


def reconciliation_json(found: Reconciliation) -> bytes:
    return to_json(reconciliation_document(found, None))


def metadata(ticket: Ticket, event: Event, *, public_url: str) -> dict[str, object]:
    details = event.known_details
    tier = event.tiers.get(ticket.tier_id) if ticket.tier_id is not None else None
    traits = {
        "Venue": details.venue.name,
        "City": details.venue.city,
        "Starts at": details.starts_at.isoformat(),
        "Tier": tier.name if tier is not None else None,
        "Place": str(ticket.seat) if ticket.seat is not None else None,
        "Status": ticket.status_during(event),
    }
    return {
        "name": details.title,
        "description": details.description or f"A ticket for {details.title} at {details.venue.name}.",
        "external_url": f"{public_url}/v1/events/{event.id}",
        "attributes": [{"trait_type": name, "value": value} for name, value in traits.items() if value is not None],
    }


def _json(body: dict[str, object]) -> Response:
    return Response(to_json(body), media_type="application/json")
