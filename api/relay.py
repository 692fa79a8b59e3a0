"""The relay's worker: Kafka is told of the ledger until the process is told to stop."""

from __future__ import annotations

import signal
import threading

from api.bootstrap import run_relay
from api.settings import Settings, SettingsError


def relay_until_stopped(settings: Settings, url: str, secret: bytes) -> None:
    """Run until SIGTERM or SIGINT. Raises SettingsError where no broker is named."""
    if not settings.kafka_bootstrap:
        raise SettingsError("COUNTERFOIL_KAFKA_BOOTSTRAP names no broker to relay to")
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    run_relay(url, settings, secret, stop)
