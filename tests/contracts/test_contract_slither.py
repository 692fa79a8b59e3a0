"""Every finding of the static analyser is answered in `contracts/README.md`; a new one fails here."""

from __future__ import annotations

from pathlib import Path

from tests.contracts.slither import Finding, findings
from tests.npm import CONTRACTS

ANSWERED = {
    Finding("timestamp", "EventWords.opensTransfers", "Low"),
    Finding("assembly", "Operations.word", "Informational"),
}


def test_slither_finds_nothing_that_is_not_answered(tmp_path: Path) -> None:
    assert findings(tmp_path) == ANSWERED


def test_every_finding_is_answered_in_the_readme() -> None:
    readme = (CONTRACTS / "README.md").read_text()
    for finding in ANSWERED:
        assert f"| {finding.detector} | `{finding.where}` |" in readme
