"""The standards that the contract says it keeps, and who may administer it."""

from __future__ import annotations

import pytest
from eth_hash.auto import keccak

from tests.contracts.chain import ADMIN_DELAY_SECONDS, BASE_URI, LEDGER_ID, Chain
from tests.contracts.decoding import said
from tests.contracts.operations import deliver, token

ZERO = "0x" + "00" * 20
ADMIN_ROLE = bytes(32)
SYNCER_ROLE, PAUSER_ROLE = keccak(b"SYNCER_ROLE"), keccak(b"PAUSER_ROLE")
T, UNKNOWN = token(1, 0), token(1, 9)
KEPT = {
    "ERC-165": "01ffc9a7",
    "ERC-721": "80ac58cd",
    "ERC-721 metadata": "5b5e139f",
    "ERC-2981": "2a55205a",
    "ERC-4906": "49064906",
    "ERC-5192": "b45a3c0e",
    "access control": "7965db0b",
    "default admin rules": "31498786",
}
NOT_KEPT = {"none (ERC-165)": "ffffffff", "ERC-721 enumerable": "780e9d63", "ERC-1155": "d9b67a26"}


# -- Standards ----------------------------------------------------------------------


@pytest.mark.parametrize("standard", KEPT)
def test_it_says_which_standards_it_keeps(chain: Chain, standard: str) -> None:
    assert chain.call("supportsInterface", bytes.fromhex(KEPT[standard])) is True


@pytest.mark.parametrize("standard", NOT_KEPT)
def test_it_claims_no_others(chain: Chain, standard: str) -> None:
    assert chain.call("supportsInterface", bytes.fromhex(NOT_KEPT[standard])) is False


def test_it_says_what_it_is(chain: Chain) -> None:
    assert (chain.call("name"), chain.call("symbol")) == ("Counterfoil", "SEAT")
    assert chain.call("VERSION") == 1
    assert chain.call("ledgerId") == LEDGER_ID
    assert chain.call("owner") == chain.call("defaultAdmin") == chain.admin


def test_each_ticket_has_its_address(chain: Chain) -> None:
    chain.on_sale()
    assert chain.call("tokenURI", T) == f"{BASE_URI}{T}"
    assert chain.refusal("tokenURI", UNKNOWN, by=chain.alice) == said("ERC721NonexistentToken", UNKNOWN)


def test_the_admin_changes_where_metadata_are(chain: Chain) -> None:
    chain.on_sale()
    outcome = chain.send("setBaseURI", "https://elsewhere.example/", by=chain.admin)
    assert outcome.said == [said("BatchMetadataUpdate", 0, 2**256 - 1)]
    assert chain.call("tokenURI", T) == f"https://elsewhere.example/{T}"
    chain.send("setBaseURI", "", by=chain.admin)
    assert chain.call("tokenURI", T) == ""


def test_royalties_are_the_events(chain: Chain) -> None:
    chain.on_sale(royalty=750)
    chain.on_sale(royalty=0)
    assert chain.call("royaltyInfo", T, 10_000) == [chain.royalties, 750]
    assert chain.call("royaltyInfo", T, 999) == [chain.royalties, 74]
    assert chain.call("royaltyInfo", token(2, 0), 10_000) == [chain.royalties, 0]
    assert chain.call("royaltyInfo", token(9, 0), 10_000) == [chain.royalties, 0]


def test_the_admin_changes_who_receives_royalties(chain: Chain) -> None:
    chain.on_sale(royalty=750)
    chain.send("setRoyaltyReceiver", chain.carol, by=chain.admin)
    assert chain.call("royaltyInfo", T, 10_000) == [chain.carol, 750]
    refused = said("InvalidRoyaltyReceiver", ZERO)
    assert chain.refusal("setRoyaltyReceiver", ZERO, by=chain.admin) == refused


def test_what_is_asked_of_tickets_that_do_not_exist(chain: Chain) -> None:
    chain.on_sale()
    for unknown in (UNKNOWN, 0, token(2, 0), 2**64 | T):
        for function in ("ownerOf", "locked", "tokenURI", "getApproved"):
            assert chain.refusal(function, unknown, by=chain.alice) == said("ERC721NonexistentToken", unknown)
    assert chain.refusal("balanceOf", ZERO, by=chain.alice) == said("ERC721InvalidOwner", ZERO)


