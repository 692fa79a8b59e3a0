"""An audit when much was done at once, and when the tree, its heads or the auditor's own were not left alone either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters import audit
from adapters.audit_workers import SweepFailedError, Worker
from tests.adapters.tree_parts import (
    COVERED,
    FACTS,
    FORGE,
    SIGNED,
    SWAP,
    Ledger,
    Tamperer,
    Writer,
    grow,
    keys_of,
    signed_ledger,
    tampering,
)
from tests.api.house import fresh_database


@pytest.fixture(scope="module")
def ledger(postgres: str) -> Iterator[Ledger]:
    with signed_ledger(postgres) as ledger:
        yield ledger


@pytest.fixture
def tamperer(ledger: Ledger) -> Iterator[Tamperer]:
    with tampering(ledger.url) as tamperer:
        yield tamperer


# -- Several things at once --------------------------------------------------------

positions = st.integers(1, COVERED)


@st.composite
def deeds(draw: st.DrawFn) -> list[tuple[str, tuple[Any, ...], set[int]]]:
    """Up to five statements, each with its parameters and the positions that it touches; no position twice."""
    touched: set[int] = set()
    found = []
    for _ in range(draw(st.integers(1, 5))):
        one, other = draw(positions), draw(positions)
        if one == other or {one, other} & touched:
            continue
        deed: tuple[str, tuple[Any, ...], set[int]] = draw(
            st.sampled_from(
                [
                    ("update ledger.events set payload = payload || ' ' where position = %s", (one,), {one}),
                    ("update ledger.events set topic = topic || 'x' where position = %s", (one,), {one}),
                    ("delete from ledger.events where position = %s", (one,), {one}),
                    (SWAP, (one, other, one, one, other), {one, other}),
                    (FORGE, (one,), {one}),
                    (
                        "update ledger.events set position = %s where position = %s",
                        (2**40 + one, one),
                        {one},
                    ),
                ]
            )
        )
        touched |= deed[2]
        found.append(deed)
    return found


@settings(max_examples=60, deadline=None)
@given(deeds())
def test_everything_that_was_touched_is_named_and_nothing_else(
    ledger: Ledger, deeds: list[tuple[str, tuple[Any, ...], set[int]]]
) -> None:
    with tampering(ledger.url) as tamperer:
        for statement, parameters, _ in deeds:
            tamperer.do(statement, *parameters)
        touched = {position for *_, positions in deeds for position in positions}
        named = {
            position
            for finding in tamperer.audit(ledger.kept).findings
            for position in range(finding.first, finding.last + 1)
        }
        assert named == touched


# -- The tree as well --------------------------------------------------------------


def test_rows_of_the_tree_that_were_changed_do_not_hide_a_fact_that_was(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("update ledger.events set payload = '{}' where position = 300")
    tamperer.do("update tree.nodes set hashes = set_byte(hashes, 0, 255 - get_byte(hashes, 0)) where last_leaf < 290")
    assert tamperer.findings(ledger.kept) == [("changed", 300, 300)]


def test_where_the_tree_was_altered_too_it_is_told_between_which_positions(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("update ledger.events set payload = '{}' where position = 300")
    tamperer.do(
        "update tree.nodes set hashes = decode(translate(encode(hashes, 'hex'), '0123456789abcdef', '123456789abcdef0'), 'hex')"
        " where first_leaf <= 300 and last_leaf >= 290"
    )
    (finding,) = tamperer.audit(ledger.kept).findings
    assert finding.kind == "altered"
    assert 256 < finding.first <= 300 <= finding.last <= 400


@pytest.mark.parametrize(
    "deed",
    [
        "delete from tree.nodes",
        "update tree.nodes set hashes = ''",
        "update tree.nodes set first_leaf = -9000000000000000000",
        "update tree.nodes set last_leaf = last_leaf + 100000, first_leaf = first_leaf + 100000",
    ],
)
def test_without_the_tree_kept_heads_still_tell_between_which_of_them(
    tamperer: Tamperer, ledger: Ledger, deed: str
) -> None:
    tamperer.do("update ledger.events set payload = '{}' where position = 300")
    tamperer.do(deed)
    assert tamperer.findings(ledger.kept) == [("altered", 257, 400)]


def test_a_tree_and_heads_that_were_made_anew_do_not_hide_it(ledger: Ledger) -> None:
    """The best that somebody with everything but the past can do: the ledger's own heads then agree with the forgery."""
    with tampering(ledger.url) as tamperer:
        tamperer.do("update ledger.events set payload = '{}' where position = 300")
        tamperer.do("delete from tree.nodes")
        tamperer.do("delete from tree.heads")
        assert tamperer.audit([]).doubts == ["there is no signed head to hold the ledger to"]
        assert tamperer.findings(ledger.kept[:1]) == []  # it covers three facts, which are what they were
        assert tamperer.findings(ledger.kept[1:]) == [("altered", 257, 400)]
        assert tamperer.findings(ledger.kept[-1:]) == [("altered", 1, COVERED)]


