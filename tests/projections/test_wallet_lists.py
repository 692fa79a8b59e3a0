"""Lists of wallets, page by page, now and as of a position; and the tickets that wait for their wallet to be linked."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

from domain.ticket import Ticket
from domain.wallet import Wallet, wallet_stream
from projections import ticket, wallet
from tests.domain.ticket_facts import HELD, PAID, delivered, holder_identified, transferred_on_chain
from tests.projections.book import Book
from tests.projections.conftest import Ask
from tests.projections.town import NOW

ADA, BOB = uuid4(), uuid4()
FIRST, SECOND, THIRD = (f"0x{number:040x}" for number in (1, 2, 3))


def linked(address: str, account_id: UUID = ADA) -> tuple[UUID, Wallet.Linked]:
    fact = Wallet.Linked(address=address, account_id=account_id, message="", signature="", at=NOW)
    return wallet_stream(address), fact


def unlinked(address: str, account_id: UUID = ADA) -> tuple[UUID, Wallet.Unlinked]:
    return wallet_stream(address), Wallet.Unlinked(account_id=account_id, at=NOW)


def test_wallets_of_an_account_in_pages_now_and_then(book: Book, caught_up: Callable[[], int], ask: Ask) -> None:
    book.append(linked(FIRST), linked(SECOND), linked(THIRD), unlinked(SECOND), linked(SECOND, BOB), unlinked(FIRST))
    book.append(linked(FIRST))
    caught_up()
    streams = {address: wallet_stream(address) for address in (FIRST, SECOND, THIRD)}
    assert ask(wallet.of_account, ADA, limit=9) == [(streams[FIRST], 7), (streams[THIRD], 3)]
    assert ask(wallet.of_account, ADA, limit=1) == [(streams[FIRST], 7)]
    assert ask(wallet.of_account, ADA, before=7, limit=9) == [(streams[THIRD], 3)]
    assert ask(wallet.of_account, BOB, limit=9) == [(streams[SECOND], 5)]

    def then(account_id: UUID, position: int) -> list[tuple[UUID, int]]:
        return ask(wallet.of_account_as_of, account_id, position, limit=9)

    assert then(ADA, 0) == []
    assert then(ADA, 3) == [(streams[THIRD], 3), (streams[SECOND], 2), (streams[FIRST], 1)]
    assert then(ADA, 4) == [(streams[THIRD], 3), (streams[FIRST], 1)]
    assert then(ADA, 6) == [(streams[THIRD], 3)]
    assert then(ADA, 7) == [(streams[FIRST], 7), (streams[THIRD], 3)]
    assert then(BOB, 4) == []
    assert ask(wallet.of_account_as_of, ADA, 3, before=3, limit=1) == [(streams[SECOND], 2)]


def test_tickets_wait_for_their_wallet_to_be_somebodys(book: Book, caught_up: Callable[[], int], ask: Ask) -> None:
    one, two, known = uuid4(), uuid4(), uuid4()

    def waiting(limit: int = 9) -> list[UUID]:
        caught_up()
        return ask(wallet.unidentified_tickets, limit=limit)

    for ticket_id in (one, two, known):
        book.append((ticket_id, HELD), (ticket_id, PAID))
    book.append((known, delivered(FIRST)), (one, transferred_on_chain(FIRST)), (two, transferred_on_chain(FIRST)))
    assert waiting() == []
    book.append(linked(SECOND))
    assert waiting() == []
    book.append(linked(FIRST))
    assert (waiting(), waiting(1)) == ([one, two], [one])
    book.append((one, holder_identified(ADA, FIRST)), (two, transferred_on_chain(THIRD, block=8)))
    assert waiting() == []
    book.append(linked(THIRD, BOB))
    assert waiting() == [two]
    book.append(unlinked(THIRD, BOB))
    assert waiting() == []


def test_what_is_nobodys_is_in_nobodys_list(book: Book, caught_up: Callable[[], int], ask: Ask) -> None:
    away = uuid4()
    book.append((away, HELD), (away, PAID), (away, delivered(FIRST)), (away, transferred_on_chain(SECOND)))
    book.append((away, holder_identified(ADA, SECOND)))
    caught_up()

    def held_by(person: UUID, position: int) -> list[UUID]:
        return [ticket_id for ticket_id, _ in ask(ticket.held_by_as_of, person, position, limit=9)]

    assert (held_by(HELD.buyer_id, 3), held_by(HELD.buyer_id, 4)) == ([away], [])
    assert (held_by(ADA, 4), held_by(ADA, 5)) == ([], [away])
    (row,) = ask(ticket.held_by, ADA, limit=9)
    assert (row.wallet, row.status, row.custody, row.acquired_position) == (SECOND, "paid", 3, 5)


def test_a_change_of_hands_on_the_chain_undoes_a_claim_and_nothing_else(
    book: Book, caught_up: Callable[[], int], ask: Ask
) -> None:
    claimed, used, void = uuid4(), uuid4(), uuid4()
    ends: dict[UUID, Ticket.Claimed | Ticket.CheckedIn | Ticket.Cancelled] = {
        claimed: Ticket.Claimed(attendee_name="Ada", at=NOW),
        used: Ticket.CheckedIn(event_id=HELD.event_id, tier_id=HELD.tier_id, gate="North", at=NOW),
        void: Ticket.Cancelled(event_id=HELD.event_id, tier_id=HELD.tier_id, reason="fraud", at=NOW),
    }
    for ticket_id, end in ends.items():
        book.append((ticket_id, HELD), (ticket_id, PAID), (ticket_id, end))
    caught_up()
    before = {row.ticket_id: row.status for row in ask(ticket.held_by, HELD.buyer_id, limit=9)}
    assert before == {claimed: "claimed", used: "checked_in", void: "cancelled"}
    book.append(*((ticket_id, transferred_on_chain(FIRST, to=ADA)) for ticket_id in ends))
    caught_up()
    after = {row.ticket_id: row.status for row in ask(ticket.held_by, ADA, limit=9)}
    assert after == before | {claimed: "paid"}
