"""The contract, custody: tickets that go into wallets and come back, and those whose holder is found by the wallet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from commands.ticket import RecordChainTransfer
from tests.api.callers import Caller, eventually
from tests.api.house import House
from tests.api.scenes import (
    Json,
    bought,
    code_of,
    delivered_ticket,
    linked_wallet,
    on_sale,
    proof_of,
    ticket_of,
    tonight,
)
from tests.signer import Signer, new_signer

MANY = 300
"""Tickets in one wallet: more than are identified together."""


@pytest.fixture
def alice(house: House) -> Caller:
    """Somebody whose wallets and tickets nobody else touches."""
    return house.person(f"alice-{uuid4().hex[:8]}")


@pytest.fixture
def bob(house: House) -> Caller:
    return house.person(f"bob-{uuid4().hex[:8]}")


def moves_on_chain(house: House, ticket_id: str, from_wallet: Signer, to_wallet: Signer, *, block: int = 7) -> None:
    """What the watcher has recorded, once a holder's own transfer is final."""
    command = RecordChainTransfer(
        ticket_id=UUID(ticket_id),
        chain_id=31337,
        contract=f"0x{'c0' * 20}",
        token_id=1 << 32,
        version=2,
        from_wallet=from_wallet.address,
        to_wallet=to_wallet.address,
        block_number=block,
        block_hash=f"0x{block:064x}",
        transaction_hash=f"0x{'dd' * 32}",
        log_index=0,
    )
    house.run(house.application.execute(command, actor="system:watcher"))
    house.position = house.head


NOT_THEIRS: list[tuple[str, Json | None]] = [
    ("claim", {"attendee_name": "Ada"}),
    ("transfer", {"to": "a@b.test"}),
    ("transfer/accept", None),
    ("transfer/decline", None),
    ("deliver", {"wallet": f"0x{'1' * 40}"}),
    ("return", None),
]


def test_a_ticket_goes_into_a_wallet_and_comes_back(organizer: Caller, alice: Caller) -> None:
    event, wallet = on_sale(organizer, tonight()), linked_wallet(alice)
    ticket_id = ticket_of(alice, event)
    assert alice.get(f"/v1/tickets/{ticket_id}").ok()["wallet"] is None
    code = code_of(alice, ticket_id)
    delivered = alice.post(f"/v1/tickets/{ticket_id}/deliver", {"wallet": wallet.checksummed}).ok()
    assert (delivered["wallet"], delivered["holder_id"]) == (wallet.address, alice.user_id)
    assert alice.get("/v1/tickets").ok()["items"][0]["wallet"] == wallet.address
    alice.post(f"/v1/tickets/{ticket_id}/deliver", {"wallet": wallet.address}).refused(409, "in-wallet")
    assert alice.post(f"/v1/tickets/{ticket_id}/return").ok()["wallet"] is None
    alice.post(f"/v1/tickets/{ticket_id}/return").refused(409, "in-custody")
    organizer.post("/v1/check-ins", {"code": code, "gate": "North"}).ok()


def test_a_ticket_goes_into_no_wallet_but_the_holders(organizer: Caller, alice: Caller, bob: Caller) -> None:
    ticket_id = ticket_of(alice, on_sale(organizer))
    for wallet in (new_signer(), linked_wallet(bob)):
        request = {"wallet": wallet.address}
        alice.post(f"/v1/tickets/{ticket_id}/deliver", request).refused(409, "wallet-not-linked")
        bob.post(f"/v1/tickets/{ticket_id}/deliver", request).refused(404, "not-found")


def test_a_transfer_takes_it_out_of_the_wallet(organizer: Caller, alice: Caller, bob: Caller) -> None:
    ticket_id = delivered_ticket(alice, on_sale(organizer), linked_wallet(alice))
    passed_on = alice.post(f"/v1/tickets/{ticket_id}/transfer", {"to": bob.email}).ok()
    assert (passed_on["holder_id"], passed_on["wallet"]) == (bob.user_id, None)


def test_what_moves_on_the_chain_to_a_linked_wallet_changes_hands(
    house: House, organizer: Caller, alice: Caller, bob: Caller
) -> None:
    mine, theirs = linked_wallet(alice), linked_wallet(bob)
    ticket_id = delivered_ticket(alice, on_sale(organizer, tonight()), mine)
    old = code_of(alice, ticket_id)
    moves_on_chain(house, ticket_id, mine, theirs)
    alice.get(f"/v1/tickets/{ticket_id}").refused(404, "not-found")
    organizer.post("/v1/check-ins", {"code": old, "gate": "North"}).refused(422, "bad-code")
    ticket = bob.get(f"/v1/tickets/{ticket_id}").ok()
    assert (ticket["holder_id"], ticket["wallet"]) == (bob.user_id, theirs.address)
    assert bob.get("/v1/tickets").ok()["items"] == [ticket]
    organizer.post("/v1/check-ins", {"code": code_of(bob, ticket_id), "gate": "North"}).ok()


