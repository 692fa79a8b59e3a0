"""What organisers do with their events: to others these do not exist, and two changes at once are both kept or refused."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from commands.account import SetRoles
from commands.event import (
    AddTier,
    ArchiveEvent,
    CancelEvent,
    ChangeEvent,
    CreateEvent,
    KeepTime,
    NewRelease,
    NewTier,
    OrganizerCommand,
    PostponeEvent,
    PreconditionFailedError,
    PublishEvent,
    ReleaseTickets,
    StaffGates,
    doors_before,
)
from commands.kernel import Command
from domain.account import Role
from domain.event import Event, EventOverError, NotADraftError, NotEndedError, NothingToSellError, SeatExistsError
from domain.event_details import Release
from domain.kernel import InvalidError, NotFoundError
from tests.commands.shop import Shop, first_tier, in_a_shop, names, seated, standing, together
from tests.domain.event_facts import details, seat
from tests.domain.happening import DOORS, ENDS, NOW, ORGANIZER, STARTS, STRANGER, numbered

WEEK = timedelta(weeks=1)


def change(event: Event, *, expected_version: int | None = None, **changes: object) -> ChangeEvent:
    return ChangeEvent(event_id=event.id, organizer_id=ORGANIZER, changes=changes, expected_version=expected_version)


def publish(event: Event) -> PublishEvent:
    return PublishEvent(event_id=event.id, organizer_id=ORGANIZER)


def cancel(event: Event) -> CancelEvent:
    return CancelEvent(event_id=event.id, organizer_id=ORGANIZER, reason="the soloist is ill")


def postpone(event: Event, by: timedelta = WEEK) -> PostponeEvent:
    return PostponeEvent(event_id=event.id, organizer_id=ORGANIZER, starts_at=STARTS + by, ends_at=ENDS + by)


def archive(event: Event) -> ArchiveEvent:
    return ArchiveEvent(event_id=event.id, organizer_id=ORGANIZER)


def add(event: Event, tier: NewTier) -> AddTier:
    return AddTier(event_id=event.id, organizer_id=ORGANIZER, tier=tier)


def release(event: Event, **what: object) -> ReleaseTickets:
    new = NewRelease.model_validate(what)
    return ReleaseTickets(event_id=event.id, organizer_id=ORGANIZER, tier_id=first_tier(event), release=new)


def staff(event: Event, *user_ids: UUID) -> StaffGates:
    return StaffGates(event_id=event.id, organizer_id=ORGANIZER, user_ids=user_ids)


async def drafted(shop: Shop, *tiers: NewTier, **changes: object) -> Event:
    command = CreateEvent(organizer_id=ORGANIZER, currency="EUR", details=details(**changes), tiers=tiers)
    event: Event = await shop.do(command)
    return event


async def now(shop: Shop, event: Event) -> Event:
    return (await shop.store.load(Event, [event.id]))[0]


# -- Done. -------------------------------------------------------------------------------


@in_a_shop
async def test_an_event_is_drafted_with_its_tiers_and_places_in_one_append(shop: Shop) -> None:
    event = await drafted(shop, standing(10, price=1250), seated(seat(1), seat(2), price=9900))
    assert [fact.topic for fact in shop.facts()] == [
        "event.drafted",
        "event.tier_added",
        "event.released",
        "event.tier_added",
        "event.released",
    ]
    assert [(tier.price, tier.capacity, tier.seated) for tier in event.tiers.values()] == [
        (1250, 10, False),
        (9900, 2, True),
    ]
    assert await now(shop, event) == event


@in_a_shop
async def test_a_draft_is_published_goes_live_ends_and_is_put_away(shop: Shop) -> None:
    event = await drafted(shop, standing(10))
    keep = KeepTime(event_id=event.id)
    seen = [event.status, (await shop.do(publish(event))).status]
    for shop.clock.now in (DOORS, ENDS):
        seen.append((await shop.do(keep)).status)
    seen.append((await shop.do(archive(event))).status)
    assert seen == ["draft", "published", "live", "ended", "archived"]


@in_a_shop
async def test_details_are_changed_one_by_one(shop: Shop) -> None:
    event = await shop.event_on_sale()
    changed = await shop.do(change(event, title="An evening of string quintets"))
    assert changed.known_details == details(title="An evening of string quintets")


@in_a_shop
async def test_the_doors_move_with_the_start_unless_told_otherwise(shop: Shop) -> None:
    event = await shop.event_on_sale()
    moved = await shop.do(change(event, starts_at=STARTS + WEEK, ends_at=ENDS + WEEK))
    assert moved.known_details.doors_open_at == DOORS + WEEK
    told = await shop.do(change(event, starts_at=STARTS, ends_at=ENDS, doors_open_at=STARTS))
    assert told.known_details.doors_open_at == STARTS
    assert doors_before(STARTS) == DOORS


@in_a_shop
async def test_an_event_is_postponed_and_sells_on(shop: Shop) -> None:
    event = await shop.event_on_sale()
    shop.clock.now = DOORS
    await shop.do(KeepTime(event_id=event.id))
    postponed = await shop.do(postpone(event))
    assert (postponed.status, postponed.known_details.starts_at) == ("published", STARTS + WEEK)
    assert (await shop.order(event)).status == "pending"


@in_a_shop
async def test_tiers_and_places_are_added_while_the_event_sells(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1))
    await shop.order(event)
    await shop.do(release(event, quantity=2))
    grown = await shop.do(add(event, standing(5, price=9900)))
    assert [tier.capacity for tier in grown.tiers.values()] == [3, 5]
    assert len((await shop.order(event, 2)).lines) == 2


@in_a_shop
async def test_a_release_may_wait_for_its_time(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1))
    grown = await shop.do(release(event, quantity=4, on_sale_at=NOW + WEEK))
    waiting = grown.tiers[first_tier(event)].releases[-1]
    assert isinstance(waiting, Release)
    assert (waiting.quantity, waiting.seats, waiting.on_sale_at) == (4, None, NOW + WEEK)


@in_a_shop
async def test_the_gate_is_staffed_with_people_who_have_the_role(shop: Shop) -> None:
    event = await shop.event_on_sale()
    one, other = [await shop.somebody(Role.GATE) for _ in range(2)]
    assert (await shop.do(staff(event, one, other))).gate_staff == {one, other}
    assert (await shop.do(staff(event))).gate_staff == frozenset()


# -- Refused. ------------------------------------------------------------------------------


@in_a_shop
async def test_to_others_an_event_does_not_exist(shop: Shop) -> None:
    event = await drafted(shop, standing(10))
    before = shop.facts()
    commands: list[OrganizerCommand] = [
        change(event, title="Mine"),
        publish(event),
        cancel(event),
        postpone(event),
        archive(event),
        add(event, standing(1)),
        release(event, quantity=1),
        staff(event),
    ]
    for command in commands:
        for changes in ({"organizer_id": STRANGER}, {"event_id": numbered(404)}):
            with pytest.raises(NotFoundError):
                await shop.do(command.model_copy(update=changes))
    assert shop.facts() == before


@in_a_shop
async def test_impossible_plans_record_nothing(shop: Shop) -> None:
    event = await shop.event_on_sale(seated(seat(1)))
    before = shop.facts()
    refused: list[tuple[type[Exception], Command]] = [
        (InvalidError, change(event, ends_at=STARTS)),
        (InvalidError, postpone(event, by=-WEEK * 10)),
        (InvalidError, release(event, quantity=3)),
        (SeatExistsError, release(event, seats=(seat(2), seat(1)))),
        (SeatExistsError, add(event, seated(seat(1)))),
        (NotADraftError, publish(event)),
        (NotEndedError, archive(event)),
        (NotFoundError, release(event, quantity=1).model_copy(update={"tier_id": numbered(404)})),
    ]
    for error, command in refused:
        with pytest.raises(error):
            await shop.do(command)
    with pytest.raises(InvalidError):
        await drafted(shop, standing(1), ends_at=STARTS)
    assert shop.facts() == before


@in_a_shop
async def test_an_event_with_nothing_to_sell_is_not_published(shop: Shop) -> None:
    with pytest.raises(NothingToSellError):
        await shop.do(publish(await drafted(shop)))


@in_a_shop
async def test_what_was_called_off_is_over(shop: Shop) -> None:
    event = await shop.event_on_sale()
    await shop.do(cancel(event))
    for command in (
        change(event, title="Again"),
        postpone(event),
        cancel(event),
        add(event, standing(1)),
        staff(event),
    ):
        with pytest.raises(EventOverError):
            await shop.do(command)


@in_a_shop
async def test_the_gate_is_not_staffed_with_people_who_are_unknown_or_lack_the_role(shop: Shop) -> None:
    event = await shop.event_on_sale()
    steward = await shop.somebody(Role.GATE)
    organizer = await shop.somebody(Role.ATTENDEE, Role.ORGANIZER)
    for unfit in (organizer, numbered(404)):
        with pytest.raises(InvalidError) as refused:
            await shop.do(staff(event, steward, unfit))
        assert refused.value.pointer == "/user_ids/1"


# -- Repeated. -------------------------------------------------------------------------------


@in_a_shop
async def test_repeating_a_change_adds_nothing(shop: Shop) -> None:
    event = await shop.event_on_sale()
    steward = await shop.somebody(Role.GATE)
    commands = (change(event, title="Quintets"), staff(event, steward), KeepTime(event_id=event.id))
    for command in commands:
        await shop.do(command)
    before = shop.facts()
    for command in commands:
        await shop.do(command)
    await shop.do(KeepTime(event_id=numbered(404)))
    assert shop.facts() == before


@in_a_shop
async def test_a_change_made_from_an_old_look_is_refused(shop: Shop) -> None:
    event = await shop.event_on_sale()
    await shop.do(change(event, title="Quintets", expected_version=event.version))
    with pytest.raises(PreconditionFailedError):
        await shop.do(change(event, title="Sextets", expected_version=event.version))
    assert (await now(shop, event)).known_details.title == "Quintets"


# -- Raced. ----------------------------------------------------------------------------------


@in_a_shop
async def test_of_two_changes_made_from_one_look_one_is_kept(shop: Shop) -> None:
    event = await shop.event_on_sale()
    titles = [f"An evening of {number} strings" for number in range(10)]
    outcomes = await together(
        *(shop.do(change(event, title=title, expected_version=event.version)) for title in titles)
    )
    assert names(outcomes) == ["Event"] + ["PreconditionFailedError"] * 9


@in_a_shop
async def test_changes_of_different_things_at_once_are_all_kept(shop: Shop) -> None:
    event = await shop.event_on_sale(standing(1))
    async with Shop(shop.database) as elsewhere:
        outcomes = await together(
            shop.do(change(event, title="Quintets")),
            elsewhere.do(change(event, description="Mozart and Brahms")),
            shop.do(release(event, quantity=2)),
            elsewhere.do(add(event, standing(3))),
        )
    assert names(outcomes) == ["Event"] * 4
    kept = await now(shop, event)
    assert (kept.known_details.title, kept.known_details.description) == ("Quintets", "Mozart and Brahms")
    assert [tier.capacity for tier in kept.tiers.values()] == [3, 3]


@in_a_shop
async def test_one_seat_released_twice_at_once_exists_once(shop: Shop) -> None:
    event = await shop.event_on_sale(seated(seat(1)))
    outcomes = await together(*(shop.do(release(event, seats=(seat(2),))) for _ in range(5)))
    assert names(outcomes) == ["Event"] + ["SeatExistsError"] * 4
    assert (await now(shop, event)).tiers[first_tier(event)].capacity == 2


@in_a_shop
async def test_many_timekeepers_end_an_event_once(shop: Shop) -> None:
    event = await shop.event_on_sale()
    shop.clock.now = ENDS
    outcomes = await together(*(shop.do(KeepTime(event_id=event.id)) for _ in range(10)))
    assert names(outcomes) == ["Event"] * 10
    assert [fact.topic for fact in shop.facts(event.id)].count("event.ended") == 1


@in_a_shop
async def test_nobody_is_staffed_who_lost_the_role_meanwhile(shop: Shop) -> None:
    event = await shop.event_on_sale()
    steward = await shop.somebody(Role.GATE)
    demotion = SetRoles(user_id=steward, roles=frozenset({Role.ATTENDEE}), by=None)
    outcomes = await together(shop.do(staff(event, steward)), shop.do(demotion))
    topics = [fact.topic for fact in shop.facts()]
    if "event.gate_staffed" in topics:
        assert topics.index("event.gate_staffed") < topics.index("account.roles_set")
    else:
        assert names(outcomes) == ["Account", "InvalidError"]
