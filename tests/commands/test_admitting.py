"""The gate: who may admit, what a code proves, and one entry for each ticket whatever happens at once."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from adapters.codes import Ed25519TicketCodes
from commands.event import CancelEvent, KeepTime, PostponeEvent, StaffGates
from commands.ticket import CheckIn, RevokeTicket
from domain.account import Role
from domain.event import Event
from domain.kernel import ForbiddenError, NotFoundError
from domain.ticket import Ticket
from domain.ticket_refusals import (
    AlreadyCheckedInError,
    BadCodeError,
    CancelledError,
    DoorsClosedError,
    NotPaidError,
    NotYetOpenError,
    WrongEventError,
)
from tests.commands.shop import Shop, in_a_shop, names, standing, together
from tests.domain.happening import BUYER, DOORS, ENDS, FRIEND, MOMENT, ORGANIZER, STARTS, STRANGER, numbered


def entry(code: str, *, gate: str = "North", by: UUID = ORGANIZER, event_id: UUID | None = None) -> CheckIn:
    return CheckIn(code=code, gate=gate, by=by, event_id=event_id)


def code_of(shop: Shop, ticket: Ticket) -> str:
    return shop.codes.sign(ticket.id, ticket.custody)


async def at_the_doors(shop: Shop) -> tuple[Event, Ticket, str]:
    """An event whose doors have just opened, a paid ticket for it and its code."""
    event = await shop.event_on_sale()
    ticket = await shop.ticket(event)
    shop.clock.now = DOORS
    return event, ticket, code_of(shop, ticket)


async def staffed(shop: Shop, event: Event) -> UUID:
    """The one steward at the event's gate."""
    steward = await shop.somebody(Role.GATE)
    await shop.do(StaffGates(event_id=event.id, organizer_id=ORGANIZER, user_ids=(steward,)))
    return steward


# -- Done. -------------------------------------------------------------------------------


@in_a_shop
async def test_a_code_admits_its_bearer(shop: Shop) -> None:
    _, ticket, code = await at_the_doors(shop)
    admitted = await shop.do(entry(code))
    assert (admitted.id, admitted.status, admitted.checked_in_at, admitted.gate) == (
        ticket.id,
        "checked_in",
        DOORS,
        "North",
    )


@in_a_shop
async def test_gate_staff_admit_where_the_organiser_put_them(shop: Shop) -> None:
    event, _, code = await at_the_doors(shop)
    steward = await staffed(shop, event)
    assert (await shop.do(entry(code, by=steward, event_id=event.id))).status == "checked_in"


# -- Refused. ------------------------------------------------------------------------------


@in_a_shop
async def test_only_the_organiser_and_the_gate_staff_of_this_event_admit(shop: Shop) -> None:
    event, _, code = await at_the_doors(shop)
    other = await shop.event_on_sale()
    steward = await staffed(shop, other)
    for person in (BUYER, STRANGER, steward):
        with pytest.raises(ForbiddenError):
            await shop.do(entry(code, by=person))
    assert [fact.topic for fact in shop.facts(event.id)][-1] == "event.published"


@in_a_shop
async def test_who_was_taken_off_the_gate_admits_no_more(shop: Shop) -> None:
    event, _, code = await at_the_doors(shop)
    steward = await staffed(shop, event)
    await shop.do(StaffGates(event_id=event.id, organizer_id=ORGANIZER, user_ids=()))
    with pytest.raises(ForbiddenError):
        await shop.do(entry(code, by=steward))


@in_a_shop
async def test_a_code_that_we_did_not_sign_admits_nobody(shop: Shop) -> None:
    _, ticket, code = await at_the_doors(shop)
    somebody_elses = Ed25519TicketCodes(b"a secret that somebody else made up").sign(ticket.id, ticket.custody)
    for forged in ("", "CF1.", code[:-1], code + "A", code.swapcase(), code[:-4] + "AAAA", somebody_elses, "é" * 116):
        with pytest.raises(BadCodeError):
            await shop.do(entry(forged))
    assert (await shop.tickets([ticket.id]))[0].status == "paid"


@in_a_shop
async def test_a_signed_code_for_a_place_that_nobody_ever_held_admits_nobody(shop: Shop) -> None:
    with pytest.raises(NotFoundError):
        await shop.do(entry(shop.codes.sign(numbered(404), 0)))


@in_a_shop
async def test_a_gate_of_another_event_says_so(shop: Shop) -> None:
    event, _, code = await at_the_doors(shop)
    other = await shop.event_on_sale()
    steward = await staffed(shop, other)
    for person in (ORGANIZER, steward):
        with pytest.raises(WrongEventError) as refused:
            await shop.do(entry(code, by=person, event_id=other.id))
        assert refused.value.facts == {"event_id": event.id}


@in_a_shop
async def test_a_hold_does_not_admit(shop: Shop) -> None:
    event, _, _ = await at_the_doors(shop)
    (held,) = await shop.tickets_of(await shop.order(event))
    with pytest.raises(NotPaidError):
        await shop.do(entry(code_of(shop, held)))


