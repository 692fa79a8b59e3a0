"""Sealed with the one secret: opened with nothing else, for nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.sealing import NONCE_BYTES, SECRET_BYTES_MIN, SealBrokenError, Sealer, WeakSecretError, derive

SEALER = Sealer(b"k" * SECRET_BYTES_MIN)


@given(body=st.binary(max_size=300), context=st.binary(max_size=32))
def test_what_was_sealed_is_opened_again(body: bytes, context: bytes) -> None:
    sealed = SEALER.seal(body, context)
    assert SEALER.open(sealed, context) == body
    assert SEALER.seal(body, context) != sealed, "the same answer twice does not look the same"


@given(body=st.binary(max_size=50), flipped=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_a_single_changed_bit_is_noticed(body: bytes, flipped: int, bit: int) -> None:
    sealed = bytearray(SEALER.seal(body, b"key"))
    sealed[flipped % len(sealed)] ^= 1 << bit
    with pytest.raises(SealBrokenError):
        SEALER.open(bytes(sealed), b"key")


def test_an_answer_does_not_open_under_another_key_or_another_secret() -> None:
    sealed = SEALER.seal(b"for one", b"one key")
    with pytest.raises(SealBrokenError):
        SEALER.open(sealed, b"another key")
    with pytest.raises(SealBrokenError):
        Sealer(b"j" * SECRET_BYTES_MIN).open(sealed, b"one key")


@given(st.binary(max_size=NONCE_BYTES + 20))
def test_rubbish_is_refused_as_such(rubbish: bytes) -> None:
    with pytest.raises(SealBrokenError):
        SEALER.open(rubbish, b"")


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_two_requests_share_a_fingerprint_only_when_they_are_one(one: list[bytes], other: list[bytes]) -> None:
    assert (SEALER.fingerprint(*one) == SEALER.fingerprint(*other)) == (one == other)


def test_a_key_belongs_to_its_caller() -> None:
    assert SEALER.key_id("ada", "k1") == SEALER.key_id("ada", "k1")
    assert len({SEALER.key_id("ada", "k1"), SEALER.key_id("ada", "k2"), SEALER.key_id("ad", "ak1")}) == 3


def test_every_purpose_has_a_key_of_its_own() -> None:
    secret = b"s" * SECRET_BYTES_MIN
    assert derive(secret, "answers") != derive(secret, "fingerprints")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(WeakSecretError):
        Sealer(b"k" * (SECRET_BYTES_MIN - 1))
