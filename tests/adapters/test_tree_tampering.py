"""Whatever a superuser does to the ledger's rows is found, and named; whatever is left alone is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapters import audit_search
from projections.canonical import COLUMNS
from tests.adapters.tree_parts import (
    COVERED,
    FACTS,
    FORGE,
    SIGNED,
    SWAP,
    Ledger,
    Tamperer,
    signed_ledger,
    tampering,
)

BYTES = ("payload", "metadata")


@pytest.fixture(scope="module")
def ledger(postgres: str) -> Iterator[Ledger]:
    with signed_ledger(postgres) as ledger:
        yield ledger


@pytest.fixture
def tamperer(ledger: Ledger) -> Iterator[Tamperer]:
    with tampering(ledger.url) as tamperer:
        yield tamperer


def test_what_was_left_alone_is_clean(tamperer: Tamperer, ledger: Ledger) -> None:
    audit = tamperer.audit(ledger.kept)
    assert (audit.findings, audit.doubts) == ([], [])
    assert (audit.facts, audit.covered, audit.kept, audit.heads) == (FACTS, COVERED, len(SIGNED), len(SIGNED))


def test_its_own_heads_are_held_against_it_when_nobody_kept_any(tamperer: Tamperer) -> None:
    assert tamperer.audit([]).findings == []
    tamperer.do("update ledger.events set payload = '{}' where position = 31")
    assert tamperer.findings([]) == [("changed", 31, 31)]


# -- One byte ----------------------------------------------------------------------


def flip(tamperer: Tamperer, column: str, position: int, at: int, bit: int) -> bool:
    """Change one bit of a column; whether there is such a value (a text has to remain one)."""
    if column in BYTES:
        query = f"update ledger.events set {column} = set_bit({column}, %s %% (8 * octet_length({column})), 1 - get_bit({column}, %s %% (8 * octet_length({column})))) where position = %s"
        return tamperer.do(query, 8 * at + bit, 8 * at + bit, position) == 1
    if column == "topic":
        query = "update ledger.events set topic = overlay(topic placing %s from 1 + %s %% length(topic)) where position = %s and substr(topic, 1 + %s %% length(topic), 1) <> %s"
        letter = "abcdefgh"[bit]
        return tamperer.do(query, letter, at, position, at, letter) == 1
    change = {
        "stream_id": "encode(set_bit(uuid_send(stream_id), {0}, 1 - get_bit(uuid_send(stream_id), {0})), 'hex')::uuid",
        "version": "version # (1 << {0})",
        "recorded_at": "recorded_at + interval '1 microsecond' * (1::bigint << {0})",
    }[column]
    width = {"stream_id": 128, "version": 31, "recorded_at": 52}[column]
    expression = change.format((8 * at + bit) % width)
    return tamperer.do(f"update ledger.events set {column} = {expression} where position = %s", position) == 1


@settings(max_examples=60, deadline=None)
@given(
    column=st.sampled_from([column for column in COLUMNS if column != "position"]),
    position=st.integers(1, COVERED),
    at=st.integers(0, 60),
    bit=st.integers(0, 7),
)
def test_one_byte_of_any_column_of_any_row(ledger: Ledger, column: str, position: int, at: int, bit: int) -> None:
    with tampering(ledger.url) as tamperer:
        assume(flip(tamperer, column, position, at, bit))
        (finding,) = tamperer.audit(ledger.kept).findings
        assert (finding.kind, finding.first, finding.last) == ("changed", position, position)
        if column != "recorded_at":  # a carry may change several of its bytes
            assert column in finding.detail


def test_the_byte_is_named_with_what_it_was(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("update ledger.events set payload = replace(payload::text, '4e', '6e')::bytea where position = 300")
    (finding,) = tamperer.audit(ledger.kept).findings
    assert str(finding) == "position 300: changed: byte 23 of payload was 0x4e, and is 0x6e"


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ("topic = 'ticket.cancelled'", "topic was 'ticket.held', and is 'ticket.cancelled'"),
        ("version = 1000000", "version was"),
        ("recorded_at = recorded_at - interval '1 year'", "recorded_at was"),
        ("metadata = '{}'", "metadata was"),
        ("payload = '{}'", "this is not what was recorded"),
        ("recorded_at = 'infinity'", "recorded_at was"),
        ("payload = ''", "this is not what was recorded"),
    ],
)
def test_what_a_column_was_is_told_when_the_hash_confirms_it(
    tamperer: Tamperer, ledger: Ledger, change: str, detail: str
) -> None:
    """The neighbours have the same topic three facts on, and share the instant of their batch."""
    tamperer.do(f"update ledger.events set {change} where position = 298")
    (finding,) = tamperer.audit(ledger.kept).findings
    assert (finding.kind, finding.first, finding.last) == ("changed", 298, 298)
    assert detail in finding.detail


def test_null_is_found_where_nothing_may_be_null(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("alter table ledger.events alter metadata drop not null")
    tamperer.do("update ledger.events set metadata = null where position = 5")
    assert tamperer.findings(ledger.kept) == [("changed", 5, 5)]


# -- Whole rows --------------------------------------------------------------------

SHIFT = "update ledger.events set position = position + %s where position >= %s"


@pytest.mark.parametrize(("one", "other"), [(1, 2), (7, 470), (256, 257), (600, 601)])
def test_two_rows_that_changed_places(tamperer: Tamperer, ledger: Ledger, one: int, other: int) -> None:
    tamperer.do(SWAP, one, other, one, one, other)
    findings = tamperer.audit(ledger.kept).findings
    assert [(finding.kind, finding.first, finding.last) for finding in findings] == [
        ("moved", one, one),
        ("moved", other, other),
    ]
    assert [str(other) in findings[0].detail, str(one) in findings[1].detail] == [True, True]


@pytest.mark.parametrize("column", BYTES)
def test_two_rows_that_exchanged_a_column(tamperer: Tamperer, ledger: Ledger, column: str) -> None:
    tamperer.do(
        f"update ledger.events e set {column} = o.{column} from ledger.events o"
        " where (e.position, o.position) in ((20, 503), (503, 20))"
    )
    findings = tamperer.audit(ledger.kept).findings
    assert [(finding.kind, finding.first) for finding in findings] == [("changed", 20), ("changed", 503)]
    assert all(finding.detail.startswith(f"{column} was ") for finding in findings)


@pytest.mark.parametrize(("first", "last"), [(1, 1), (100, 100), (5, 9), (250, 300), (257, 512), (400, 600)])
def test_rows_that_are_gone(tamperer: Tamperer, ledger: Ledger, first: int, last: int) -> None:
    tamperer.do("delete from ledger.events where position between %s and %s", first, last)
    assert tamperer.findings(ledger.kept) == [("removed", first, last)]


@pytest.mark.parametrize("position", [1, 40, 256, 590])
def test_a_row_that_is_gone_and_the_rest_closed_up(tamperer: Tamperer, ledger: Ledger, position: int) -> None:
    tamperer.do("delete from ledger.events where position = %s", position)
    tamperer.do(SHIFT, -1, position)
    tamperer.do("update ledger.head set position = position - 1")
    assert tamperer.findings(ledger.kept) == [("moved", position + 1, COVERED), ("removed", position, position)][::-1]


@pytest.mark.parametrize("position", [1, 40, 257, 590])
def test_a_row_that_was_put_between_others(tamperer: Tamperer, ledger: Ledger, position: int) -> None:
    tamperer.do(SHIFT, 1, position)
    tamperer.do(FORGE, position)
    tamperer.do("update ledger.head set position = position + 1")
    assert tamperer.findings(ledger.kept) == [("inserted", position, position), ("moved", position, COVERED)]


def test_many_rows_that_were_put_between_others(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do(SHIFT, 30, 300)
    for position in range(300, 330):
        tamperer.do(FORGE, position)
    tamperer.do("update ledger.head set position = position + 30")
    assert tamperer.findings(ledger.kept) == [("inserted", 300, 329), ("moved", 300, COVERED)]


@pytest.mark.parametrize("position", [0, -5, -(2**63), FACTS + 1, FACTS + 300, 2**63 - 1])
def test_a_row_that_no_append_can_have_put_there(tamperer: Tamperer, ledger: Ledger, position: int) -> None:
    tamperer.do(FORGE, position)
    assert tamperer.findings(ledger.kept) == [("inserted", position, position)]


@pytest.mark.parametrize("position", [0, -1, FACTS + 50, 2**62])
def test_a_row_that_went_where_no_row_should_be(tamperer: Tamperer, ledger: Ledger, position: int) -> None:
    tamperer.do("update ledger.events set position = %s where position = 77", position)
    (finding,) = tamperer.audit(ledger.kept).findings
    assert (finding.kind, finding.first, finding.last) == ("moved", 77, 77)
    assert finding.detail == f"what was recorded here is now at {position}"


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("last", [0, 1, 99, 256, 300, 600])
def test_a_ledger_that_was_cut_off(tamperer: Tamperer, ledger: Ledger, last: int, known: bool) -> None:
    tamperer.do("delete from ledger.events where position > %s", last)
    if known:
        tamperer.do("update ledger.head set position = %s", last)
        assert tamperer.findings(ledger.kept) == [("cut off", last + 1, COVERED)]
    else:
        unsigned = ("cut off", COVERED + 1, FACTS)
        assert tamperer.findings(ledger.kept) == [("cut off", last + 1, COVERED), unsigned]


def test_a_ledger_that_was_cut_off_and_went_on(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("delete from ledger.events where position > 590")
    for position in range(591, FACTS + 1):
        tamperer.do(FORGE, position)
    kinds = {(kind, first) for kind, first, _ in tamperer.findings(ledger.kept)}
    assert kinds == {("changed", position) for position in range(591, COVERED + 1)}


@pytest.mark.parametrize("shift", [-1, 1, 20])
def test_of_very_many_altered_facts_the_first_are_told(
    tamperer: Tamperer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    monkeypatch.setattr(audit_search, "ALTERED_MAX", 100)
    if shift < 0:
        tamperer.do("delete from ledger.events where position = 50")
    tamperer.do(SHIFT, shift, 50)
    tamperer.do("update ledger.head set position = position + %s", shift)
    found = tamperer.audit(ledger.kept)
    kinds = [(finding.kind, finding.first) for finding in found.findings]
    assert kinds == ([("removed", 50), ("moved", 51)] if shift < 0 else [("moved", 50)])
    assert found.findings[-1].last < 160
    assert "there may be more" in found.doubts[0]


# -- What nobody signed yet --------------------------------------------------------


def test_a_gap_among_the_facts_that_nobody_signed(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("delete from ledger.events where position = 604")
    assert tamperer.findings(ledger.kept) == [("removed", 604, 604)]


def test_facts_cut_off_that_nobody_signed(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("delete from ledger.events where position > 603")
    assert tamperer.findings(ledger.kept) == [("cut off", 604, FACTS)]


def test_a_head_row_that_says_less_than_was_signed(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("update ledger.head set position = 5")
    (finding,) = tamperer.audit(ledger.kept).findings
    assert finding.detail == "the ledger says that it ends at 5"
