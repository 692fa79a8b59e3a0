"""A proof holds for what was asked, of whom it was asked, while it was asked; and nothing that resembles it does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.erc4361 import parse
from adapters.wallet_proofs import CLOCKS_APART_MAX, LIFETIME, Erc4361Proofs
from commands.wallet import BadProofError, Proof
from domain.kernel import InvalidError
from tests.domain.happening import BUYER, FRIEND, MOMENT, NOW
from tests.signer import mirrored, signer

SECRET = b"a secret that only these tests share"
URL = "https://tickets.example"
PROOFS = Erc4361Proofs(SECRET, URL, None)
WALLET, OTHER = signer(1), signer(2)
LATER = NOW + timedelta(seconds=5)


def challenge(proofs: Erc4361Proofs = PROOFS, *, chain_id: int | None = None, version: int = 0) -> str:
    given_ = proofs.challenge(WALLET.address, chain_id=chain_id, account_id=BUYER, version=version, at=NOW)
    return given_.message


def proved(
    message: str,
    signature: str | None = None,
    *,
    proofs: Erc4361Proofs = PROOFS,
    account_id: UUID = BUYER,
    version: int = 0,
    at: datetime = LATER,
) -> Proof:
    """Raises BadProofError."""
    proof = proofs.read(message, signature or WALLET.sign(message), at=at)
    proofs.refuse_unless_challenged(proof, account_id=account_id, version=version)
    return proof


def refused(why: str | None, message: str, signature: str | None = None, **circumstances: object) -> None:
    """``why`` is a part of what is said; None: whatever is."""
    with pytest.raises(BadProofError, match=None if why is None else re.escape(why)):
        proved(message, signature, **circumstances)  # type: ignore[arg-type]


# -- Done ------------------------------------------------------------------------------------


def test_a_challenge_says_what_is_asked_for_how_long() -> None:
    given_ = PROOFS.challenge(WALLET.address, chain_id=None, account_id=BUYER, version=0, at=NOW + MOMENT)
    message = parse(given_.message)
    assert (message.scheme, message.domain, message.uri) == (None, "tickets.example", f"{URL}/v1/wallets")
    assert (message.address, message.chain_id, message.nonce) == (WALLET.checksummed, "1", given_.nonce)
    assert str(BUYER) in (message.statement or "")
    assert (message.issued_at, message.expiration_time) == ("2031-05-01T10:00:00Z", "2031-05-01T10:10:00Z")
    assert given_.expires_at == NOW + LIFETIME


def test_who_signs_the_challenge_has_proved_it() -> None:
    message = challenge()
    signature = WALLET.sign(message)
    assert proved(message, signature) == Proof(WALLET.address, message, signature)


@pytest.mark.parametrize("url", [URL, "http://127.0.0.1:8000", "http://[::1]:8000", f"{URL}:8443/box/office"])
def test_any_address_that_we_are_reached_at_will_do(url: str) -> None:
    proofs = Erc4361Proofs(SECRET, url, None)
    assert proved(challenge(proofs), proofs=proofs).address == WALLET.address


def test_a_wallet_that_leaves_out_the_offset_of_v_is_understood() -> None:
    message = challenge()
    signature = WALLET.sign(message)
    shifted = f"{signature[:130]}{int(signature[130:], 16) - 27:02x}"
    assert proved(message, shifted).address == WALLET.address


@pytest.mark.parametrize("at", [NOW - CLOCKS_APART_MAX, NOW, NOW + LIFETIME - MOMENT])
def test_a_challenge_can_be_answered_until_it_expires(at: datetime) -> None:
    assert proved(challenge(), at=at).address == WALLET.address


# -- Refused ---------------------------------------------------------------------------------


def test_a_challenge_expires() -> None:
    for at in (NOW + LIFETIME, NOW + timedelta(days=400)):
        refused("expired", challenge(), at=at)


def test_a_challenge_from_the_future_is_not_valid_yet() -> None:
    refused("not valid yet", challenge(), at=NOW - CLOCKS_APART_MAX - MOMENT)


def test_what_is_not_valid_before_a_time_is_not() -> None:
    message = str(replace(parse(challenge()), not_before="2031-05-01T10:00:06Z"))
    refused("not valid yet", message)


def test_no_message_outlives_the_lifetime_whatever_it_says() -> None:
    forever = replace(parse(challenge()), expiration_time=None)
    refused("expired", str(forever), at=NOW + LIFETIME)
    refused("expired", str(replace(forever, expiration_time="2041-05-01T10:00:00Z")), at=NOW + LIFETIME)
    refused("expired", str(replace(forever, expiration_time="2031-05-01T10:00:05Z")))


@pytest.mark.parametrize(
    "changes",
    [
        {"domain": "tickets.example.evil"},
        {"domain": "Tickets.example"},
        {"domain": "tickets.example:443"},
        {"domain": "ada@tickets.example"},
        {"scheme": "https"},
        {"scheme": "http"},
        {"uri": f"{URL}/v1/orders"},
        {"uri": f"{URL}/v1/wallets/"},
        {"uri": "https://evil.example/v1/wallets"},
    ],
    ids=str,
)
def test_a_message_for_somebody_else_is_refused(changes: dict[str, str]) -> None:
    refused("is not for", str(replace(parse(challenge()), **changes)))  # type: ignore[arg-type]


def test_where_the_chain_is_known_no_other_is_proved_or_asked_for() -> None:
    proofs = Erc4361Proofs(SECRET, URL, 31337)
    message = challenge(proofs)
    assert parse(message).chain_id == "31337"
    assert proved(message, proofs=proofs).address == WALLET.address
    refused("chain", challenge(chain_id=1), proofs=proofs)
    refused("chain", str(replace(parse(message), chain_id="031337")), proofs=proofs)
    with pytest.raises(InvalidError):
        challenge(proofs, chain_id=1)


def test_where_any_chain_will_do_it_is_the_one_of_the_challenge() -> None:
    message = challenge(chain_id=137)
    assert proved(message).address == WALLET.address
    refused("not one that we gave", str(replace(parse(message), chain_id="1")))


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "0123456789abcdef"},
        {"statement": None},
        {"statement": "I accept"},
        {"issued_at": "2031-05-01T10:00:01Z"},
        {"issued_at": "2031-05-01T12:00:00+02:00"},
        {"expiration_time": "2031-05-01T10:09:59Z"},
        {"expiration_time": None},
        {"not_before": "2031-05-01T10:00:00Z"},
        {"request_id": ""},
        {"resources": ()},
        {"resources": ("https://tickets.example/",)},
    ],
    ids=str,
)
def test_a_message_that_is_not_the_challenge_proves_nothing_however_well_it_is_signed(
    changes: dict[str, object],
) -> None:
    refused("not one that we gave", str(replace(parse(challenge()), **changes)))  # type: ignore[arg-type]


def test_a_challenge_is_for_one_account_at_one_version_of_one_wallet() -> None:
    refused("not one that we gave", challenge(), account_id=FRIEND)
    refused("not one that we gave", challenge(), version=1)
    refused("not one that we gave", challenge(version=1), version=0)
    elsewhere = str(replace(parse(challenge()), address=OTHER.checksummed))
    refused("not one that we gave", elsewhere, OTHER.sign(elsewhere))


def test_a_challenge_of_another_house_is_not_ours() -> None:
    refused("not one that we gave", challenge(Erc4361Proofs(b"another secret, just as long as ours", URL, None)))


SIGNATURES: dict[str, Callable[[str], str]] = {
    "nothing": lambda good: "",
    "no prefix": lambda good: good[2:],
    "another prefix": lambda good: f"0X{good[2:]}",
    "cut": lambda good: good[:-2],
    "grown": lambda good: f"{good}00",
    "half a byte": lambda good: good[:-1],
    "not hexadecimal": lambda good: f"{good[:-1]}g",
    "digits of another script": lambda good: f"{good[:-1]}١",
    "spaced": lambda good: f" {good}",
    "compact (ERC-2098)": lambda good: good[:-2],
    "malleable": mirrored,
    "another v": lambda good: f"{good[:130]}1d",
    "v of a chain (EIP-155)": lambda good: f"{good[:130]}25",
    "the other parity": lambda good: f"{good[:130]}{55 - int(good[130:], 16):02x}",
    "r of nothing": lambda good: f"0x{'0' * 64}{good[66:]}",
    "r beyond the order": lambda good: f"0x{'f' * 64}{good[66:]}",
    "s of nothing": lambda good: f"{good[:66]}{'0' * 64}{good[130:]}",
    "zeros": lambda good: f"0x{'0' * 130}",
}


@pytest.mark.parametrize("spoil", SIGNATURES.values(), ids=SIGNATURES.keys())
def test_what_is_no_signature_of_the_wallet_is_refused(spoil: Callable[[str], str]) -> None:
    message = challenge()
    with pytest.raises(BadProofError) as refusal:
        PROOFS.read(message, spoil(WALLET.sign(message)), at=LATER)
    assert refusal.value.facts["errors"] == [{"pointer": "/signature", "detail": refusal.value.detail}]


def test_the_mirrored_signature_is_a_signature_and_is_refused_for_its_form_alone() -> None:
    message = challenge()
    assert mirrored(mirrored(WALLET.sign(message))) == WALLET.sign(message)
    refused("canonical", message, mirrored(WALLET.sign(message)))


def test_a_message_signed_by_another_wallet_is_refused() -> None:
    refused("did not sign", challenge(), OTHER.sign(challenge()))


def test_what_is_no_message_is_refused_before_anything_else() -> None:
    for text in ("", "hello", "\ud800", challenge() + "\n"):
        with pytest.raises(BadProofError, match="ERC-4361"):
            PROOFS.read(text, "0x", at=LATER)


# -- Whatever is changed ---------------------------------------------------------------------

MESSAGE = challenge()
SIGNED = WALLET.sign(MESSAGE)
CHARACTERS = st.characters(codec="utf-8")


@settings(max_examples=300)
@given(st.integers(0, len(MESSAGE) - 1), CHARACTERS | st.sampled_from(MESSAGE), st.sampled_from(["for", "before"]))
def test_a_message_with_any_character_changed_proves_nothing(at: int, new: str, where: str) -> None:
    changed = MESSAGE[:at] + new + MESSAGE[at + (where == "for") :]
    if changed != MESSAGE:
        refused(None, changed, SIGNED)


@settings(max_examples=150)
@given(st.integers(0, len(MESSAGE) - 1), CHARACTERS | st.sampled_from(MESSAGE))
def test_signing_what_was_changed_does_not_help(at: int, new: str) -> None:
    changed = MESSAGE[:at] + new + MESSAGE[at + 1 :]
    if changed != MESSAGE:
        refused(None, changed, WALLET.sign(changed))


@settings(max_examples=150)
@given(st.integers(2, len(SIGNED) - 1), st.sampled_from("0123456789abcdef"))
def test_a_signature_with_any_digit_changed_proves_nothing(at: int, new: str) -> None:
    changed = SIGNED[:at] + new + SIGNED[at + 1 :]
    if changed != SIGNED:
        refused(None, MESSAGE, changed)


def test_a_message_without_any_one_character_proves_nothing() -> None:
    for at in range(len(MESSAGE)):
        refused(None, MESSAGE[:at] + MESSAGE[at + 1 :], SIGNED)
