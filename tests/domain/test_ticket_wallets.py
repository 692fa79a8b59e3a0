"""Out of custody into a wallet and back, sold on, and what a holder does on the chain without asking."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from domain.event import Event
from domain.kernel import Fact, Refusal
from domain.resale import ResaleRules
from domain.ticket import Ticket, TicketStatus
from domain.ticket_refusals import (
    AlreadyCheckedInError,
    BadCodeError,
    CancelledError,
    HolderUnknownError,
    InCustodyError,
    InWalletError,
    NotPaidError,
    NoTransferError,
    PriceAboveLimitError,
    SameHolderError,
)
from tests.domain.event_facts import ON_SALE, WENT_LIVE
from tests.domain.happening import BUYER, DOORS, FRIEND, NOW, STRANGER
from tests.domain.ticket_facts import (
    CANCELLED,
    CHECKED_IN,
    CLAIMED,
    DELIVERED,
    HELD,
    OFFERED,
    OTHER_WALLET,
    PAID,
    RELEASED,
    RETURNED,
    WALLET,
    cancelled,
    checked_in,
    delivered,
    holder_identified,
    resold,
    transferred,
    transferred_on_chain,
)
from tests.given import folded, given

Decision = Callable[[Ticket], None]

BOUGHT = (HELD, PAID)
AWAY = (*BOUGHT, DELIVERED, transferred_on_chain())
"""In a wallet that nobody has proved to be theirs."""
NO_LIMIT = folded(Event, *ON_SALE)
CAPPED = folded(Event, *ON_SALE, Event.ResaleRulesSet(rules=ResaleRules(price_max=5000), at=NOW))


def deliver(ticket: Ticket) -> None:
    ticket.deliver(wallet=WALLET, at=NOW)


def take_back(ticket: Ticket) -> None:
    ticket.return_to_custody(at=NOW)


def resell(event: Event = NO_LIMIT, *, price: int = 5000, wallet: str | None = None) -> Decision:
    return lambda ticket: ticket.resell(event=event, to=FRIEND, price=price, wallet=wallet, at=NOW)


# -- Delivered and returned. ---------------------------------------------------------------


@pytest.mark.parametrize("since", [(), (CLAIMED,), (OFFERED,), (CHECKED_IN,), (DELIVERED, RETURNED)])
def test_a_ticket_is_delivered_into_a_wallet(since: tuple[Fact, ...]) -> None:
    given(Ticket, *BOUGHT, *since).when(deliver).then(DELIVERED)


def test_delivery_changes_no_hands_and_leaves_the_code_good() -> None:
    before, after = folded(Ticket, *BOUGHT, CLAIMED), folded(Ticket, *BOUGHT, CLAIMED, DELIVERED)
    assert (after.holder_id, after.custody, after.status) == (before.holder_id, before.custody, before.status)
    assert (before.wallet, after.wallet) == (None, WALLET)


def test_a_ticket_is_in_one_wallet_at_a_time() -> None:
    given(Ticket, *BOUGHT, DELIVERED).when(deliver).then_refused(InWalletError, wallet=WALLET)


@pytest.mark.parametrize("since", [(DELIVERED,), (DELIVERED, CHECKED_IN), (resold(wallet=OTHER_WALLET),)])
def test_a_ticket_is_returned_to_custody(since: tuple[Fact, ...]) -> None:
    given(Ticket, *BOUGHT, *since).when(take_back).then(RETURNED)


@pytest.mark.parametrize("since", [(), (DELIVERED, RETURNED), (DELIVERED, transferred())])
def test_what_is_in_custody_cannot_be_returned(since: tuple[Fact, ...]) -> None:
    given(Ticket, *BOUGHT, *since).when(take_back).then_refused(InCustodyError)


@pytest.mark.parametrize("decide", [deliver, take_back, resell()])
def test_only_what_was_paid_for_and_is_valid_goes_anywhere(decide: Decision) -> None:
    for history in ((), (HELD,), (HELD, RELEASED)):
        given(Ticket, *history).when(decide).then_refused(NotPaidError)
    given(Ticket, *BOUGHT, DELIVERED, CANCELLED).when(decide).then_refused(CancelledError)


def test_handing_on_takes_it_out_of_the_wallet() -> None:
    assert folded(Ticket, *BOUGHT, DELIVERED, transferred()).wallet is None


# -- Sold on. --------------------------------------------------------------------------------


@pytest.mark.parametrize("wallet", [None, OTHER_WALLET])
@pytest.mark.parametrize("event", [NO_LIMIT, CAPPED])
def test_a_ticket_is_sold_on_into_custody_or_a_wallet(event: Event, wallet: str | None) -> None:
    given(Ticket, *BOUGHT, CLAIMED, DELIVERED).when(resell(event, wallet=wallet)).then(resold(wallet=wallet))
    after = folded(Ticket, *BOUGHT, CLAIMED, DELIVERED, resold(wallet=wallet))
    assert (after.holder_id, after.wallet, after.status, after.attendee_name) == (FRIEND, wallet, "paid", None)


def test_the_price_has_the_limit_that_the_organiser_set() -> None:
    given(Ticket, *BOUGHT).when(resell(CAPPED, price=5001)).then_refused(PriceAboveLimitError, price_max=5000)
    given(Ticket, *BOUGHT).when(resell(NO_LIMIT, price=5001)).then(resold(price=5001))


def test_nobody_buys_their_own() -> None:
    given(Ticket, *BOUGHT, transferred()).when(resell()).then_refused(SameHolderError)


def test_what_was_used_is_not_sold_on() -> None:
    given(Ticket, *BOUGHT, CHECKED_IN).when(resell()).then_refused(AlreadyCheckedInError)


# -- On the chain. ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "since", [(), (CLAIMED,), (OFFERED,), (DELIVERED,), (DELIVERED, RETURNED), (CHECKED_IN,), (CANCELLED,)]
)
@pytest.mark.parametrize("to", [None, FRIEND])
def test_what_happened_on_the_chain_is_not_refused(since: tuple[Fact, ...], to: UUID | None) -> None:
    fact = transferred_on_chain(to=to)
    given(Ticket, *BOUGHT, *since).when(lambda ticket: ticket.follow_chain(fact)).then(fact)


def test_whoever_came_before_has_no_more_say() -> None:
    before = folded(Ticket, *BOUGHT, CLAIMED, DELIVERED)
    after = folded(Ticket, *BOUGHT, CLAIMED, DELIVERED, transferred_on_chain())
    assert (after.holder_id, after.attendee_name, after.status, after.wallet) == (None, None, "paid", OTHER_WALLET)
    assert after.custody == before.custody + 1


@pytest.mark.parametrize("end", [checked_in(), cancelled()])
def test_what_was_used_or_cancelled_stays_that_in_any_hands(end: Fact) -> None:
    history = (*BOUGHT, DELIVERED, end)
    after = folded(Ticket, *history, transferred_on_chain(), holder_identified())
    assert (after.status, after.holder_id) == (folded(Ticket, *history).status, FRIEND)


def test_hearing_of_it_again_adds_nothing_however_late() -> None:
    first, second, third = (transferred_on_chain(block=block) for block in (7, 8, 9))
    heard = given(Ticket, *BOUGHT, DELIVERED, first, second)
    heard.when(lambda ticket: ticket.follow_chain(first)).then_nothing()
    heard.when(lambda ticket: ticket.follow_chain(second)).then_nothing()
    heard.when(lambda ticket: ticket.follow_chain(third)).then(third)


def test_two_transfers_of_one_block_are_two() -> None:
    again = transferred_on_chain(WALLET, log_index=1)
    given(Ticket, *AWAY).when(lambda ticket: ticket.follow_chain(again)).then(again)


def test_a_chain_that_begins_anew_is_another_chain() -> None:
    """The one in the process forgets: its blocks are numbered from 0 again, under other hashes."""
    anew = transferred_on_chain(block=1, block_hash=f"0x{'ab' * 32}")
    given(Ticket, *AWAY).when(lambda ticket: ticket.follow_chain(anew)).then(anew)


@pytest.mark.parametrize("history", [(), (HELD,), (HELD, RELEASED)])
def test_no_chain_has_a_ticket_that_was_not_sold(history: tuple[Fact, ...]) -> None:
    fact = transferred_on_chain()
    given(Ticket, *history).when(lambda ticket: ticket.follow_chain(fact)).then_refused(NotPaidError)


# -- Nobody's. -------------------------------------------------------------------------------

HANDLING: dict[str, Decision] = {
    "claim": lambda ticket: ticket.claim(attendee_name="Ada", at=NOW),
    "transfer": lambda ticket: ticket.transfer(to=FRIEND, at=NOW),
    "offer": lambda ticket: ticket.offer(to=FRIEND, at=NOW),
    "accept": lambda ticket: ticket.accept(by=FRIEND, at=NOW),
    "deliver": deliver,
    "return": take_back,
    "resell": resell(),
}


@pytest.mark.parametrize("decide", HANDLING.values(), ids=HANDLING)
def test_without_a_known_holder_nobody_decides_anything(decide: Decision) -> None:
    given(Ticket, *AWAY).when(decide).then_refused(HolderUnknownError)


def test_an_offer_ends_with_the_hands_that_made_it() -> None:
    history = (*BOUGHT, OFFERED, DELIVERED, transferred_on_chain(to=STRANGER))
    given(Ticket, *history).when(lambda ticket: ticket.accept(by=FRIEND, at=NOW)).then_refused(NoTransferError)


def test_codes_of_before_admit_nobody() -> None:
    live = folded(Event, *ON_SALE, WENT_LIVE)
    custody = folded(Ticket, *BOUGHT, DELIVERED).custody
    (
        given(Ticket, *AWAY)
        .when(lambda ticket: ticket.check_in(event=live, custody=custody, gate="North", at=DOORS))
        .then_refused(BadCodeError)
    )


def test_the_organiser_can_still_take_it_away() -> None:
    given(Ticket, *AWAY).when(lambda ticket: ticket.cancel(reason="sold to a tout", at=NOW)).then(CANCELLED)


def identify(ticket: Ticket) -> None:
    ticket.identify_holder(holder_id=FRIEND, wallet=OTHER_WALLET, at=NOW)


def test_whose_the_wallet_turns_out_to_be_is_the_holder() -> None:
    given(Ticket, *AWAY).when(identify).then(holder_identified())
    after = folded(Ticket, *AWAY, holder_identified())
    assert (after.holder_id, after.wallet, after.status) == (FRIEND, OTHER_WALLET, TicketStatus.PAID)


@pytest.mark.parametrize(
    "history",
    [
        (),
        BOUGHT,
        (*BOUGHT, delivered(OTHER_WALLET)),
        (*AWAY, holder_identified(STRANGER)),
        (*AWAY, transferred_on_chain(WALLET, block=8)),
        (*BOUGHT, DELIVERED, transferred_on_chain(to=BUYER)),
    ],
)
def test_a_holder_who_is_known_and_a_ticket_that_is_elsewhere_are_left_as_they_are(history: tuple[Fact, ...]) -> None:
    given(Ticket, *history).when(identify).then_nothing()


@pytest.mark.parametrize(
    ("decide", "error"), [(deliver, InWalletError), (lambda t: t.transfer(to=FRIEND, at=NOW), SameHolderError)]
)
def test_who_was_identified_is_a_holder_like_others(decide: Decision, error: type[Refusal]) -> None:
    given(Ticket, *AWAY, holder_identified()).when(decide).then_refused(error)
    given(Ticket, *AWAY, holder_identified()).when(take_back).then(RETURNED)
