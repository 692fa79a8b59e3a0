"""The people, the times and the ids that the tests of the domain share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID


def numbered(number: int) -> UUID:
    """An id that a failing test can be read with."""
    return UUID(int=number)


EVENT, TIER, OTHER_TIER, ORDER, PAYMENT = (numbered(number) for number in range(1, 6))
ORGANIZER, BUYER, FRIEND, STRANGER = (numbered(number) for number in range(11, 15))

NOW = datetime(2031, 5, 1, 10, 0, tzinfo=UTC)
HOLD_ENDS = NOW + timedelta(minutes=10)
DOORS = datetime(2031, 5, 17, 17, 0, tzinfo=UTC)
STARTS = DOORS + timedelta(hours=2)
ENDS = STARTS + timedelta(hours=3)

MOMENT = timedelta(microseconds=1)
"""The shortest time there is here: what PostgreSQL's timestamps resolve."""
