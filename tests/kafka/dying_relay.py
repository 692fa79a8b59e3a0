"""A relay in a process of its own that kills itself, as a power failure would, at a step of the page it is told.

``python -m tests.kafka.dying_relay URL BOOTSTRAP STEP PAGES FACTS``: ``STEP`` as in `Relay.on_step`, on its n-th page of
so many facts.
"""

from __future__ import annotations

import sys
import threading

from adapters.kafka import ledger_pages
from adapters.kafka.relay import Relay
from tests.kafka.deaths import dying_at
from tests.kafka.parts import settings_for


def main(url: str, bootstrap: str, step: str, pages: int, facts: int) -> None:
    ledger_pages.PAGE_FACTS_MAX = facts
    relay = Relay(url, settings_for(bootstrap))
    relay.on_step = dying_at(step, pages)
    relay.run(threading.Event())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
