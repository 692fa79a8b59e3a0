"""What several messages have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from projections.messages.kernel import Part


def _is_there(value: object) -> bool:
    return value is not None


IsThere = Annotated[bool, BeforeValidator(_is_there)]
"""Of something that itself stays in: whether there is one."""


class Money(Part):
    """An amount in minor units of one currency."""

    amount: int
    currency: str
    """ISO 4217."""


class Seat(Part):
    """A numbered place, as printed on the ticket."""

    section: str
    row: str
    number: str
