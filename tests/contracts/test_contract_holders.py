"""What holders may do with their tickets: ERC-721, behind the locks of the events."""

from __future__ import annotations

import pytest

from tests.contracts import operations as op
from tests.contracts.chain import Chain, Node
from tests.contracts.decoding import said
from tests.contracts.operations import LOCKED, TRANSFERS_OPEN, check_in, deliver, move, rules, token, void

ZERO = "0x" + "00" * 20
T, CUSTODIAL, UNKNOWN = token(1, 0), token(1, 1), token(1, 9)
DATA = b"with these words"


@pytest.fixture
def open_event(chain: Chain) -> Chain:
    """Alice has a ticket of an event that opens transfers; the others are in custody."""
    chain.on_sale(flags=TRANSFERS_OPEN)
    chain.apply(deliver(T, 0, chain.alice))
    return chain


def refused_transfer(chain: Chain, ticket: int, reason: int) -> bool:
    refusal = chain.refusal("transferFrom", chain.alice, chain.bob, ticket, by=chain.alice)
    return refusal == said("TransferRefused", ticket, reason)


# -- Transfers ----------------------------------------------------------------------


def test_a_holder_transfers_and_the_mirror_is_told(open_event: Chain) -> None:
    chain = open_event
    outcome = chain.send("transferFrom", chain.alice, chain.bob, T, by=chain.alice)
    assert outcome.said == [
        said("Transfer", chain.alice, chain.bob, T),
        said("HolderTransfer", T, chain.alice, chain.bob, 257),
    ]
    assert chain.call("ownerOf", T) == chain.bob
    assert [chain.call("balanceOf", owner) for owner in (chain.alice, chain.bob, chain.address)] == [0, 1, 3]
    assert chain.call("state", [T])[0] >> 160 & 0xFFFF == 257


def test_a_transfer_to_oneself_is_a_change_of_owner(open_event: Chain) -> None:
    chain = open_event
    chain.send("transferFrom", chain.alice, chain.alice, T, by=chain.alice)
    assert chain.call("balanceOf", chain.alice) == 1
    assert chain.call("state", [T])[0] >> 160 & 0xFFFF == 257


def test_the_mirror_is_not_told_of_its_own_moves(open_event: Chain) -> None:
    chain = open_event
    outcome = chain.apply(move(T, 1, chain.bob))
    assert [name for name, _ in outcome.said] == ["Transfer"]


def test_a_ticket_is_locked_until_check_in(chain: Chain) -> None:
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice))
    assert refused_transfer(chain, T, LOCKED)
    chain.apply(check_in(T))
    chain.send("transferFrom", chain.alice, chain.bob, T, by=chain.alice)


def test_a_ticket_is_locked_until_its_event_ends(chain: Chain) -> None:
    ends_at = chain.now + 1_000
    chain.on_sale(ends_at=ends_at)
    chain.apply(deliver(T, 0, chain.alice))
    chain.travel(ends_at - 10)
    assert chain.call("locked", T) is True
    assert refused_transfer(chain, T, LOCKED)
    chain.travel(ends_at)
    assert chain.call("locked", T) is False
    chain.send("transferFrom", chain.alice, chain.bob, T, by=chain.alice)


def test_an_event_opens_and_closes_transfers(open_event: Chain) -> None:
    chain = open_event
    chain.apply(rules(1))
    assert chain.call("locked", T) is True
    assert refused_transfer(chain, T, LOCKED)
    chain.apply(rules(1, flags=TRANSFERS_OPEN))
    assert chain.call("locked", T) is False
    assert chain.refusal("transferFrom", chain.alice, chain.bob, T, by=chain.alice) is None


