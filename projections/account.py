"""Who is registered and what they may do, for admins' lists. Async."""

from __future__ import annotations

from typing import ClassVar, NamedTuple
from uuid import UUID

from domain.account import Account, normal_email
from projections.kernel import Projection, Recorded, Table, Views, before_or_all, when
from projections.rows import Rows

ACCOUNTS = Table(
    "accounts",
    key=("account_id",),
    columns={
        "account_id": "uuid",
        "email": "text",
        "name": "text",
        "roles": "text[]",
        "version": "int4",
        "registered_position": "int8",
    },
    indexes=("(registered_position)", "(email)", "using gin (roles)"),
)


class Accounts(Projection):
    name: ClassVar[str] = "accounts"
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (ACCOUNTS,)

    @when(Account.Registered)
    def registered(self, recorded: Recorded, account: Account.Registered, rows: Rows) -> None:
        rows.insert(
            ACCOUNTS,
            recorded.stream_id,
            email=account.email,
            name=account.name,
            roles=[role.value for role in account.roles],
            version=recorded.version,
            registered_position=recorded.position,
        )

    @when(Account.RolesSet)
    def roles_set(self, recorded: Recorded, change: Account.RolesSet, rows: Rows) -> None:
        roles = [role.value for role in change.roles]
        rows.patch(ACCOUNTS, recorded.stream_id, roles=roles, version=recorded.version)


# -- Questions. ----------------------------------------------------------------------


class AccountRow(NamedTuple):
    account_id: UUID
    email: str
    name: str
    roles: list[str]
    version: int
    registered_position: int
    """The order and the cursor of lists."""


async def listed(
    views: Views, *, email: str | None = None, role: str | None = None, before: int | None = None, limit: int
) -> list[AccountRow]:
    """Latest registered first; only the one with this address, only those with this role.

    ``before`` is the `registered_position` that the last page ended with.
    """
    where = ["registered_position < %(before)s"]
    if email is not None:
        where.append("email = %(email)s")
    if role is not None:
        where.append("roles @> array[%(role)s::text]")
    sql = f"""
        select account_id, email, name, roles, version, registered_position from accounts.accounts
         where {" and ".join(where)} order by registered_position desc limit %(limit)s"""
    params = {"before": before_or_all(before), "email": normal_email(email or ""), "role": role, "limit": limit}
    return [AccountRow(*row) for row in await views.fetch(sql, params)]
