"""Facts of events, with everything that a test does not care about filled in."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from domain.event import Event
from domain.event_details import Details, Display, Release, Venue
from domain.seat import Seat
from tests.domain.happening import DOORS, ENDS, NOW, ORGANIZER, STARTS, TIER, numbered

PLAIN = Details(
    title="An evening of string quartets",
    description=None,
    venue=Venue(name="Concert hall"),
    starts_at=STARTS,
    ends_at=ENDS,
    doors_open_at=DOORS,
    timezone="Europe/Amsterdam",
    tags=(),
    max_tickets_per_order=20,
    max_tickets_per_buyer=None,
    buyer_window_seconds=None,
    hold_seconds=600,
    display=Display(),
)

PUBLISHED = Event.Published(at=NOW)
WENT_LIVE = Event.WentLive(at=DOORS)
ENDED = Event.Ended(at=ENDS)
ARCHIVED = Event.Archived(at=NOW)


def details(**changes: Any) -> Details:
    return PLAIN.model_copy(update=changes)


def drafted(**changes: Any) -> Event.Drafted:
    return Event.Drafted(organizer_id=ORGANIZER, currency="EUR", details=details(**changes), at=NOW)


def tier_added(tier_id: UUID = TIER, *, price: int = 4500, seated: bool = False, **more: Any) -> Event.TierAdded:
    return Event.TierAdded(tier_id=tier_id, name="Stalls", price=price, seated=seated, **more, at=NOW)


def release(quantity: int = 2, *, on_sale_at: datetime | None = None, seats: tuple[Seat, ...] | None = None) -> Release:
    """Of a quantity, or of these seats."""
    size = quantity if seats is None else len(seats)
    return Release(release_id=numbered(90), quantity=size, seats=seats, on_sale_at=on_sale_at)


def released(quantity: int = 2, *, tier_id: UUID = TIER, **more: Any) -> Event.Released:
    return Event.Released(tier_id=tier_id, release=release(quantity, **more), at=NOW)


def cancelled(reason: str = "the soloist is ill", *, at: datetime = NOW) -> Event.Cancelled:
    return Event.Cancelled(reason=reason, at=at)


def seat(number: int | str, *, row: str = "A", section: str = "Stalls") -> Seat:
    return Seat(section=section, row=row, number=str(number))


DRAFT = (drafted(), tier_added(), released())
ON_SALE = (*DRAFT, PUBLISHED)
SEATED = (drafted(), tier_added(seated=True), released(seats=(seat(1), seat(2))), PUBLISHED)