def test_a_void_ticket_and_a_cancelled_event_are_locked_for_good(open_event: Chain) -> None:
    chain = open_event
    chain.apply(deliver(CUSTODIAL, 0, chain.alice), void(T))
    assert refused_transfer(chain, T, op.VOIDED)
    assert [chain.call("locked", ticket) for ticket in (T, CUSTODIAL)] == [True, False]
    chain.apply(check_in(CUSTODIAL), rules(1, flags=op.CANCELLED | TRANSFERS_OPEN, ends_at=0))
    assert refused_transfer(chain, CUSTODIAL, op.VOIDED)
    assert chain.call("locked", CUSTODIAL) is True


def test_a_ticket_in_custody_is_nobodys_to_transfer(open_event: Chain) -> None:
    chain = open_event
    refused = said("ERC721IncorrectOwner", chain.alice, CUSTODIAL, chain.address)
    assert chain.refusal("transferFrom", chain.alice, chain.bob, CUSTODIAL, by=chain.alice) == refused
    for caller in (chain.alice, chain.admin, chain.syncer):
        refused = said("ERC721InsufficientApproval", caller, CUSTODIAL)
        assert chain.refusal("transferFrom", chain.address, chain.bob, CUSTODIAL, by=caller) == refused
    assert chain.call("locked", CUSTODIAL) is True


def test_not_even_the_custodian_itself_transfers_from_custody(on_anvil: Node) -> None:
    """It never calls itself; the rule holds all the same. Anvil simulates calls of anybody."""
    chain = Chain(on_anvil)
    chain.on_sale(flags=TRANSFERS_OPEN)
    data = chain.contract.encode_abi("transferFrom", [chain.address, chain.bob, CUSTODIAL])
    refused = chain.raw_refusal({"from": chain.address, "to": chain.address, "data": data})
    assert refused == said("TransferRefused", CUSTODIAL, op.WRONG_PLACE)


def test_where_a_ticket_cannot_go(open_event: Chain) -> None:
    chain = open_event
    refused = chain.refusal("transferFrom", chain.alice, ZERO, T, by=chain.alice)
    assert refused == said("ERC721InvalidReceiver", ZERO)
    refused = chain.refusal("transferFrom", chain.alice, chain.address, T, by=chain.alice)
    assert refused == said("TransferRefused", T, op.BAD_RECEIVER)


def test_a_transfer_names_the_owner_and_a_ticket_that_exists(open_event: Chain) -> None:
    chain = open_event
    refused = chain.refusal("transferFrom", chain.bob, chain.carol, T, by=chain.bob)
    assert refused == said("ERC721IncorrectOwner", chain.bob, T, chain.alice)
    for unknown in (UNKNOWN, 0, 2**64 | T):
        refused = chain.refusal("transferFrom", chain.alice, chain.bob, unknown, by=chain.alice)
        assert refused == said("ERC721NonexistentToken", unknown)


def test_no_transfers_while_paused(open_event: Chain) -> None:
    chain = open_event
    chain.send("pause", by=chain.pauser)
    for function, more in (("transferFrom", ()), ("safeTransferFrom", (DATA,))):
        refused = chain.refusal(function, chain.alice, chain.bob, T, *more, by=chain.alice)
        assert refused == said("EnforcedPause")


# -- Approvals ----------------------------------------------------------------------


def test_an_approved_account_transfers_once(open_event: Chain) -> None:
    chain = open_event
    refused = said("ERC721InsufficientApproval", chain.carol, T)
    assert chain.refusal("transferFrom", chain.alice, chain.bob, T, by=chain.carol) == refused
    outcome = chain.send("approve", chain.carol, T, by=chain.alice)
    assert outcome.said == [said("Approval", chain.alice, chain.carol, T)]
    assert chain.call("getApproved", T) == chain.carol
    chain.send("transferFrom", chain.alice, chain.bob, T, by=chain.carol)
    assert chain.call("getApproved", T) == ZERO
    assert chain.refusal("transferFrom", chain.bob, chain.carol, T, by=chain.carol) == refused


