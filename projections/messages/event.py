"""Public messages about events. The key is the event's id.

Numbered seats are counted, not listed: a release may have fifty thousand, and a message is no place for them.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from domain.event import Event
from projections.messages.kernel import Message, Part
from projections.messages.parts import IsThere


class Venue(Part):
    name: str
    city: str | None
    country: str | None
    latitude: float | None
    longitude: float | None


class Display(Part):
    """What the public pages show."""

    show_remaining: bool
    waitlist: bool
    sharing: bool
    seo_title: str | None
    seo_description: str | None


class Details(Part):
    """The whole content and rules of an event, as they are from here on."""

    title: str
    description: str | None
    venue: Venue
    starts_at: datetime
    ends_at: datetime
    doors_open_at: datetime
    timezone: str
    tags: tuple[str, ...]
    max_tickets_per_order: int
    max_tickets_per_buyer: int | None
    buyer_window_seconds: int | None
    hold_seconds: int
    display: Display


class Release(Part):
    """Places put on sale together, not before ``on_sale_at``."""

    release_id: UUID
    quantity: int
    seated: IsThere = Field(validation_alias="seats")
    on_sale_at: datetime | None


class Rules(Part):
    """What is allowed between holders."""

    price_max: int | None
    """The most that a ticket may be resold for, in minor units of the event's currency. Null: no limit."""
    royalty_basis_points: int
    """The organiser's share of each resale, in hundredths of a per cent."""
    direct_transfers: bool
    """Whether holders may transfer on the chain by themselves."""


class EventDrafted(Message, of=Event.Drafted):
    """An organiser has begun an event, which is not published yet."""

    organizer_id: UUID
    currency: str
    details: Details


class EventDetailsChanged(Message, of=Event.DetailsChanged):
    """The event's content or its rules changed."""

    details: Details


class EventTierAdded(Message, of=Event.TierAdded):
    """A kind of ticket, at a price in minor units of the event's currency."""

    tier_id: UUID
    name: str
    price: int
    benefits: tuple[str, ...]
    sale_opens_at: datetime | None
    sale_closes_at: datetime | None
    max_tickets_per_order: int | None
    seated: bool


class EventReleased(Message, of=Event.Released):
    """Places of a tier were put on sale."""

    tier_id: UUID
    release: Release


class EventPublished(Message, of=Event.Published):
    """Anybody may see the event, and buy."""


class EventPostponed(Message, of=Event.Postponed):
    """The event has other times; tickets stay good."""

    starts_at: datetime
    ends_at: datetime
    doors_open_at: datetime


class EventWentLive(Message, of=Event.WentLive):
    """The doors are open."""


class EventEnded(Message, of=Event.Ended):
    """It is over. Every ticket that was not used has expired with it, and every paid order is fulfilled."""


class EventCancelled(Message, of=Event.Cancelled):
    """It will not take place. The reason is what the organiser tells the public."""

    reason: str


class EventArchived(Message, of=Event.Archived):
    """Out of the lists."""


class EventResaleRulesSet(Message, of=Event.ResaleRulesSet):
    """The organiser said what is allowed between holders."""

    rules: Rules
