"""The contract once more, in plain Python: dictionaries and sets instead of packed words.

It is written from the specification. What it says of a batch (the logs, in order) and of every ticket afterwards is
what the contract must say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.contracts import operations as op
from tests.contracts.decoding import Said, said

ZERO = "0x" + "00" * 20
SERIALS_PER_WORD = 256
HOLDERS_COUNT = 256
"""What a holder's own transfer adds to a version: the mirror's add 1."""


@dataclass(slots=True)
class Event:
    issued: int = 0
    ends_at: int = 0
    cap: int = 0
    royalty: int = 0
    flags: int = 0

    @property
    def cancelled(self) -> bool:
        return bool(self.flags & op.CANCELLED)

    def open(self, now: int) -> bool:
        return bool(self.flags & op.TRANSFERS_OPEN) or now >= self.ends_at


class Place(NamedTuple):
    """Where a ticket is: in this wallet, or in custody (None), after so many changes of owner."""

    wallet: str | None = None
    version: int = 0


class Skipped(Exception):  # noqa: N818 - not an error: the batch goes on
    def __init__(self, reason: int) -> None:
        self.reason = reason


@dataclass
class Model:
    custodian: str
    events: dict[int, Event] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)
    checked_in: set[int] = field(default_factory=set)
    void: set[int] = field(default_factory=set)
    now: int = 0
    logs: list[Said] = field(default_factory=list)

    # -- What can be asked --------------------------------------------------------

    def state(self, ticket: int) -> int:
        event = self.events.get(ticket >> 32)
        if event is None or ticket & 0xFFFFFFFF >= event.issued:
            return 0
        place = self._place(ticket)
        flags = 1 | (ticket in self.checked_in) << 1 | self.is_void(ticket) << 2 | (place.wallet is None) << 3
        return int(place.wallet or self.custodian, 16) | place.version << 160 | flags << 176

    def balances(self) -> Counter[str]:
        """Of each wallet, and of the custodian."""
        held = Counter(place.wallet for place in self.places.values() if place.wallet is not None)
        issued = sum(event.issued for event in self.events.values())
        return Counter({**held, self.custodian: issued - held.total()})

    def is_void(self, ticket: int) -> bool:
        return ticket in self.void or self.events[ticket >> 32].cancelled

    def locked(self, ticket: int) -> bool:
        event = self.events[ticket >> 32]
        open_ = event.open(self.now) or ticket in self.checked_in
        return self.is_void(ticket) or self._place(ticket).wallet is None or not open_

    def apply(self, seq: int, ops: list[tuple[int, tuple[object, ...]]], now: int) -> list[Said]:
        """The logs of a batch of decoded operations."""
        self.now, self.logs = now, []
        for index, (kind, fields) in enumerate(ops):
            try:
                getattr(self, HANDLERS[kind])(*fields)
            except Skipped as skipped:
                self.logs.append(said("OpSkipped", seq, index, kind, skipped.reason))
        return self.logs

    # -- Operations ---------------------------------------------------------------

    def rules(self, number: int, ends_at: int, cap: int, royalty: int, flags: int) -> None:
        self._refuse(op.UNKNOWN_EVENT, unless=1 <= number <= len(self.events) + 1)
        self._refuse(op.BAD_RULES, unless=royalty <= 10_000 and flags <= 3)
        event = self.events.setdefault(number, Event())
        event.ends_at, event.cap, event.royalty, event.flags = ends_at, cap, royalty, flags
        self._say("EventConfigured", number, ends_at, cap, royalty, flags)

    def issue(self, number: int, first: int, count: int) -> None:
        event = self._event(number)
        self._refuse(op.OUT_OF_ORDER, unless=first == event.issued)
        event.issued += count
        for serial in range(first, first + count):
            self._say("Transfer", ZERO, self.custodian, op.token(number, serial))

    def deliver(self, ticket: int, version: int, to: str) -> None:
        self._change(ticket, version, to, from_places={"custody"}, to_places={"wallet"})

    def move(self, ticket: int, version: int, to: str) -> None:
        from_places = {"wallet", "custody"} if to == op.CUSTODY else {"wallet"}
        self._change(ticket, version, to, from_places=from_places, to_places={"wallet", "custody"})

    def resale(self, ticket: int, version: int, to: str, price: int) -> None:
        anywhere = {"wallet", "custody"}
        self._change(ticket, version, to, from_places=anywhere, to_places=anywhere, price=price)

    def check_in(self, ticket: int) -> None:
        self._existing(ticket)
        self._refuse(op.CHECKED_IN_ALREADY, unless=ticket not in self.checked_in)
        self._refuse(op.VOIDED, unless=not self.is_void(ticket))
        was_locked = self.locked(ticket)
        self.checked_in.add(ticket)
        self._marked("CheckedIn", ticket, was_locked=was_locked)

    def undo_check_in(self, ticket: int) -> None:
        self._existing(ticket)
        self._refuse(op.VOIDED, unless=ticket not in self.void)
        self._refuse(op.NOT_CHECKED_IN, unless=ticket in self.checked_in)
        was_locked = self.locked(ticket)
        self.checked_in.remove(ticket)
        self._marked("CheckInUndone", ticket, was_locked=was_locked)

    def void_one(self, ticket: int) -> None:
        self._existing(ticket)
        self._refuse(op.CHECKED_IN_ALREADY, unless=ticket not in self.checked_in)
        self._refuse(op.VOIDED_ALREADY, unless=ticket not in self.void)
        was_locked = self.locked(ticket)
        self.void.add(ticket)
        self._marked("Voided", ticket, was_locked=was_locked)

    def unvoid(self, ticket: int) -> None:
        self._existing(ticket)
        self._refuse(op.NOT_VOIDED, unless=ticket in self.void)
        was_locked = self.locked(ticket)
        self.void.remove(ticket)
        self._marked("VoidUndone", ticket, was_locked=was_locked)

    def check_in_word(self, number: int, word: int, mask: int) -> None:
        event = self._event(number)
        applied = 0 if event.cancelled else self._spend(number, word, mask, self.checked_in)
        self._marked_word("CheckedInWord", number, word, mask, applied)

    def void_word(self, number: int, word: int, mask: int) -> None:
        self._event(number)
        self._marked_word("VoidedWord", number, word, mask, self._spend(number, word, mask, self.void))

    # -- A holder's own -----------------------------------------------------------

    def transfer(self, ticket: int, to: str, now: int) -> list[Said]:
        """By its holder. The logs, or the error that the contract refuses it with."""
        self.now, self.logs = now, []
        place = self._place(ticket)
        try:
            self._change(ticket, place.version, to, from_places={"wallet"}, to_places={"wallet"}, direct=True)
        except Skipped as skipped:
            return [said("TransferRefused", ticket, skipped.reason)]
        self._say("HolderTransfer", ticket, place.wallet, to, self._place(ticket).version)
        return self.logs

    # -- Rules --------------------------------------------------------------------

    def _change(
        self,
        ticket: int,
        version: int,
        to: str,
        *,
        from_places: set[str],
        to_places: set[str],
        price: int | None = None,
        direct: bool = False,
    ) -> None:
        event, place = self._existing(ticket), self._place(ticket)
        receiver = "custody" if to == op.CUSTODY else "wallet"
        self._refuse(op.WRONG_VERSION, unless=version == place.version)
        self._refuse(op.WRONG_PLACE, unless=("custody" if place.wallet is None else "wallet") in from_places)
        self._refuse(op.VOIDED, unless=not self.is_void(ticket))
        self._refuse(op.ABOVE_CAP, unless=price is None or price <= event.cap)
        self._refuse(op.BAD_RECEIVER, unless=receiver in to_places and to != self.custodian)
        was_locked = self.locked(ticket)
        self._refuse(op.LOCKED, unless=not (direct and was_locked))
        if place.wallet is not None or receiver == "wallet":
            count = HOLDERS_COUNT if direct else 1
            self.places[ticket] = Place(to if receiver == "wallet" else None, (place.version + count) % 2**16)
        after = self._place(ticket)
        self._say("Transfer", place.wallet or self.custodian, after.wallet or self.custodian, ticket)
        self._say_lock(ticket, was_locked=was_locked)
        if price is not None:
            self._say("Resold", ticket, price, price * event.royalty // 10_000)

    def _spend(self, number: int, word: int, mask: int, into: set[int]) -> int:
        applied = 0
        for bit in range(SERIALS_PER_WORD):
            serial = word * SERIALS_PER_WORD + bit
            ticket = op.token(number, serial)
            free = ticket not in self.checked_in and ticket not in self.void
            if mask >> bit & 1 and free and serial < self.events[number].issued:
                into.add(ticket)
                applied |= 1 << bit
        return applied

    def _marked_word(self, name: str, number: int, word: int, mask: int, applied: int) -> None:
        if applied:
            first = op.token(number, word * SERIALS_PER_WORD)
            self._say("BatchMetadataUpdate", first, first + SERIALS_PER_WORD - 1)
            self._say(name, number, word, applied)
        self._refuse(op.PARTIAL, unless=applied == mask != 0)

    def _marked(self, name: str, ticket: int, *, was_locked: bool) -> None:
        self._say(name, ticket)
        self._say("MetadataUpdate", ticket)
        self._say_lock(ticket, was_locked=was_locked)

    def _say_lock(self, ticket: int, *, was_locked: bool) -> None:
        if self.locked(ticket) != was_locked:
            self._say("Unlocked" if was_locked else "Locked", ticket)

    def _event(self, number: int) -> Event:
        self._refuse(op.UNKNOWN_EVENT, unless=number in self.events)
        return self.events[number]

    def _existing(self, ticket: int) -> Event:
        event = self._event(ticket >> 32)
        self._refuse(op.NOT_ISSUED, unless=ticket & 0xFFFFFFFF < event.issued)
        return event

    def _place(self, ticket: int) -> Place:
        return self.places.get(ticket, Place())

    def _say(self, name: str, *args: object) -> None:
        self.logs.append(said(name, *args))

    @staticmethod
    def _refuse(reason: int, *, unless: bool) -> None:
        if not unless:
            raise Skipped(reason)


HANDLERS = {
    op.RULES: "rules",
    op.ISSUE: "issue",
    op.DELIVER: "deliver",
    op.MOVE: "move",
    op.RESALE: "resale",
    op.CHECK_IN: "check_in",
    op.CHECK_IN_WORD: "check_in_word",
    op.VOID: "void_one",
    op.VOID_WORD: "void_word",
    op.UNDO_CHECK_IN: "undo_check_in",
    op.UNVOID: "unvoid",
}