@pytest.mark.parametrize("column", ["root", "signature"])
def test_a_head_of_its_own_that_was_changed(tamperer: Tamperer, ledger: Ledger, column: str) -> None:
    tamperer.do(
        f"update tree.heads set {column} = set_byte({column}, 3, 255 - get_byte({column}, 3)) where tree_size = 256"
    )
    (finding,) = tamperer.audit(ledger.kept).findings
    assert finding.kind == "head"
    assert "256 facts" in finding.detail


@pytest.mark.parametrize(
    "deed",
    [
        "update tree.heads set signed_at = 'infinity' where tree_size = 400",
        "update tree.keys set public_key = sha256('another')",
        "update tree.keys set valid_from = 'infinity'",
    ],
)
def test_heads_and_keys_that_nobody_can_have_written(tamperer: Tamperer, ledger: Ledger, deed: str) -> None:
    keys = keys_of(ledger.url)
    tamperer.do(deed)
    audit = tamperer.audit(ledger.kept, keys)
    assert {finding.kind for finding in audit.findings} == {"head"}
    assert audit.kept == len(SIGNED)


# -- Heads that cannot be used -----------------------------------------------------


def test_a_forged_head_is_a_doubt_and_no_finding(tamperer: Tamperer, ledger: Ledger) -> None:
    forged = ledger.kept[2]._replace(root=bytes(32))
    audit = tamperer.audit([forged])
    assert audit.findings == []
    assert "is not what was signed" in audit.doubts[0]


def test_a_head_of_another_ledger_is_a_doubt(tamperer: Tamperer, ledger: Ledger) -> None:
    tamperer.do("update chain.identity set ledger_id = gen_random_uuid()")
    audit = tamperer.audit(ledger.kept[:1])
    assert "is of another ledger" in audit.doubts[0]


def test_a_head_of_a_key_that_nobody_has_is_a_doubt(tamperer: Tamperer, ledger: Ledger) -> None:
    audit = tamperer.audit([ledger.kept[0]._replace(key_id="0" * 32)])
    assert "a key that nobody has" in audit.doubts[0]


# -- Several processes -------------------------------------------------------------


def test_several_processes_find_what_one_does(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PARALLEL_PARTS_MIN", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with fresh_database(postgres) as url:
        Writer(url).append(FACTS)
        head = grow(url)
        clean = audit.audit_ledger(url, [head], [])
        assert (clean.facts, clean.findings, clean.doubts) == (FACTS, [], [])
        with psycopg.connect(url) as connection:
            connection.execute("alter table ledger.events disable trigger all")
            connection.execute("delete from ledger.events where position between 250 and 260")
            connection.execute("update ledger.events set payload = '{}' where position = 600")
        altered = audit.audit_ledger(url, [head], [])
    told = [(finding.kind, finding.first, finding.last) for finding in altered.findings]
    assert told == [("removed", 250, 260), ("changed", 600, 600)]


def test_a_process_that_ends_too_soon_is_no_verdict() -> None:
    with (
        pytest.raises(SweepFailedError, match="ended with"),
        Worker("postgresql:///none?host=/no/such/directory", "") as worker,
    ):
        worker.sweep((None, None), [])
