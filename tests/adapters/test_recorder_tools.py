"""The library's tools, at work on the table that our own ledger writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.cipher import AESCipher
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import (
    InfrastructureFactoryError,
    IntegrityError,
    MapperDeserialisationError,
    NotSupportedError,
    StoredEvent,
    Tracking,
)
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.utils import Environment

from adapters.ledger import PostgresLedger
from adapters.recorder import FactMapper, Factory, RecordedFact
from domain.order import Order
from domain.ticket import Ticket, TicketStatus
from tests.adapters.ledger_parts import appending, cancelled, held, paid, rows_of

WAIT_SECONDS_MAX = 10.0


class TicketApplication(Application[UUID]):
    """The library's application, on our ledger."""

    name = "tickets"

    def ticket(self, ticket_id: UUID) -> Ticket:
        return self.repository.get(ticket_id, projector_func=fold_ticket)


def fold_ticket(ticket: Ticket | None, facts: Iterable[RecordedFact]) -> Ticket | None:
    for recorded in facts:
        ticket = (ticket or Ticket(id=recorded.originator_id)).fold([recorded.fact])
    return ticket


class SalesView(POPOTrackingRecorder):
    """How many tickets are in each state that the projection cares for: plain objects in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def count(self, topic: str, tracking: Tracking) -> None:
        with self._database_lock:
            self.insert_tracking(tracking)
            self.counts[topic] += 1


class Sales(Projection[SalesView]):
    topics = (Ticket.Held.stored_topic, Ticket.Paid.stored_topic)

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        raise AssertionError(f"{domain_event} was not asked for")

    @process_event.register
    def _(self, recorded: RecordedFact, tracking: Tracking) -> None:
        self.view.count(recorded.fact.topic, tracking)


def environment(database: str) -> dict[str, str]:
    return {"TICKETS_PERSISTENCE_MODULE": "adapters.recorder", "LEDGER_URL": database}


@pytest.fixture
async def two_sold(ledger: PostgresLedger, database: str) -> tuple[UUID, UUID]:
    """An order for two tickets, both held, one of them paid, the order cancelled: written by our own ledger."""
    one, other, order_id = uuid4(), uuid4(), uuid4()
    await ledger.append(appending((one, 1), (other, 1, held(2)), (order_id, 1, cancelled())))
    await ledger.append(appending((other, 2, paid())))
    return one, other


@pytest.mark.anyio
async def test_the_librarys_runner_projects_what_our_ledger_recorded(
    two_sold: tuple[UUID, UUID], ledger: PostgresLedger, database: str
) -> None:
    with ProjectionRunner(
        application_class=TicketApplication, projection_class=Sales, view_class=SalesView, env=environment(database)
    ) as runner:
        runner.wait(4, timeout=WAIT_SECONDS_MAX)
        assert runner.view.counts == {"ticket.held": 2, "ticket.paid": 1}
        position = await ledger.append(appending((two_sold[0], 2, paid())))
        runner.wait(position, timeout=WAIT_SECONDS_MAX)
        assert runner.view.counts == {"ticket.held": 2, "ticket.paid": 2}


@pytest.mark.anyio
async def test_the_librarys_notification_log_numbers_what_our_ledger_recorded(
    two_sold: tuple[UUID, UUID], database: str
) -> None:
    with TicketApplication(environment(database)) as application:
        section = application.notification_log["1,10"]
        assert [notification.id for notification in section.items] == [1, 2, 3, 4]
        assert [(n.originator_id, n.topic) for n in section.items] == [
            (r.stream_id, r.topic) for r in rows_of(database)
        ]
        (order,) = application.notification_log.select(1, 10, topics=[Order.Cancelled.stored_topic])
        assert (order.id, application.mapper.to_domain_event(order)) == (
            3,
            RecordedFact(UUID(str(order.originator_id)), 1, cancelled()),
        )


@pytest.mark.anyio
async def test_the_librarys_repository_folds_our_aggregates(
    two_sold: tuple[UUID, UUID], ledger: PostgresLedger, database: str
) -> None:
    with TicketApplication(environment(database)) as application:
        for ticket_id in two_sold:
            assert application.ticket(ticket_id) == (await ledger.load(Ticket, [ticket_id]))[0]
        assert application.ticket(two_sold[1]).status is TicketStatus.PAID


@pytest.mark.anyio
async def test_what_the_librarys_event_store_puts_our_ledger_loads(
    two_sold: tuple[UUID, UUID], ledger: PostgresLedger, database: str
) -> None:
    facts = [RecordedFact(two_sold[0], 2, paid()), RecordedFact(uuid4(), 1, held(3))]
    with TicketApplication(environment(database)) as application:
        recordings = application.events.put(facts)
        assert [recording.notification.id for recording in recordings] == [5, 6]
        assert list(application.events.get(two_sold[0])) == [RecordedFact(two_sold[0], 1, held()), facts[0]]
        with pytest.raises(IntegrityError):
            application.events.put(facts)
    (ticket,) = await ledger.load(Ticket, [two_sold[0]])
    assert ticket.status is TicketStatus.PAID
    assert await ledger.append(appending()) == 7


# -- The mapper and the factory. ------------------------------------------------------------


def test_a_fact_comes_back_as_it_was() -> None:
    recorded = RecordedFact(uuid4(), 7, held(12))
    stored = FactMapper().to_stored_event(recorded)
    assert (stored.originator_version, stored.topic) == (7, "ticket.held")
    assert FactMapper().to_domain_event(stored) == recorded


@pytest.mark.parametrize(
    ("topic", "state"), [("ticket.teleported", b"{}"), ("ticket.held", b"{}"), ("ticket.held", b"")]
)
def test_what_is_not_a_fact_of_this_release_is_refused(topic: str, state: bytes) -> None:
    with pytest.raises(MapperDeserialisationError):
        FactMapper().to_domain_event(StoredEvent(uuid4(), 1, topic, state))


def test_a_cipher_is_refused_rather_than_ignored() -> None:
    key = AESCipher.create_key(32)
    with pytest.raises(NotSupportedError):
        TicketApplication({**environment("nowhere"), "CIPHER_KEY": key})


def test_the_factory_needs_to_know_which_database() -> None:
    with pytest.raises(InfrastructureFactoryError):
        Factory(Environment("tickets")).application_recorder()


def test_what_the_ledger_does_not_keep_is_refused() -> None:
    factory = Factory(Environment("tickets"))
    for recorder in (factory.aggregate_recorder, factory.tracking_recorder, factory.process_recorder):
        with pytest.raises(NotSupportedError):
            recorder()
    factory.close()
