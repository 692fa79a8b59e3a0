"""The life of an event: published, moved, called off, begun, ended, put away."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from domain.event import Event, EventOverError, NotADraftError, NotEndedError, NothingToSellError
from domain.kernel import Fact, InvalidError, NotFoundError
from tests.domain.event_facts import (
    ARCHIVED,
    DRAFT,
    ENDED,
    ON_SALE,
    PUBLISHED,
    WENT_LIVE,
    cancelled,
    drafted,
    tier_added,
)
from tests.domain.happening import BUYER, DOORS, ENDS, FRIEND, MOMENT, NOW, STARTS, STRANGER
from tests.given import folded, given

WEEK = timedelta(weeks=1)
OVER = [(WENT_LIVE, ENDED), (WENT_LIVE, ENDED, ARCHIVED), (cancelled(),), (cancelled(), ARCHIVED)]


def moved(by: timedelta) -> Event.Postponed:
    return Event.Postponed(starts_at=STARTS + by, ends_at=ENDS + by, doors_open_at=DOORS + by, at=NOW)


def staffed(*user_ids: UUID) -> Event.GateStaffed:
    return Event.GateStaffed(user_ids=user_ids, at=NOW)


# -- Publishing. -----------------------------------------------------------------------


def test_a_draft_can_be_published() -> None:
    given(Event, *DRAFT).when(lambda event: event.publish(at=NOW)).then(PUBLISHED)


@pytest.mark.parametrize("since", [(), (WENT_LIVE,), *OVER])
def test_only_a_draft_can_be_published(since: tuple[Fact, ...]) -> None:
    given(Event, *ON_SALE, *since).when(lambda event: event.publish(at=NOW)).then_refused(NotADraftError)


def test_an_event_without_tiers_cannot_be_published() -> None:
    given(Event, drafted()).when(lambda event: event.publish(at=NOW)).then_refused(NothingToSellError)


def test_an_event_that_would_be_over_cannot_be_published() -> None:
    given(Event, *DRAFT).when(lambda event: event.publish(at=ENDS)).then_refused(EventOverError)
    given(Event, *DRAFT).when(lambda event: event.publish(at=ENDS - MOMENT)).then(Event.Published(at=ENDS - MOMENT))


# -- Moving. ---------------------------------------------------------------------------


@pytest.mark.parametrize("by", [WEEK, -timedelta(hours=1)])
@pytest.mark.parametrize("history", [DRAFT, ON_SALE, (*ON_SALE, WENT_LIVE)])
def test_an_event_can_be_moved_and_its_doors_move_along(history: tuple[Fact, ...], by: timedelta) -> None:
    (
        given(Event, *history)
        .when(lambda event: event.postpone(starts_at=STARTS + by, ends_at=ENDS + by, at=NOW))
        .then(moved(by))
    )


def test_a_moved_event_waits_for_its_new_doors() -> None:
    event = folded(Event, *ON_SALE, WENT_LIVE, moved(WEEK))
    assert (event.status, event.next_time(), event.content_version) == ("published", DOORS + WEEK, 2)
    assert event.known_details.starts_at == STARTS + WEEK


def test_a_moved_draft_remains_a_draft() -> None:
    assert folded(Event, *DRAFT, moved(WEEK)).status == "draft"


@pytest.mark.parametrize("since", OVER)
def test_what_is_over_is_not_moved(since: tuple[Fact, ...]) -> None:
    (
        given(Event, *ON_SALE, *since)
        .when(lambda event: event.postpone(starts_at=STARTS + WEEK, ends_at=ENDS + WEEK, at=NOW))
        .then_refused(EventOverError)
    )


def test_an_event_is_moved_to_times_that_can_be() -> None:
    moving = given(Event, *ON_SALE)
    moving.when(lambda event: event.postpone(starts_at=ENDS, ends_at=ENDS, at=NOW)).then_refused(InvalidError)
    moving.when(lambda event: event.postpone(starts_at=STARTS, ends_at=ENDS, at=ENDS)).then_refused(InvalidError)


# -- Calling off. ------------------------------------------------------------------------


@pytest.mark.parametrize("history", [DRAFT, ON_SALE, (*ON_SALE, WENT_LIVE), (*ON_SALE, moved(WEEK))])
def test_an_event_can_be_called_off(history: tuple[Fact, ...]) -> None:
    given(Event, *history).when(lambda event: event.cancel(reason="the soloist is ill", at=NOW)).then(cancelled())


def test_the_reason_is_remembered() -> None:
    event = folded(Event, *ON_SALE, cancelled("flooded"), ARCHIVED)
    assert (event.status, event.cancel_reason) == ("archived", "flooded")


@pytest.mark.parametrize("since", OVER)
def test_what_is_over_is_not_called_off(since: tuple[Fact, ...]) -> None:
    given(Event, *ON_SALE, *since).when(lambda event: event.cancel(reason="again", at=NOW)).then_refused(EventOverError)


# -- What the clock brings about. ---------------------------------------------------------


def test_an_event_goes_live_when_its_doors_open() -> None:
    given(Event, *ON_SALE).when(lambda event: event.keep_time(at=DOORS)).then(WENT_LIVE)


@pytest.mark.parametrize("since", [(), (WENT_LIVE,)])
def test_an_event_ends_at_its_end_even_when_nobody_saw_its_doors_open(since: tuple[Fact, ...]) -> None:
    given(Event, *ON_SALE, *since).when(lambda event: event.keep_time(at=ENDS)).then(ENDED)


def test_before_its_time_nothing_comes_about() -> None:
    given(Event, *ON_SALE).when(lambda event: event.keep_time(at=DOORS - MOMENT)).then_nothing()
    given(Event, *ON_SALE, WENT_LIVE).when(lambda event: event.keep_time(at=ENDS - MOMENT)).then_nothing()


def test_asking_again_adds_nothing() -> None:
    given(Event, *ON_SALE, WENT_LIVE).when(lambda event: event.keep_time(at=DOORS)).then_nothing()
    given(Event, *ON_SALE, WENT_LIVE, ENDED).when(lambda event: event.keep_time(at=ENDS)).then_nothing()


@pytest.mark.parametrize("history", [(), DRAFT, (*ON_SALE, cancelled()), (*ON_SALE, cancelled(), ARCHIVED)])
def test_time_does_nothing_to_drafts_and_to_what_was_called_off(history: tuple[Fact, ...]) -> None:
    given(Event, *history).when(lambda event: event.keep_time(at=ENDS + WEEK)).then_nothing()
    assert folded(Event, *history).next_time() is None


def test_the_next_time_is_when_something_comes_about() -> None:
    assert folded(Event, *ON_SALE).next_time() == DOORS
    assert folded(Event, *ON_SALE, WENT_LIVE).next_time() == ENDS
    assert folded(Event, *ON_SALE, WENT_LIVE, ENDED).next_time() is None


def test_an_event_is_over_from_its_end_whether_or_not_it_was_recorded() -> None:
    event = folded(Event, *ON_SALE)
    assert [event.is_over(at) for at in (NOW, ENDS - MOMENT, ENDS)] == [False, False, True]
    assert folded(Event, *ON_SALE, cancelled()).is_over(NOW)
    assert not folded(Event).is_over(NOW)


# -- Putting away. -----------------------------------------------------------------------


@pytest.mark.parametrize("since", [(WENT_LIVE, ENDED), (cancelled(),)])
def test_what_is_over_can_be_put_away(since: tuple[Fact, ...]) -> None:
    given(Event, *ON_SALE, *since).when(lambda event: event.archive(at=NOW)).then(ARCHIVED)


@pytest.mark.parametrize("history", [DRAFT, ON_SALE, (*ON_SALE, WENT_LIVE), (*ON_SALE, cancelled(), ARCHIVED)])
def test_only_what_is_over_can_be_put_away_and_only_once(history: tuple[Fact, ...]) -> None:
    given(Event, *history).when(lambda event: event.archive(at=NOW)).then_refused(NotEndedError)


# -- The gate's people. --------------------------------------------------------------------


def test_the_organiser_says_who_works_at_the_gate() -> None:
    (
        given(Event, *DRAFT)
        .when(lambda event: event.staff_gates((STRANGER, FRIEND, FRIEND), at=NOW))
        .then(staffed(FRIEND, STRANGER))
    )


def test_the_same_people_in_another_order_are_no_change() -> None:
    (
        given(Event, *ON_SALE, staffed(FRIEND, STRANGER))
        .when(lambda event: event.staff_gates((STRANGER, FRIEND), at=NOW))
        .then_nothing()
    )


def test_a_new_list_replaces_the_old_one() -> None:
    assert folded(Event, *ON_SALE, staffed(FRIEND, STRANGER), staffed(BUYER)).gate_staff == {BUYER}
    given(Event, *ON_SALE, staffed(FRIEND)).when(lambda event: event.staff_gates((), at=NOW)).then(staffed())


@pytest.mark.parametrize("since", OVER)
def test_nobody_is_sent_to_the_gate_of_what_is_over(since: tuple[Fact, ...]) -> None:
    given(Event, *ON_SALE, *since).when(lambda event: event.staff_gates((FRIEND,), at=NOW)).then_refused(EventOverError)


def test_an_event_that_was_never_drafted_has_no_details() -> None:
    assert folded(Event, tier_added()).details is None
    with pytest.raises(NotFoundError):
        _ = folded(Event).known_details
