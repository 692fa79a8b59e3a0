"""Check-in and invalidation: once each, one by one or 256 at a time, and how each is taken back."""

from __future__ import annotations

import pytest

from tests.contracts import operations as op
from tests.contracts.chain import Chain
from tests.contracts.decoding import said
from tests.contracts.operations import (
    check_in,
    check_in_word,
    deliver,
    issue,
    rules,
    token,
    undo_check_in,
    unvoid,
    void,
    void_word,
)

T = token(1, 0)
CHECKED_IN, VOIDED, IN_CUSTODY = 1 << 177, 1 << 178, 1 << 179
ALL = 2**256 - 1


def marks(chain: Chain, *tickets: int) -> list[str]:
    """Of each ticket: in, void, both (which cannot be) or neither."""
    names = {0: "", CHECKED_IN: "in", VOIDED: "void", CHECKED_IN | VOIDED: "both"}
    return [names[packed & (CHECKED_IN | VOIDED)] for packed in chain.call("state", list(tickets))]


# -- One by one ---------------------------------------------------------------------


def test_a_ticket_is_checked_in_once(chain: Chain) -> None:
    chain.on_sale()
    assert chain.apply(check_in(T)).said == [said("CheckedIn", T), said("MetadataUpdate", T)]
    assert chain.apply(check_in(T)).skips == [(0, op.CHECKED_IN_ALREADY)]
    assert marks(chain, T, token(1, 1)) == ["in", ""]


def test_a_ticket_is_voided_once(chain: Chain) -> None:
    chain.on_sale()
    assert chain.apply(void(T)).said == [said("Voided", T), said("MetadataUpdate", T)]
    assert chain.apply(void(T)).skips == [(0, op.VOIDED_ALREADY)]
    assert marks(chain, T, token(1, 1)) == ["void", ""]


def test_nobody_is_admitted_with_a_void_ticket_and_no_admission_is_voided(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(void(T), check_in(token(1, 1)))
    assert chain.apply(check_in(T), void(token(1, 1))).skips == [(0, op.VOIDED), (1, op.CHECKED_IN_ALREADY)]
    assert marks(chain, T, token(1, 1)) == ["void", "in"]


@pytest.mark.parametrize("operation", [check_in, void, undo_check_in, unvoid])
def test_only_an_issued_ticket_is_marked(chain: Chain, operation: op.OnTicket) -> None:
    chain.on_sale(tickets=1)
    outcome = chain.apply(operation(token(1, 1)), operation(token(2, 0)), operation(0), operation(2**64 - 1))
    unknown = op.UNKNOWN_EVENT
    assert outcome.skips == [(0, op.NOT_ISSUED), (1, unknown), (2, unknown), (3, unknown)]
    chain.apply(issue(1, 1, 1))
    assert marks(chain, token(1, 1)) == [""]


def test_a_check_in_unlocks_a_ticket_in_a_wallet(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice))
    assert chain.call("locked", T) is True
    assert chain.apply(check_in(T)).said[-1] == said("Unlocked", T)
    assert chain.call("locked", T) is False


def test_a_check_in_says_nothing_of_a_lock_that_is_open_anyway(chain: Chain) -> None:
    chain.on_sale(flags=op.TRANSFERS_OPEN)
    chain.apply(deliver(T, 0, chain.alice))
    assert chain.apply(check_in(T)).said == [said("CheckedIn", T), said("MetadataUpdate", T)]


def test_an_unlocked_ticket_that_is_voided_is_locked(chain: Chain) -> None:
    chain.on_sale(flags=op.TRANSFERS_OPEN)
    chain.apply(deliver(T, 0, chain.alice))
    assert chain.apply(void(T)).said[-1] == said("Locked", T)
    assert chain.call("locked", T) is True
    assert chain.apply(unvoid(T)).said[-1] == said("Unlocked", T)
    assert chain.call("locked", T) is False


# -- Taken back ---------------------------------------------------------------------


def test_a_check_in_is_undone(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice), check_in(T))
    outcome = chain.apply(undo_check_in(T))
    assert outcome.said == [said("CheckInUndone", T), said("MetadataUpdate", T), said("Locked", T)]
    assert marks(chain, T) == [""]
    assert chain.apply(undo_check_in(T)).skips == [(0, op.NOT_CHECKED_IN)]
    assert chain.apply(check_in(T)).skips == []


