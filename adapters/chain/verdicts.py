"""Which differences between ledger and chain are explained, and by what. Pure.

Three explanations there are: the change is on its way; the contract passed over what it was told, and said so; the
token's holder has transferred it. Each has to account for everything that differs, or the difference is unexplained.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from adapters.chain.packed import VOIDED, difference, unpacked
from adapters.chain.replay import Made, Replay
from domain.reconciliation import EventFinding, EventRules, Finding, FindingKind
from projections.chain_operations import CANCELLED, DIRECT_TRANSFERS, NO_PRICE_CAP, Configure, event_number

REPAIRING = "a repair is on its way"


class Verdict(NamedTuple):
    kind: FindingKind
    reason: str = ""
    settled: bool = True


class Difference(NamedTuple):
    """A token that is not the same on both sides. States are packed (see `packed`)."""

    token: int
    ticket_id: UUID | None
    now: int
    """The ledger's, at its head."""
    then: int
    """The ledger's, where it had been told to the contract."""
    chain: int
    settled: bool
    """Whether nothing is on its way to it."""
    repaired_from: int | None = None
    """The state from which a repair that is on its way starts."""
    event_repaired: bool = False
    """Whether its event is told again by a repair that is on its way."""
    issue_repaired: bool = False
    """Whether it is issued again by a repair that is on its way."""
    event_cancelled: bool = False
    """On both sides."""

    def finding(self, verdict: Verdict) -> Finding:
        return Finding(
            kind=verdict.kind,
            token_id=self.token,
            ticket_id=self.ticket_id,
            ledger=unpacked(self.now) if self.now else None,
            chain=unpacked(self.chain) if self.chain else None,
            reason=verdict.reason,
            settled=self.settled and verdict.settled,
            event_cancelled=self.event_cancelled,
        )


class EventDifference(NamedTuple):
    """An event whose rules are not the same on both sides. None: that side does not have it."""

    number: int
    event_id: UUID | None
    now: Configure | None
    then: Configure | None
    chain: Configure | None
    repaired: bool
    """Whether it is told again by a repair that is on its way."""

    def finding(self, verdict: Verdict) -> EventFinding:
        return EventFinding(
            kind=verdict.kind,
            number=self.number,
            event_id=self.event_id,
            ledger=_rules(self.now),
            chain=_rules(self.chain),
            reason=verdict.reason,
        )


# -- Tokens. -------------------------------------------------------------------------


def by_itself(found: Difference) -> Verdict | None:
    """What can be said without the contract's record. None: the record has to tell."""
    void_alone = found.chain and found.chain ^ found.now == VOIDED
    if (
        found.chain == found.repaired_from
        or (found.event_repaired and void_alone)
        or (found.issue_repaired and not found.chain)
    ):
        return Verdict(FindingKind.PENDING, REPAIRING)
    if found.ticket_id is None:
        return Verdict(FindingKind.ORPHAN_ON_CHAIN)
    if found.chain == found.then:
        return Verdict(FindingKind.PENDING)
    return None


def by_record(found: Difference, replay: Replay, *, custodian: int) -> Verdict:
    """Explained only if the record comes to what the chain has, and names a cause for each part that differs."""
    made = replay.tokens[found.token]
    if replay.state_of(found.token, custodian=custodian) == found.chain:
        skipped = _skipped_parts(found, made, replay)
        parts = _parts(found)
        if made.unheard and parts - skipped.keys() <= {"owner"}:
            return _of_transfer(made)
        if parts <= skipped.keys():
            return Verdict(FindingKind.SKIPPED, skipped[min(parts)], settled=not made.unheard)
    if not found.chain:
        return Verdict(FindingKind.MISSING_ON_CHAIN)
    return Verdict(FindingKind.MISMATCHING, ", ".join(difference(found.now, found.chain)), settled=not made.unheard)


def _of_transfer(made: Made) -> Verdict:
    """Heals by itself: the ledger follows what a holder did. An operation that came too late is what people ask about."""
    if made.lost is not None:
        return Verdict(FindingKind.SKIPPED, made.lost.name.lower(), settled=False)
    return Verdict(FindingKind.EXTERNAL, settled=False)


def _parts(found: Difference) -> set[str]:
    """What of the token differs from what the contract had been told."""
    if not (found.chain and found.then):
        return {"issued"}
    return {"owner" if part == "version" else part for part in difference(found.then, found.chain)}


def _skipped_parts(found: Difference, made: Made, replay: Replay) -> dict[str, str]:
    """Part → why an operation on it was passed over."""
    skipped = {part: reason.name.lower() for part, reason in made.skipped.items()}
    rules = replay.rules_skipped.get(event_number(found.token))
    if rules is not None:
        skipped.setdefault("void", rules.name.lower())
    return skipped


# -- Events. -------------------------------------------------------------------------


def event_by_itself(found: EventDifference) -> Verdict | None:
    """As `by_itself`."""
    if found.now is None:
        return Verdict(FindingKind.ORPHAN_ON_CHAIN)
    if found.repaired:
        return Verdict(FindingKind.PENDING, REPAIRING)
    if found.event_id is None:
        return Verdict(FindingKind.ORPHAN_ON_CHAIN)
    if found.chain == found.then:
        return Verdict(FindingKind.PENDING)
    return None


def event_by_record(found: EventDifference, replay: Replay) -> Verdict:
    """As `by_record`."""
    skipped = replay.rules_skipped.get(found.number)
    if skipped is not None and replay.rules.get(found.number) == found.chain:
        return Verdict(FindingKind.SKIPPED, skipped.name.lower())
    return Verdict(FindingKind.MISSING_ON_CHAIN if found.chain is None else FindingKind.MISMATCHING)


def _rules(rules: Configure | None) -> EventRules | None:
    if rules is None:
        return None
    return EventRules(
        ends_at=rules.ends_at,
        price_max=rules.price_cap if rules.price_cap != NO_PRICE_CAP else None,
        royalty=rules.royalty,
        direct_transfers=bool(rules.flags & DIRECT_TRANSFERS),
        cancelled=bool(rules.flags & CANCELLED),
    )
