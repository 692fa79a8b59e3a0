"""The library's own cases for a recorder, run against ours; then its tools on the table that our ledger writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import AggregateRecorder, StoredEvent
from eventsourcing.tests import persistence as library

from adapters.recorder import LedgerRecorder


class OnLedger(library.RecorderTestCase):
    """A fresh database for each case."""

    url: str

    @pytest.fixture(autouse=True)
    def _fresh_database(self, database: str) -> None:
        self.url = database

    def create_recorder(self) -> Any:
        recorder = LedgerRecorder(self.url)
        self.addCleanup(recorder.close)
        return recorder


class TestApplicationRecorder(OnLedger, library.ApplicationRecorderTestCase[LedgerRecorder]):
    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNotificationIdsDoNotInterleave(OnLedger, library.NonInterleavingNotificationIDsBaseCase):
    pass


class StreamsOnly(AggregateRecorder):
    """What the library asks of a recorder without notifications: the same, and no numbers for them."""

    def __init__(self, recorder: LedgerRecorder) -> None:
        self.recorder = recorder

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> None:
        self.recorder.insert_events(stored_events, **kwargs)

    def select_events(self, originator_id: UUID | str, **bounds: Any) -> Sequence[StoredEvent]:
        return self.recorder.select_events(originator_id, **bounds)


class TestAggregateRecorder(OnLedger, library.AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return StreamsOnly(super().create_recorder())
