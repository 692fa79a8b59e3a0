"""A restored ledger held to heads: the one of its backup, its own, and those that somebody else kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from adapters.audit import Audit, audit_ledger
from adapters.audit_forks import doubt_about
from adapters.audit_sweep import Progress
from adapters.backups.manifest import Manifest
from projections.ledger_head import HeadKey, SignedHead


class Held(NamedTuple):
    audit: Audit
    """Of the heads whose facts are there."""
    doubts: list[str]
    """What could not be checked, and why, also of heads of later facts."""
    lost: int
    """So many facts, at least, were signed and are not there."""


def hold(
    url: str, made: Manifest, position: int, at: datetime | None, kept: Sequence[SignedHead], keys: Sequence[HeadKey],
    on_progress: Progress,
) -> Held:  # fmt: skip
    """``at``: when the last fact that is there was recorded; what was done to keys since is lost, too."""
    heads = [*([made.head] if made.head is not None else []), *kept]
    known = [*made.keys, *_as_of(at, keys)]
    audit = audit_ledger(url, [head for head in heads if head.tree_size <= position], known, on_progress)
    by_id = {key.key_id: key for key in (*audit.keys, *made.keys, *keys)}
    later = {head: doubt_about(head, made.ledger_id, by_id) for head in heads if head.tree_size > position}
    doubts = [*audit.doubts, *(doubt for doubt in later.values() if doubt is not None)]
    lost = max((head.tree_size - position for head, doubt in later.items() if doubt is None), default=0)
    return Held(audit, doubts, lost)


def _as_of(at: datetime | None, keys: Sequence[HeadKey]) -> Iterator[HeadKey]:
    """Keys as they were published then: whichever has been retired since was not yet."""
    for key in keys:
        since = at is not None and key.retired_at is not None and key.retired_at > at
        yield key._replace(retired_at=None) if since else key
