"""The account that speaks to the contract: its key, what it offers for gas, and its signature."""

from __future__ import annotations

from typing import Any, NamedTuple

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_keys.backends.coincurve import CoinCurveECCBackend
from eth_utils.crypto import keccak

GWEI, ETHER = 10**9, 10**18
"""In wei."""
TYPE_2 = 2
"""EIP-1559: a most to pay, and of it a tip to who mines."""
RAISE_NUMERATOR, RAISE_DENOMINATOR = 9, 8
"""A transaction replaces another with its nonce when it offers an eighth more, both ways (EIP-1559 clients: 10–12.5 %)."""


class Fees(NamedTuple):
    """In wei for a unit of gas."""

    most: int
    tip: int


class Offer:
    """What is offered for gas, within a limit."""

    def __init__(self, *, gwei_max: int) -> None:
        self.most = gwei_max * GWEI

    def first(self, base_fee: int, tip: int) -> Fees:
        """Twice the base fee covers six full blocks in a row, each of which raises it by an eighth."""
        most = min(2 * base_fee + tip, self.most)
        return Fees(most, min(tip, most))

    def more(self, before: Fees, base_fee: int, tip: int) -> Fees | None:
        """Enough to replace a transaction that offered ``before``. None: that would be beyond the limit."""
        wanted = self.first(base_fee, tip)
        most = max(wanted.most, _raised(before.most))
        return Fees(most, min(max(wanted.tip, _raised(before.tip)), most)) if most <= self.most else None


def _raised(wei: int) -> int:
    """By an eighth, rounded up; a tip of nothing becomes something, or nodes see no replacement in it."""
    return max(wei + 1, -(-wei * RAISE_NUMERATOR // RAISE_DENOMINATOR))


class Signer:
    """Signs with one key; libsecp256k1 does it in about half a millisecond."""

    def __init__(self, key: bytes) -> None:
        CoinCurveECCBackend()  # raises ImportError where the fast backend is missing: the slow one is never used unseen
        self._account: LocalAccount = Account.from_key(key)
        self.address: str = self._account.address.lower()

    def sign(
        self, *, chain_id: int, nonce: int, to: str | None, data: bytes, gas: int, fees: Fees
    ) -> tuple[bytes, bytes]:
        """The transaction's hash and its bytes. ``to`` None creates a contract."""
        fields: dict[str, Any] = {
            "type": TYPE_2,
            "chainId": chain_id,
            "nonce": nonce,
            "value": 0,
            "data": data,
            "gas": gas,
            "maxFeePerGas": fees.most,
            "maxPriorityFeePerGas": fees.tip,
        }
        if to is not None:
            fields["to"] = bytes.fromhex(to.removeprefix("0x"))
        raw = bytes(self._account.sign_transaction(fields).raw_transaction)
        return keccak(raw), raw
