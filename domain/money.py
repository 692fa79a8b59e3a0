"""Money: integers of the currency's minor unit, never floats."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

AMOUNT_MAX = 10**12
"""Ten thousand million of a two-decimal currency: beyond any ticket, well inside 64 bits when multiplied."""

PRICE_MAX = 10**10
"""Of one ticket: an order of the most tickets that one may have is still an `Amount`."""

Amount = Annotated[int, Field(ge=0, le=AMOUNT_MAX, strict=True)]
"""Minor units (cents)."""

Price = Annotated[int, Field(ge=0, le=PRICE_MAX, strict=True)]
"""Minor units, for one ticket."""

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217 alphabetic code."""


class Money(BaseModel):
    """An amount in minor units of one currency."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Amount
    currency: Currency
