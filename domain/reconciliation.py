"""A reconciliation: ledger and chain held side by side at one block, what was found, and what was ordered to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.kernel import Aggregate, Fact, Refusal
from domain.wallet import Address, Hash

FINDINGS_MAX = 10_000
"""Kept in one report. All are counted; more than these are not listed."""
CORRECTIONS_MAX = 50
"""Ordered by one fact: what they come to must fit into one transaction."""


class FindingKind(StrEnum):
    PENDING = "pending"
    """The ledger's change is on its way to the chain."""
    SKIPPED = "skipped"
    """The contract refused the operation, and said why."""
    EXTERNAL = "external"
    """Changed on the chain by its holder; the ledger has not taken it over yet."""
    MISSING_ON_CHAIN = "missing_on_chain"
    ORPHAN_ON_CHAIN = "orphan_on_chain"
    MISMATCHING = "mismatching"


EXPLAINED = frozenset({FindingKind.PENDING, FindingKind.SKIPPED, FindingKind.EXTERNAL})


class TokenState(BaseModel):
    """What one side says of a token. ``wallet`` None: in custody."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issued: bool
    wallet: Address | None = None
    version: int = 0
    checked_in: bool = False
    voided: bool = False


class Finding(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: FindingKind
    token_id: int
    ticket_id: UUID | None
    """None for a token that the ledger knows nothing of."""
    ledger: TokenState | None
    chain: TokenState | None
    reason: str = ""


class Count(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    of: str
    """A kind of finding, or a contract's reason for skipping an operation."""
    count: int


class Report(BaseModel):
    """The comparison of every ticket at one block. ``unexplained`` is what an auditor wants to be 0."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    chain_id: int
    contract: Address
    block_number: int
    block_hash: Hash
    position: int
    """The ledger's head when it was read."""
    synced_through: int
    """The contract's cursor at that block: a position of the ledger."""
    tickets: int
    equal: int
    counts: tuple[Count, ...]
    """By kind of finding; those with none included."""
    skipped: tuple[Count, ...]
    """By the contract's reason."""
    hash_equal: bool
    """Whether the contract's running hash is the one we computed for the batches up to its cursor."""
    unexplained: int
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def clean(self) -> bool:
        return self.unexplained == 0 and self.hash_equal


class Correction(BaseModel):
    """A token that the chain has otherwise than the ledger: what the chain was seen to have."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    token_id: int
    ticket_id: UUID | None
    chain: TokenState


class NotRunningError(Refusal):
    code = "not-running"
    title = "This reconciliation is over"


@dataclass(slots=True, kw_only=True)
class Reconciliation(Aggregate):
    stream_type: ClassVar[str] = "reconciliation"

    chain_id: int = 0
    contract: str = ""
    repair: bool = False
    requested_by: str = ""
    requested_at: datetime | None = None
    report: Report | None = None
    corrections: int = 0
    failure: str | None = None

    # -- Facts: what is stored, and what each does to the state. --------------

    class Requested(Fact, topic="reconciliation.requested"):
        chain_id: int
        contract: Address
        repair: bool
        by: str

        def apply(self, reconciliation: Any) -> None:
            reconciliation.chain_id, reconciliation.contract = self.chain_id, self.contract
            reconciliation.repair, reconciliation.requested_by = self.repair, self.by
            reconciliation.requested_at = self.at

    class Completed(Fact, topic="reconciliation.completed"):
        report: Report

        def apply(self, reconciliation: Any) -> None:
            reconciliation.report = self.report

    class Corrected(Fact, topic="reconciliation.corrected"):
        """An order to the mirror of one contract: bring these tokens to what the ledger says."""

        chain_id: int
        contract: Address
        corrections: tuple[Correction, ...]

        def apply(self, reconciliation: Any) -> None:
            reconciliation.corrections += len(self.corrections)

    class Failed(Fact, topic="reconciliation.failed"):
        reason: str

        def apply(self, reconciliation: Any) -> None:
            reconciliation.failure = self.reason

    # -- Decisions: what may happen now. ---------------------------------------

    def request(self, *, chain_id: int, contract: Address, repair: bool, by: str, at: datetime) -> None:
        self.record(self.Requested(chain_id=chain_id, contract=contract, repair=repair, by=by, at=at))

    def complete(self, report: Report, *, at: datetime) -> None:
        self._refuse_when_over()
        self.record(self.Completed(report=report, at=at))

    def correct(self, corrections: tuple[Correction, ...], *, chain_id: int, contract: Address, at: datetime) -> None:
        """Only what was asked to repair orders anything."""
        if not self.repair or self.failure is not None:
            raise NotRunningError
        for start in range(0, len(corrections), CORRECTIONS_MAX):
            part = corrections[start : start + CORRECTIONS_MAX]
            self.record(self.Corrected(chain_id=chain_id, contract=contract, corrections=part, at=at))

    def fail(self, reason: str, *, at: datetime) -> None:
        self._refuse_when_over()
        self.record(self.Failed(reason=reason, at=at))

    # -- Questions. ----------------------------------------------------------------

    @property
    def status(self) -> str:
        if self.failure is not None:
            return "failed"
        return "requested" if self.report is None else "completed"

    def _refuse_when_over(self) -> None:
        if not self.exists or self.report is not None or self.failure is not None:
            raise NotRunningError
