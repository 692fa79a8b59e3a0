"""Whether readers and messages of two versions of a JSON Schema get along, for the part of JSON Schema that ours use.

Both ways, because a topic holds messages from before a change beside those from after it: whoever knows the old schema
reads new messages, and whoever knows the new one reads old ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

SAYS_NOTHING = frozenset({"title", "description", "$id", "$schema", "$defs", "default", "examples"})
LOOKED_INTO = frozenset({"$ref", "anyOf", "properties", "required", "items"})


def breaks(old: Schema, new: Schema) -> list[str]:
    """Why they do not get along, each beginning with where. Empty when they do."""
    return sorted(set(_breaks("", _Side(old), _Side(new))))


class _Side:
    """A schema within a document, whose references are followed."""

    def __init__(self, document: Schema, part: Schema | None = None) -> None:
        self.document = document
        part = document if part is None else part
        while "$ref" in part:
            part = document["$defs"][part["$ref"].removeprefix("#/$defs/")]
        self.part = part

    def of(self, part: Schema) -> _Side:
        return _Side(self.document, part)

    @property
    def kinds(self) -> dict[str, _Side]:
        """What it may be, by type."""
        options = [self.of(option) for option in self.part.get("anyOf", [self.part])]
        return {str(option.part.get("type")): option for option in options}

    @property
    def properties(self) -> dict[str, _Side]:
        return {name: self.of(part) for name, part in self.part.get("properties", {}).items()}

    @property
    def required(self) -> set[str]:
        return set(self.part.get("required", ()))

    @property
    def words(self) -> dict[str, Any]:
        """What it says that is not looked into: formats, bounds, enumerations."""
        return {word: said for word, said in self.part.items() if word not in SAYS_NOTHING | LOOKED_INTO}


def _breaks(where: str, old: _Side, new: _Side) -> Iterator[str]:
    old_kinds, new_kinds = old.kinds, new.kinds
    if old_kinds.keys() != new_kinds.keys():
        yield f"{where or '/'}: was {' or '.join(sorted(old_kinds))}, is {' or '.join(sorted(new_kinds))}"
        return
    for kind in old_kinds:
        before, after = old_kinds[kind], new_kinds[kind]
        if before.words != after.words:
            yield f"{where or '/'}: {kind} was {before.words}, is {after.words}"
        if kind == "object":
            yield from _of_objects(where, before, after)
        elif kind == "array":
            yield from _breaks(f"{where}/*", before.of(before.part["items"]), after.of(after.part["items"]))


def _of_objects(where: str, old: _Side, new: _Side) -> Iterator[str]:
    for name, before in old.properties.items():
        if name not in new.properties:
            yield f"{where}/{name}: removed"
        else:
            yield from _breaks(f"{where}/{name}", before, new.properties[name])
    for name in (old.required - new.required) & new.properties.keys():
        yield f"{where}/{name}: no longer always there"
    for name in new.required - old.required:
        yield f"{where}/{name}: required, and messages from before do not have it"
