"""What is kept about somebody: they can take it with them, and they can be forgotten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from fastapi import Response

from api.account import UserAnswer, user_document
from api.call import Call
from api.order import OrderAnswer, order_documents
from api.policy import ADMIN, SIGNED_IN
from api.routing import ContractRouter
from api.ticket import TicketAnswer
from api.ticket import document as ticket_document
from api.types import PAGE_MAX, Answer, to_json
from api.wallet import WalletAnswer
from api.wallet import document as wallet_document
from commands.kernel import OverloadedError
from commands.privacy import EraseAccount
from domain.account import Account
from domain.event import Event
from domain.order import Order
from domain.ticket import Ticket
from domain.wallet import Wallet
from projections import order as orders
from projections import ticket as tickets
from projections import wallet as wallets

router = ContractRouter("privacy")

ROWS_MAX = 20_000
"""Of a kind; nobody has as many. Beyond it the answer would not be whole, and is refused."""
HISTORY_MAX = 1_000
"""Facts of one stream."""

Row = TypeVar("Row")


class OwnFact(Answer):
    position: int
    stream_id: UUID
    type: str
    version: int
    at: datetime
    data: dict[str, Any]


class ExportAnswer(Answer):
    """Everything that the ledger says about the caller, as of ``position``."""

    position: int
    account: UserAnswer
    wallets: list[WalletAnswer]
    orders: list[OrderAnswer]
    tickets: list[TicketAnswer]
    """Those that the caller holds."""
    facts: list[OwnFact]
    """What the ledger has of the account, its wallets, its orders, and of its tickets as far as the caller acted."""


@router.on("GET", "/v1/me/export", policy=SIGNED_IN, returns=ExportAnswer)
async def export_me(call: Call) -> Response:
    """Everything about the caller, to take away. Password and sessions are no facts, and are not told."""
    position = await call.app.head()
    await call.app.view_positions.wait_for(position)
    views, user_id = call.app.views, call.user_id
    account = await call.fold(Account, user_id)
    linked = await _linked(call, user_id)
    placed = await _all(
        lambda before: orders.of_buyer(views, user_id, as_of=None, before=before, limit=PAGE_MAX),
        lambda row: row.placed_position,
    )
    held = await _all(
        lambda before: tickets.held_by(views, user_id, before=before, limit=PAGE_MAX),
        lambda row: row.acquired_position,
    )
    found = await call.fold_all(Order, [row.order_id for row in placed])
    ticket_ids = {row.ticket_id for row in held} | {line.ticket_id for order in found for line in order.lines}
    own = [account.id, *(wallet.id for wallet in linked), *(order.id for order in found)]
    body = {
        "position": position,
        "account": user_document(account),
        "wallets": [wallet_document(wallet) for wallet in linked],
        "orders": await order_documents(call, found, None),
        "tickets": await _tickets(call, [row.ticket_id for row in held]),
        "facts": await _facts(call, own, None) + await _facts(call, sorted(ticket_ids), call.caller),
    }
    return Response(to_json(body), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.on("DELETE", "/v1/me", policy=SIGNED_IN, status=204)
async def erase_me(call: Call) -> Response:
    """Forget the caller. Orders and tickets stay in the books, without anybody's name. It cannot be undone."""
    return await _erase(call, call.user_id)


@router.on("DELETE", "/v1/users/{user_id}", policy=ADMIN, status=204)
async def erase_user(user_id: UUID, call: Call) -> Response:
    """Forget somebody who has asked for it."""
    return await _erase(call, user_id)


async def _erase(call: Call, user_id: UUID) -> Response:
    await call.app.view_positions.wait_for(await call.app.head())
    addresses = frozenset(wallet.address for wallet in await _linked(call, user_id))
    command = EraseAccount(user_id=user_id, by=call.user_id, wallets=addresses)
    return await call.send(command, answer=lambda _: b"", status=204)


async def _linked(call: Call, user_id: UUID) -> list[Wallet]:
    rows = await _all(
        lambda before: wallets.of_account(call.app.views, user_id, before=before, limit=PAGE_MAX), lambda row: row[1]
    )
    found = await call.fold_all(Wallet, [wallet_id for wallet_id, _ in rows])
    return [wallet for wallet in found if wallet.account_id == user_id]


async def _tickets(call: Call, ticket_ids: Sequence[UUID]) -> list[dict[str, object]]:
    found = await call.fold_all(Ticket, ticket_ids)
    event_ids = list({ticket.known_event_id for ticket in found})
    events = {event.id: event for event in await call.fold_all(Event, event_ids)}
    return [ticket_document(ticket, ticket.status_during(events[ticket.known_event_id])) for ticket in found]


async def _facts(call: Call, stream_ids: Sequence[UUID], actor: str | None) -> list[dict[str, object]]:
    """The streams' facts; only those by ``actor`` when there is one."""
    return [
        {
            "position": fact.position,
            "stream_id": stream_id,
            "type": fact.type,
            "version": fact.version,
            "at": fact.at,
            "data": fact.data,
        }
        for stream_id in stream_ids
        for fact in await call.app.history(stream_id, after=0, limit=HISTORY_MAX)
        if actor in (None, fact.actor)
    ]


async def _all(page: Callable[[int | None], Awaitable[list[Row]]], cursor: Callable[[Row], int]) -> list[Row]:
    """Every row, page after page. Raises OverloadedError beyond ROWS_MAX."""
    rows: list[Row] = []
    while len(rows) <= ROWS_MAX:
        found = await page(cursor(rows[-1]) if rows else None)
        rows += found
        if len(found) < PAGE_MAX:
            return rows
    raise OverloadedError(f"more than {ROWS_MAX} of a kind are more than one answer holds")
