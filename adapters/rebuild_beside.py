"""A rebuild in a thread beside the projector's work, tried again until it has succeeded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Self

import structlog

from adapters.rebuild import Rebuild, RebuildReport
from adapters.view_bulk import RebuildStoppedError
from projections.kernel import Projection

RETRY_SECONDS = 10.0
STOP_SECONDS_MAX = 60.0

log = structlog.get_logger()


class RebuildBeside:
    """Of the views that the projector found outdated. Until the swap they stay, and are read, as they are."""

    def __init__(
        self,
        url: str,
        outdated: Sequence[Projection],
        on_report: Callable[[RebuildReport], None],
    ) -> None:
        self.views = frozenset(projection.name for projection in outdated)
        """Not to be brought forward by anybody else."""
        self._outdated = tuple(outdated)
        self._url = url
        self._stop = threading.Event()
        self._on_report = on_report
        self._thread: threading.Thread | None = None
        self._reports: list[RebuildReport] | None = None
        self._not_before = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS_MAX)

    def tend(self) -> bool:
        """Start, or start again, what is still to be done. True once, when the views have been rebuilt."""
        if not self.views or (self._thread is not None and self._thread.is_alive()):
            return False
        if self._reports is not None:
            self.views = frozenset()
            for report in self._reports:
                self._on_report(report)
            return True
        if monotonic() >= self._not_before:
            self._not_before = monotonic() + RETRY_SECONDS
            self._thread = threading.Thread(target=self._rebuild, name="rebuild", daemon=True)
            self._thread.start()
        return False

    def _rebuild(self) -> None:
        try:
            self._reports = Rebuild(self._url, self._outdated, stop=self._stop).run()
        except RebuildStoppedError:
            log.info("rebuild_stopped", views=sorted(self.views))
        except Exception:
            log.exception("rebuild_failed", views=sorted(self.views), again_in_seconds=RETRY_SECONDS)
