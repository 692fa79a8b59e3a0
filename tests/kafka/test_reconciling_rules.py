"""Where a relay goes on, from what it remembers and what it finds. No broker is asked."""

from __future__ import annotations

from uuid import UUID, uuid4

from adapters.kafka.cursor import Standing, TopicStanding
from adapters.kafka.ledger_pages import PAGE_FACTS_MAX
from adapters.kafka.reconciling import Start, reconcile, strays, without
from adapters.kafka.topics import End, Told, TopicEnds

TOPIC = "counterfoil.tickets.v1"
SAME, OTHER = uuid4(), uuid4()


def ends_at(offset: int, position: int | None = None) -> End:
    """A partition whose next message has this offset, and whose last one this position."""
    return End(0, offset, None if position is None else Told(offset - 1, "", "", position))


def start(
    *found: End,
    cursor: int = 100,
    had: list[tuple[int, int]] | None = None,
    topic_id: UUID = SAME,
    begins_after: int = 0,
) -> Start:
    """``had``: position and offset of the last message of each partition, as remembered."""
    known = {}
    if had is not None:
        known[TOPIC] = TopicStanding(TOPIC, SAME, [position for position, _ in had], [offset for _, offset in had])
    return reconcile(Standing(1, begins_after, cursor), known, {TOPIC: TopicEnds(topic_id, list(found))})


def test_where_nothing_happened_it_goes_on_at_its_cursor() -> None:
    begun = start(ends_at(10, 90), ends_at(5, 100), had=[(90, 9), (100, 4)])
    assert (begun.after, begun.topics[TOPIC].positions, begun.topics[TOPIC].offsets) == (100, [90, 100], [9, 4])


def test_what_a_partition_has_beyond_the_cursor_is_not_sent_again() -> None:
    """The relay died after an acknowledgement that it could not note down."""
    begun = start(ends_at(12, 107), ends_at(5, 100), had=[(90, 9), (100, 4)])
    assert (begun.after, begun.topics[TOPIC].positions) == (100, [107, 100])


def test_a_duplicate_at_the_end_does_not_hide_what_came_before_it() -> None:
    """What was on its way when a relay gave up on it may arrive late, after what followed it."""
    assert start(ends_at(13, 88), had=[(90, 9)]).topics[TOPIC].positions == [90]


def test_what_retention_has_taken_was_there() -> None:
    begun = start(ends_at(10), had=[(90, 9)])
    assert (begun.after, begun.topics[TOPIC].positions) == (100, [90])


def test_a_partition_that_lost_its_end_is_filled_again_from_there() -> None:
    begun = start(ends_at(7, 60), ends_at(5, 95), had=[(90, 9), (95, 4)])
    assert (begun.after, begun.topics[TOPIC].positions, begun.topics[TOPIC].offsets) == (60, [60, 95], [6, 4])


def test_a_topic_that_was_deleted_and_made_again_is_filled_and_the_others_are_left_alone() -> None:
    begun = start(ends_at(0), ends_at(0), had=[(90, 9), (95, 4)], topic_id=OTHER)
    assert (begun.after, begun.topics[TOPIC].positions) == (0, [0, 0])
    assert begun.topics[TOPIC].topic_id == OTHER


def test_a_topic_made_again_that_somebody_has_begun_to_fill_is_filled_from_there() -> None:
    begun = start(ends_at(3, 30), ends_at(50, 100), had=[(90, 9), (95, 4)], topic_id=OTHER)
    assert (begun.after, begun.topics[TOPIC].positions) == (30, [30, 100])


def test_a_first_relay_begins_at_the_beginning() -> None:
    begun = start(ends_at(0), ends_at(0), cursor=0)
    assert (begun.after, begun.topics[TOPIC].positions, begun.topics[TOPIC].offsets) == (0, [0, 0], [-1, -1])


def test_what_an_operator_has_waived_is_owed_to_nobody() -> None:
    begun = start(ends_at(0), ends_at(0), begins_after=70)
    assert (begun.after, begun.topics[TOPIC].positions) == (70, [70, 70])


def test_after_partitions_were_added_nothing_is_taken_for_sent() -> None:
    """A stream may be in another partition now, whose end says nothing of it."""
    begun = start(ends_at(10, 105), ends_at(5, 100), ends_at(0), had=[(90, 9), (100, 4)])
    assert (begun.after, begun.topics[TOPIC].positions, begun.topics[TOPIC].offsets) == (100, [100] * 3, [9, 4, -1])


def test_a_topic_that_has_grown_and_lost_something_is_told_everything_again() -> None:
    begun = start(ends_at(3, 30), ends_at(5, 100), ends_at(0), had=[(90, 9), (100, 4)])
    assert (begun.after, begun.topics[TOPIC].positions) == (0, [0] * 3)


# -- A page that went into a topic that was made again. ------------------------------------------


def stray(*found: End, topic_id: UUID = OTHER, known: bool = True) -> dict[tuple[str, int], int]:
    had = {TOPIC: TopicStanding(TOPIC, SAME, [90], [9])} if known else {}
    return strays(had, {TOPIC: TopicEnds(topic_id, list(found))})


def test_a_page_at_the_beginning_of_a_topic_made_again_is_a_stray() -> None:
    assert stray(ends_at(0), ends_at(7, 105), ends_at(PAGE_FACTS_MAX, 110)) == {
        (TOPIC, 1): 7,
        (TOPIC, 2): PAGE_FACTS_MAX,
    }


def test_what_may_be_the_only_copy_is_none() -> None:
    assert stray(ends_at(7, 105), topic_id=SAME) == {}
    assert stray(ends_at(7, 105), known=False) == {}
    assert stray(ends_at(PAGE_FACTS_MAX + 1, 105)) == {}
    assert stray(End(3, 7, Told(6, "", "", 105))) == {}
    assert stray(ends_at(7)) == {}, "nothing of ours"


def test_once_cleared_a_partition_is_empty_and_filled_from_the_beginning() -> None:
    found = {TOPIC: TopicEnds(OTHER, [ends_at(7, 105)])}
    known = {TOPIC: TopicStanding(TOPIC, SAME, [90], [9])}
    begun = reconcile(Standing(1, 0, 100), known, without(found, strays(known, found)))
    assert (begun.after, begun.topics[TOPIC].positions, begun.topics[TOPIC].offsets) == (0, [0], [6])
