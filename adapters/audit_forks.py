"""Signed heads held against each other: whoever alters a ledger and has its key can sign what they made of it, too.

Heads that somebody else kept are believed before the ledger's own, and no two that contradict each other pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from adapters.heads import is_signed
from projections.ledger_head import HeadKey, SignedHead


class Verdicts:
    """``heads``: by size, each with a good signature; ``roots``: by tree size, what there is now."""

    def __init__(self, heads: Sequence[SignedHead], kept: Collection[SignedHead], roots: Mapping[int, bytes]) -> None:
        self._kept = frozenset(kept)
        self._heads = heads
        self._fitting = [head for head in heads if roots.get(head.tree_size) == head.root]
        self._differing = [head for head in heads if roots.get(head.tree_size) != head.root]
        self._confirmed = max((head.tree_size for head in self._fitting if head in self._kept), default=0)

    @property
    def altered(self) -> list[SignedHead]:
        """Those that say that facts were altered: they do not fit, and no kept one that does vouches for their facts."""
        return [head for head in self._differing if head in self._kept or head.tree_size > self._confirmed]

    def good(self, head: SignedHead) -> int:
        """So many of a head's facts are what they were.

        Of a kept one no other than a kept one says so: the ledger's own may have been signed after the deed.
        """
        believed = (h for h in self._fitting if head not in self._kept or h in self._kept)
        return max((h.tree_size for h in believed if h.tree_size < head.tree_size), default=0)

    def forks(self) -> Iterator[str]:
        """Heads that no ledger that only grows can have signed, both of them."""
        first: dict[int, SignedHead] = {}
        for head in (*self._fitting, *self._differing):
            other = first.setdefault(head.tree_size, head)
            if head.root != other.root:
                yield f"{self._named(head)}, was signed, and so was {self._named(other)}, with another root"
        for head in self._differing:
            if self._fitting and self._fitting[-1].tree_size > head.tree_size:
                later = self._named(self._fitting[-1])
                yield f"{self._named(head)}, was signed, and so was {later}, of facts that do not begin with those"

        largest: SignedHead | None = None
        for head in sorted(self._heads, key=lambda head: (head.at, head.tree_size)):
            if largest is not None and head.tree_size < largest.tree_size:
                yield f"{self._named(largest)}, was signed, and later {self._named(head)}: facts were taken away in between"
            else:
                largest = head

    def _named(self, head: SignedHead) -> str:
        whose = "the kept head" if head in self._kept else "its own head"
        return f"{whose} of {head.tree_size} facts, {told(head)}"


def doubtful_keys(
    kept: Iterable[HeadKey], published: Iterable[HeadKey], heads: Collection[SignedHead]
) -> Iterator[str]:
    """What the ledger says of its keys now, and not as it said it when they were kept. ``heads``: good ones, kept."""
    now = {key.key_id: key for key in published}
    for key in kept:
        last = max((head.at for head in heads if head.key_id == key.key_id), default=None)
        found = now.get(key.key_id)
        if found is None:
            if last is not None:
                yield f"the key {key.key_id}, which was kept and signed heads that were, is not published any more"
        elif found.valid_from != key.valid_from or key.retired_at not in (None, found.retired_at):
            yield f"the key {key.key_id} is not published with the times with which it was kept"
        elif last is not None and found.retired_at is not None and found.retired_at <= last:
            yield f"the key {key.key_id} is said to have been retired before it signed a head that was kept"


def doubt_about(head: SignedHead, ledger_id: UUID | None, keys: Mapping[str, HeadKey]) -> str | None:
    """Why nothing can be told from a head that was kept; None: it is one of this ledger's."""
    key = keys.get(head.key_id)
    what = f"the kept head of {head.tree_size} facts, {told(head)}"
    if head.ledger_id != ledger_id:
        return f"{what}, is of another ledger: {head.ledger_id}"
    if key is None:
        return f"{what}, is signed with a key that nobody has: {head.key_id}"
    return None if is_signed(head, key) else f"{what}, is not what was signed"


def told(head: SignedHead) -> str:
    """When it was signed."""
    return f"{head.at:%Y-%m-%d %H:%M:%S} UTC"
