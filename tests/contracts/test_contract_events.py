"""Events on the chain: configured one after the other, and their tickets issued in order."""

from __future__ import annotations

import pytest

from tests.anvil import Anvil
from tests.contracts import operations as op
from tests.contracts.chain import Chain, Node, patch
from tests.contracts.decoding import said
from tests.contracts.operations import FOREVER, NO_CAP, issue, rules, token

ZERO = "0x" + "00" * 20
T = token(1, 0)


# -- Events -------------------------------------------------------------------------


def test_an_event_is_configured_and_configured_again(chain: Chain) -> None:
    first = chain.apply(rules(1, ends_at=50, cap=700, royalty=250, flags=op.TRANSFERS_OPEN))
    assert first.said == [said("EventConfigured", 1, 50, 700, 250, 1)]
    chain.apply(issue(1, 0, 3))
    chain.apply(rules(1, ends_at=FOREVER, cap=NO_CAP, royalty=10_000, flags=op.CANCELLED))
    assert chain.call("eventOf", 1) == [3, FOREVER, NO_CAP, 10_000, op.CANCELLED]
    assert chain.call("eventCount") == 1


def test_events_are_numbered_one_after_the_other(chain: Chain) -> None:
    outcome = chain.apply(rules(0), rules(2), rules(1), rules(2), rules(4), rules(2**32 - 1))
    assert outcome.skips == [(0, op.UNKNOWN_EVENT), (1, op.UNKNOWN_EVENT), (4, op.UNKNOWN_EVENT), (5, op.UNKNOWN_EVENT)]
    assert chain.call("eventCount") == 2
    assert chain.call("eventOf", 4) == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("bad", [{"royalty": 10_001}, {"royalty": 2**16 - 1}, {"flags": 4}, {"flags": 128 | 1}])
def test_bad_rules_leave_the_good_ones(chain: Chain, bad: dict[str, int]) -> None:
    chain.apply(rules(1, cap=5))
    assert chain.apply(rules(1, cap=6, **bad), rules(2, **bad)).skips == [(0, op.BAD_RULES), (1, op.BAD_RULES)]
    assert chain.call("eventOf", 1)[2] == 5
    assert chain.call("eventCount") == 1


# -- Issuing ------------------------------------------------------------------------


def test_issued_tickets_are_the_custodians_and_take_no_room(chain: Chain) -> None:
    outcome = chain.apply(rules(1), issue(1, 0, 2), issue(1, 2, 1))
    assert outcome.said[1:] == [said("Transfer", ZERO, chain.address, token(1, serial)) for serial in range(3)]
    assert chain.call("custodian") == chain.address == chain.call("ownerOf", token(1, 2))
    assert chain.call("balanceOf", chain.address) == 3
    assert chain.call("state", [T]) == [int(chain.address, 16) | 0b1001 << 176]


def test_tickets_are_issued_in_order_and_once(chain: Chain) -> None:
    outcome = chain.apply(rules(1), issue(1, 0, 2), issue(1, 0, 2), issue(1, 3, 1), issue(1, 2, 1), issue(2, 0, 1))
    assert outcome.skips == [(2, op.OUT_OF_ORDER), (3, op.OUT_OF_ORDER), (5, op.UNKNOWN_EVENT)]
    assert chain.call("eventOf", 1)[0] == 3


def test_to_issue_none_says_nothing(chain: Chain) -> None:
    chain.apply(rules(1))
    assert chain.apply(issue(1, 0, 0)).said == []


def test_serials_end_where_their_bits_do(on_anvil: Node, anvil: Anvil) -> None:
    chain = Chain(on_anvil)
    chain.apply(rules(1))
    last = 2**32 - 2
    patch(anvil, chain, 1, lambda word: word | last)
    outcome = chain.apply(issue(1, last, 2), issue(1, last, 1), issue(1, last + 1, 1))
    assert outcome.skips == [(0, op.OUT_OF_ORDER), (2, op.OUT_OF_ORDER)]
    assert chain.call("ownerOf", token(1, last)) == chain.address
