"""The documents about chains: how far the mirror is, what a contract has of a ticket, how both compare."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from api.types import Answer, Body
from domain.reconciliation import Reconciliation, Report, TokenState
from projections.chain import ChainStatus, SeenTransfer, SkippedOperation, TokenOnChain
from projections.reconciliation import Listed

CHAIN_ID_MAX = 2**63 - 1

SKIP_REASONS = (
    "unknown_event",
    "not_issued",
    "out_of_order",
    "wrong_version",
    "wrong_place",
    "checked_in_already",
    "voided",
    "above_cap",
    "bad_receiver",
    "bad_rules",
    "partial",
    "voided_already",
    "not_checked_in",
    "not_voided",
)
"""The contract's reasons, from 1."""
OPERATIONS = (
    "rules",
    "issue",
    "deliver",
    "move",
    "resale",
    "check_in",
    "check_in_word",
    "void",
    "void_word",
    "undo_check_in",
    "unvoid",
)
"""The contract's operations, from 1."""


class ReconcileRequest(Body):
    repair: Annotated[bool, Field(strict=True)] = False
    """Also append what is missing on either side. For admins."""
    chain_id: Annotated[int | None, Field(ge=1, le=CHAIN_ID_MAX, strict=True)] = None
    """Which chain, where the ledger is mirrored to several."""


class ChainAnswer(Answer):
    chain_id: int
    contract: str
    syncer: str
    embedded: bool
    ledger_position: int
    mirrored_position: int
    mined_position: int
    finalized_position: int
    lag_events: int
    lag_seconds: float
    pending_transactions: int
    skipped_operations: int
    provisional_transfers: int
    balance: str | None
    """Of the syncer, in wei; as text, because it does not fit what JSON readers take for numbers."""
    head_block: int | None
    finalized_block: int | None
    watched_block: int | None
    problem: str | None
    observed_at: datetime | None


class StatusAnswer(Answer):
    ledger_position: int
    chains: list[ChainAnswer]


class TokenAnswer(Answer):
    chain_id: int
    contract: str
    token_id: str
    owner: str
    """An address: the holder's wallet, or the contract itself for a ticket in custody."""
    in_custody: bool
    version: int
    checked_in: bool
    voided: bool
    finality: str
    transaction: str | None
    block_number: int | None


class SkippedAnswer(Answer):
    operation: str
    reason: str
    batch: int


class TransferAnswer(Answer):
    from_wallet: str
    to_wallet: str
    version: int
    state: str
    block_number: int
    transaction: str


class TicketChainAnswer(TokenAnswer):
    skipped: list[SkippedAnswer]
    direct_transfers: list[TransferAnswer]


class TicketChainsAnswer(Answer):
    ticket_id: UUID
    tokens: list[TicketChainAnswer]


class ListedReconciliationAnswer(Answer):
    reconciliation_id: UUID
    chain_id: int
    contract: str
    repair: bool
    requested_by: str
    requested_at: datetime | None
    status: str
    unexplained: int | None
    tickets: int | None
    clean: bool | None


class ProgressAnswer(Answer):
    done: int
    total: int


class ReconciliationAnswer(ListedReconciliationAnswer):
    corrections: int
    failure: str | None
    progress: ProgressAnswer | None
    report: Report | None


class AttributeAnswer(Answer):
    trait_type: str
    value: str


class MetadataAnswer(Answer):
    """As ERC-721 describes it."""

    name: str
    description: str
    external_url: str
    attributes: list[AttributeAnswer]


def status_document(status: ChainStatus) -> dict[str, object]:
    balance = str(status.balance) if status.balance is not None else None
    return {**status._asdict(), "balance": balance}


def token_document(token: TokenOnChain) -> dict[str, object]:
    return {
        "chain_id": token.chain_id,
        "contract": token.contract,
        "token_id": str(token.token_id),
        "owner": token.owner,
        "in_custody": token.wallet is None,
        "version": token.version,
        "checked_in": token.checked_in,
        "voided": token.voided,
        "finality": token.finality,
        "transaction": _hex(token.transaction),
        "block_number": token.block_number,
    }


def skipped_document(skipped: SkippedOperation) -> dict[str, object]:
    operation, reason = OPERATIONS[skipped.kind - 1], SKIP_REASONS[skipped.reason - 1]
    return {"operation": operation, "reason": reason, "batch": skipped.batch}


def transfer_document(transfer: SeenTransfer) -> dict[str, object]:
    return {**transfer._asdict(), "transaction": _hex(transfer.transaction)}


def reconciliation_document(reconciliation: Reconciliation, progress: tuple[int, int] | None) -> dict[str, object]:
    report = reconciliation.report
    return {
        "reconciliation_id": reconciliation.id,
        "chain_id": reconciliation.chain_id,
        "contract": reconciliation.contract,
        "repair": reconciliation.repair,
        "requested_by": reconciliation.requested_by,
        "requested_at": reconciliation.requested_at,
        "status": reconciliation.status,
        "unexplained": report.unexplained if report is not None else None,
        "tickets": report.tickets if report is not None else None,
        "clean": report.clean if report is not None else None,
        "corrections": reconciliation.corrections,
        "failure": reconciliation.failure,
        "progress": {"done": progress[0], "total": progress[1]} if progress is not None else None,
        "report": report.model_dump(mode="json") if report is not None else None,
    }


def listed_document(row: Listed) -> dict[str, object]:
    document = row._asdict()
    del document["position"]
    return document


def listed_then(reconciliation: Reconciliation) -> dict[str, object]:
    """`listed_document` of one as it was: the view has it as it is."""
    document = reconciliation_document(reconciliation, None)
    return {name: document[name] for name in Listed._fields if name in document}


def _hex(value: bytes | None) -> str | None:
    return "0x" + value.hex() if value is not None else None


COLUMNS = (
    "kind,token_id,ticket_id,ledger_issued,ledger_wallet,ledger_version,ledger_checked_in,ledger_voided,"
    "chain_issued,chain_wallet,chain_version,chain_checked_in,chain_voided,reason"
)


def as_csv(report: Report) -> Iterator[str]:
    """What was found, a line each (RFC 4180). No cell begins with anything that a spreadsheet would run."""
    yield COLUMNS + "\r\n"
    for finding in report.findings:
        cells = [finding.kind, str(finding.token_id), str(finding.ticket_id or "")]
        cells += [*_cells(finding.ledger), *_cells(finding.chain), _quoted(finding.reason)]
        yield ",".join(cells) + "\r\n"
    for event in report.event_findings:
        cells = [event.kind, f"event {event.number}", str(event.event_id or ""), *[""] * 10, _quoted(event.reason)]
        yield ",".join(cells) + "\r\n"


def _cells(state: TokenState | None) -> list[str]:
    """An address begins with 0x, everything else is a number or a word of ours."""
    if state is None:
        return [""] * 5
    return [str(state.issued), state.wallet or "custody", str(state.version), str(state.checked_in), str(state.voided)]


def _quoted(text: str) -> str:
    safe = f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
    return '"' + safe.replace('"', '""') + '"'