def test_an_approval_ends_with_the_owner_whoever_moved_the_ticket(open_event: Chain) -> None:
    chain = open_event
    chain.send("approve", chain.carol, T, by=chain.alice)
    chain.apply(move(T, 1, chain.bob))
    assert chain.call("getApproved", T) == ZERO
    chain.apply(move(T, 2, chain.alice))
    refused = said("ERC721InsufficientApproval", chain.carol, T)
    assert chain.refusal("transferFrom", chain.alice, chain.bob, T, by=chain.carol) == refused


def test_an_approval_is_taken_back(open_event: Chain) -> None:
    chain = open_event
    chain.send("approve", chain.carol, T, by=chain.alice)
    chain.send("approve", ZERO, T, by=chain.alice)
    assert chain.call("getApproved", T) == ZERO
    assert chain.call("ownerOf", T) == chain.alice
    assert chain.refusal("transferFrom", chain.alice, chain.bob, T, by=chain.carol) is not None


def test_an_approval_leaves_the_version(open_event: Chain) -> None:
    chain = open_event
    chain.send("approve", chain.carol, T, by=chain.alice)
    assert chain.apply(move(T, 1, chain.bob)).skips == []


def test_who_approves(open_event: Chain) -> None:
    chain = open_event
    assert chain.refusal("approve", chain.carol, T, by=chain.bob) == said("ERC721InvalidApprover", chain.bob)
    refused = said("ERC721InvalidApprover", chain.alice)
    assert chain.refusal("approve", chain.carol, CUSTODIAL, by=chain.alice) == refused
    for function, arguments in (("approve", (chain.carol, UNKNOWN)), ("getApproved", (UNKNOWN,))):
        assert chain.refusal(function, *arguments, by=chain.alice) == said("ERC721NonexistentToken", UNKNOWN)


def test_an_operator_acts_for_all_of_an_owners_tickets(open_event: Chain) -> None:
    chain = open_event
    chain.apply(deliver(CUSTODIAL, 0, chain.alice))
    outcome = chain.send("setApprovalForAll", chain.dave, True, by=chain.alice)
    assert outcome.said == [said("ApprovalForAll", chain.alice, chain.dave, True)]
    assert chain.call("isApprovedForAll", chain.alice, chain.dave) is True
    chain.send("approve", chain.carol, T, by=chain.dave)
    chain.send("transferFrom", chain.alice, chain.bob, T, by=chain.dave)
    chain.send("setApprovalForAll", chain.dave, False, by=chain.alice)
    refused = said("ERC721InsufficientApproval", chain.dave, CUSTODIAL)
    assert chain.refusal("transferFrom", chain.alice, chain.bob, CUSTODIAL, by=chain.dave) == refused
    refused = said("ERC721InvalidOperator", ZERO)
    assert chain.refusal("setApprovalForAll", ZERO, True, by=chain.alice) == refused


def test_an_operator_is_bound_by_the_lock_too(open_event: Chain) -> None:
    chain = open_event
    chain.apply(rules(1))
    chain.send("setApprovalForAll", chain.dave, True, by=chain.alice)
    refused = chain.refusal("transferFrom", chain.alice, chain.bob, T, by=chain.dave)
    assert refused == said("TransferRefused", T, LOCKED)


# -- Receivers ----------------------------------------------------------------------


def test_a_contract_is_asked_and_told_everything(open_event: Chain) -> None:
    chain = open_event
    receiver = chain.deploy_part("FriendlyReceiver")
    chain.send("setApprovalForAll", chain.dave, True, by=chain.alice)
    chain.send("safeTransferFrom", chain.alice, receiver.address, T, DATA, by=chain.dave)
    told = [receiver.get_function_by_name(name)().call() for name in ("operator", "from", "tokenId", "data")]
    assert told == [chain.dave, chain.alice, T, DATA]
    assert chain.call("ownerOf", T) == receiver.address