# -- Administration -------------------------------------------------------------------


def test_each_role_can_do_its_own_and_nothing_else(chain: Chain) -> None:
    guarded = [
        ("pause", (), PAUSER_ROLE, chain.pauser),
        ("unpause", (), ADMIN_ROLE, chain.admin),
        ("setBaseURI", ("",), ADMIN_ROLE, chain.admin),
        ("setRoyaltyReceiver", (chain.bob,), ADMIN_ROLE, chain.admin),
        ("applyBatch", (1, 1, b""), SYNCER_ROLE, chain.syncer),
        ("anchor", (1, bytes(32)), SYNCER_ROLE, chain.syncer),
    ]
    for function, arguments, role, holder in guarded:
        for caller in (chain.admin, chain.pauser, chain.syncer, chain.alice):
            refused = said("AccessControlUnauthorizedAccount", caller, role)
            if caller != holder:
                assert chain.refusal(function, *arguments, by=caller) == refused


def test_only_the_admin_ends_a_pause(chain: Chain) -> None:
    assert chain.send("pause", by=chain.pauser).said == [said("Paused", chain.pauser)]
    assert chain.call("paused") is True
    assert chain.refusal("pause", by=chain.pauser) == said("EnforcedPause")
    assert chain.send("unpause", by=chain.admin).said == [said("Unpaused", chain.admin)]
    assert chain.refusal("unpause", by=chain.admin) == said("ExpectedPause")


def test_a_stolen_syncer_key_is_replaced(chain: Chain) -> None:
    chain.send("revokeRole", SYNCER_ROLE, chain.syncer, by=chain.admin)
    chain.send("grantRole", SYNCER_ROLE, chain.bob, by=chain.admin)
    refused = said("AccessControlUnauthorizedAccount", chain.syncer, SYNCER_ROLE)
    assert chain.refusal("applyBatch", 1, 1, b"", by=chain.syncer) == refused
    chain.send("applyBatch", 1, 1, b"", by=chain.bob)


def test_the_admin_hands_over_in_two_steps_with_a_delay(chain: Chain) -> None:
    chain.send("beginDefaultAdminTransfer", chain.bob, by=chain.admin)
    due = chain.now + ADMIN_DELAY_SECONDS
    assert chain.call("pendingDefaultAdmin") == [chain.bob, due]
    early = said("AccessControlEnforcedDefaultAdminDelay", due)
    assert chain.refusal("acceptDefaultAdminTransfer", by=chain.bob) == early
    chain.travel(due + 1)
    refused = said("AccessControlInvalidDefaultAdmin", chain.carol)
    assert chain.refusal("acceptDefaultAdminTransfer", by=chain.carol) == refused
    chain.send("acceptDefaultAdminTransfer", by=chain.bob)
    assert chain.call("owner") == chain.bob
    refused = said("AccessControlUnauthorizedAccount", chain.admin, ADMIN_ROLE)
    assert chain.refusal("setBaseURI", "", by=chain.admin) == refused


def test_the_admin_role_is_not_granted_around_the_delay(chain: Chain) -> None:
    refused = said("AccessControlEnforcedDefaultAdminRules")
    assert chain.refusal("grantRole", ADMIN_ROLE, chain.bob, by=chain.admin) == refused
    assert chain.refusal("revokeRole", ADMIN_ROLE, chain.admin, by=chain.admin) == refused


def test_it_takes_no_money(chain: Chain) -> None:
    transaction = {"from": chain.alice, "to": chain.address, "value": 1, "gas": 100_000, "maxFeePerGas": 10**11}
    assert chain.raw_refusal({**transaction, "maxPriorityFeePerGas": 0}) == said("0x")
    chain.on_sale()
    chain.apply(deliver(T, 0, chain.alice))
    assert chain.w3.eth.get_balance(chain.contract.address) == 0


def test_it_is_not_deployed_without_an_admin_or_a_receiver_of_royalties(chain: Chain) -> None:
    assert chain.deployment_refusal(admin=ZERO) == said("AccessControlInvalidDefaultAdmin", ZERO)
    assert chain.deployment_refusal(royalties=ZERO) == said("InvalidRoyaltyReceiver", ZERO)
    assert chain.deployment_refusal() is None
