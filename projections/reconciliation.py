"""Reconciliations, latest first. Async."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, NamedTuple
from uuid import UUID

from domain.reconciliation import Reconciliation
from projections.kernel import Projection, Recorded, Table, Views, before_or_all, when
from projections.rows import Rows

RECONCILIATIONS = Table(
    "reconciliations",
    key=("reconciliation_id",),
    columns={
        "reconciliation_id": "uuid",
        "position": "int8",
        "chain_id": "int8",
        "contract": "text",
        "repair": "bool",
        "requested_by": "text",
        "requested_at": "timestamptz",
        "status": "text",
        "unexplained": "int8 null",
        "tickets": "int8 null",
        "clean": "bool null",
    },
    indexes=("(position)",),
)


class Reconciliations(Projection):
    name: ClassVar[str] = "reconciliations"
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[Table, ...]] = (RECONCILIATIONS,)

    @when(Reconciliation.Requested)
    def requested(self, recorded: Recorded, request: Reconciliation.Requested, rows: Rows) -> None:
        rows.insert(
            RECONCILIATIONS,
            recorded.stream_id,
            position=recorded.position,
            chain_id=request.chain_id,
            contract=request.contract,
            repair=request.repair,
            requested_by=request.by,
            requested_at=request.at,
            status="requested",
            unexplained=None,
            tickets=None,
            clean=None,
        )

    @when(Reconciliation.Completed)
    def completed(self, recorded: Recorded, end: Reconciliation.Completed, rows: Rows) -> None:
        report = end.report
        rows.patch(
            RECONCILIATIONS,
            recorded.stream_id,
            status="completed",
            unexplained=report.unexplained,
            tickets=report.tickets,
            clean=report.clean,
        )

    @when(Reconciliation.Failed)
    def failed(self, recorded: Recorded, _: Reconciliation.Failed, rows: Rows) -> None:
        rows.patch(RECONCILIATIONS, recorded.stream_id, status="failed")


class Listed(NamedTuple):
    reconciliation_id: UUID
    position: int
    chain_id: int
    contract: str
    repair: bool
    requested_by: str
    requested_at: datetime
    status: str
    unexplained: int | None
    tickets: int | None
    clean: bool | None


async def latest(views: Views, *, before: int | None = None, as_of: int | None = None, limit: int) -> list[Listed]:
    """``before``: the position that the last page ended with."""
    sql = """
        select reconciliation_id, position, chain_id, contract, repair, requested_by, requested_at, status, unexplained,
               tickets, clean from reconciliations.reconciliations
         where position < %(before)s and position <= %(as_of)s order by position desc limit %(limit)s"""
    params = {"before": before_or_all(before), "as_of": before_or_all(as_of), "limit": limit}
    return [Listed(*row) for row in await views.fetch(sql, params)]


class Waiting(NamedTuple):
    reconciliation_id: UUID
    repair: bool


async def waiting(views: Views, *, chain_id: int, contract: str, limit: int) -> list[Waiting]:
    """Asked for and not done, oldest first."""
    sql = """
        select reconciliation_id, repair from reconciliations.reconciliations
         where status = 'requested' and chain_id = %(chain)s and contract = %(contract)s
         order by position limit %(limit)s"""
    params = {"chain": chain_id, "contract": contract, "limit": limit}
    return [Waiting(*row) for row in await views.fetch(sql, params)]
