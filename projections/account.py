"""Who is registered and what they may do, for admins' lists. Async."""

from __future__ import annotations

from typing import ClassVar, NamedTuple
from uuid import UUID

from domain.account import Account
from domain.personal import stored_text
from projections.kernel import Projection, Recorded, Table, Views, before_or_all, when
from projections.rows import Rows

ACCOUNTS = Table(
    "accounts",
    key=("account_id",),
    columns={
        "account_id": "uuid",
        "email": "text null",
        "name": "text null",
        "erased": "bool",
        "roles": "text[]",
        "version": "int4",
        "registered_position": "int8",
    },
    indexes=("(registered_position)", "using gin (roles)"),
)


class Accounts(Projection):
    name: ClassVar[str] = "accounts"
    version: ClassVar[int] = 2
    tables: ClassVar[tuple[Table, ...]] = (ACCOUNTS,)

    @when(Account.Registered)
    def registered(self, recorded: Recorded, account: Account.Registered, rows: Rows) -> None:
        rows.insert(
            ACCOUNTS,
            recorded.stream_id,
            email=stored_text(account.email),
            name=stored_text(account.name),
            erased=False,
            roles=[role.value for role in account.roles],
            version=recorded.version,
            registered_position=recorded.position,
        )

    @when(Account.RolesSet)
    def roles_set(self, recorded: Recorded, change: Account.RolesSet, rows: Rows) -> None:
        roles = [role.value for role in change.roles]
        rows.patch(ACCOUNTS, recorded.stream_id, roles=roles, version=recorded.version)

    @when(Account.Erased)
    def erased(self, recorded: Recorded, _: Account.Erased, rows: Rows) -> None:
        rows.patch(ACCOUNTS, recorded.stream_id, email=None, name=None, roles=[], erased=True, version=recorded.version)


# -- Questions. ----------------------------------------------------------------------


class AccountRow(NamedTuple):
    account_id: UUID
    email: str | None
    """As the ledger has it, sealed; so is the name."""
    name: str | None
    erased: bool
    roles: list[str]
    version: int
    registered_position: int
    """The order and the cursor of lists."""


async def listed(views: Views, *, role: str | None = None, before: int | None = None, limit: int) -> list[AccountRow]:
    """Latest registered first; only those with this role.

    ``before`` is the `registered_position` that the last page ended with.
    """
    where = ["registered_position < %(before)s"]
    if role is not None:
        where.append("roles @> array[%(role)s::text]")
    sql = f"""
        select account_id, email, name, erased, roles, version, registered_position from accounts.accounts
         where {" and ".join(where)} order by registered_position desc limit %(limit)s"""
    params = {"before": before_or_all(before), "role": role, "limit": limit}
    return [AccountRow(*row) for row in await views.fetch(sql, params)]