@in_a_shop
async def test_a_revoked_ticket_does_not_admit(shop: Shop) -> None:
    _, ticket, code = await at_the_doors(shop)
    await shop.do(RevokeTicket(ticket_id=ticket.id, organizer_id=ORGANIZER, reason="sold to a tout"))
    with pytest.raises(CancelledError, match="tout"):
        await shop.do(entry(code))


@in_a_shop
async def test_the_doors_open_and_close_by_the_clock(shop: Shop) -> None:
    event, _, code = await at_the_doors(shop)
    shop.clock.now = DOORS - MOMENT
    with pytest.raises(NotYetOpenError):
        await shop.do(entry(code))
    shop.clock.now = ENDS
    with pytest.raises(DoorsClosedError):
        await shop.do(entry(code))
    await shop.do(KeepTime(event_id=event.id))
    with pytest.raises(DoorsClosedError):
        await shop.do(entry(code))


@in_a_shop
async def test_a_postponed_event_admits_at_its_new_time(shop: Shop) -> None:
    event, _, code = await at_the_doors(shop)
    week = timedelta(weeks=1)
    move = PostponeEvent(event_id=event.id, organizer_id=ORGANIZER, starts_at=STARTS + week, ends_at=ENDS + week)
    await shop.do(move)
    with pytest.raises(NotYetOpenError):
        await shop.do(entry(code))
    shop.clock.now = DOORS + week
    assert (await shop.do(entry(code))).status == "checked_in"


# -- Repeated and raced. -----------------------------------------------------------------------


@in_a_shop
async def test_the_second_entry_is_told_of_the_first(shop: Shop) -> None:
    _, ticket, code = await at_the_doors(shop)
    await shop.do(entry(code, gate="North"))
    shop.clock.now = DOORS + timedelta(minutes=5)
    with pytest.raises(AlreadyCheckedInError) as refused:
        await shop.do(entry(code, gate="South"))
    assert refused.value.facts == {"checked_in_at": DOORS, "gate": "North"}
    assert len(shop.facts(ticket.id)) == 3


@in_a_shop
async def test_of_two_entries_at_once_one_is_admitted(shop: Shop) -> None:
    _, ticket, code = await at_the_doors(shop)
    async with Shop(shop.database) as elsewhere:
        elsewhere.clock.now = DOORS
        gates = [(place, gate) for place in (shop, elsewhere) for gate in ("North", "South", "East", "West")]
        outcomes = await together(*(place.do(entry(code, gate=gate)) for place, gate in gates))
    assert names(outcomes) == ["AlreadyCheckedInError"] * 7 + ["Ticket"]
    (admitted,) = (each for each in outcomes if isinstance(each, Ticket))
    refusals = [each for each in outcomes if isinstance(each, AlreadyCheckedInError)]
    assert {refusal.facts["gate"] for refusal in refusals} == {admitted.gate}
    assert [fact.topic for fact in shop.facts(ticket.id)].count("ticket.checked_in") == 1


@in_a_shop
async def test_of_an_entry_and_a_revocation_at_once_one_happens(shop: Shop) -> None:
    _, ticket, code = await at_the_doors(shop)
    revocation = RevokeTicket(ticket_id=ticket.id, organizer_id=ORGANIZER, reason="sold to a tout")
    outcomes = await together(shop.do(entry(code)), shop.do(revocation))
    assert names(outcomes) in (["AlreadyCheckedInError", "Ticket"], ["CancelledError", "Ticket"])


@in_a_shop
async def test_nobody_is_admitted_once_the_event_is_called_off(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(20))
    tickets = [await shop.ticket(event, buyer_id=FRIEND) for _ in range(20)]
    shop.clock.now = DOORS
    entries = [shop.do(entry(code_of(shop, ticket))) for ticket in tickets]
    call_off = shop.do(CancelEvent(event_id=event.id, organizer_id=ORGANIZER, reason="a bomb scare"))
    outcomes = await together(*entries[:10], call_off, *entries[10:])
    assert set(names(outcomes)) <= {"Ticket", "CancelledError", "Event"}
    topics = [fact.topic for fact in shop.facts()]
    assert "ticket.checked_in" not in topics[topics.index("event.cancelled") :]


@in_a_shop
async def test_nobody_is_admitted_by_who_was_taken_off_the_gate_meanwhile(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(20))
    steward = await staffed(shop, event)
    tickets = [await shop.ticket(event, buyer_id=FRIEND) for _ in range(20)]
    shop.clock.now = DOORS
    entries = [shop.do(entry(code_of(shop, ticket), by=steward)) for ticket in tickets]
    dismissal = shop.do(StaffGates(event_id=event.id, organizer_id=ORGANIZER, user_ids=()))
    outcomes = await together(*entries[:10], dismissal, *entries[10:])
    assert set(names(outcomes)) <= {"Ticket", "ForbiddenError", "Event"}
    topics = [fact.topic for fact in shop.facts()]
    last = len(topics) - topics[::-1].index("event.gate_staffed")
    assert "ticket.checked_in" not in topics[last:]
