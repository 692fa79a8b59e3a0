"""What is offered for gas, and what is signed."""

from __future__ import annotations

from fractions import Fraction

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st

from adapters.chain.signer import GWEI, Fees, Offer, Signer

KEY = bytes.fromhex("11" * 32)
LIMIT = 300
OFFER = Offer(gwei_max=LIMIT)

fees = st.integers(0, 2 * LIMIT * GWEI)


@given(base=fees, tip=fees)
def test_an_offer_is_never_above_the_limit_and_its_tip_never_above_the_offer(base: int, tip: int) -> None:
    offered = OFFER.first(base, tip)
    assert 0 <= offered.tip <= offered.most <= LIMIT * GWEI


@given(base=st.integers(0, 100 * GWEI), tip=st.integers(0, 5 * GWEI))
def test_an_offer_below_the_limit_bears_six_full_blocks(base: int, tip: int) -> None:
    """Each of which raises the base fee by an eighth (EIP-1559)."""
    offered = OFFER.first(base, tip)
    assert offered.most - tip >= base * Fraction(9, 8) ** 5
    assert offered.tip == tip


@given(first_base=fees, first_tip=fees, base=fees, tip=fees)
def test_a_second_offer_outbids_the_first_by_an_eighth_both_ways(
    first_base: int, first_tip: int, base: int, tip: int
) -> None:
    before = OFFER.first(first_base, first_tip)
    after = OFFER.more(before, base, tip)
    if after is None:  # not without passing the limit
        assert before.most + 1 > LIMIT * GWEI or -(-before.most * 9 // 8) > LIMIT * GWEI
        return
    assert after.tip <= after.most <= LIMIT * GWEI
    for more, less in zip(after, before, strict=True):
        assert more > less
        assert more >= less * Fraction(9, 8)


@given(base=fees, tip=fees)
def test_offers_end_at_the_limit(base: int, tip: int) -> None:
    offered: Fees | None = OFFER.first(base, tip)
    steps = 0
    while offered is not None:
        offered = OFFER.more(offered, base, tip)
        steps += 1
        assert steps < 300  # 1.125^n passes 3·10^11 before


@given(nonce=st.integers(0, 2**32), gas=st.integers(21_000, 2**24), base=fees, data=st.binary(max_size=200))
def test_what_is_signed_is_what_was_meant_and_the_same_each_time(nonce: int, gas: int, base: int, data: bytes) -> None:
    signer, to, offered = Signer(KEY), "0x" + "22" * 20, OFFER.first(base, GWEI)
    transaction, raw = signer.sign(chain_id=1, nonce=nonce, to=to, data=data, gas=gas, fees=offered)
    assert signer.sign(chain_id=1, nonce=nonce, to=to, data=data, gas=gas, fees=offered) == (transaction, raw)
    signed = TypedTransaction.from_bytes(HexBytes(raw))
    found = signed.as_dict()
    assert (found["nonce"], found["gas"], found["data"], found["to"]) == (nonce, gas, data, bytes.fromhex("22" * 20))
    assert Fees(found["maxFeePerGas"], found["maxPriorityFeePerGas"]) == offered
    assert Account.recover_transaction(raw).lower() == signer.address
    assert bytes(signed.hash()) != transaction  # that is what is signed; a transaction is known by its signed bytes
