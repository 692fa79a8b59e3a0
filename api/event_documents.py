"""The documents about events: what clients send, and what they are told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, model_validator

from api.types import NO_CONTROLS, Answer, Body, Instant, LongText, ShortText, Text, to_json
from commands.event import NewRelease, NewTier, doors_before
from domain.event import (
    GATE_STAFF_MAX,
    HOLD_SECONDS_DEFAULT,
    ORDER_TICKETS_DEFAULT,
    QUANTITY_MAX,
    SEATS_MAX,
    TIERS_MAX,
    Event,
    EventStatus,
    Tier,
)
from domain.event_details import Details, Display, Venue
from domain.money import Currency, Price
from domain.order import ORDER_TICKETS_MAX
from domain.resale import ROYALTY_BASIS_POINTS_MAX, ResaleRules
from domain.seat import Label, Seat
from domain.ticket import TicketStatus
from projections.event_search import ListedEvent, ListedTier

HOLD_SECONDS_MAX = 86_400
TAGS_MAX = 30
BENEFITS_MAX = 30
BUYER_WINDOW_SECONDS_MAX = 10 * 365 * 86_400
ZONES = available_timezones()


def _known_zone(name: str) -> str:
    if name not in ZONES:
        raise ValueError("not a name in the IANA time zone database")
    return name


Timezone = Annotated[str, Field(max_length=64), AfterValidator(_known_zone)]
Tags = Annotated[tuple[Text, ...], Field(max_length=TAGS_MAX)]
Seats = Annotated[tuple[Seat, ...], Field(min_length=1, max_length=SEATS_MAX)]
Quantity = Annotated[int, Field(ge=1, le=QUANTITY_MAX, strict=True)]
OrderTickets = Annotated[int, Field(ge=1, le=ORDER_TICKETS_MAX, strict=True)]


class ReleaseRequest(Body):
    quantity: Quantity | None = None
    seats: Seats | None = None
    on_sale_at: Instant | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.quantity is None) == (self.seats is None):
            raise ValueError("either quantity or seats")
        return self

    def new_release(self) -> NewRelease:
        return NewRelease(quantity=self.quantity, seats=self.seats, on_sale_at=self.on_sale_at)


class TierRequest(ReleaseRequest):
    name: Text
    price: Price
    benefits: Annotated[tuple[Text, ...], Field(max_length=BENEFITS_MAX)] = ()
    sale_opens_at: Instant | None = None
    sale_closes_at: Instant | None = None
    max_tickets_per_order: OrderTickets | None = None

    def new_tier(self) -> NewTier:
        return NewTier(
            name=self.name,
            price=self.price,
            benefits=self.benefits,
            sale_opens_at=self.sale_opens_at,
            sale_closes_at=self.sale_closes_at,
            max_tickets_per_order=self.max_tickets_per_order,
            release=self.new_release(),
        )


class VenueRequest(Body):
    name: Text
    city: ShortText | None = None
    country: ShortText | None = None
    latitude: Annotated[float | None, Field(ge=-90, le=90, allow_inf_nan=False, strict=True)] = None
    longitude: Annotated[float | None, Field(ge=-180, le=180, allow_inf_nan=False, strict=True)] = None


class DisplayRequest(Body):
    show_remaining: Annotated[bool, Field(strict=True)] = True
    waitlist: Annotated[bool, Field(strict=True)] = False
    sharing: Annotated[bool, Field(strict=True)] = True
    seo_title: Text | None = None
    seo_description: Annotated[str | None, Field(max_length=500, pattern=NO_CONTROLS)] = None

    def display(self) -> Display:
        return Display(**self.model_dump())


class EventRequest(Body):
    title: Text
    description: LongText | None = None
    venue: VenueRequest
    starts_at: Instant
    ends_at: Instant
    timezone: Timezone
    currency: Currency
    tags: Tags = ()
    tiers: Annotated[tuple[TierRequest, ...], Field(min_length=1, max_length=TIERS_MAX)]
    max_tickets_per_order: OrderTickets = ORDER_TICKETS_DEFAULT
    max_tickets_per_buyer: Quantity | None = None
    buyer_window_seconds: Annotated[int | None, Field(ge=1, le=BUYER_WINDOW_SECONDS_MAX, strict=True)] = None
    hold_seconds: Annotated[int, Field(ge=1, le=HOLD_SECONDS_MAX, strict=True)] = HOLD_SECONDS_DEFAULT
    doors_open_at: Instant | None = None
    display: DisplayRequest = DisplayRequest()

    def details(self) -> Details:
        return Details(
            title=self.title,
            description=self.description,
            venue=Venue(**self.venue.model_dump()),
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            doors_open_at=self.doors_open_at or doors_before(self.starts_at),
            timezone=self.timezone,
            tags=self.tags,
            max_tickets_per_order=self.max_tickets_per_order,
            max_tickets_per_buyer=self.max_tickets_per_buyer,
            buyer_window_seconds=self.buyer_window_seconds,
            hold_seconds=self.hold_seconds,
            display=self.display.display(),
        )


class EventPatch(Body):
    """Only what is named is changed. Naming ``null`` clears what may be empty."""

    title: Text = ""
    description: LongText | None = None
    venue: VenueRequest | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    doors_open_at: Instant | None = None
    timezone: Timezone = ""
    tags: Tags = ()
    max_tickets_per_order: OrderTickets = ORDER_TICKETS_DEFAULT
    max_tickets_per_buyer: Quantity | None = None
    buyer_window_seconds: Annotated[int | None, Field(ge=1, le=BUYER_WINDOW_SECONDS_MAX, strict=True)] = None
    hold_seconds: Annotated[int, Field(ge=1, le=HOLD_SECONDS_MAX, strict=True)] = HOLD_SECONDS_DEFAULT
    display: DisplayRequest = DisplayRequest()

    @model_validator(mode="after")
    def _no_null_where_a_value_is_needed(self) -> Self:
        for name in ("venue", "starts_at", "ends_at", "doors_open_at"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self

    def changes(self) -> dict[str, object]:
        named = {name: getattr(self, name) for name in self.model_fields_set}
        if self.venue is not None:
            named["venue"] = Venue(**self.venue.model_dump())
        if "display" in named:
            named["display"] = self.display.display()
        return named


class CancelRequest(Body):
    reason: Text


class PostponeRequest(Body):
    starts_at: Instant
    ends_at: Instant


class StaffRequest(Body):
    user_ids: Annotated[tuple[UUID, ...], Field(max_length=GATE_STAFF_MAX)]


class ResaleRulesRequest(Body):
    """The whole of the rules: what is not named is as if there never was a rule."""

    price_max: Price | None = None
    royalty_basis_points: Annotated[int, Field(ge=0, le=ROYALTY_BASIS_POINTS_MAX, strict=True)] = 0
    direct_transfers: Annotated[bool, Field(strict=True)] = False

    def rules(self) -> ResaleRules:
        return ResaleRules(**self.model_dump())


class TierAnswer(Answer):
    tier_id: UUID
    name: str
    price: int
    capacity: int
    seated: bool
    benefits: list[str]
    sale_opens_at: datetime | None
    sale_closes_at: datetime | None
    max_tickets_per_order: int | None


class EventAnswer(Answer):
    event_id: UUID
    organizer_id: UUID
    status: EventStatus
    title: str
    description: str | None
    venue: Venue
    starts_at: datetime
    ends_at: datetime
    doors_open_at: datetime
    timezone: str
    currency: str
    tags: list[str]
    max_tickets_per_order: int
    max_tickets_per_buyer: int | None
    buyer_window_seconds: int | None
    hold_seconds: int
    display: Display
    cancel_reason: str | None
    resale_rules: ResaleRules
    version: int
    tiers: list[TierAnswer]


class AvailabilityTier(Answer):
    tier_id: UUID
    name: str
    price: int
    capacity: int
    available: int
    held: int
    sold: int
    checked_in: int


class AvailabilityAnswer(Answer):
    event_id: UUID
    position: int
    tiers: list[AvailabilityTier]


class SeatAnswer(Answer):
    tier_id: UUID
    section: Label
    row: Label
    number: Label
    status: TicketStatus


class VersionAnswer(Answer):
    position: int
    at: datetime
    event: EventAnswer


def event_json(event: Event) -> bytes:
    return to_json(_document(event, event.id, event.known_details, event.tiers.values()))


def listed(event: ListedEvent) -> dict[str, object]:
    """The same document as `event_json`, of what the catalogue found."""
    return _document(event, event.event_id, event.details, event.tiers)


def _document(
    event: Event | ListedEvent, event_id: UUID, details: Details, tiers: Iterable[Tier | ListedTier]
) -> dict[str, object]:
    """An event as clients see it, whether it was folded or found in the catalogue."""
    return {
        "event_id": event_id,
        "organizer_id": event.organizer_id,
        "status": event.status,
        **{name: getattr(details, name) for name in DETAILS},
        "venue": details.venue.model_dump(),
        "display": details.display.model_dump(),
        "currency": event.currency,
        "cancel_reason": event.cancel_reason,
        "resale_rules": event.resale_rules.model_dump(),
        "version": event.version,
        "tiers": [{name: getattr(tier, name) for name in TierAnswer.model_fields} for tier in tiers],
    }


DETAILS = tuple(name for name in Details.model_fields if name not in ("venue", "display"))


def staff_json(event: Event) -> bytes:
    return to_json({"event_id": event.id, "user_ids": sorted(event.gate_staff)})


class StaffAnswer(Answer):
    event_id: UUID
    user_ids: list[UUID]
