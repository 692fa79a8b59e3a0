"""The mirror's one entry: batches in order, once each, whole or not at all, from one writer."""

from __future__ import annotations

import pytest
from eth_hash.auto import keccak

from tests.contracts import operations as op
from tests.contracts.chain import Chain
from tests.contracts.decoding import said
from tests.contracts.operations import LOCKED, check_in, deliver, issue, move, next_hash, rules, token

SYNCER_ROLE = keccak(b"SYNCER_ROLE")
SEQ_MAX = 2**64 - 1


def test_a_batch_moves_the_cursor_and_the_hash(chain: Chain) -> None:
    ops = rules(1) + issue(1, 0, 2)
    outcome = chain.send("applyBatch", 1, 9, ops, by=chain.syncer)
    expected = next_hash(bytes(32), 1, 9, ops)
    assert outcome.said[-1] == said("BatchApplied", 1, 9, expected)
    assert chain.call("syncedThrough") == 9
    assert chain.call("runningHash") == expected


def test_each_hash_is_over_the_one_before(chain: Chain) -> None:
    running = bytes(32)
    for seq, ops in enumerate((rules(1), b"", issue(1, 0, 1)), start=1):
        chain.send("applyBatch", seq, seq, ops, by=chain.syncer)
        running = next_hash(running, seq, seq, ops)
        assert chain.call("runningHash") == running


def test_a_batch_sent_twice_changes_nothing(chain: Chain) -> None:
    ops = rules(1) + issue(1, 0, 2)
    chain.send("applyBatch", 1, 2, ops, by=chain.syncer)
    before = chain.call("runningHash")
    assert chain.refusal("applyBatch", 1, 2, ops, by=chain.syncer) == said("NotNext", 3)
    assert chain.call("runningHash") == before
    assert chain.call("eventOf", 1)[0] == 2


@pytest.mark.parametrize(("first", "last"), [(0, 5), (1, 5), (2, 5), (4, 5), (3, 2), (3, 0), (SEQ_MAX, SEQ_MAX)])
def test_a_batch_must_be_the_next(chain: Chain, first: int, last: int) -> None:
    chain.send("applyBatch", 1, 2, b"", by=chain.syncer)
    assert chain.refusal("applyBatch", first, last, rules(1), by=chain.syncer) == said("NotNext", 3)


def test_a_batch_without_operations_moves_the_cursor(chain: Chain) -> None:
    chain.apply(b"", b"", b"")
    assert chain.call("syncedThrough") == 3


WHOLE = [
    rules(1),
    issue(1, 0, 1),
    deliver(token(1, 0), 0, "0x" + "11" * 20),
    move(token(1, 0), 0, op.CUSTODY),
    op.resale(token(1, 0), 0, op.CUSTODY, 5),
    check_in(token(1, 0)),
    op.check_in_word(1, 0, 1),
    op.void(token(1, 0)),
    op.void_word(1, 0, 1),
    op.undo_check_in(token(1, 0)),
    op.unvoid(token(1, 0)),
]


@pytest.mark.parametrize("operation", WHOLE, ids=lambda whole: str(whole[0]))
def test_an_operation_that_ends_early_refuses_the_whole_batch(chain: Chain, operation: bytes) -> None:
    good = rules(1)
    for short in (operation[:1], operation[:-1]):
        refused = chain.refusal("applyBatch", 1, 1, good + short, by=chain.syncer)
        assert refused == said("Malformed", len(good))
    assert chain.call("eventCount") == 0


@pytest.mark.parametrize("operation", WHOLE, ids=lambda whole: str(whole[0]))
def test_a_whole_operation_at_the_end_of_the_call_is_not_malformed(chain: Chain, operation: bytes) -> None:
    assert chain.refusal("applyBatch", 1, 1, operation, by=chain.syncer) is None


