"""The arithmetic of RFC 9162's Merkle trees: which hashes a proof is made of, and whether a proof holds.

A *node* is a complete subtree: 2^level leaves, counted in such subtrees from the left. Once its last leaf is there it
never changes, so nodes are what is stored. Everything else (a root, a part of a proof) is a *range* of leaves that the
RFC's recursion passes through, and is folded from at most log n nodes.

Leaves are counted from 0 here; position p of the ledger is leaf p - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from typing import NamedTuple

HASH_BYTES = 32
LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
EMPTY_ROOT = sha256(b"").digest()


class BadProofError(ValueError):
    """The proof does not show what it is said to show."""


class Node(NamedTuple):
    """The leaves ``number * 2**level`` up to, and not with, ``(number + 1) * 2**level``."""

    level: int
    number: int

    @property
    def last_leaf(self) -> int:
        """The leaf that completes it."""
        return ((self.number + 1) << self.level) - 1


class Range(NamedTuple):
    start: int
    end: int
    """Exclusive."""

    @property
    def split(self) -> int:
        """Where the RFC divides it: its left part is the largest power of two that leaves something over."""
        return self.start + (1 << (self.end - self.start - 1).bit_length() - 1)


def leaf_hash(content: bytes) -> bytes:
    return sha256(LEAF_PREFIX + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(NODE_PREFIX + left + right).digest()


def cover(leaves: Range) -> list[Node]:
    """The fewest nodes that are these leaves, from left to right; each is smaller than the one before."""
    nodes = []
    start = leaves.start
    while start < leaves.end:
        level = (leaves.end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return nodes


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of a range from those of its cover. Of nothing: that of the empty tree."""
    if not hashes:
        return EMPTY_ROOT
    *rest, folded = hashes
    for left in reversed(rest):
        folded = node_hash(left, folded)
    return folded


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over the hashes of some leaves, level by level; a node without a partner goes up as it is."""
    level = list(leaves)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(NODE_PREFIX + left + right).digest() for left, right in pairs] + level[len(level) & ~1 :]
    return level[0] if level else EMPTY_ROOT


class Frontier:
    """A tree as far as its next leaf needs to know it: its size and the nodes that cover it."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)

    def append(self, node: bytes, level: int = 0) -> list[bytes]:
        """Grow by a leaf, or by a whole node where only such nodes came before. It, and the nodes it completes."""
        completed = [node]
        count = self.size >> level
        while count & 1:
            node = node_hash(self._peaks.pop(), node)
            completed.append(node)
            count >>= 1
        self._peaks.append(node)
        self.size += 1 << level
        return completed

    def extend(self, leaves: Sequence[bytes]) -> list[bytes]:
        """Grow by some leaves. Each, followed by the nodes it completes: the tree in post-order."""
        height = len(leaves).bit_length() - 1
        if height < 1 or len(leaves) != 1 << height or self.size % len(leaves):
            return [node for leaf in leaves for node in self.append(leaf)]
        levels = [leaves]  # a whole node: made level by level, which takes half the time
        for _ in range(height):
            level = levels[-1]
            pairs = zip(level[::2], level[1::2], strict=True)
            levels.append([sha256(NODE_PREFIX + left + right).digest() for left, right in pairs])
        inside = [levels[level][number] for level, number in post_order(height)]
        return [*inside, *self.append(levels[-1][0], height)]

    def root(self) -> bytes:
        return fold(self._peaks)

    def root_with(self, rest: bytes) -> bytes:
        """What the root would be with some more leaves, fewer than the smallest node here has; ``rest``: their root."""
        return fold([*self._peaks, rest])


@cache
def post_order(height: int) -> list[Node]:
    """The nodes below one of this height, in the order in which leaves complete them."""
    if height == 0:
        return []
    half = post_order(height - 1)
    right = [Node(level, number + (1 << height - 1 - level)) for level, number in half]
    return [*half, Node(height - 1, 0), *right, Node(height - 1, 1)]


# -- Which hashes make a proof -----------------------------------------------------


def inclusion_ranges(leaf: int, size: int) -> list[Range]:
    """What a proof of this leaf in a tree of ``size`` leaves is made of, lowest first (RFC 9162, 2.1.3.1).

    Raises BadProofError when the tree has no such leaf.
    """
    if not 0 <= leaf < size:
        raise BadProofError(f"a tree of {size} leaves has no leaf {leaf}")
    siblings = []
    here = Range(0, size)
    while here.end - here.start > 1:
        left, right = Range(here.start, here.split), Range(here.split, here.end)
        here, sibling = (left, right) if leaf < here.split else (right, left)
        siblings.append(sibling)
    return siblings[::-1]


def consistency_ranges(old: int, new: int) -> list[Range]:
    """What shows that the tree of ``old`` leaves begins the one of ``new`` leaves (RFC 9162, 2.1.4.1).

    Raises BadProofError unless 0 < old ≤ new.
    """
    if not 0 < old <= new:
        raise BadProofError(f"from {old} to {new} leaves no tree has grown")
    ranges = []
    here = Range(0, new)
    while here.end != old:
        left, right = Range(here.start, here.split), Range(here.split, here.end)
        here, other = (left, right) if old <= here.split else (right, left)
        ranges.append(other)
    if here.start > 0:  # else it is the old root itself, which whoever checks has
        ranges.append(here)
    return ranges[::-1]


def prove(ranges: Iterable[Range], hash_of: Callable[[Node], bytes]) -> list[bytes]:
    return [fold([hash_of(node) for node in cover(leaves)]) for leaves in ranges]


# -- Whether a proof holds ---------------------------------------------------------


def check_inclusion(leaf: int, size: int, content_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raises BadProofError unless the proof leads from the leaf to the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= leaf < size:
        raise BadProofError(f"a tree of {size} leaves has no leaf {leaf}")
    folded = content_hash
    for part, on_the_left in _upwards(leaf, size - 1, proof):
        folded = node_hash(part, folded) if on_the_left else node_hash(folded, part)
    if folded != root:
        raise BadProofError("the proof leads to another root")


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises BadProofError unless the old tree begins the new one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new:
        raise BadProofError(f"from {old} to {new} leaves no tree has grown")
    if old == new:
        if proof or old_root != new_root:
            raise BadProofError("a tree has one root, and needs no proof of it")
        return
    path = list(proof)
    if old & (old - 1) == 0:  # a whole node: the proof begins with it, unsaid
        path.insert(0, old_root)
    if not path:
        raise BadProofError("the proof is too short")
    height = (~(old - 1) & old).bit_length() - 1  # of the node that the old tree ends with
    before = after = path[0]
    for part, on_the_left in _upwards((old - 1) >> height, (new - 1) >> height, path[1:]):
        if on_the_left:
            before = node_hash(part, before)
        after = node_hash(part, after) if on_the_left else node_hash(after, part)
    if (before, after) != (old_root, new_root):
        raise BadProofError("the proof leads to other roots")


def _upwards(place: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each part of a proof, and whether it stands on the left, from a node to the root; ``last``: its level's last node.

    Raises BadProofError when the proof does not end at the root.
    """
    for part in proof:
        if last == 0:
            raise BadProofError("the proof is too long")
        if len(part) != HASH_BYTES:
            raise BadProofError("a part of the proof is not a hash")
        on_the_left = bool(place & 1) or place == last
        yield part, on_the_left
        if on_the_left:
            while not place & 1 and place:  # on the right edge a node may have no partner for some levels
                place, last = place >> 1, last >> 1
        place, last = place >> 1, last >> 1
    if last != 0:
        raise BadProofError("the proof is too short")
