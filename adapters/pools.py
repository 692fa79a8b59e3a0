"""Pools of free places: serials in a random order, numbered seats best first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from adapters.follower import Followed
from commands.order import Pick
from domain.event import Tier
from domain.order import SoldOutError
from domain.seat import Seat, ticket_id
from domain.ticket import Ticket, TicketStatus


class Pool(Protocol):
    """The free places of one tier. Not thread-safe: it lives on the event loop."""

    def offer(self, tier: Tier, *, at: datetime) -> None:
        """Take notice of places that have gone on sale."""

    def know(self, place: int | str, ticket_id: UUID, version: int, *, free: bool) -> None:
        """A place whose ticket has a stream already."""

    def hear(self, followed: Followed) -> None:
        """A fact of one of its tickets."""

    def take(self, quantity: int, *, adjacent: bool) -> list[Pick]:
        """Raises SoldOutError, having taken nothing. A version below zero: to be looked up before use."""

    def put_back(self, picks: Sequence[Pick]) -> None: ...

    def found(self, pick: Pick, ticket: Ticket) -> bool:
        """The outcome of a look-up; False when the place is taken after all."""


class SparseShuffle:
    """Draws 1 … n in random order without ever building the list (Fisher-Yates over a sparse array)."""

    def __init__(self, first: int, last: int, rng: random.Random) -> None:
        self._offset = first
        self._left = last - first + 1
        self._swapped: dict[int, int] = {}
        self._random = rng

    def __len__(self) -> int:
        return self._left

    def draw(self) -> int:
        index = int(self._random.random() * self._left)
        self._left -= 1
        drawn = self._swapped.get(index, index)
        last = self._swapped.pop(self._left, self._left)
        if index != self._left:
            self._swapped[index] = last
        return self._offset + drawn


class SerialPool:
    """General admission. Serials never sold come from shuffles, one for each release; returned ones from a list."""

    def __init__(self, event_id: UUID, tier_id: UUID, rng: random.Random) -> None:
        self._event_id = event_id
        self._tier_id = tier_id
        self._random = rng
        self._offered = 0
        self._fresh: list[SparseShuffle] = []
        self._returned: dict[UUID, Pick] = {}
        self._gone: set[int] = set()
        """Serials that others took and that a shuffle may still draw."""
        self._held: dict[UUID, int] = {}
        self._picked: set[UUID] = set()

    def offer(self, tier: Tier, *, at: datetime) -> None:
        count = tier.on_sale_count(at)
        if count > self._offered:
            self._fresh.append(SparseShuffle(self._offered + 1, count, self._random))
            self._offered = count

    def know(self, place: int | str, ticket_id: UUID, version: int, *, free: bool) -> None:
        serial = int(place)
        self._gone.add(serial)
        if free:
            self._returned[ticket_id] = Pick(serial, ticket_id, version)
        else:
            self._held[ticket_id] = serial

    def hear(self, followed: Followed) -> None:
        match followed.fact:
            case Ticket.Held(serial=int(serial)):
                self._returned.pop(followed.stream_id, None)
                self._held[followed.stream_id] = serial
                if followed.stream_id in self._picked:
                    self._picked.discard(followed.stream_id)
                else:
                    self._gone.add(serial)
            case Ticket.Released():
                serial = self._held.pop(followed.stream_id, 0)
                if serial:
                    self._returned[followed.stream_id] = Pick(serial, followed.stream_id, followed.version)
            case Ticket.Paid():
                self._held.pop(followed.stream_id, None)

    def take(self, quantity: int, *, adjacent: bool) -> list[Pick]:  # noqa: ARG002 - serials have no neighbours
        picks: list[Pick] = []
        while len(picks) < quantity:
            pick = self._draw()
            if pick is None:
                for taken in picks:
                    self._returned[taken.ticket_id] = taken
                raise SoldOutError
            picks.append(pick)
        self._picked.update(pick.ticket_id for pick in picks)
        return picks

    def _draw(self) -> Pick | None:
        while self._fresh:
            if not len(self._fresh[-1]):
                self._fresh.pop()
                continue
            serial = self._fresh[-1].draw()
            if serial in self._gone:
                self._gone.discard(serial)
                continue
            return Pick(serial, ticket_id(self._event_id, self._tier_id, serial), 0)
        return self._returned.popitem()[1] if self._returned else None

    def put_back(self, picks: Sequence[Pick]) -> None:
        for pick in picks:
            self._picked.discard(pick.ticket_id)
            self._returned[pick.ticket_id] = pick

    def found(self, pick: Pick, ticket: Ticket) -> bool:
        if ticket.status is TicketStatus.AVAILABLE:
            return True
        self._picked.discard(pick.ticket_id)
        if ticket.status is TicketStatus.HELD and isinstance(pick.place, int):
            self._held[pick.ticket_id] = pick.place
        return False


class SeatPool:
    """Numbered seats in the order in which they were released: the organiser's order of quality."""

    def __init__(self, event_id: UUID, tier_id: UUID, rng: random.Random) -> None:  # noqa: ARG002 - best is best
        self._event_id = event_id
        self._tier_id = tier_id
        self._rows: dict[tuple[str, str], list[Seat]] = {}
        self._place: dict[str, tuple[tuple[str, str], int]] = {}
        self._free_in_row: dict[tuple[str, str], int] = {}
        self._held: dict[UUID, str] = {}
        self._taken: set[str] = set()
        self._versions: dict[str, int] = {}
        self._releases_seen = 0

    def offer(self, tier: Tier, *, at: datetime) -> None:
        for release in tier.releases[self._releases_seen :]:
            if release.on_sale_at is not None and release.on_sale_at > at:
                break
            self._releases_seen += 1
            for seat in release.seats or ():
                row = (seat.section, seat.row)
                seats = self._rows.setdefault(row, [])
                self._place[seat.key] = (row, len(seats))
                seats.append(seat)
                self._free_in_row[row] = self._free_in_row.get(row, 0) + (seat.key not in self._taken)

    def know(self, place: int | str, ticket_id: UUID, version: int, *, free: bool) -> None:
        self._versions[str(place)] = version
        if not free:
            self._held[ticket_id] = str(place)
            self._take(str(place))

    def hear(self, followed: Followed) -> None:
        match followed.fact:
            case Ticket.Held(seat=Seat() as seat):
                self._held[followed.stream_id] = seat.key
                self._versions[seat.key] = followed.version
                self._take(seat.key)
            case Ticket.Released():
                key = self._held.pop(followed.stream_id, None)
                if key is not None:
                    self._versions[key] = followed.version
                    self._free(key)
            case Ticket.Paid():
                self._held.pop(followed.stream_id, None)

    def take(self, quantity: int, *, adjacent: bool) -> list[Pick]:
        seats = self._run_of(quantity) or ([] if adjacent else self._first(quantity))
        if len(seats) < quantity:
            raise SoldOutError("there are not enough adjacent seats left" if adjacent else "")
        for seat in seats:
            self._take(seat.key)
        return [
            Pick(seat, ticket_id(self._event_id, self._tier_id, seat), self._versions.get(seat.key, 0))
            for seat in seats
        ]

    def put_back(self, picks: Sequence[Pick]) -> None:
        for pick in picks:
            if isinstance(pick.place, Seat):
                self._versions[pick.place.key] = pick.version
                self._free(pick.place.key)

    def found(self, pick: Pick, ticket: Ticket) -> bool:
        if isinstance(pick.place, Seat):
            self._versions[pick.place.key] = ticket.version
            if ticket.status is not TicketStatus.AVAILABLE:
                self._held[ticket.id] = pick.place.key
                return False
        return True

    def _run_of(self, quantity: int) -> list[Seat]:
        """The first run of free neighbours in one row, in the order of release."""
        for row, seats in self._rows.items():
            if self._free_in_row[row] < quantity:
                continue
            start = 0
            for end, seat in enumerate(seats, 1):
                if seat.key in self._taken:
                    start = end
                elif end - start == quantity:
                    return seats[start:end]
        return []

    def _first(self, quantity: int) -> list[Seat]:
        found: list[Seat] = []
        for row, seats in self._rows.items():
            if self._free_in_row[row]:
                found.extend(seat for seat in seats if seat.key not in self._taken)
            if len(found) >= quantity:
                break
        return found[:quantity]

    def _take(self, key: str) -> None:
        if key not in self._taken:
            self._taken.add(key)
            self._count(key, -1)

    def _free(self, key: str) -> None:
        if key in self._taken:
            self._taken.discard(key)
            self._count(key, +1)

    def _count(self, key: str, change: int) -> None:
        place = self._place.get(key)
        if place is not None:
            self._free_in_row[place[0]] += change
