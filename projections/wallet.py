"""Whose each wallet is, now and at any position; tickets that came into a wallet before it was anybody's. Async."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from domain.wallet import Wallet
from projections.kernel import Projection, Recorded, Spell, Table, Views, before_or_all, when
from projections.rows import Rows

WALLETS = Table(
    "wallets",
    key=("wallet_id",),
    columns={
        "wallet_id": "uuid",
        "address": "text",
        "account_id": "uuid null",
        "version": "int4",
        "linked_position": "int8",
    },
    indexes=("(account_id, linked_position)", "(address)"),
)
"""Every wallet that was ever linked; ``wallet_id`` is its stream."""

OWNERS = Table(
    "owners",
    key=("wallet_id", "from_position"),
    columns={"wallet_id": "uuid", "from_position": "int8", "account_id": "uuid null"},
    indexes=("(account_id, from_position)",),
    append_only=True,
)
"""Whose each wallet was from which position on; nobody's once it was unlinked."""


class Wallets(Projection):
    name: ClassVar[str] = "wallets"
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (WALLETS, OWNERS)

    @when(Wallet.Linked)
    def linked(self, recorded: Recorded, link: Wallet.Linked, rows: Rows) -> None:
        wallet_id, position, account_id = recorded.stream_id, recorded.position, link.account_id
        version = recorded.version
        rows.put(
            WALLETS, wallet_id, address=link.address, account_id=account_id, version=version, linked_position=position
        )
        rows.append(OWNERS, wallet_id=wallet_id, from_position=position, account_id=account_id)

    @when(Wallet.Unlinked)
    def unlinked(self, recorded: Recorded, _: Wallet.Unlinked, rows: Rows) -> None:
        rows.patch(WALLETS, recorded.stream_id, account_id=None, version=recorded.version)
        rows.append(OWNERS, wallet_id=recorded.stream_id, from_position=recorded.position, account_id=None)


# -- Questions. ----------------------------------------------------------------------


async def of_account(
    views: Views, account_id: UUID, *, before: int | None = None, limit: int
) -> list[tuple[UUID, int]]:
    """The streams of somebody's wallets, latest linked first, each with where it was linked.

    ``before`` is the position that the last page ended with.
    """
    sql = """
        select wallet_id, linked_position from wallets.wallets
         where account_id = %(account)s and linked_position < %(before)s
         order by linked_position desc limit %(limit)s"""
    params = {"account": account_id, "before": before_or_all(before), "limit": limit}
    return [(row[0], row[1]) for row in await views.fetch(sql, params)]


async def addresses_of(views: Views, account_id: UUID) -> list[str]:
    """All that somebody has."""
    sql = "select address from wallets.wallets where account_id = %(account)s"
    return [row[0] for row in await views.fetch(sql, {"account": account_id})]


async def of_account_as_of(
    views: Views, account_id: UUID, position: int, *, before: int | None = None, limit: int
) -> list[tuple[UUID, int]]:
    """What `of_account` said at a position."""
    sql = """
        select o.wallet_id, o.from_position from wallets.owners o
         where o.account_id = %(account)s and o.from_position <= %(position)s and o.from_position < %(before)s
           and not exists (
               select from wallets.owners later
                where later.wallet_id = o.wallet_id
                  and later.from_position > o.from_position and later.from_position <= %(position)s)
         order by o.from_position desc limit %(limit)s"""
    params = {"account": account_id, "position": position, "before": before_or_all(before), "limit": limit}
    return [(row[0], row[1]) for row in await views.fetch(sql, params)]


async def spells_of(views: Views, account_id: UUID, *, before: int | None = None, limit: int) -> list[Spell]:
    """When somebody had which wallet, also those that they have unlinked; latest linked first."""
    sql = """
        select o.wallet_id, o.from_position, (
                   select min(later.from_position) from wallets.owners later
                    where later.wallet_id = o.wallet_id and later.from_position > o.from_position)
          from wallets.owners o
         where o.account_id = %(account)s and o.from_position < %(before)s
         order by o.from_position desc limit %(limit)s"""
    params = {"account": account_id, "before": before_or_all(before), "limit": limit}
    return [Spell(*row) for row in await views.fetch(sql, params)]


async def unidentified_tickets(views: Views, *, limit: int) -> list[UUID]:
    """Tickets without a holder in wallets that are somebody's by now."""
    sql = """
        select t.ticket_id from tickets.tickets t join wallets.wallets w on w.address = t.wallet
         where t.holder_id is null and t.wallet is not null and w.account_id is not null
         order by t.acquired_position limit %(limit)s"""
    return [row[0] for row in await views.fetch(sql, {"limit": limit})]
