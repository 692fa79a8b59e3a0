"""Places in a tier, and the ticket ids that follow from them: capacity is a finite set of ids."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field

Label = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Seat(BaseModel):
    """A numbered place, as printed on the ticket."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    section: Label
    row: Label
    number: Label

    @property
    def key(self) -> str:
        """Unique within an event; the unit separator cannot occur in a label."""
        return f"{self.section}\x1f{self.row}\x1f{self.number}"

    def __str__(self) -> str:
        return f"{self.section}, row {self.row}, seat {self.number}"


def ticket_id(event_id: UUID, tier_id: UUID, place: int | Seat) -> UUID:
    """The one id of a place (a general-admission serial counts from 1). Two buyers of one place meet in one stream."""
    if isinstance(place, int):
        return uuid5(event_id, f"{tier_id.hex}/{place}")
    return uuid5(event_id, place.key)