def test_a_ticket_in_a_wallet_that_is_nobodys_has_no_holder_until_it_is_linked(
    house: House, organizer: Caller, alice: Caller, bob: Caller
) -> None:
    mine, stranger = linked_wallet(alice), new_signer()
    event = on_sale(organizer, tonight())
    order = bought(alice, event)
    ticket_id = order["tickets"][0]["ticket_id"]
    alice.post(f"/v1/tickets/{ticket_id}/deliver", {"wallet": mine.address}).ok()
    moves_on_chain(house, ticket_id, mine, stranger)
    then = house.position

    shown = organizer.get(f"/v1/tickets/{ticket_id}").ok()
    assert (shown["holder_id"], shown["wallet"], shown["status"]) == (None, stranger.address, "paid")
    for path in (f"/v1/tickets/{ticket_id}", f"/v1/tickets/{ticket_id}/code", f"/v1/tickets/{ticket_id}/history"):
        alice.get(path).refused(404, "not-found")
    for path, body in NOT_THEIRS:
        alice.post(f"/v1/tickets/{ticket_id}/{path}", body).refused(404, "not-found")
    assert alice.get("/v1/tickets").ok()["items"] == []
    assert alice.get(f"/v1/orders/{order['order_id']}").ok()["tickets"][0]["status"] == "paid"
    assert [fact["type"] for fact in organizer.get(f"/v1/tickets/{ticket_id}/history").ok()["items"]] == [
        "ticket.held",
        "ticket.paid",
        "ticket.delivered",
        "ticket.transferred_on_chain",
    ]

    linked_wallet(bob, stranger)
    eventually(lambda: bob.get(f"/v1/tickets/{ticket_id}").status == 200)
    ticket = bob.get(f"/v1/tickets/{ticket_id}").ok()
    assert (ticket["holder_id"], ticket["wallet"]) == (bob.user_id, stranger.address)
    house.position = house.head
    assert bob.get("/v1/tickets").ok()["items"] == [ticket]
    assert bob.get("/v1/tickets", {"as_of": then}).ok()["items"] == []
    assert organizer.get(f"/v1/tickets/{ticket_id}", {"as_of": then}).ok() == shown
    organizer.post("/v1/check-ins", {"code": code_of(bob, ticket_id), "gate": "North"}).ok()


def test_a_ticket_that_comes_while_the_wallet_is_linked_finds_its_holder(
    house: House, organizer: Caller, alice: Caller, bob: Caller
) -> None:
    mine = linked_wallet(alice)
    event = on_sale(organizer)
    for _ in range(5):
        stranger = new_signer()
        ticket_id, proof = delivered_ticket(alice, event, mine), proof_of(bob, stranger)
        with ThreadPoolExecutor(2) as both:
            linking = both.submit(bob.post, "/v1/wallets", proof)
            both.submit(moves_on_chain, house, ticket_id, mine, stranger).result()
            linking.result().ok(201)
        eventually(lambda ticket_id=ticket_id: bob.get(f"/v1/tickets/{ticket_id}").status == 200)  # type: ignore[misc]


def test_all_the_tickets_in_a_wallet_find_their_holder(house: House, organizer: Caller, bob: Caller) -> None:
    carol = house.person(f"carol-{uuid4().hex[:8]}")
    mine, stranger = linked_wallet(carol), new_signer()
    tier = {"name": "Standing", "price": 1, "quantity": MANY}
    event = on_sale(organizer, tonight(tiers=[tier], max_tickets_per_order=100))
    orders = [bought(carol, event, 100) for _ in range(MANY // 100)]
    tickets = [ticket["ticket_id"] for order in orders for ticket in order["tickets"]]
    for block, ticket_id in enumerate(tickets):
        moves_on_chain(house, ticket_id, mine, stranger, block=block)
    linked_wallet(bob, stranger)

    def held() -> int:
        house.position = house.head
        first = bob.get("/v1/tickets", {"limit": 200}).ok()
        cursor = first["next_cursor"]
        rest = bob.get("/v1/tickets", {"limit": 200, "cursor": cursor}).ok()["items"] if cursor else []
        return len(first["items"] + rest)

    eventually(lambda: held() == MANY)
