"""What the mirror may do to tickets, and why an operation is skipped."""

from __future__ import annotations

from tests.anvil import Anvil
from tests.contracts import operations as op
from tests.contracts.chain import Chain, Node, patch
from tests.contracts.decoding import said
from tests.contracts.operations import CUSTODY, NO_CAP, check_in, deliver, move, resale, rules, token, void

T = token(1, 0)


def version(chain: Chain, ticket: int) -> int:
    packed: int = chain.call("state", [ticket])[0]
    return packed >> 160 & 0xFFFF


# -- Delivery -----------------------------------------------------------------------


def test_a_delivery_gives_a_ticket_to_a_wallet(chain: Chain) -> None:
    chain.on_sale()
    outcome = chain.apply(deliver(T, 0, chain.alice))
    assert outcome.said == [said("Transfer", chain.address, chain.alice, T)]
    assert chain.call("ownerOf", T) == chain.alice
    assert version(chain, T) == 1
    assert chain.call("balanceOf", chain.alice) == 1
    assert chain.call("balanceOf", chain.address) == 3


def test_a_delivery_into_an_open_event_says_that_the_ticket_is_unlocked(chain: Chain) -> None:
    chain.on_sale(flags=op.TRANSFERS_OPEN)
    assert chain.apply(deliver(T, 0, chain.alice)).said[-1] == said("Unlocked", T)


def test_a_delivery_begins_in_custody_and_ends_in_a_wallet(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice))
    U = token(1, 1)  # noqa: N806
    outcome = chain.apply(
        deliver(T, 1, chain.bob),
        deliver(U, 1, chain.bob),
        deliver(U, 0, CUSTODY),
        deliver(U, 0, chain.address),
        deliver(token(1, 4), 0, chain.bob),
        deliver(token(2, 0), 0, chain.bob),
    )
    reasons = [
        op.WRONG_PLACE,
        op.WRONG_VERSION,
        op.BAD_RECEIVER,
        op.BAD_RECEIVER,
        op.NOT_ISSUED,
        op.UNKNOWN_EVENT,
    ]
    assert outcome.skips == list(enumerate(reasons))
    assert chain.call("state", [T, U]) == [
        int(chain.alice, 16) | 1 << 160 | 1 << 176,
        int(chain.address, 16) | 9 << 176,
    ]


# -- Moves --------------------------------------------------------------------------


def test_a_move_from_wallet_to_wallet_and_into_custody(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice), deliver(token(1, 1), 0, chain.bob))
    assert chain.apply(move(T, 1, chain.bob)).said == [said("Transfer", chain.alice, chain.bob, T)]
    assert [chain.call("balanceOf", owner) for owner in (chain.alice, chain.bob, chain.address)] == [0, 2, 2]
    assert chain.apply(move(T, 2, CUSTODY)).said == [said("Transfer", chain.bob, chain.address, T)]
    assert [chain.call("balanceOf", owner) for owner in (chain.alice, chain.bob, chain.address)] == [0, 1, 3]
    assert chain.call("ownerOf", T) == chain.address
    assert version(chain, T) == 3


def test_a_ticket_keeps_its_version_in_custody(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice), move(T, 1, CUSTODY))
    assert chain.apply(deliver(T, 0, chain.bob)).skips == [(0, op.WRONG_VERSION)]
    assert chain.apply(deliver(T, 2, chain.bob)).skips == []
    assert version(chain, T) == 3


def test_a_move_to_the_same_wallet_counts_as_a_change_of_owner(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice), move(T, 1, chain.alice))
    assert version(chain, T) == 2
    assert chain.call("balanceOf", chain.alice) == 1


def test_a_move_within_custody_is_said_and_not_written(chain: Chain) -> None:
    chain.on_sale()
    outcome = chain.apply(move(T, 0, CUSTODY))
    assert outcome.said == [said("Transfer", chain.address, chain.address, T)]
    assert version(chain, T) == 0
    assert chain.apply(move(T, 1, CUSTODY)).skips == [(0, op.WRONG_VERSION)]


def test_what_a_move_may_not_do(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice))
    outcome = chain.apply(
        move(token(1, 1), 0, chain.bob),
        move(T, 1, chain.address),
        move(T, 2, chain.bob),
        move(token(1, 9), 0, chain.bob),
        move(token(9, 0), 0, chain.bob),
    )
    reasons = [op.WRONG_PLACE, op.BAD_RECEIVER, op.WRONG_VERSION, op.NOT_ISSUED, op.UNKNOWN_EVENT]
    assert outcome.skips == list(enumerate(reasons))


def test_a_ticket_that_comes_back_unlocked_is_locked_again(chain: Chain) -> None:
    chain.on_sale(flags=op.TRANSFERS_OPEN)
    chain.apply(deliver(T, 0, chain.alice))
    assert chain.apply(move(T, 1, CUSTODY)).said[-1] == said("Locked", T)


def test_versions_begin_again_after_the_last(on_anvil: Node, anvil: Anvil) -> None:
    chain = Chain(on_anvil)
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice))
    patch(anvil, chain, T, lambda word: word | (2**16 - 1) << 160)
    assert version(chain, T) == 2**16 - 1
    assert chain.apply(move(T, 2**16 - 1, chain.bob), move(T, 0, chain.carol)).skips == []
    assert chain.call("ownerOf", T) == chain.carol
    assert version(chain, T) == 1


