"""What all facts and aggregates share: topics, bytes, versions, refusals."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import RFC_4122

import pytest
from pydantic import ValidationError
from pydantic_core import from_json

import domain.kernel
from domain.event import Event
from domain.kernel import Fact, InvalidError, NotFoundError, Refusal, decode, new_id, utc_now
from domain.ticket import Ticket
from domain.ticket_refusals import AlreadyCheckedInError
from tests.domain.event_facts import ON_SALE, seat
from tests.domain.happening import DOORS, HOLD_ENDS, NOW
from tests.domain.ticket_facts import CHECKED_IN, HELD, PAID, held
from tests.given import STREAM, folded

# -- Facts. ------------------------------------------------------------------------------


def test_a_fact_is_stored_as_json_that_people_can_read() -> None:
    assert CHECKED_IN.encode() == (
        b'{"at":"2031-05-17T17:00:00Z","event_id":"00000000-0000-0000-0000-000000000001",'
        b'"tier_id":"00000000-0000-0000-0000-000000000002","gate":"North"}'
    )


def test_a_fact_comes_back_as_it_was_stored() -> None:
    fact = held(serial=None, seat=seat("12½"), at=datetime(2031, 5, 1, 10, 0, 0, 123_456, tzinfo=UTC))
    assert decode(fact.stored_topic, fact.encode()) == fact


def test_a_fact_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        HELD.__setattr__("price", 1)


def test_a_fact_knows_which_stream_it_belongs_to() -> None:
    assert (HELD.topic, HELD.stream_type, HELD.stored_topic) == ("ticket.held", Ticket.stream_type, "ticket.held")
    assert Event.WentLive(at=NOW).stream_type == Event.stream_type


def test_bytes_that_are_not_the_fact_are_refused() -> None:
    for payload in (b"", b"{}", b"[]", b'{"at":"2031-05-17T17:00:00Z"}', HELD.encode()[:-1]):
        with pytest.raises(ValidationError):
            decode("ticket.held", payload)


def test_times_keep_their_offset_to_utc() -> None:
    assert from_json(held(at=NOW).encode())["at"].endswith("Z")
    assert utc_now().tzinfo is UTC


# -- Aggregates. ---------------------------------------------------------------------------


def test_an_aggregate_is_blank_until_its_first_fact() -> None:
    ticket = Ticket(id=STREAM)
    assert (ticket.exists, ticket.version, ticket.stored_version) == (False, 0, 0)


def test_a_decision_changes_the_state_now_and_the_ledger_later() -> None:
    ticket = folded(Ticket, HELD)
    ticket.pay(at=NOW)
    ticket.check_in(event=folded(Event, *ON_SALE), custody=1, gate="North", at=DOORS)
    assert ticket.pending == [PAID, CHECKED_IN]
    assert (ticket.version, ticket.stored_version, ticket.status) == (3, 1, "checked_in")


def test_what_was_folded_is_not_appended_again() -> None:
    ticket = folded(Ticket, HELD, PAID)
    assert (ticket.pending, ticket.stored_version) == ([], 2)


def test_two_aggregates_with_one_history_are_equal() -> None:
    assert folded(Ticket, HELD, PAID) == folded(Ticket, HELD, PAID)
    assert folded(Ticket, HELD, PAID) != folded(Ticket, HELD)
    assert folded(Ticket, HELD) != folded(Ticket, held(until=DOORS))


# -- Ids. ----------------------------------------------------------------------------------


def test_ids_differ_and_lie_in_the_order_of_their_times() -> None:
    ids = [new_id() for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert {(each.version, each.variant) for each in ids} == {(7, RFC_4122)}
    milliseconds = [each.int >> 80 for each in ids]
    assert milliseconds == sorted(milliseconds)
    assert len({each.int & 0xFFFFFFFF for each in ids}) > 4990, "none can be guessed from another"


FORK = """
import os
from domain.kernel import new_id
new_id()
child = os.fork()
ids = {new_id().int % 2**62 for _ in range(300)}
if child:
    os.waitpid(child, 0)
print(*ids, flush=True)
"""


def test_a_forked_process_does_not_make_the_ids_of_its_parent() -> None:
    printed = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True).stdout
    child, parent = (set(line.split()) for line in printed.splitlines())  # who is waited for prints first
    assert (len(parent), len(child)) == (300, 300)
    assert not parent & child


# -- Refusals. -----------------------------------------------------------------------------


def subclasses(kind: type[Any]) -> set[type[Any]]:
    return {kind, *(further for direct in kind.__subclasses__() for further in subclasses(direct))}


def ours(kind: type[Any]) -> set[type[Any]]:
    return {each for each in subclasses(kind) if each.__module__.startswith("domain.")}


def test_every_refusal_has_a_code_and_a_title_of_its_own() -> None:
    codes = [refusal.code for refusal in ours(Refusal)]
    assert len(set(codes)) == len(codes)
    assert all(refusal.code == refusal.code.lower() and refusal.title for refusal in ours(Refusal))


def test_a_refusal_says_its_title_unless_it_has_more_to_say() -> None:
    assert NotFoundError().detail == NotFoundError.title
    assert str(NotFoundError("the event has no such tier")) == "the event has no such tier"


def test_a_refusal_carries_what_the_caller_may_want_to_know() -> None:
    refusal = AlreadyCheckedInError(gate="North", checked_in_at=HOLD_ENDS)
    assert refusal.facts == {"gate": "North", "checked_in_at": HOLD_ENDS}
    assert InvalidError("the sale must close after it opens", pointer="/sale_closes_at").pointer == "/sale_closes_at"


def test_a_fact_that_does_not_say_what_it_does_cannot_be_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain.kernel, "type_of_fact", dict(domain.kernel.type_of_fact))  # as it was, afterwards

    class Silent(Fact, topic="ticket.silent"):
        pass

    with pytest.raises(TypeError, match="Silent"):
        folded(Ticket, HELD).record(Silent(at=NOW))
