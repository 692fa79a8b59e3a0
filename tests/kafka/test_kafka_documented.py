"""docs/kafka.md says what is so."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from typer.testing import CliRunner

from adapters.kafka.encoding import Encoder
from api import observability
from api.cli import app
from projections.messages.registry import CHANNELS, PUBLISHED
from tests.domain.ticket_facts import HELD

TEXT = (Path(__file__).parents[2] / "docs" / "kafka.md").read_text()


def test_the_topics_are_the_documented_ones() -> None:
    assert tuple(re.findall(r"^\| `(counterfoil\.[a-z]+\.v1)`", TEXT, re.MULTILINE)) == CHANNELS


def test_messages_named_as_examples_are_sent() -> None:
    rows = re.findall(r"^\| `counterfoil\.[a-z]+\.v1` \|[^|]*\|(.*)\|$", TEXT, re.MULTILINE)
    kinds = {message.kind for message in PUBLISHED.values()}
    for row in rows:
        first, *others = re.findall(r"`([a-z_.]+)`", row)
        assert {first, *(first.rpartition(".")[0] + other for other in others)} <= kinds


def test_the_headers_are_the_documented_ones() -> None:
    message = Encoder(uuid4()).encode(1, uuid4(), 1, HELD, datetime.now(UTC))
    assert message is not None
    documented = re.findall(r"^\| `(ce_[a-z]+|content-type)`", TEXT, re.MULTILINE)
    assert [name for name, _ in sorted(message.headers)] == sorted(documented)


def test_the_commands_are_commands_of_ours() -> None:
    named = re.findall(r"^\$ counterfoil ([^#\n]+)|`counterfoil ([a-z][^`]*)`", TEXT, re.MULTILINE)
    assert len(named) >= 5
    for arguments in named:
        result = CliRunner().invoke(app, [*shlex.split("".join(arguments)), "--help"])
        assert result.exit_code == 0, result.output


def test_the_metrics_are_metrics_of_ours() -> None:
    gauges = (observability.RELAY_LAG, observability.RELAY_LAG_SECONDS, observability.RELAY_PROBLEM)
    assert re.findall(r"`(counterfoil_[a-z_]+)`", TEXT) == [next(iter(gauge.describe())).name for gauge in gauges]
