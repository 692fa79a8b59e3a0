"""What was done to facts whose hashes are known and whose rows are no longer what was hashed.

A hash does not tell what it was the hash of, but it confirms a guess: that a fact now lies at another position, that one
of its columns came from its neighbour, that one byte of it was another. What is said here about the past is confirmed in
this way; what cannot be confirmed is not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from projections.canonical import COLUMNS, at_position, join, position_of, split
from projections.merkle import leaf_hash

NEAR_POSITIONS = 8
"""How far a fact is looked for from where it should be before it is looked for everywhere."""
LENDERS_MAX = 64
"""Facts that may have lent a column to another; and facts that one is looked for that was lent to them."""
RESTORED_MAX = 8
"""Facts that a changed byte is looked for in: it takes a hash for each byte and each of its values."""
RESTORED_BYTES_MAX = 4_096


class Kind(StrEnum):
    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    MOVED = "moved"
    CUT_OFF = "cut off"
    UNCLEAR = "altered"
    """Something was, and which of the above cannot be told."""
    HEAD = "head"
    """Not a fact: what the ledger says of itself."""


class Finding(NamedTuple):
    kind: Kind
    first: int
    last: int
    """Positions, both inclusive."""
    detail: str

    def __str__(self) -> str:
        if self.kind is Kind.HEAD:
            return f"{self.kind}: {self.detail}"
        where = f"position {self.first}" if self.first == self.last else f"positions {self.first} to {self.last}"
        return f"{where}: {self.kind}: {self.detail}"


class Scene(NamedTuple):
    """Where something is wrong."""

    hashes: Mapping[int, bytes]
    """By position: what the leaf was when it was signed, of every fact that is not what it was."""
    rows: Mapping[int, bytes]
    """By position: the canonical bytes that are there now."""
    strays: Sequence[tuple[int, bytes]]
    """Rows where none should be: positions that no fact had, or that two rows have."""
    neighbours: Sequence[bytes]
    """Facts beside them that are what they were."""
    others: Sequence[tuple[int, bytes]]
    """Rows behind those, of which nothing is known: one of them may be a fact that was moved."""
    covered: int
    """The last position that the signed tree has."""
    ends: int
    """The last position that there is a row for."""
    until: int | None = None
    """There are more altered facts than are here: nothing is said of those behind this position."""

    def tells_of(self, position: int) -> bool:
        return self.until is None or position <= self.until


def explain(scene: Scene) -> list[Finding]:
    """In the order of positions."""
    present = [*scene.rows.items(), *scene.strays]
    moved = _moves(scene, [*present, *scene.others])
    arrived = set(moved.values())
    unmoved = [row for row in present if row not in arrived]
    changed = {now: content for now, content in unmoved if now in scene.hashes and now not in moved}
    removed = [at for at in scene.hashes if at not in moved and at not in changed]
    inserted = [now for now, content in unmoved if changed.get(now) is not content]
    shifts = {was: now - was for was, (now, _) in moved.items() if scene.tells_of(was)}
    if (slid := shifts.get(scene.covered, 0)) < 0:  # the first unsigned facts have followed the last signed ones
        inserted = [now for now in inserted if not (now > scene.covered + slid and shifts.get(now) == slid)]
    findings = [
        *_moved(shifts),
        *_removed(scene, filter(scene.tells_of, removed)),
        *_inserted(filter(scene.tells_of, inserted)),
        *_changed(scene, changed),
    ]
    return sorted(findings, key=lambda finding: (finding.first, finding.kind))


def _moves(scene: Scene, present: Sequence[tuple[int, bytes]]) -> dict[int, tuple[int, bytes]]:
    """By the position that a fact had: where it is now, and the row."""
    moved: dict[int, tuple[int, bytes]] = {}
    shift = 0  # of the last one that was found: who shifted one fact shifted its neighbours
    for now, content in present:
        near = (now + step for by in range(1, NEAR_POSITIONS + 1) for step in (-by, by))
        for was in chain((now - shift,), near, scene.hashes):
            wanted = scene.hashes.get(was)
            if wanted is None or was == now or was in moved:
                continue
            if leaf_hash(at_position(content, was)) == wanted:
                moved[was] = (now, content)
                shift = now - was
                break
    return moved


def _moved(shifts: Mapping[int, int]) -> Iterator[Finding]:
    for shift in sorted(set(shifts.values())):
        for first, last in runs(was for was, by in shifts.items() if by == shift):
            now = f"{first + shift}" if first == last else f"{first + shift} to {last + shift}"
            yield Finding(Kind.MOVED, first, last, f"what was recorded here is now at {now}")


def _removed(scene: Scene, positions: Iterable[int]) -> Iterator[Finding]:
    for first, last in runs(positions):
        if last == scene.covered and scene.ends < first:
            yield Finding(Kind.CUT_OFF, first, last, f"the ledger ends at {scene.ends}")
        else:
            yield Finding(Kind.REMOVED, first, last, "what was recorded here is not in the ledger any more")


def _inserted(positions: Iterable[int]) -> Iterator[Finding]:
    for first, last in runs(positions):
        yield Finding(Kind.INSERTED, first, last, "this was not recorded here, nor anywhere that was signed")


def _changed(scene: Scene, changed: Mapping[int, bytes]) -> Iterator[Finding]:
    altered = [scene.rows[at] for at in sorted(scene.rows)[:LENDERS_MAX]]
    for count, (position, content) in enumerate(sorted(changed.items())):
        if not scene.tells_of(position):
            return
        detail = None
        if count < LENDERS_MAX:
            beside = [row for row in scene.neighbours if abs(position_of(row) - position) <= NEAR_POSITIONS]
            detail = _exchanged(content, scene.hashes[position], [*altered, *beside])
        if detail is None and count < RESTORED_MAX and len(content) <= RESTORED_BYTES_MAX:
            detail = _one_byte(content, scene.hashes[position])
        yield Finding(Kind.CHANGED, position, position, detail or "this is not what was recorded")


def _exchanged(content: bytes, wanted: bytes, lenders: Iterable[bytes]) -> str | None:
    """Whether one column has to be taken from another row for the fact to be what it was."""
    fields = split(content)
    for lender in lenders:
        for index, theirs in enumerate(split(lender)):
            if index > 0 and theirs != fields[index]:
                tried = [*fields[:index], theirs, *fields[index + 1 :]]
                if leaf_hash(join(tried)) == wanted:
                    return f"{COLUMNS[index]} was {_shown(index, theirs)}, and is {_shown(index, fields[index])}"
    return None


def _one_byte(content: bytes, wanted: bytes) -> str | None:
    """Whether one byte has to be another for the fact to be what it was."""
    fields = split(content)
    for index, field in enumerate(fields):
        for at in range(len(field or b"")):
            for tried in _variants(field or b"", at):
                if leaf_hash(join([*fields[:index], tried, *fields[index + 1 :]])) == wanted:
                    where = f"byte {at + 1} of {COLUMNS[index]}"
                    return f"{where} was {_shown(index, tried, at)}, and is {_shown(index, field, at)}"
    return None


def _variants(field: bytes, at: int) -> Iterator[bytes]:
    changed = bytearray(field)
    for value in range(256):
        if value != field[at]:
            changed[at] = value
            yield bytes(changed)


def _shown(index: int, field: bytes | None, at: int | None = None) -> str:
    """A column's value, or one byte of it, as a person can compare it."""
    if field is None:
        return "null"
    if at is not None:
        return f"0x{field[at]:02x}"
    if COLUMNS[index] in ("version", "recorded_at"):
        return str(int.from_bytes(field, "big", signed=True))
    return field.hex() if COLUMNS[index] == "stream_id" else repr(field.decode(errors="replace"))


def runs(positions: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each stretch without a gap."""
    found: list[tuple[int, int]] = []
    for position in sorted(positions):
        if found and position == found[-1][1] + 1:
            found[-1] = (found[-1][0], position)
        else:
            found.append((position, position))
    return found
