"""What a reconciliation found, as orders to the mirror; and what such an order means for the contract.

A repair starts from what the chain was seen to have. The mirror carries it out like any other fact, so that a plan made
again from position 0 comes to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar
from uuid import UUID

from domain.reconciliation import (
    CORRECTIONS_MAX,
    ISSUES_MAX,
    Correction,
    EventCorrection,
    EventFinding,
    EventOrder,
    Finding,
    FindingKind,
    Reconciliation,
    Repair,
    Report,
    TokenState,
)
from projections.chain_book import Book, PlannedEvent, PlannedToken, move
from projections.chain_operations import (
    CANCELLED,
    SERIAL_BITS,
    CheckIn,
    Configure,
    Issue,
    Operation,
    UndoCheckIn,
    Unvoid,
    Void,
    event_number,
    token_id,
)

C = TypeVar("C", Correction, EventCorrection)

MENDED = frozenset(
    {
        FindingKind.SKIPPED,
        FindingKind.MISSING_ON_CHAIN,
        FindingKind.ORPHAN_ON_CHAIN,
        FindingKind.MISMATCHING,
    }
)
NO_END = (1 << 40) - 1
"""The latest end that the contract can hold."""


# -- What a report orders. -----------------------------------------------------------


def repairs(report: Report) -> tuple[Repair, ...]:
    """In the order in which they have to be carried out. What is on its way, or its holder's doing, mends itself.

    What is not settled, or no longer listed in the report, is left to the next reconciliation.
    """
    told = [_told_again(finding) for finding in report.event_findings if finding.kind in MENDED]
    issued = [again for number, serials in _missing(report).items() for again in _issued_again(number, serials)]
    findings = [finding for finding in report.findings if _is_for_the_token(finding)]
    lifted = sorted({event_number(finding.token_id) for finding in findings if finding.event_cancelled})
    return (
        *_of_events(told),
        *(Repair(events=(again,)) for again in issued),
        *_of_events([EventCorrection(order=EventOrder.LIFT, number=number) for number in lifted]),
        *(Repair(tokens=part) for part in _parts([_correction(finding) for finding in findings])),
        *_of_events([EventCorrection(order=EventOrder.TELL, number=number) for number in lifted]),
    )


def _told_again(finding: EventFinding) -> EventCorrection:
    if finding.event_id is not None:
        return EventCorrection(order=EventOrder.TELL, number=finding.number)
    return EventCorrection(order=EventOrder.DISOWN, number=finding.number, known=finding.ledger is not None)


def _missing(report: Report) -> dict[int, tuple[int, int]]:
    """Event → the first and the last serial that the chain does not have: it issues in order, so none between is there."""
    found: dict[int, tuple[int, int]] = {}
    for finding in report.findings:
        if finding.chain is None and finding.kind in MENDED and finding.token_id:
            number, serial = event_number(finding.token_id), finding.token_id % (1 << SERIAL_BITS)
            first, last = found.get(number, (serial, serial))
            found[number] = min(first, serial), max(last, serial)
    return found


def _issued_again(number: int, serials: tuple[int, int]) -> list[EventCorrection]:
    first, last = serials
    starts = range(first, last + 1, ISSUES_MAX)
    return [EventCorrection(order=EventOrder.TELL, number=number, issue_from=start) for start in starts]


def _is_for_the_token(finding: Finding) -> bool:
    """Issuing a ticket again makes it a fresh one in custody: most need nothing more."""
    fresh = finding.chain is None and finding.ledger == TokenState(issued=True)
    return finding.kind in MENDED and finding.settled and not fresh


def _correction(finding: Finding) -> Correction:
    chain = finding.chain or TokenState(issued=False)
    return Correction(token_id=finding.token_id, ticket_id=finding.ticket_id, chain=chain, ledger=finding.ledger)


def _of_events(corrections: Sequence[EventCorrection]) -> Iterator[Repair]:
    return (Repair(events=part) for part in _parts(corrections))


def _parts(corrections: Sequence[C]) -> Iterator[tuple[C, ...]]:
    for start in range(0, len(corrections), CORRECTIONS_MAX):
        yield tuple(corrections[start : start + CORRECTIONS_MAX])


# -- What that means for the contract. -------------------------------------------------


def corrected(book: Book, _: UUID, fact: Reconciliation.Corrected) -> list[Operation]:
    if (fact.chain_id, fact.contract) != book.chain:
        return []
    by_number = sorted(fact.events, key=lambda correction: correction.number)
    by_token = sorted(fact.corrections, key=lambda correction: correction.token_id)
    operations = [operation for correction in by_number for operation in _correct_event(book, correction)]
    return operations + [operation for correction in by_token for operation in _correct_token(book, correction)]


def disowned_rules(number: int) -> Configure:
    """What a contract is told of an event that the ledger does not know: one flag voids all its tokens."""
    return Configure(number, 0, 0, 0, CANCELLED)


# -- Events. -------------------------------------------------------------------------


def _correct_event(book: Book, correction: EventCorrection) -> list[Operation]:
    if correction.order is EventOrder.DISOWN:
        return _disown_event(book, correction)
    event = book.event_numbered(correction.number)
    if event is None:
        return []
    if correction.order is EventOrder.LIFT:
        return [_lifted(event)] if event.flags & CANCELLED else []
    first = correction.issue_from if correction.issue_from is not None else event.issued
    again = range(first, min(first + ISSUES_MAX, event.issued))
    return [event.configure(), *(Issue(token_id(event.number, serial)) for serial in again)]


def _lifted(event: PlannedEvent) -> Configure:
    """Not cancelled for a moment that no holder can use: the end is far, and transfers are not open."""
    return Configure(event.number, NO_END, event.price_cap, event.royalty, 0)


def _disown_event(book: Book, correction: EventCorrection) -> list[Operation]:
    if not correction.known:
        if correction.number <= book.event_count:  # it was given to an event of ours since it was seen
            return []
        book.disown_event(correction.number)
    return [disowned_rules(correction.number)]


# -- Tokens. -------------------------------------------------------------------------


def _correct_token(book: Book, correction: Correction) -> list[Operation]:
    """From what the chain was seen to have to what the ledger says. Not if the ledger says something else by now."""
    if correction.ticket_id is None:
        return _disown(book, correction)
    token = book.tokens.get(correction.ticket_id)
    if token is None or token.token != correction.token_id or book.state_of(token) != correction.ledger:
        return []
    token = book.token(correction.ticket_id)
    assert token is not None
    chain, wanted = correction.chain, token.wallet
    token.version, token.wallet = chain.version, chain.wallet
    changes: list[Operation] = [] if token.wallet == wanted else [move(token, wanted)]
    if chain.checked_in and not token.checked_in:
        changes.append(UndoCheckIn(token.token))
    if token.checked_in and not chain.checked_in:
        changes.append(CheckIn(token.token, in_custody=False))
    if chain.voided and (changes or not book.is_void(token)):
        changes.insert(0, Unvoid(token.token))  # nothing else can be done to a token that is void
    if token.voided and (changes or not chain.voided):
        changes.append(Void(token.token, in_custody=False))
    return changes


def _disown(book: Book, correction: Correction) -> list[Operation]:
    """A token that the ledger never issued is made void, and its number and serial are not given again."""
    number, serial = event_number(correction.token_id), correction.token_id % (1 << SERIAL_BITS)
    event = book.event_numbered(number)
    if event is None or (correction.ledger is None and serial < event.issued):  # it was sold since it was seen
        return []
    book.event(event.event_id).issued = max(event.issued, serial + 1)
    chain, event_cancelled = correction.chain, bool(event.flags & CANCELLED)
    checked_in = chain.checked_in and event_cancelled  # there it cannot be undone, and need not be
    token = PlannedToken(correction.token_id, None, chain.wallet, chain.version, checked_in, voided=True)
    book.disown(token)
    if chain.voided or event_cancelled:
        return []
    undo: list[Operation] = [UndoCheckIn(token.token)] if chain.checked_in else []
    return [*undo, Void(token.token, in_custody=False)]
