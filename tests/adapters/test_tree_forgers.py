"""Somebody who has the database and the key: what they make anew agrees with itself, and not with what others kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.heads import HeadSigner, read_keys
from adapters.ledger_rows import canonical_rows
from adapters.tree import Growth
from projections.ledger_head import HeadKey, SignedHead
from projections.merkle import leaf_hash, root_of
from tests.adapters.ledger_parts import SECRET
from tests.adapters.tree_parts import (
    COVERED,
    FORGE,
    SIGNED,
    SWAP,
    Ledger,
    Tamperer,
    keys_of,
    signed_ledger,
    tampering,
)

Deed = Callable[[Tamperer], object]
MOMENT = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def ledger(postgres: str) -> Iterator[Ledger]:
    with signed_ledger(postgres) as ledger:
        yield ledger


@pytest.fixture
def tamperer(ledger: Ledger) -> Iterator[Tamperer]:
    with tampering(ledger.url) as tamperer:
        yield tamperer


def signed(head: SignedHead) -> SignedHead:
    """With the key that signed all of them."""
    return head._replace(signature=HeadSigner(SECRET)._key(1).private.sign(head.signed_text))


def stranger(kept: list[SignedHead], size: int) -> SignedHead:
    """Of another history, signed when this one was about as long."""
    at = max((head.at for head in kept if head.tree_size <= size), default=kept[0].at)
    return signed(kept[0]._replace(tree_size=size, root=bytes(32), at=at))


def make_anew(tamperer: Tamperer, kept: list[SignedHead]) -> None:
    """The tree of what is there now, and heads of the sizes and instants of those that were kept."""
    tamperer.do("delete from tree.nodes")
    tamperer.do("delete from tree.heads")
    growth = Growth(tamperer.connection)
    while growth.step():
        pass
    leaves = [leaf_hash(row) for page in canonical_rows(tamperer.connection) for row in page]
    for head in kept:
        if head.tree_size <= len(leaves):
            forged = signed(head._replace(root=root_of(leaves[: head.tree_size])))
            statement = "insert into tree.heads values (%s, 1, %s, %s, %s)"
            tamperer.do(statement, forged.tree_size, forged.root, forged.at, forged.signature)
    HeadSigner(SECRET).sign(tamperer.connection, growth.size, growth.root)


# -- A past that was made anew ---------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "between"),
    [((100, 256, 400, 601), (257, 400)), ((3, 400), (4, 400)), ((256, 601), (257, 601)), ((601,), (1, 601))],
)
def test_what_was_kept_tells_between_which_heads_it_was(
    tamperer: Tamperer, ledger: Ledger, kept: tuple[int, ...], between: tuple[int, int]
) -> None:
    tamperer.do("update ledger.events set payload = '{}' where position = 300")
    make_anew(tamperer, ledger.kept)
    audit = tamperer.audit([head for head in ledger.kept if head.tree_size in kept])
    told = [(finding.first, finding.last) for finding in audit.findings if finding.kind == "altered"]
    assert told == [between]
    forks = [finding.detail for finding in audit.findings if finding.kind == "head"]
    assert any("was signed, and so was its own head of 607 facts" in detail for detail in forks)
    assert all(detail.startswith("the kept head of ") for detail in forks)


def test_who_kept_nothing_or_too_little_is_shown_nothing(tamperer: Tamperer, ledger: Ledger) -> None:
    """Which is what heads are to be kept for."""
    tamperer.do("update ledger.events set payload = '{}' where position = 300")
    make_anew(tamperer, ledger.kept)
    assert tamperer.findings([]) == []
    assert tamperer.findings(ledger.kept[:3]) == []


def change(position: int) -> tuple[int, Deed]:
    return position, lambda t: t.do("update ledger.events set payload = payload || ' ' where position = %s", position)


def swap(one: int, other: int) -> tuple[int, Deed]:
    return min(one, other), lambda t: t.do(SWAP, one, other, one, one, other)


def close_up(position: int) -> tuple[int, Deed]:
    def deed(tamperer: Tamperer) -> None:
        tamperer.do("delete from ledger.events where position = %s", position)
        tamperer.do("update ledger.events set position = position - 1 where position > %s", position)
        tamperer.do("update ledger.head set position = position - 1")

    return position, deed


def put_between(position: int) -> tuple[int, Deed]:
    def deed(tamperer: Tamperer) -> None:
        tamperer.do("update ledger.events set position = position + 1 where position >= %s", position)
        tamperer.do(FORGE, position)
        tamperer.do("update ledger.head set position = position + 1")

    return position, deed


def cut_off(position: int) -> tuple[int, Deed]:
    def deed(tamperer: Tamperer) -> None:
        tamperer.do("delete from ledger.events where position >= %s", position)
        tamperer.do("update ledger.head set position = %s", position - 1)

    return position, deed


positions = st.integers(1, COVERED)
deeds = st.one_of(
    st.builds(change, positions),
    st.tuples(positions, positions).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: swap(*pair)),
    st.builds(close_up, positions),
    st.builds(put_between, positions),
    st.builds(cut_off, positions),
)


@settings(max_examples=20, deadline=None)
@given(deed=deeds, anew=st.booleans())
def test_whatever_was_done_and_made_to_agree_is_found(ledger: Ledger, deed: tuple[int, Deed], anew: bool) -> None:
    first, do = deed
    with tampering(ledger.url) as tamperer:
        do(tamperer)
        if anew:
            make_anew(tamperer, ledger.kept)
        told = [finding for finding in tamperer.audit(ledger.kept).findings if finding.kind != "head"]
    assert min(finding.first for finding in told) <= first
    assert any(finding.first <= first <= finding.last for finding in told)
    before = max((size for size in SIGNED if size < first), default=0)
    assert all(finding.first > before for finding in told), "what a kept head vouches for is not accused"


# -- Two histories ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 256, 400, 601])
def test_two_kept_heads_of_one_size_cannot_both_be(tamperer: Tamperer, ledger: Ledger, size: int) -> None:
    """A ledger that showed one history to some and another to others."""
    (here,) = (head for head in ledger.kept if head.tree_size == size)
    audit = tamperer.audit([*ledger.kept, signed(here._replace(root=bytes(32)))])
    forks = [finding.detail for finding in audit.findings if finding.kind == "head"]
    named = f"the kept head of {size} facts"
    assert sum(detail.count(named) == 2 and detail.endswith("with another root") for detail in forks) == 1


@pytest.mark.parametrize("size", [1, 300, 600])
def test_a_kept_head_that_does_not_begin_a_larger_one_is_told(tamperer: Tamperer, ledger: Ledger, size: int) -> None:
    audit = tamperer.audit([*ledger.kept, stranger(ledger.kept, size)])
    (fork,) = (finding for finding in audit.findings if finding.kind == "head")
    assert str(fork).startswith(f"head: the kept head of {size} facts, ")
    assert "the kept head of 601 facts" in fork.detail


def test_a_head_of_its_own_that_kept_ones_refute_is_told_and_accuses_no_fact(
    tamperer: Tamperer, ledger: Ledger
) -> None:
    other = stranger(ledger.kept, 300)
    tamperer.do("insert into tree.heads values (300, 1, %s, %s, %s)", other.root, other.at, other.signature)
    (finding,) = tamperer.audit(ledger.kept).findings
    assert finding.kind == "head"
    assert finding.detail.startswith("its own head of 300 facts")


def test_heads_of_which_the_later_covers_less_are_told(tamperer: Tamperer, ledger: Ledger) -> None:
    """Both fit: the facts are there again. In between they were not."""
    later = signed(ledger.kept[2]._replace(at=ledger.kept[-1].at + MOMENT))
    (finding,) = tamperer.audit([*ledger.kept, later]).findings
    assert finding.kind == "head"
    assert finding.detail.startswith("the kept head of 601 facts")
    assert "and later the kept head of 256 facts" in finding.detail


def test_of_very_many_contradictions_the_first_are_told(tamperer: Tamperer, ledger: Ledger) -> None:
    strangers = [stranger(ledger.kept, size) for size in range(101, 151)]
    audit = tamperer.audit([*ledger.kept, *strangers])
    forks = [finding.detail for finding in audit.findings if finding.kind == "head"]
    assert len(forks) == 6
    assert "45 more of such contradictions between heads" in forks


# -- Keys ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("delete from tree.keys", "is not published any more"),
        ("update tree.keys set valid_from = valid_from - interval '1 day'", "with the times with which it was kept"),
        (
            "insert into tree.keys select 2, 'another', public_key, valid_from + interval '1 microsecond' from tree.keys",
            "said to have been retired before it signed",
        ),
    ],
)
def test_keys_that_are_not_as_they_were_kept(tamperer: Tamperer, ledger: Ledger, deed: str, said: str) -> None:
    keys = keys_of(ledger.url)
    tamperer.do("delete from tree.heads")
    tamperer.do(deed)
    audit = tamperer.audit(ledger.kept, keys)
    assert audit.kept == len(SIGNED), "a kept key still vouches for kept heads"
    assert any(said in finding.detail for finding in audit.findings)


def test_a_retired_key_cannot_sign_for_the_ledger_by_way_of_how_it_was_kept(tamperer: Tamperer, ledger: Ledger) -> None:
    """The auditor's copy of the key is older than its retirement."""
    old: HeadKey = keys_of(ledger.url)[0]
    HeadSigner(SECRET).rotate(tamperer.connection)
    retired_at = read_keys(tamperer.connection)[0].retired_at
    assert retired_at is not None
    late = signed(ledger.kept[-1]._replace(at=retired_at + MOMENT))
    tamperer.do(
        "update tree.heads set signed_at = %s, signature = %s where tree_size = %s", late.at, late.signature, COVERED
    )
    (finding,) = tamperer.audit(ledger.kept[:2], [old]).findings
    assert finding.detail == "1 of the heads it keeps are not what was signed, of 601 facts"


@pytest.mark.parametrize("table", ["keys", "heads"])
def test_what_was_taken_away_altogether_is_missed(tamperer: Tamperer, ledger: Ledger, table: str) -> None:
    keys = keys_of(ledger.url)
    tamperer.do(f"alter table tree.{table} rename to other")
    findings = [finding.detail for finding in tamperer.audit(ledger.kept, keys).findings]
    assert any("cannot be read" in detail for detail in findings)
