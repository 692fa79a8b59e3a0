"""From a signed root down to the facts that are not what was signed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from adapters.audit_tree import Source, range_hash
from projections.merkle import Range, node_hash

ALTERED_MAX = 1_000
"""Facts that are told one by one. Whoever altered more has altered the ledger."""


class Search:
    """``sources``: the first is what is there now; the others are what it may once have been."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._good = 0
        self.altered: dict[int, bytes] = {}
        """By leaf, counted from 0: its hash when it was signed."""
        self.unclear: list[Range] = []
        """Where something was altered, and the stored tree with it."""

    @property
    def is_full(self) -> bool:
        return len(self.altered) >= ALTERED_MAX

    def look_into(self, size: int, root: bytes, good: int) -> None:
        """Find what is not as it was when this root was signed of so many facts; the first ``good`` of them are."""
        self._good = good
        self._descend(Range(0, size), root)

    def _descend(self, leaves: Range, signed: bytes) -> None:
        table = self._sources[0]
        if leaves.end <= self._good or self.is_full or range_hash(table, leaves) == signed:
            return
        if leaves.end - leaves.start == 1:
            self.altered[leaves.start] = signed
            return
        left, right = Range(leaves.start, leaves.split), Range(leaves.split, leaves.end)
        for left_hash, right_hash in self._pairs(left, right):
            if node_hash(left_hash, right_hash) == signed:
                self._descend(left, left_hash)
                self._descend(right, right_hash)
                return
        self._give_up(Range(max(leaves.start, self._good), leaves.end))

    def _pairs(self, left: Range, right: Range) -> Iterator[tuple[bytes, bytes]]:
        """What the sources say of both, one source after the other: the last one is slow."""
        lefts: list[bytes] = []
        rights: list[bytes] = []
        for source in self._sources:
            new_left, new_right = range_hash(source, left), range_hash(source, right)
            if new_left is not None:
                lefts.append(new_left)
                yield from ((new_left, known) for known in rights)
            if new_right is not None:
                rights.append(new_right)
                yield from ((known, new_right) for known in lefts)

    def _give_up(self, leaves: Range) -> None:
        """Unless something that is known already explains why this does not fit."""
        if any(leaves.start <= leaf < leaves.end for leaf in self.altered):
            return
        if not any(leaves.start <= known.start and known.end <= leaves.end for known in self.unclear):
            self.unclear.append(leaves)