# -- Resale -------------------------------------------------------------------------


def test_a_resale_records_price_and_royalty(chain: Chain) -> None:
    chain.on_sale(cap=1_000, royalty=750)
    chain.apply(deliver(T, 0, chain.alice))
    outcome = chain.apply(resale(T, 1, chain.bob, 999))
    assert outcome.said == [said("Transfer", chain.alice, chain.bob, T), said("Resold", T, 999, 74)]
    assert chain.call("ownerOf", T) == chain.bob


def test_a_resale_between_custody_and_wallets(chain: Chain) -> None:
    chain.on_sale(cap=10)
    assert chain.apply(resale(T, 0, CUSTODY, 10)).said[0] == said("Transfer", chain.address, chain.address, T)
    assert version(chain, T) == 0
    chain.apply(resale(T, 0, chain.alice, 10))
    assert chain.call("ownerOf", T) == chain.alice
    chain.apply(resale(T, 1, CUSTODY, 10))
    assert chain.call("ownerOf", T) == chain.address
    assert version(chain, T) == 2
    assert chain.call("balanceOf", chain.address) == 4


def test_no_resale_above_the_cap(chain: Chain) -> None:
    chain.on_sale(cap=1_000)
    chain.apply(deliver(T, 0, chain.alice))
    assert chain.apply(resale(T, 1, chain.bob, 1_001)).skips == [(0, op.ABOVE_CAP)]
    assert chain.apply(resale(T, 1, chain.bob, 1_000)).skips == []


def test_without_a_cap_any_price_will_do(chain: Chain) -> None:
    chain.on_sale(cap=NO_CAP, royalty=10_000)
    outcome = chain.apply(resale(T, 0, chain.bob, NO_CAP))
    assert said("Resold", T, NO_CAP, NO_CAP) in outcome.said


def test_what_a_resale_may_not_do(chain: Chain) -> None:
    chain.on_sale()
    outcome = chain.apply(
        resale(T, 1, chain.bob, 1), resale(T, 0, chain.address, 1), resale(token(1, 4), 0, chain.bob, 1)
    )
    assert outcome.skips == [(0, op.WRONG_VERSION), (1, op.BAD_RECEIVER), (2, op.NOT_ISSUED)]


# -- Void, cancelled, and which reason is given ----------------------------------------


def test_a_void_ticket_stays_where_it_is(chain: Chain) -> None:
    chain.on_sale()
    U = token(1, 1)  # noqa: N806
    chain.apply(deliver(T, 0, chain.alice), void(T), void(U))
    refused = [move(T, 1, chain.bob), move(T, 1, CUSTODY), resale(T, 1, chain.bob, 1), deliver(U, 0, chain.bob)]
    assert chain.apply(*refused, check_in(U)).skips == [(index, op.VOIDED) for index in range(5)]


def test_a_cancelled_event_makes_all_its_tickets_void(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice), rules(1, flags=op.CANCELLED))
    assert chain.apply(move(T, 1, chain.bob), check_in(T), deliver(token(1, 1), 0, chain.bob)).skips == [
        (index, op.VOIDED) for index in range(3)
    ]
    assert [packed >> 178 & 1 for packed in chain.call("state", [T, token(1, 1), token(1, 4)])] == [1, 1, 0]
    chain.apply(rules(1))
    assert chain.apply(move(T, 1, chain.bob), check_in(T)).skips == []


def test_a_checked_in_ticket_is_a_souvenir(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice), check_in(T), check_in(token(1, 1)))
    outcome = chain.apply(move(T, 1, chain.bob), deliver(token(1, 1), 0, chain.carol))
    assert outcome.skips == []
    assert outcome.said[-1] == said("Unlocked", token(1, 1))


def test_of_several_reasons_the_lowest_is_given(chain: Chain) -> None:
    chain.on_sale(cap=10)
    chain.apply(void(T))
    everything_wrong = [
        (resale(token(7, 0), 5, chain.address, 11), op.UNKNOWN_EVENT),
        (resale(token(1, 9), 5, chain.address, 11), op.NOT_ISSUED),
        (resale(T, 5, chain.address, 11), op.WRONG_VERSION),
        (move(T, 0, chain.address), op.WRONG_PLACE),
        (resale(T, 0, chain.address, 11), op.VOIDED),
        (resale(token(1, 1), 0, chain.address, 11), op.ABOVE_CAP),
        (resale(token(1, 1), 0, chain.address, 10), op.BAD_RECEIVER),
    ]
    outcome = chain.apply(*(operation for operation, _ in everything_wrong))
    assert outcome.skips == list(enumerate(reason for _, reason in everything_wrong))


def test_unknown_tickets_have_no_state(chain: Chain) -> None:
    chain.on_sale()
    unknown = [0, token(0, 0), token(1, 4), token(2, 0), 2**64 | T, 2**256 - 1]
    assert chain.call("state", unknown) == [0] * len(unknown)
    assert chain.call("state", []) == []
