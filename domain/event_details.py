"""What an organiser says about an event: its content and rules, and the places that are put on sale together."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from domain.seat import Seat


class Venue(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    city: Annotated[str | None, Field(max_length=100)] = None
    country: Annotated[str | None, Field(max_length=100)] = None
    latitude: Annotated[float | None, Field(ge=-90, le=90)] = None
    longitude: Annotated[float | None, Field(ge=-180, le=180)] = None


class Display(BaseModel):
    """What the public pages show, and how search engines and social networks are to describe them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    show_remaining: bool = True
    waitlist: bool = False
    sharing: bool = True
    seo_title: Annotated[str | None, Field(max_length=200)] = None
    seo_description: Annotated[str | None, Field(max_length=500)] = None


class Details(BaseModel):
    """What an organiser can change about an event: its content and its rules. One whole version of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

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
    """With a limit per buyer: count only tickets ordered within this many seconds. None: all of them."""
    hold_seconds: int
    display: Display


class Release(BaseModel):
    """Places put on sale together: the next ``quantity`` serials of the tier, or these seats."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    release_id: UUID
    quantity: int
    seats: tuple[Seat, ...] | None
    on_sale_at: datetime | None
    """Not before this instant; None: as soon as the event is published."""
