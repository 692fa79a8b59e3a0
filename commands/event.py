"""What organisers do with their events."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from commands.kernel import Clock, Command, Ledger
from domain.account import Account, Role
from domain.event import DOORS_OPEN_BEFORE, Event
from domain.event_details import Details, Release
from domain.kernel import InvalidError, NotFoundError, Refusal, new_id
from domain.money import Amount, Currency
from domain.resale import ResaleRules
from domain.seat import Seat


class PreconditionFailedError(Refusal):
    code = "precondition-failed"
    title = "It has changed since you looked"


class NewRelease(Command):
    quantity: int | None = None
    seats: tuple[Seat, ...] | None = None
    on_sale_at: datetime | None = None


class NewTier(Command):
    name: str
    price: Amount
    benefits: tuple[str, ...] = ()
    sale_opens_at: datetime | None = None
    sale_closes_at: datetime | None = None
    max_tickets_per_order: int | None = None
    release: NewRelease


class CreateEvent(Command):
    organizer_id: UUID
    currency: Currency
    details: Details
    tiers: tuple[NewTier, ...]


class OrganizerCommand(Command):
    """Something only the event's organiser may ask for; to others the event does not exist."""

    event_id: UUID
    organizer_id: UUID


class ChangeEvent(OrganizerCommand):
    changes: dict[str, Any]
    """Fields of `Details`, already validated, and nothing else."""
    expected_version: int | None = None
    """The version that the organiser looked at; None: whichever it is."""


class PublishEvent(OrganizerCommand):
    pass


class CancelEvent(OrganizerCommand):
    reason: str


class PostponeEvent(OrganizerCommand):
    starts_at: datetime
    ends_at: datetime


class ArchiveEvent(OrganizerCommand):
    pass


class AddTier(OrganizerCommand):
    tier: NewTier


class ReleaseTickets(OrganizerCommand):
    tier_id: UUID
    release: NewRelease


class StaffGates(OrganizerCommand):
    user_ids: tuple[UUID, ...]


class SetResaleRules(OrganizerCommand):
    rules: ResaleRules


class KeepTime(Command):
    """The clock has moved past a time of the event's; the worker asks, nobody has to."""

    event_id: UUID


async def create_event(command: CreateEvent, *, ledger: Ledger, clock: Clock) -> Event:
    now = clock()
    event = Event(id=new_id())
    event.draft(organizer_id=command.organizer_id, currency=command.currency, details=command.details, at=now)
    for tier in command.tiers:
        _add_tier(event, tier, at=now)
    return await ledger.append(event)


async def change_event(command: ChangeEvent, *, ledger: Ledger, clock: Clock) -> Event:
    event = await own_event(command, ledger=ledger)
    if command.expected_version not in (None, event.version):
        raise PreconditionFailedError(f"the event is at version {event.version}")
    before = event.known_details
    changes = dict(command.changes)
    if "starts_at" in changes and "doors_open_at" not in changes:
        changes["doors_open_at"] = changes["starts_at"] - (before.starts_at - before.doors_open_at)
    event.change(before.model_copy(update=changes), at=clock())
    return await ledger.append(event)


async def publish_event(command: PublishEvent, *, ledger: Ledger, clock: Clock) -> Event:
    event = await own_event(command, ledger=ledger)
    event.publish(at=clock())
    return await ledger.append(event)


async def cancel_event(command: CancelEvent, *, ledger: Ledger, clock: Clock) -> Event:
    event = await own_event(command, ledger=ledger)
    event.cancel(reason=command.reason, at=clock())
    return await ledger.append(event)


async def postpone_event(command: PostponeEvent, *, ledger: Ledger, clock: Clock) -> Event:
    event = await own_event(command, ledger=ledger)
    event.postpone(starts_at=command.starts_at, ends_at=command.ends_at, at=clock())
    return await ledger.append(event)


async def archive_event(command: ArchiveEvent, *, ledger: Ledger, clock: Clock) -> Event:
    event = await own_event(command, ledger=ledger)
    event.archive(at=clock())
    return await ledger.append(event)


async def add_tier(command: AddTier, *, ledger: Ledger, clock: Clock) -> Event:
    event = await own_event(command, ledger=ledger)
    _add_tier(event, command.tier, at=clock())
    return await ledger.append(event)


async def release_tickets(command: ReleaseTickets, *, ledger: Ledger, clock: Clock) -> Event:
    event = await own_event(command, ledger=ledger)
    event.release(command.tier_id, _release(command.release), at=clock())
    return await ledger.append(event)


async def staff_gates(command: StaffGates, *, ledger: Ledger, clock: Clock) -> Event:
    """Raises InvalidError naming the first user who is unknown or lacks the role `gate`."""
    event = await own_event(command, ledger=ledger)
    staff = [await ledger.peek(Account, user_id) for user_id in command.user_ids]
    for index, account in enumerate(staff):
        if Role.GATE not in account.roles:
            raise InvalidError("this is not a user with the role gate", pointer=f"/user_ids/{index}")
    event.staff_gates(command.user_ids, at=clock())
    return await ledger.append(event, rests_on=staff)


async def set_resale_rules(command: SetResaleRules, *, ledger: Ledger, clock: Clock) -> Event:
    event = await own_event(command, ledger=ledger)
    event.set_resale_rules(command.rules, at=clock())
    return await ledger.append(event)


async def keep_time(command: KeepTime, *, ledger: Ledger, clock: Clock) -> Event:
    event = await ledger.load(Event, command.event_id)
    if event.exists:
        event.keep_time(at=clock())
    return await ledger.append(event)


async def own_event(command: OrganizerCommand, *, ledger: Ledger) -> Event:
    """Raises NotFoundError when there is no such event or it is somebody else's."""
    event = await ledger.load(Event, command.event_id)
    if event.organizer_id != command.organizer_id:
        raise NotFoundError
    return event


def doors_before(starts_at: datetime) -> datetime:
    return starts_at - DOORS_OPEN_BEFORE


def _add_tier(event: Event, tier: NewTier, *, at: datetime) -> None:
    tier_id = new_id()
    fact = Event.TierAdded(
        tier_id=tier_id,
        name=tier.name,
        price=tier.price,
        benefits=tier.benefits,
        sale_opens_at=tier.sale_opens_at,
        sale_closes_at=tier.sale_closes_at,
        max_tickets_per_order=tier.max_tickets_per_order,
        seated=tier.release.seats is not None,
        at=at,
    )
    event.add_tier(fact)
    event.release(tier_id, _release(tier.release), at=at)


def _release(release: NewRelease) -> Release:
    quantity = len(release.seats) if release.seats is not None else release.quantity or 0
    return Release(release_id=new_id(), quantity=quantity, seats=release.seats, on_sale_at=release.on_sale_at)
