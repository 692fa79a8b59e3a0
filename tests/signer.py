"""Wallets whose keys the tests have: they sign what they are shown, also what they should not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from eth_keys.constants import SECPK1_N


@dataclass(frozen=True)
class Signer:
    key: LocalAccount

    @property
    def address(self) -> str:
        """As it is stored: lower case."""
        return self.checksummed.lower()

    @property
    def checksummed(self) -> str:
        return str(self.key.address)

    def sign(self, message: str) -> str:
        """As `personal_sign` does (ERC-191)."""
        return "0x" + bytes(self.key.sign_message(encode_defunct(text=message)).signature).hex()


@cache
def signer(number: int) -> Signer:
    """The same wallet for the same number, from 1."""
    return Signer(Account.from_key(number.to_bytes(32, "big")))


def new_signer() -> Signer:
    """A wallet that nobody has seen before."""
    return Signer(Account.create())


def mirrored(signature: str) -> str:
    """The other signature that anybody can make of one: s from the far end of the curve's order, the parity turned."""
    r, s, v = signature[2:66], int(signature[66:130], 16), int(signature[130:], 16)
    return f"0x{r}{SECPK1_N - s:064x}{55 - v:02x}"
