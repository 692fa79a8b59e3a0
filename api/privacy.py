"""What is kept about somebody: they can take it with them, and they can be forgotten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from fastapi import Response

from api.account import UserAnswer, user_document
from api.bootstrap import StoredFact
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
from domain.account import Account, email_stream
from domain.allowance import allowance_id
from domain.event import Event
from domain.order import Order
from domain.ticket import Ticket
from domain.wallet import Wallet
from projections import order as orders
from projections import ticket as tickets
from projections import wallet as wallets
from projections.kernel import Spell

router = ContractRouter("privacy")

ROWS_MAX = 20_000
"""Of a kind, and facts of one stream; nobody has as many. Beyond it the answer would not be whole, and is refused."""

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
    """In the order of their positions: all of the account, of its address, orders and allowances; of wallets and tickets
    that were the caller's, also those passed on, what happened while they were, or names the caller."""


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
    body = {
        "position": position,
        "account": user_document(account),
        "wallets": [wallet_document(wallet) for wallet in linked],
        "orders": await order_documents(call, found, None),
        "tickets": await _tickets(call, [row.ticket_id for row in held]),
        "facts": await _facts(call, await _own_streams(call, account, found), position),
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
    found = [ticket for ticket in await call.fold_all(Ticket, ticket_ids) if ticket.holder_id == call.user_id]
    event_ids = list({ticket.known_event_id for ticket in found})
    events = {event.id: event for event in await call.fold_all(Event, event_ids)}
    return [ticket_document(ticket, ticket.status_during(events[ticket.known_event_id])) for ticket in found]


async def _own_streams(call: Call, account: Account, placed: Sequence[Order]) -> dict[UUID, list[Spell]]:
    """Streams with facts about the caller, each with when it was theirs; never: only what names the caller is."""
    views, user_id = call.app.views, call.user_id
    allowances = {allowance_id(order.event_id, user_id) for order in placed if order.event_id is not None}
    whole = [account.id, *(order.id for order in placed), *allowances]
    streams = {stream_id: [Spell(stream_id, 0, None)] for stream_id in whole}
    email = await call.app.vault.open(account.email)
    if email:
        streams[email_stream(email)] = []
    had = await _all(
        lambda before: wallets.spells_of(views, user_id, before=before, limit=PAGE_MAX), lambda spell: spell.first
    )
    had += await _all(
        lambda before: tickets.spells_of(views, user_id, before=before, limit=PAGE_MAX), lambda spell: spell.first
    )
    for spell in had:
        streams.setdefault(spell.stream_id, []).append(spell)
    return streams


async def _facts(call: Call, streams: Mapping[UUID, Sequence[Spell]], until: int) -> list[dict[str, object]]:
    """The caller's of the streams' facts. None after ``until``: by then what was theirs may be somebody else's."""
    found = [
        fact
        for stream_id, spells in streams.items()
        for fact in await _history(call, stream_id)
        if fact.position <= until and _concerns(call, fact, spells)
    ]
    return [
        {
            "position": fact.position,
            "stream_id": fact.stream_id,
            "type": fact.type,
            "version": fact.version,
            "at": fact.at,
            "data": fact.data,
        }
        for fact in sorted(found, key=lambda fact: fact.position)
    ]


def _concerns(call: Call, fact: StoredFact, spells: Sequence[Spell]) -> bool:
    """Whoever had it before or after the caller, and what they said of themselves, is no business of the caller's."""
    if fact.actor == call.caller or call.caller in fact.data.values():
        return True
    return any(spell.first <= fact.position and (spell.last is None or fact.position <= spell.last) for spell in spells)


async def _history(call: Call, stream_id: UUID) -> list[StoredFact]:
    return await _all(
        lambda after: call.app.history(stream_id, after=after or 0, limit=PAGE_MAX), lambda fact: fact.version
    )


async def _all(page: Callable[[int | None], Awaitable[list[Row]]], cursor: Callable[[Row], int]) -> list[Row]:
    """Every row, page after page. Raises OverloadedError beyond ROWS_MAX."""
    rows: list[Row] = []
    while len(rows) <= ROWS_MAX:
        found = await page(cursor(rows[-1]) if rows else None)
        rows += found
        if len(found) < PAGE_MAX:
            return rows
    raise OverloadedError(f"more than {ROWS_MAX} of a kind are more than one answer holds")
