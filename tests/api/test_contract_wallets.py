"""The contract, wallets: proved, listed, let go, and never anybody else's meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.api.callers import Caller, exchange
from tests.api.house import House
from tests.api.scenes import linked_wallet, proof_of
from tests.signer import mirrored, new_signer


@pytest.fixture
def alice(house: House) -> Caller:
    """Somebody whose wallets nobody else touches."""
    return house.person(f"alice-{uuid4().hex[:8]}")


@pytest.fixture
def bob(house: House) -> Caller:
    return house.person(f"bob-{uuid4().hex[:8]}")


def listed(person: Caller, **query: object) -> list[str]:
    return [wallet["address"] for wallet in person.get("/v1/wallets", query).ok()["items"]]


# -- Linking ---------------------------------------------------------------------------------


def test_a_wallet_is_linked_by_signing_a_challenge(alice: Caller) -> None:
    wallet = new_signer()
    answer = alice.post("/v1/wallets/challenges", {"address": wallet.checksummed})
    challenge = answer.ok(201)
    assert "ledger-position" not in answer.headers
    first, address, *_ = challenge["message"].split("\n")
    assert first == "http://127.0.0.1:8000 wants you to sign in with your Ethereum account:"
    assert (address, f"Nonce: {challenge['nonce']}" in challenge["message"]) == (wallet.checksummed, True)
    assert f"Expiration Time: {challenge['expires_at']}" in challenge["message"]
    proof = {"message": challenge["message"], "signature": wallet.sign(challenge["message"])}
    answer = alice.post("/v1/wallets", proof)
    linked = answer.ok(201)
    assert answer.position > 0
    assert (linked["address"], linked["account_id"]) == (wallet.address, alice.user_id)
    assert alice.get("/v1/wallets").ok()["items"] == [linked]


@pytest.mark.parametrize("spell", ["lower", "checksummed", "upper"])
def test_an_address_may_be_spelled_with_or_without_its_checksum(alice: Caller, spell: str) -> None:
    wallet = new_signer()
    spelled = {"lower": wallet.address, "checksummed": wallet.checksummed, "upper": "0x" + wallet.address[2:].upper()}
    challenge = alice.post("/v1/wallets/challenges", {"address": spelled[spell]}).ok(201)
    assert wallet.checksummed in challenge["message"]
    linked_wallet(alice, wallet)
    assert alice.delete(f"/v1/wallets/{spelled[spell]}").status == 204


def test_a_wrong_checksum_is_a_typing_error(alice: Caller) -> None:
    address = new_signer().checksummed
    at = next(index for index, letter in enumerate(address) if index > 1 and letter.isalpha())
    wrong = address[:at] + address[at].swapcase() + address[at + 1 :]
    alice.post("/v1/wallets/challenges", {"address": wrong}).invalid("/address")
    alice.delete(f"/v1/wallets/{wrong}").invalid("/path/address")
    alice.post(f"/v1/tickets/{uuid4()}/deliver", {"wallet": wrong}).invalid("/wallet")


def test_no_path_means_two_things(house: House, alice: Caller) -> None:
    answer = exchange(house.port, "DELETE", "/v1/wallets/challenges", None, {})
    answer.refused(405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    alice.delete("/v1/wallets/0x12").invalid("/path/address")


@pytest.mark.parametrize(
    "address", ["", "0x", "0x12", "vitalik.eth", "0x" + "g" * 40, "1" * 42, "0X" + "1" * 40, None, 7]
)
def test_what_is_no_address_is_refused(alice: Caller, address: object) -> None:
    alice.post("/v1/wallets/challenges", {"address": address}).invalid("/address")


@pytest.mark.parametrize("chain_id", [0, -1, 2**63, "1", True, 1.0])
def test_what_is_no_chain_id_is_refused(alice: Caller, chain_id: object) -> None:
    request = {"address": new_signer().address, "chain_id": chain_id}
    alice.post("/v1/wallets/challenges", request).invalid("/chain_id")


def test_the_challenge_is_for_the_chain_that_was_asked_for(alice: Caller) -> None:
    request = {"address": new_signer().address, "chain_id": 137}
    assert "\nChain ID: 137\n" in alice.post("/v1/wallets/challenges", request).ok(201)["message"]


def test_linking_is_refused_for_what_proves_nothing(alice: Caller, bob: Caller) -> None:
    wallet = new_signer()
    proof = proof_of(alice, wallet)
    for wrong in (
        proof | {"signature": mirrored(proof["signature"])},
        proof | {"signature": new_signer().sign(proof["message"])},
        proof | {"signature": "0x"},
        proof | {"message": proof["message"] + "\n"},
        proof | {"message": proof["message"].replace("Chain ID: 1", "Chain ID: 5")},
        proof | {"message": "", "signature": ""},
        proof | {"message": "é", "signature": "é"},
    ):
        problem = alice.post("/v1/wallets", wrong).refused(422, "bad-proof")
        assert [error["pointer"] for error in problem["errors"]] in (["/message"], ["/signature"])
    bob.post("/v1/wallets", proof).refused(422, "bad-proof")
    assert (listed(alice), listed(bob)) == ([], [])


def test_a_proof_is_good_for_one_use_also_after_unlinking(alice: Caller) -> None:
    wallet = new_signer()
    proof = proof_of(alice, wallet)
    alice.post("/v1/wallets", proof).ok(201)
    alice.post("/v1/wallets", proof).refused(422, "bad-proof")
    assert alice.delete(f"/v1/wallets/{wallet.address}").status == 204
    alice.post("/v1/wallets", proof).refused(422, "bad-proof")
    assert listed(alice) == []


def test_a_repeat_with_its_key_is_given_the_first_answer(alice: Caller) -> None:
    wallet, key = new_signer(), uuid4().hex
    proof = proof_of(alice, wallet)
    first = alice.post("/v1/wallets", proof, key=key).ok(201)
    again = alice.post("/v1/wallets", proof, key=key)
    assert (again.ok(201), again.replayed) == (first, True)
    key = uuid4().hex
    gone, repeated = (alice.delete(f"/v1/wallets/{wallet.address}", key=key) for _ in range(2))
    assert (gone.status, repeated.status, repeated.replayed) == (204, 204, True)
    assert (gone.body, repeated.position) == (b"", gone.position)


def test_another_accounts_wallet_is_taken(alice: Caller, bob: Caller) -> None:
    wallet = linked_wallet(alice)
    bob.post("/v1/wallets", proof_of(bob, wallet)).refused(409, "wallet-taken")
    bob.delete(f"/v1/wallets/{wallet.address}").refused(404, "not-found")
    assert alice.delete(f"/v1/wallets/{wallet.address}").status == 204
    linked_wallet(bob, wallet)
    assert (listed(alice), listed(bob)) == ([], [wallet.address])


def test_two_accounts_that_link_one_wallet_at_once(alice: Caller, bob: Caller) -> None:
    wallet = new_signer()
    proofs = [(person, proof_of(person, wallet)) for person in (alice, bob)]
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda each: each[0].post("/v1/wallets", each[1]), proofs))
    assert sorted(answer.status for answer in answers) == [201, 409]
    assert len(listed(alice) + listed(bob)) == 1


def test_wallets_are_listed_page_by_page_now_and_as_of_then(alice: Caller) -> None:
    wallets = [linked_wallet(alice) for _ in range(3)]
    addresses = [wallet.address for wallet in reversed(wallets)]
    then = alice.house.position
    page = alice.get("/v1/wallets", {"limit": 2}).ok()
    rest = alice.get("/v1/wallets", {"limit": 2, "cursor": page["next_cursor"]}).ok()
    assert [wallet["address"] for wallet in page["items"] + rest["items"]] == addresses
    assert rest["next_cursor"] is None
    alice.delete(f"/v1/wallets/{addresses[1]}")
    assert listed(alice) == [addresses[0], addresses[2]]
    assert listed(alice, as_of=then) == addresses
    assert listed(alice, as_of=then, limit=1) == addresses[:1]
