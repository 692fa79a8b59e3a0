"""Facts in the topic that feeds views: sealed, bound to their place, and in a chain without holes."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from adapters.kafka.encoding import Header
from adapters.kafka.facts import FACT, PARTITIONS, PREVIOUS, Delivered, FactSealer
from adapters.kafka.feed import Taken, take
from adapters.sealing import SealBrokenError
from adapters.view_marks import Beyond

SECRET, LEDGER, STREAM = b"a secret of at least 32 characters", uuid4(), uuid4()
AT = datetime(2031, 5, 17, 20, 0, 0, 123456, tzinfo=UTC)
PAYLOAD = b'{"email":"ada@example.com"}'


def sealer(secret: bytes = SECRET, ledger: UUID = LEDGER) -> FactSealer:
    return FactSealer(secret, ledger)


def sent() -> tuple[list[Header], bytes]:
    message = sealer().seal(sealer().prepare(42, STREAM, 3, "account.registered@2", PAYLOAD, AT), 40, 6)
    return message.headers, message.value


def test_what_is_sealed_comes_back_as_it_was() -> None:
    opened = sealer().open(*sent())
    assert opened == Delivered(40, 6, (42, STREAM, 3, "account.registered@2", PAYLOAD, AT))


def test_nobody_reads_it_without_the_secret() -> None:
    headers, value = sent()
    assert b"ada" not in value
    with pytest.raises(SealBrokenError):
        sealer(secret=SECRET[::-1]).open(headers, value)


@pytest.mark.parametrize("name", ["ce_id", "ce_sequence", "ce_time", FACT, PREVIOUS, PARTITIONS])
def test_neither_a_fact_nor_its_place_can_be_made_another(name: str) -> None:
    headers, value = sent()
    changed = [(key, said[:-1] + b"1" if key == name else said) for key, said in headers]
    assert changed != headers
    with pytest.raises(SealBrokenError):
        sealer().open(changed, value)


@pytest.mark.parametrize("value", [None, b"", b"short", bytes(100)])
def test_bytes_that_were_never_sealed_are_refused(value: bytes | None) -> None:
    with pytest.raises(SealBrokenError):
        sealer().open(sent()[0], value)


@pytest.mark.parametrize("name", ["ce_id", "ce_sequence", "ce_time", FACT, PREVIOUS, PARTITIONS])
def test_a_copy_that_lacks_a_header_is_refused(name: str) -> None:
    headers, value = sent()
    with pytest.raises(SealBrokenError):
        sealer().open([(key, said) for key, said in headers if key != name], value)
    with pytest.raises(SealBrokenError):
        sealer().open([(key, None if key == name else said) for key, said in headers], value)


def test_what_is_none_of_ours_is_passed_by() -> None:
    headers, value = sent()
    assert sealer(ledger=uuid4()).open(headers, value) is None
    assert sealer().open([], b"?") is None
    assert sealer().open([("ce_type", b"counterfoil.ticket.held")], b"{}") is None


# -- The chain. -----------------------------------------------------------------------------


def message(position: int, previous: int) -> Delivered:
    return Delivered(previous, 6, (position, STREAM, 1, "ticket.held", b"", AT))


def test_messages_that_follow_each_other_are_taken() -> None:
    assert take(5, [message(7, 5), message(9, 7)]) == Taken(frozenset({7, 9}), 9, gap=False)


def test_what_is_there_is_passed_over() -> None:
    assert take(7, [message(5, 3), message(7, 5), message(9, 7)]) == Taken(frozenset({9}), 9, gap=False)
    assert take(9, [message(7, 5), message(9, 7)]) == Taken(frozenset(), 9, gap=False)


def test_nothing_is_taken_beyond_a_hole() -> None:
    assert take(5, [message(7, 5), message(11, 9), message(12, 11)]) == Taken(frozenset({7}), 7, gap=True)


def test_a_view_that_has_more_than_the_partition_told_it_goes_on() -> None:
    """The table has brought it past the hole."""
    assert take(10, [message(7, 5), message(11, 9), message(12, 11)]) == Taken(frozenset({11, 12}), 12, gap=False)


# -- Marks. --------------------------------------------------------------------------------


def test_what_a_stream_had_where_it_was_it_still_has() -> None:
    """It was in one of two partitions, and is in one of three."""
    streams = [uuid4() for _ in range(100)]
    before = Beyond([("tickets", 2, 0, 50)])
    there = [stream for stream in streams if before.has("tickets", stream, 50)]
    assert 20 < len(there) < 80
    both = Beyond([("tickets", 2, 0, 50), *(("tickets", 3, partition, 40) for partition in range(3))])
    assert all(both.has("tickets", stream, 50) for stream in there)
    assert all(both.has("tickets", stream, 40) for stream in streams)
    assert not any(both.has("tickets", stream, 51) for stream in streams)


def test_a_view_without_marks_has_nothing_beyond_its_position() -> None:
    assert not Beyond([("tickets", 1, 0, 50)]).has("orders", STREAM, 1)