def test_a_void_is_undone(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(void(T))
    assert chain.apply(unvoid(T)).said == [said("VoidUndone", T), said("MetadataUpdate", T)]
    assert marks(chain, T) == [""]
    assert chain.apply(unvoid(T)).skips == [(0, op.NOT_VOIDED)]
    assert chain.apply(check_in(T), undo_check_in(T), void(T)).skips == []
    assert marks(chain, T) == ["void"]


def test_neither_mark_is_taken_back_as_the_other(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(check_in(T), void(token(1, 1)))
    assert chain.apply(unvoid(T), undo_check_in(token(1, 1))).skips == [(0, op.NOT_VOIDED), (1, op.VOIDED)]
    assert marks(chain, T, token(1, 1)) == ["in", "void"]


def test_marks_of_a_cancelled_event_can_still_be_corrected(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(check_in(T), rules(1, flags=op.CANCELLED))
    outcome = chain.apply(undo_check_in(T), void(token(1, 1)), void(token(1, 2)), unvoid(token(1, 2)))
    assert outcome.skips == []
    chain.apply(rules(1))
    assert marks(chain, T, token(1, 1), token(1, 2)) == ["", "void", ""]


def test_a_cancelled_events_tickets_are_locked_whatever_is_corrected(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice), check_in(T), rules(1, flags=op.CANCELLED))
    assert chain.apply(undo_check_in(T)).said == [said("CheckInUndone", T), said("MetadataUpdate", T)]
    chain.apply(rules(1, flags=op.CANCELLED | op.TRANSFERS_OPEN))
    assert chain.apply(void(T)).said == [said("Voided", T), said("MetadataUpdate", T)]
    assert chain.apply(unvoid(T)).said == [said("VoidUndone", T), said("MetadataUpdate", T)]


# -- By words -----------------------------------------------------------------------


def test_a_word_of_tickets_is_checked_in_at_once(chain: Chain) -> None:
    chain.on_sale(tickets=600)
    mask = 1 | 1 << 7 | 1 << 255
    outcome = chain.apply(check_in_word(1, 1, mask))
    first, last = token(1, 256), token(1, 511)
    assert outcome.said == [said("BatchMetadataUpdate", first, last), said("CheckedInWord", 1, 1, mask)]
    assert marks(chain, token(1, 255), first, token(1, 263), last, token(1, 512)) == ["", "in", "in", "in", ""]


def test_a_word_of_tickets_is_voided_at_once(chain: Chain) -> None:
    chain.on_sale(tickets=600)
    outcome = chain.apply(void_word(1, 0, 0b1010))
    assert outcome.said == [said("BatchMetadataUpdate", T, T | 255), said("VoidedWord", 1, 0, 0b1010)]
    assert marks(chain, *(token(1, serial) for serial in range(5))) == ["", "void", "", "void", ""]


def test_what_of_a_word_cannot_apply_does_not_hold_up_the_rest(chain: Chain) -> None:
    chain.on_sale(tickets=300)
    chain.apply(check_in(token(1, 256)), void(token(1, 257)))
    outcome = chain.apply(check_in_word(1, 1, ALL))
    applied = sum(1 << bit for bit in range(2, 300 - 256))
    assert outcome.said[1] == said("CheckedInWord", 1, 1, applied)
    assert outcome.skips == [(0, op.PARTIAL)]
    assert marks(chain, *(token(1, serial) for serial in (256, 257, 258, 299, 300))) == ["in", "void", "in", "in", ""]
    chain.apply(issue(1, 300, 1))
    assert marks(chain, token(1, 300)) == [""]


def test_a_whole_word_applies_when_it_is_issued(chain: Chain) -> None:
    chain.on_sale(tickets=256)
    assert chain.apply(void_word(1, 0, ALL)).skips == []
    assert set(marks(chain, *(token(1, serial) for serial in range(256)))) == {"void"}


@pytest.mark.parametrize("operation", [check_in_word, void_word])
def test_a_word_of_which_nothing_applies_is_partial_too(chain: Chain, operation: op.OnWord) -> None:
    chain.on_sale(tickets=2)
    chain.apply(void(T))
    outcome = chain.apply(operation(1, 0, 0), operation(1, 0, 1), operation(1, 0, 0b100), operation(1, 1, 1))
    assert outcome.skips == [(index, op.PARTIAL) for index in range(4)]
    assert len(outcome.said) == 4
    assert chain.apply(operation(2, 0, 1), operation(0, 0, 1)).skips == [(0, op.UNKNOWN_EVENT), (1, op.UNKNOWN_EVENT)]


def test_the_last_word_of_all(chain: Chain) -> None:
    chain.on_sale(tickets=1)
    last = 2**24 - 1
    assert chain.apply(check_in_word(1, last, 1), void_word(1, last, 1)).skips == [(0, op.PARTIAL), (1, op.PARTIAL)]


def test_a_cancelled_event_admits_nobody_by_words(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(rules(1, flags=op.CANCELLED))
    outcome = chain.apply(check_in_word(1, 0, 0b11), void_word(1, 0, 0b10))
    assert outcome.skips == [(0, op.PARTIAL)]
    chain.apply(rules(1))
    assert marks(chain, T, token(1, 1)) == ["", "void"]


def test_words_of_different_events_are_apart(chain: Chain) -> None:
    chain.on_sale()
    chain.on_sale()
    chain.apply(check_in_word(1, 0, 1), void_word(2, 0, 2))
    assert marks(chain, T, token(1, 1), token(2, 0), token(2, 1)) == ["in", "", "", "void"]
