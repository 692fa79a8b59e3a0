"""``python -m tests.kafka.write_schemas``: the schemas in docs/messages, written again from the messages.

What readers of v1 were promised is in tests/fixtures/messages-v1.json, which this does not touch: a message that is new
is added there by hand, and nothing there is ever changed.
"""

from __future__ import annotations

import json
from pathlib import Path

from projections.messages.kernel import Message, schema
from projections.messages.registry import PUBLISHED

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "messages"
BASELINE = ROOT / "tests" / "fixtures" / "messages-v1.json"


def path_of(message: type[Message]) -> Path:
    return DOCS / f"{message.slug}.v1.schema.json"


def text_of(message: type[Message]) -> str:
    return json.dumps(schema(message), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    DOCS.mkdir(parents=True, exist_ok=True)
    for message in PUBLISHED.values():
        path_of(message).write_text(text_of(message))


if __name__ == "__main__":
    main()