def test_a_wallet_without_code_is_not_asked(open_event: Chain) -> None:
    chain = open_event
    chain.send("safeTransferFrom(address,address,uint256)", chain.alice, chain.bob, T, by=chain.alice)
    assert chain.call("ownerOf", T) == chain.bob


def test_a_receiver_that_refuses_keeps_the_ticket_where_it_was(open_event: Chain) -> None:
    chain = open_event
    for name in ("RefusingReceiver", "OneByOneTickets"):
        receiver = chain.deploy_part(name).address
        refused = chain.refusal("safeTransferFrom", chain.alice, receiver, T, DATA, by=chain.alice)
        assert refused == said("ERC721InvalidReceiver", receiver)
    reverting = chain.deploy_part("RevertingReceiver").address
    refused = chain.refusal("safeTransferFrom", chain.alice, reverting, T, DATA, by=chain.alice)
    assert refused == said("NotToday", T)
    greedy = chain.deploy_part("GreedyReceiver").address
    refused = chain.refusal("safeTransferFrom", chain.alice, greedy, T, DATA, by=chain.alice)
    assert refused == said("ERC721InvalidReceiver", greedy)
    assert chain.call("ownerOf", T) == chain.alice


@pytest.mark.parametrize("part", ["RefusingReceiver", "RevertingReceiver", "GreedyReceiver", "OneByOneTickets"])
def test_no_receiver_holds_up_the_mirror(open_event: Chain, part: str) -> None:
    chain = open_event
    receiver = chain.deploy_part(part).address
    outcome = chain.apply(move(T, 1, receiver), deliver(CUSTODIAL, 0, receiver), check_in(T))
    assert outcome.skips == []
    assert chain.call("balanceOf", receiver) == 2


def test_a_receiver_that_calls_back_meets_a_finished_transfer(open_event: Chain) -> None:
    chain = open_event
    receiver = chain.deploy_part("ReentrantReceiver", chain.address)
    onward = chain.contract.encode_abi("transferFrom", [receiver.address, chain.bob, T])
    chain.transact(receiver.functions.prepare(onward), chain.alice)
    outcome = chain.send("safeTransferFrom", chain.alice, receiver.address, T, DATA, by=chain.alice)
    assert [args[-1] for name, args in outcome.said if name == "HolderTransfer"] == [257, 513]
    assert receiver.functions.ownerWithin().call() == receiver.address
    assert receiver.functions.succeeded().call() is True
    assert chain.call("ownerOf", T) == chain.bob
    owners = (chain.alice, receiver.address, chain.bob, chain.address)
    assert [chain.call("balanceOf", owner) for owner in owners] == [0, 0, 1, 3]


def test_a_receiver_cannot_take_the_ticket_twice(open_event: Chain) -> None:
    chain = open_event
    receiver = chain.deploy_part("ReentrantReceiver", chain.address)
    chain.send("setApprovalForAll", receiver.address, True, by=chain.alice)
    again = chain.contract.encode_abi("transferFrom", [chain.alice, receiver.address, T])
    chain.transact(receiver.functions.prepare(again), chain.alice)
    chain.send("safeTransferFrom", chain.alice, receiver.address, T, DATA, by=chain.alice)
    assert receiver.functions.called().call() is True
    assert receiver.functions.succeeded().call() is False
    assert chain.call("balanceOf", receiver.address) == 1


def test_a_receiver_cannot_enter_the_mirror(open_event: Chain) -> None:
    chain = open_event
    receiver = chain.deploy_part("ReentrantReceiver", chain.address)
    batch = chain.contract.encode_abi("applyBatch", [chain.synced + 1, chain.synced + 1, move(T, 2, chain.bob)])
    chain.transact(receiver.functions.prepare(batch), chain.alice)
    chain.send("safeTransferFrom", chain.alice, receiver.address, T, DATA, by=chain.alice)
    assert receiver.functions.succeeded().call() is False
    assert chain.call("syncedThrough") == chain.synced
    assert chain.call("ownerOf", T) == receiver.address
