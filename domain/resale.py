"""What an organiser allows between holders: at which price a ticket may change hands, and whether without asking us."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.money import Price

ROYALTY_BASIS_POINTS_MAX = 10_000


class ResaleRules(BaseModel):
    """One version of the rules. The contract on the chain holds them too, and refuses what breaks them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    price_max: Price | None = None
    """The most that a ticket may be resold for, in the event's currency. None: no limit."""
    royalty_basis_points: Annotated[int, Field(ge=0, le=ROYALTY_BASIS_POINTS_MAX, strict=True)] = 0
    """The organiser's share of each resale, in hundredths of a per cent (ERC-2981)."""
    direct_transfers: Annotated[bool, Field(strict=True)] = False
    """Whether holders may transfer on the chain by themselves before they are admitted or the event is over."""