@pytest.mark.parametrize("kind", [0x00, 0x0C, 0x1F, 0x20, 0x80, 0xFF])
def test_an_unknown_kind_refuses_the_whole_batch(chain: Chain, kind: int) -> None:
    good = rules(1) + issue(1, 0, 3)
    refused = chain.refusal("applyBatch", 1, 1, good + bytes([kind]) + bytes(64), by=chain.syncer)
    assert refused == said("Malformed", len(good))


def test_what_cannot_apply_is_skipped_and_the_rest_applies(chain: Chain) -> None:
    chain.apply(b"")
    outcome = chain.apply(
        rules(1), issue(1, 1, 5), issue(1, 0, 2), check_in(token(1, 7)), deliver(token(1, 1), 0, chain.alice)
    )
    assert outcome.skips == [(1, op.OUT_OF_ORDER), (3, op.NOT_ISSUED)]
    assert said("OpSkipped", 2, 1, op.ISSUE, op.OUT_OF_ORDER) in outcome.said
    assert said("OpSkipped", 2, 3, op.CHECK_IN, op.NOT_ISSUED) in outcome.said
    assert chain.call("ownerOf", token(1, 1)) == chain.alice


def test_only_the_syncer_applies_and_anchors(chain: Chain) -> None:
    for stranger in (chain.admin, chain.pauser, chain.alice):
        refused = said("AccessControlUnauthorizedAccount", stranger, SYNCER_ROLE)
        assert chain.refusal("applyBatch", 1, 1, b"", by=stranger) == refused
        assert chain.refusal("anchor", 1, bytes(32), by=stranger) == refused


def test_nothing_that_the_syncer_can_do_goes_on_while_paused(chain: Chain) -> None:
    chain.send("pause", by=chain.pauser)
    assert chain.refusal("applyBatch", 1, 1, b"", by=chain.syncer) == said("EnforcedPause")
    assert chain.refusal("anchor", 1, bytes(32), by=chain.syncer) == said("EnforcedPause")
    chain.send("unpause", by=chain.admin)
    chain.apply(rules(1))


def test_anchors_only_grow(chain: Chain) -> None:
    roots = [bytes([n]) * 32 for n in range(3)]
    assert chain.call("lastAnchor") == [0, bytes(32)]
    assert chain.refusal("anchor", 0, roots[1], by=chain.syncer) == said("NotGrowing", 0)
    assert chain.send("anchor", 7, roots[1], by=chain.syncer).said == [said("Anchored", 7, roots[1])]
    assert chain.refusal("anchor", 7, roots[2], by=chain.syncer) == said("NotGrowing", 7)
    assert chain.refusal("anchor", 6, roots[2], by=chain.syncer) == said("NotGrowing", 7)
    chain.send("anchor", 8, roots[2], by=chain.syncer)
    assert chain.call("lastAnchor") == [8, roots[2]]


def test_a_holders_transfer_that_raced_the_batch_wins(chain: Chain) -> None:
    chain.on_sale(flags=op.TRANSFERS_OPEN)
    ticket = token(1, 0)
    chain.apply(deliver(ticket, 0, chain.alice))
    chain.send("transferFrom", chain.alice, chain.bob, ticket, by=chain.alice)
    outcome = chain.apply(move(ticket, 1, chain.carol), check_in(ticket))
    assert outcome.skips == [(0, op.WRONG_VERSION)]
    assert chain.call("ownerOf", ticket) == chain.bob
    assert said("CheckedIn", ticket) in outcome.said


def test_the_mirror_moves_what_holders_cannot(chain: Chain) -> None:
    chain.on_sale()
    ticket = token(1, 0)
    chain.apply(deliver(ticket, 0, chain.alice))
    refused = chain.refusal("transferFrom", chain.alice, chain.bob, ticket, by=chain.alice)
    assert refused == said("TransferRefused", ticket, LOCKED)
    assert chain.apply(move(ticket, 1, chain.bob)).skips == []
    assert chain.call("ownerOf", ticket) == chain.bob
