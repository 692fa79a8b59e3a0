"""An event: the happening people attend, what it offers, and whether it is on sale."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from domain.event_details import Details, Release
from domain.kernel import Aggregate, Fact, InvalidError, NotFoundError, Refusal
from domain.money import Amount, Currency
from domain.resale import ResaleRules
from domain.seat import Seat

TIERS_MAX = 100
RELEASES_PER_TIER_MAX = 1_000
QUANTITY_MAX = 1_000_000
SEATS_MAX = 50_000
GATE_STAFF_MAX = 1_000
DOORS_OPEN_BEFORE = timedelta(hours=2)
ORDER_TICKETS_DEFAULT = 20
HOLD_SECONDS_DEFAULT = 600
NO_RULES = ResaleRules()


class EventStatus(StrEnum):
    DRAFT = "draft"
    PUBLISHED = "published"
    LIVE = "live"
    ENDED = "ended"
    CANCELLED = "cancelled"
    ARCHIVED = "archived"


class NotOnSaleError(Refusal):
    code = "not-on-sale"
    title = "This is not on sale now"


class EventOverError(Refusal):
    code = "event-over"
    title = "The event is over or cancelled"


class NotADraftError(Refusal):
    code = "not-a-draft"
    title = "Only a draft can be published"


class NothingToSellError(Refusal):
    code = "nothing-to-sell"
    title = "An event needs at least one tier before it is published"


class NotEndedError(Refusal):
    code = "not-ended"
    title = "Only an event that is over can be archived"


class SeatExistsError(Refusal):
    code = "seat-exists"
    title = "This seat has been released before"


class TooManyError(Refusal):
    code = "too-many"
    title = "A limit of the ledger is reached"


@dataclass(slots=True)
class Tier:
    """A class of tickets at one price. General admission counts serials; a seated tier has a set of seats."""

    tier_id: UUID
    name: str
    price: int
    benefits: tuple[str, ...]
    sale_opens_at: datetime | None
    sale_closes_at: datetime | None
    max_tickets_per_order: int | None
    seated: bool
    releases: list[Release] = field(default_factory=list)
    capacity: int = 0

    def on_sale_count(self, at: datetime) -> int:
        """How many serials may be sold now. Releases go on sale in the order in which they were made."""
        count = 0
        for release in self.releases:
            if release.on_sale_at is not None and release.on_sale_at > at:
                break
            count += release.quantity
        return count

    def sells(self, at: datetime) -> bool:
        opened = self.sale_opens_at is None or self.sale_opens_at <= at
        return opened and (self.sale_closes_at is None or at < self.sale_closes_at)


@dataclass(slots=True, kw_only=True)
class Event(Aggregate):
    stream_type: ClassVar[str] = "event"

    organizer_id: UUID | None = None
    status: EventStatus = EventStatus.DRAFT
    currency: str = ""
    details: Details | None = None
    tiers: dict[UUID, Tier] = field(default_factory=dict)
    seats: dict[str, tuple[UUID, datetime | None]] = field(default_factory=dict)
    """Seat key → its tier, and the instant before which it is not on sale."""
    gate_staff: frozenset[UUID] = frozenset()
    cancel_reason: str | None = None
    content_version: int = 0
    resale_rules: ResaleRules = NO_RULES

    # -- Facts: what is stored, and what each does to the state. --------------

    class Drafted(Fact, topic="event.drafted"):
        organizer_id: UUID
        currency: Currency
        details: Details

        def apply(self, event: Any) -> None:
            event.organizer_id, event.currency, event.details = self.organizer_id, self.currency, self.details
            event.content_version = 1

    class DetailsChanged(Fact, topic="event.details_changed"):
        details: Details

        def apply(self, event: Any) -> None:
            event.details = self.details
            event.content_version += 1

    class TierAdded(Fact, topic="event.tier_added"):
        tier_id: UUID
        name: str
        price: Amount
        benefits: tuple[str, ...] = ()
        sale_opens_at: datetime | None = None
        sale_closes_at: datetime | None = None
        max_tickets_per_order: int | None = None
        seated: bool

        def apply(self, event: Any) -> None:
            event.tiers[self.tier_id] = Tier(
                self.tier_id,
                self.name,
                self.price,
                self.benefits,
                self.sale_opens_at,
                self.sale_closes_at,
                self.max_tickets_per_order,
                self.seated,
            )

    class Released(Fact, topic="event.released"):
        tier_id: UUID
        release: Release

        def apply(self, event: Any) -> None:
            tier = event.tiers[self.tier_id]
            tier.releases.append(self.release)
            tier.capacity += self.release.quantity
            for seat in self.release.seats or ():
                event.seats[seat.key] = (self.tier_id, self.release.on_sale_at)

    class Published(Fact, topic="event.published"):
        def apply(self, event: Any) -> None:
            event.status = EventStatus.PUBLISHED

    class Postponed(Fact, topic="event.postponed"):
        starts_at: datetime
        ends_at: datetime
        doors_open_at: datetime

        def apply(self, event: Any) -> None:
            event.status = EventStatus.DRAFT if event.status is EventStatus.DRAFT else EventStatus.PUBLISHED
            event.details = event.details.model_copy(
                update={"starts_at": self.starts_at, "ends_at": self.ends_at, "doors_open_at": self.doors_open_at}
            )
            event.content_version += 1

    class WentLive(Fact, topic="event.went_live"):
        def apply(self, event: Any) -> None:
            event.status = EventStatus.LIVE

    class Ended(Fact, topic="event.ended"):
        def apply(self, event: Any) -> None:
            event.status = EventStatus.ENDED

    class Cancelled(Fact, topic="event.cancelled"):
        reason: str

        def apply(self, event: Any) -> None:
            event.status, event.cancel_reason = EventStatus.CANCELLED, self.reason

    class Archived(Fact, topic="event.archived"):
        def apply(self, event: Any) -> None:
            event.status = EventStatus.ARCHIVED

    class GateStaffed(Fact, topic="event.gate_staffed"):
        user_ids: tuple[UUID, ...]

        def apply(self, event: Any) -> None:
            event.gate_staff = frozenset(self.user_ids)

    class ResaleRulesSet(Fact, topic="event.resale_rules_set"):
        rules: ResaleRules

        def apply(self, event: Any) -> None:
            event.resale_rules = self.rules

    # -- Decisions: what may happen now. ---------------------------------------

    def draft(self, *, organizer_id: UUID, currency: str, details: Details, at: datetime) -> None:
        _check_times(details)
        self.record(self.Drafted(organizer_id=organizer_id, currency=currency, details=details, at=at))

    def change(self, details: Details, *, at: datetime) -> None:
        self._refuse_when_over()
        _check_times(details)
        if details != self.details:
            self.record(self.DetailsChanged(details=details, at=at))

    def add_tier(self, tier: Event.TierAdded) -> None:
        self._refuse_when_over()
        if len(self.tiers) >= TIERS_MAX:
            raise TooManyError(f"an event has at most {TIERS_MAX} tiers")
        if tier.sale_opens_at and tier.sale_closes_at and tier.sale_closes_at <= tier.sale_opens_at:
            raise InvalidError("the sale must close after it opens", pointer="/sale_closes_at")
        self.record(tier)

    def release(self, tier_id: UUID, release: Release, *, at: datetime) -> None:
        """Make more places available. Raises SeatExistsError when one of the seats was released before."""
        self._refuse_when_over()
        tier = self.tiers.get(tier_id)
        if tier is None:
            raise NotFoundError("the event has no such tier")
        if tier.seated != (release.seats is not None):
            raise InvalidError(f"this tier is sold by {'seats' if tier.seated else 'quantity'}")
        if len(tier.releases) >= RELEASES_PER_TIER_MAX or tier.capacity + release.quantity > QUANTITY_MAX:
            raise TooManyError(f"a tier has at most {RELEASES_PER_TIER_MAX} releases and {QUANTITY_MAX} places")
        if len(self.seats) + len(release.seats or ()) > SEATS_MAX:
            raise TooManyError(f"an event has at most {SEATS_MAX} numbered seats")
        self._refuse_known_seats(release.seats or ())
        self.record(self.Released(tier_id=tier_id, release=release, at=at))

    def publish(self, *, at: datetime) -> None:
        if self.status is not EventStatus.DRAFT:
            raise NotADraftError(f"the event is {self.status}")
        if not self.tiers:
            raise NothingToSellError
        if self.known_details.ends_at <= at:
            raise EventOverError("the event would be over already")
        self.record(self.Published(at=at))

    def postpone(self, *, starts_at: datetime, ends_at: datetime, at: datetime) -> None:
        """Move the event; the doors keep their distance to the start."""
        self._refuse_when_over()
        details = self.known_details
        doors_open_at = starts_at - (details.starts_at - details.doors_open_at)
        moved = {"starts_at": starts_at, "ends_at": ends_at, "doors_open_at": doors_open_at}
        _check_times(details.model_copy(update=moved))
        if ends_at <= at:
            raise InvalidError("an event cannot be moved into the past", pointer="/ends_at")
        self.record(self.Postponed(starts_at=starts_at, ends_at=ends_at, doors_open_at=doors_open_at, at=at))

    def cancel(self, *, reason: str, at: datetime) -> None:
        self._refuse_when_over()
        self.record(self.Cancelled(reason=reason, at=at))

    def archive(self, *, at: datetime) -> None:
        if self.status not in (EventStatus.ENDED, EventStatus.CANCELLED):
            raise NotEndedError(f"the event is {self.status}")
        self.record(self.Archived(at=at))

    def staff_gates(self, user_ids: tuple[UUID, ...], *, at: datetime) -> None:
        self._refuse_when_over()
        if frozenset(user_ids) != self.gate_staff:
            self.record(self.GateStaffed(user_ids=tuple(sorted(frozenset(user_ids))), at=at))

    def set_resale_rules(self, rules: ResaleRules, *, at: datetime) -> None:
        self._refuse_when_over()
        if rules != self.resale_rules:
            self.record(self.ResaleRulesSet(rules=rules, at=at))

    def keep_time(self, *, at: datetime) -> None:
        """Record what the clock alone has brought about: the doors opened, the event ended. Repeating it adds nothing."""
        if self.status in (EventStatus.PUBLISHED, EventStatus.LIVE) and at >= self.known_details.ends_at:
            self.record(self.Ended(at=at))
        elif self.status is EventStatus.PUBLISHED and at >= self.known_details.doors_open_at:
            self.record(self.WentLive(at=at))

    # -- Questions: what other decisions rest on. --------------------------------

    @property
    def known_details(self) -> Details:
        if self.details is None:
            raise NotFoundError
        return self.details

    def is_over(self, at: datetime) -> bool:
        over = (EventStatus.ENDED, EventStatus.CANCELLED, EventStatus.ARCHIVED)
        return self.status in over or (self.details is not None and at >= self.details.ends_at)

    def tier_on_sale(self, tier_id: UUID, *, at: datetime) -> Tier:
        """Raises NotOnSaleError before publication, outside the tier's sale window and when the event is over."""
        if self.status not in (EventStatus.PUBLISHED, EventStatus.LIVE) or at >= self.known_details.ends_at:
            raise NotOnSaleError("the event is not on sale")
        tier = self.tiers.get(tier_id)
        if tier is None:
            raise InvalidError("the event has no such tier", pointer="/items")
        if not tier.sells(at):
            raise NotOnSaleError(f"{tier.name!r} is not on sale at this time")
        return tier

    def next_time(self) -> datetime | None:
        """When `keep_time` will have something to say next."""
        if self.details is None or self.status not in (EventStatus.PUBLISHED, EventStatus.LIVE):
            return None
        return self.details.doors_open_at if self.status is EventStatus.PUBLISHED else self.details.ends_at

    def _refuse_when_over(self) -> None:
        if self.status in (EventStatus.ENDED, EventStatus.CANCELLED, EventStatus.ARCHIVED):
            raise EventOverError(f"the event is {self.status}")

    def _refuse_known_seats(self, seats: tuple[Seat, ...]) -> None:
        seen: set[str] = set()
        for seat in seats:
            if seat.key in self.seats or seat.key in seen:
                raise SeatExistsError(f"{seat} has been released before")
            seen.add(seat.key)


def _check_times(details: Details) -> None:
    if details.ends_at <= details.starts_at:
        raise InvalidError("an event must end after it starts", pointer="/ends_at")
    if details.doors_open_at >= details.ends_at:
        raise InvalidError("the doors must open before the event ends", pointer="/doors_open_at")
