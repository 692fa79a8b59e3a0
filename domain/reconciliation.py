"""A reconciliation: ledger and chain held side by side at one block, what was found, and what was ordered to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.kernel import Aggregate, Fact, Refusal
from domain.wallet import Address, Hash

FINDINGS_MAX = 10_000
"""Kept in one report. All are counted; more than these are not listed."""
CORRECTIONS_MAX = 50
"""Tokens, or events, ordered to be mended by one fact: what they come to must fit into one transaction."""
ISSUES_MAX = 4_000
"""Tickets of an event that one fact has issued again, for the same reason."""


class FindingKind(StrEnum):
    PENDING = "pending"
    """The ledger's change is on its way to the chain."""
    SKIPPED = "skipped"
    """The contract passed over what it was told, and said why; without that, it would be equal."""
    EXTERNAL = "external"
    """Changed on the chain by its holder; the ledger has not taken it over yet."""
    MISSING_ON_CHAIN = "missing_on_chain"
    """The ledger issued it, the chain does not have it, and nothing says why."""
    ORPHAN_ON_CHAIN = "orphan_on_chain"
    """The chain has it, the ledger never issued it."""
    MISMATCHING = "mismatching"
    """Both have it, they differ, and nothing says why."""


EXPLAINED = frozenset({FindingKind.PENDING, FindingKind.SKIPPED, FindingKind.EXTERNAL})


class TokenState(BaseModel):
    """What one side says of a token. ``wallet`` None: in custody."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    issued: bool
    wallet: Address | None = None
    version: int = 0
    checked_in: bool = False
    voided: bool = False


class EventRules(BaseModel):
    """What one side says of an event. ``ends_at`` is in seconds since 1970, ``royalty`` in hundredths of a per cent."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    ends_at: int
    price_max: int | None
    """None: no limit."""
    royalty: int
    direct_transfers: bool
    cancelled: bool


class Finding(BaseModel):
    """A ticket, or a token without one, that is not the same on both sides."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: FindingKind
    token_id: int
    ticket_id: UUID | None
    """None for a token that the ledger knows nothing of."""
    ledger: TokenState | None
    """At the ledger's head."""
    chain: TokenState | None
    reason: str = ""
    settled: bool = True
    """Whether neither side has more to say of it that is on its way already: what a repair would have to start from."""
    event_cancelled: bool = False
    """On both sides: its tickets are void on the chain, and none of them can be touched there."""


class EventFinding(BaseModel):
    """An event whose rules are not the same on both sides."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: FindingKind
    number: int
    """The contract's for it."""
    event_id: UUID | None
    """None for an event that the ledger knows nothing of."""
    ledger: EventRules | None
    chain: EventRules | None
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
    """The contract's cursor at that block: a position of the ledger, or more where somebody else has moved it."""
    mirrored_position: int = 0
    """The ledger's, up to which the contract had been told everything at that block."""
    tickets: int
    """Those compared: the ledger's, and tokens that it has disowned."""
    equal: int
    counts: tuple[Count, ...]
    """Tickets by kind of finding; those with none included."""
    skipped: tuple[Count, ...]
    """Tickets and events of that kind, by the contract's reason."""
    events: int = 0
    event_counts: tuple[Count, ...] = ()
    """Events by kind of finding; those with none included."""
    hash_equal: bool
    """Whether the contract's running hash is the one we computed for the batches up to its cursor."""
    adopted: int = 0
    """How often what somebody else had told the contract was found, and gone on from."""
    unexplained: int
    """Tickets and events that are missing, orphaned or mismatching, and one more when the hash differs."""
    findings: tuple[Finding, ...]
    """The unexplained ones first."""
    event_findings: tuple[EventFinding, ...] = ()
    seconds: float

    @property
    def clean(self) -> bool:
        return self.unexplained == 0 and self.hash_equal


class Correction(BaseModel):
    """A token that the chain has otherwise than the ledger."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    token_id: int
    ticket_id: UUID | None
    chain: TokenState
    """What it was seen to have."""
    ledger: TokenState | None = None
    """What the ledger said then. The order holds only while it still says so."""


class EventOrder(StrEnum):
    TELL = "tell"
    """Its rules again, and its tickets from ``issue_from`` on, at most ISSUES_MAX of them."""
    LIFT = "lift"
    """Its cancellation is lifted until it is told again: nothing else can be done to its tickets before."""
    DISOWN = "disown"
    """The ledger does not know it: it is cancelled on the chain, and its number not given again."""


class EventCorrection(BaseModel):
    """An event that the contract has to be told of again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    order: EventOrder
    number: int
    issue_from: int | None = None
    """The first serial that the chain does not have."""
    known: bool = False
    """For one that the ledger does not have: whether it was disowned before."""


class Repair(NamedTuple):
    """What one fact orders. Events are mended before tokens."""

    events: tuple[EventCorrection, ...] = ()
    tokens: tuple[Correction, ...] = ()


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
        """An order to the mirror of one contract: bring these events and tokens to what the ledger says."""

        chain_id: int
        contract: Address
        corrections: tuple[Correction, ...]
        events: tuple[EventCorrection, ...] = ()

        def apply(self, reconciliation: Any) -> None:
            reconciliation.corrections += len(self.corrections) + len(self.events)

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

    def correct(self, repairs: Iterable[Repair], *, at: datetime) -> None:
        """Only what was asked to repair orders anything, with the report or after it."""
        if not self.repair or self.report is None:
            raise NotRunningError
        for repair in repairs:
            self.record(
                self.Corrected(
                    chain_id=self.chain_id,
                    contract=self.contract,
                    corrections=repair.tokens,
                    events=repair.events,
                    at=at,
                )
            )

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
