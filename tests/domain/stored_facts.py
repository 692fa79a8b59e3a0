"""The corpus: stored bytes of every fact of every release, in ``tests/fixtures/facts-v<release>.jsonl``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic_core import from_json, to_json

from domain import account, allowance, event, order, reconciliation, ticket, wallet
from domain.kernel import Fact, decode, type_of_fact

SLICES = (account, allowance, event, order, reconciliation, ticket, wallet)
FIXTURES = Path(__file__).parent.parent / "fixtures"


class Stored(NamedTuple):
    topic: str
    payload: bytes

    def decoded(self) -> Fact:
        return decode(self.topic, self.payload)


CORPUS = [
    Stored(line["topic"], to_json(line["payload"]))
    for file in sorted(FIXTURES.glob("facts-v*.jsonl"))
    for line in map(from_json, file.read_bytes().splitlines())
]


def known_facts() -> list[type[Fact]]:
    """Of the domain: tests define facts of their own."""
    return [cls for cls in type_of_fact.values() if cls.__module__.startswith("domain.")]
