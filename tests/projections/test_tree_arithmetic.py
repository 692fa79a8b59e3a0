"""The Merkle tree of RFC 9162: the reference's own example, every small tree against the definition, forgeries refused."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.merkle import (
    EMPTY_ROOT,
    BadProofError,
    Frontier,
    Node,
    Range,
    check_consistency,
    check_inclusion,
    consistency_ranges,
    cover,
    fold,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    prove,
    root_of,
)

SIZES = 130
LEAVES = [leaf_hash(bytes([number])) for number in range(SIZES)]

# The example of the certificate-transparency project's tests, which RFC 9162's algorithms are checked with everywhere.
EXAMPLE = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSIONS = [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [D, E, ROOTS[3]]), (3, 3, [ROOTS[1]]), (2, 5, [ROOTS[0], B, D])]
CONSISTENCIES = [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[3]]), (2, 5, [B, D])]


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha256(b"\x01" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


def hash_of(node: Node, leaves: list[bytes] = LEAVES) -> bytes:
    return by_definition(leaves[node.number << node.level : (node.number + 1) << node.level])


def inclusion(leaf: int, size: int) -> list[bytes]:
    return prove(inclusion_ranges(leaf, size), hash_of)


def consistency(old: int, new: int) -> list[bytes]:
    return prove(consistency_ranges(old, new), hash_of)


def root(size: int) -> bytes:
    return by_definition(LEAVES[:size])


def refused_inclusion(leaf: int, size: int, content: bytes, proof: list[bytes], root: bytes) -> None:
    with pytest.raises(BadProofError):
        check_inclusion(leaf, size, content, proof, root)


# -- The example -------------------------------------------------------------------


def test_the_roots_of_the_reference() -> None:
    leaves = [leaf_hash(bytes.fromhex(content)) for content in EXAMPLE]
    assert (
        root_of([]) == EMPTY_ROOT == bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    )
    assert [root_of(leaves[: size + 1]).hex() for size in range(8)] == ROOTS


@pytest.mark.parametrize(("leaf", "size", "path"), INCLUSIONS)
def test_the_inclusion_proofs_of_the_reference(leaf: int, size: int, path: list[str]) -> None:
    leaves = [leaf_hash(bytes.fromhex(content)) for content in EXAMPLE]
    proof = prove(inclusion_ranges(leaf - 1, size), lambda node: hash_of(node, leaves))
    assert [part.hex() for part in proof] == path
    check_inclusion(leaf - 1, size, leaves[leaf - 1], proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new", "path"), CONSISTENCIES)
def test_the_consistency_proofs_of_the_reference(old: int, new: int, path: list[str]) -> None:
    leaves = [leaf_hash(bytes.fromhex(content)) for content in EXAMPLE]
    proof = prove(consistency_ranges(old, new), lambda node: hash_of(node, leaves))
    assert [part.hex() for part in proof] == path
    check_consistency(old, new, bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[new - 1]), proof)


# -- Every small tree --------------------------------------------------------------


@pytest.mark.parametrize("size", range(SIZES + 1))
def test_a_tree_is_what_the_definition_says(size: int) -> None:
    assert root_of(LEAVES[:size]) == root(size)
    assert fold([hash_of(node) for node in cover(Range(0, size))]) == root(size)


def test_a_tree_that_grows_leaf_by_leaf_has_each_root_and_brings_every_node_once() -> None:
    frontier = Frontier()
    brought: dict[Node, bytes] = {}
    for leaf, content in enumerate(LEAVES):
        assert frontier.root() == root(leaf)
        for level, found in enumerate(frontier.append(content)):
            node = Node(level, leaf >> level)
            assert node not in brought
            assert node.last_leaf == leaf
            brought[node] = found
    assert all(found == hash_of(node) for node, found in brought.items())
    assert len(brought) == 2 * SIZES - SIZES.bit_count()


@given(st.integers(0, 7), st.integers(1, 15))
def test_a_tree_that_grows_by_whole_nodes_can_be_asked_for_a_few_leaves_more(nodes: int, more: int) -> None:
    frontier = Frontier()
    for number in range(nodes):
        frontier.append(hash_of(Node(4, number)), 4)
    rest = root_of(LEAVES[nodes * 16 : nodes * 16 + more])
    assert frontier.root_with(rest) == root(nodes * 16 + more)


@given(st.lists(st.integers(0, 40), max_size=12))
def test_in_whatever_steps_it_grows_a_tree_brings_the_same_nodes_in_the_same_order(steps: list[int]) -> None:
    one_by_one, in_steps = Frontier(), Frontier()
    for step in steps:
        leaves = LEAVES[in_steps.size : in_steps.size + step]
        assert in_steps.extend(leaves) == [node for leaf in leaves for node in one_by_one.append(leaf)]
        assert in_steps.root() == one_by_one.root() == root(in_steps.size)


@pytest.mark.parametrize("size", range(1, SIZES + 1))
def test_every_leaf_is_proved(size: int) -> None:
    for leaf in range(size):
        proof = inclusion(leaf, size)
        assert len(proof) <= (size - 1).bit_length()
        check_inclusion(leaf, size, LEAVES[leaf], proof, root(size))


@pytest.mark.parametrize("new", range(1, SIZES + 1))
def test_every_tree_is_proved_to_begin_every_larger_one(new: int) -> None:
    for old in range(1, new + 1):
        check_consistency(old, new, root(old), root(new), consistency(old, new))


# -- Forgeries ---------------------------------------------------------------------

sizes = st.integers(1, SIZES)


@st.composite
def places(draw: st.DrawFn) -> tuple[int, int]:
    """A leaf, and a tree that has it."""
    size = draw(sizes)
    return draw(st.integers(0, size - 1)), size


@given(places(), st.data())
def test_a_proof_is_refused_when_any_bit_of_it_is_another(place: tuple[int, int], data: st.DataObject) -> None:
    leaf, size = place
    everything = bytearray(b"".join([LEAVES[leaf], root(size), *inclusion(leaf, size)]))
    everything[data.draw(st.integers(0, len(everything) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    content, forged, *proof = (bytes(everything[at : at + 32]) for at in range(0, len(everything), 32))
    refused_inclusion(leaf, size, content, proof, forged)


@given(places())
def test_a_proof_is_refused_when_a_part_is_missing_or_added_or_cut(place: tuple[int, int]) -> None:
    leaf, size = place
    proof = inclusion(leaf, size)
    for forged in (
        proof[:-1],
        proof[1:],
        [*proof, LEAVES[0]],
        [LEAVES[0], *proof],
        [*proof[:-1], *(p[:31] for p in proof[-1:])],
    ):
        if forged != proof:
            refused_inclusion(leaf, size, LEAVES[leaf], forged, root(size))


@given(places(), places())
def test_a_proof_is_good_for_its_own_place_in_its_own_tree_only(one: tuple[int, int], other: tuple[int, int]) -> None:
    leaf, size = one
    if one != other:
        refused_inclusion(*other, LEAVES[leaf], inclusion(leaf, size), root(other[1]))


@pytest.mark.parametrize(("leaf", "size"), [(-1, 3), (3, 3), (0, 0), (7, 3)])
def test_a_leaf_that_the_tree_has_not_is_not_proved(leaf: int, size: int) -> None:
    refused_inclusion(leaf, size, LEAVES[0], [], LEAVES[0])
    with pytest.raises(BadProofError):
        inclusion_ranges(leaf, size)


@given(sizes, sizes, st.data())
def test_a_history_is_refused_when_any_bit_of_it_is_another(one: int, other: int, data: st.DataObject) -> None:
    old, new = sorted((one, other))
    everything = bytearray(b"".join([root(old), root(new), *consistency(old, new)]))
    everything[data.draw(st.integers(0, len(everything) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    before, after, *proof = (bytes(everything[at : at + 32]) for at in range(0, len(everything), 32))
    with pytest.raises(BadProofError):
        check_consistency(old, new, before, after, proof)


@given(sizes, sizes)
def test_a_history_is_refused_when_a_part_is_missing_or_added(one: int, other: int) -> None:
    old, new = sorted((one, other))
    proof = consistency(old, new)
    for forged in (proof[:-1], proof[1:], [*proof, LEAVES[0]], [LEAVES[0], *proof]):
        if forged != proof:
            with pytest.raises(BadProofError):
                check_consistency(old, new, root(old), root(new), forged)


@given(sizes, sizes, sizes)
def test_a_history_of_other_sizes_is_refused(one: int, other: int, wrong: int) -> None:
    old, new = sorted((one, other))
    for pair in {(wrong, new), (old, wrong)} - {(old, new)}:
        with pytest.raises(BadProofError):
            check_consistency(*pair, root(pair[0]), root(pair[1]), consistency(old, new))


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3), (0, 0)])
def test_nothing_begins_with_nothing(old: int, new: int) -> None:
    with pytest.raises(BadProofError):
        consistency_ranges(old, new)
    with pytest.raises(BadProofError):
        check_consistency(old, new, EMPTY_ROOT, LEAVES[0], [])


def test_a_node_is_not_taken_for_a_leaf() -> None:
    """What the prefixes are for: a pair of hashes as a leaf's content has another hash than their node."""
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])
