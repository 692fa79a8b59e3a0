"""Programs that kill themselves, as a power failure would, when they reach a step for the n-th time; and whoever starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

DEATH_SECONDS_MAX = 60.0


def dying_at(step: str, times: int) -> Callable[[str], None]:
    """For the `on_step` of a relay or a feed."""
    seen = 0

    def die(reached: str) -> None:
        nonlocal seen
        seen += reached == step
        if seen == times:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


def let_die(module: str, *arguments: object) -> None:
    """Run it in a process of its own until it has killed itself."""
    program = [sys.executable, "-m", module, *map(str, arguments)]
    died = subprocess.run(program, timeout=DEATH_SECONDS_MAX, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
