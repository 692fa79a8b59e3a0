"""Whose a wallet is, proved by a signed message of ERC-4361 whose nonce nobody has to remember.

The nonce is a keyed digest of the rest of the message, of the account that asked for it, and of the version of the
wallet's stream. A link is appended expecting that version, so a message that has linked a wallet, or that anything else
happened to the wallet after, has a nonce that is not right any more and never will be again.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac
from importlib import import_module
from threading import Thread
from urllib.parse import urlsplit
from uuid import UUID

from eth_keys.constants import SECPK1_N
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

from adapters.erc4361 import Message, MessageError, instant, parse
from adapters.sealing import derive
from commands.wallet import BadProofError, Challenge, Proof
from domain.kernel import InvalidError

LIFETIME = timedelta(minutes=10)
"""To read a message and sign it."""
CLOCKS_APART_MAX = timedelta(seconds=30)
"""Between the process that gave the challenge and the one that is shown the proof."""
CHAIN_ID_DEFAULT = 1
NONCE_LENGTH = 32
"""Hexadecimal digits: 128 bits of the digest."""
SIGNATURE = re.compile("0x[0-9a-fA-F]{130}")
V_OFFSET = 27
"""Of the recovery id in signatures of Ethereum; some wallets leave it out."""


class Erc4361Proofs:
    """`commands.wallet.WalletProofs` for externally owned accounts (ERC-191 signatures)."""

    def __init__(self, secret: bytes, public_url: str, chain_id: int | None) -> None:
        origin = urlsplit(public_url)
        self._key = derive(secret, "wallet-challenges")
        self._scheme = origin.scheme if origin.scheme != "https" else None  # what the standard assumes without one
        self._domain = origin.netloc
        self._uri = f"{public_url}/v1/wallets"
        self._chain_id = chain_id
        self._library: Thread | None = None

    def challenge(
        self, address: str, *, chain_id: int | None, account_id: UUID, version: int, at: datetime
    ) -> Challenge:
        if self._chain_id is not None and chain_id not in (None, self._chain_id):
            raise InvalidError(f"the chain here is {self._chain_id}", pointer="/chain_id")
        issued_at = at.replace(microsecond=0)
        message = Message(
            scheme=self._scheme,
            domain=self._domain,
            address=to_checksum_address(address),
            statement=f"Link this wallet to the account {account_id}. Tickets in it are that account's.",
            uri=self._uri,
            chain_id=str(chain_id or self._chain_id or CHAIN_ID_DEFAULT),
            nonce="",
            issued_at=_written(issued_at),
            expiration_time=_written(issued_at + LIFETIME),
        )
        self._load_library()
        nonce = self._nonce(message, account_id, version)
        return Challenge(message=str(replace(message, nonce=nonce)), nonce=nonce, expires_at=issued_at + LIFETIME)

    def read(self, message: str, signature: str, *, at: datetime) -> Proof:
        try:
            parsed = parse(message)
        except MessageError as error:
            raise BadProofError(str(error)) from error
        self._refuse_foreign(parsed)
        _refuse_untimely(parsed, at)
        if _signer(message, signature) != parsed.address:
            raise BadProofError("the wallet named in the message did not sign it", pointer="/signature")
        return Proof(address=parsed.address.lower(), message=message, signature=signature)

    def refuse_unless_challenged(self, proof: Proof, *, account_id: UUID, version: int) -> None:
        parsed = parse(proof.message)
        if not compare_digest(parsed.nonce, self._nonce(parsed, account_id, version)):
            raise BadProofError("the message is not one that we gave this account, or it has been used")

    def _load_library(self) -> None:
        """It takes half a second, which no start should wait for: loaded while somebody reads what they are to sign."""
        if self._library is None:
            self._library = Thread(target=import_module, args=("eth_account",), name="eth-account", daemon=True)
            self._library.start()

    def _refuse_foreign(self, message: Message) -> None:
        if (message.scheme, message.domain, message.uri) != (self._scheme, self._domain, self._uri):
            raise BadProofError(f"the message is not for {self._uri}")
        if self._chain_id is not None and message.chain_id != str(self._chain_id):
            raise BadProofError(f"the message is not for chain {self._chain_id}")

    def _nonce(self, message: Message, account_id: UUID, version: int) -> str:
        content = account_id.bytes + version.to_bytes(8, "big") + str(replace(message, nonce="")).encode()
        return hmac(self._key, content, sha256).hexdigest()[:NONCE_LENGTH]


def _refuse_untimely(message: Message, at: datetime) -> None:
    """Raises BadProofError. Whatever the message says of its end, it does not live longer than LIFETIME."""
    issued_at = instant(message.issued_at)
    starts_at = issued_at - CLOCKS_APART_MAX
    if message.not_before is not None:
        starts_at = max(starts_at, instant(message.not_before))
    ends_at = issued_at + LIFETIME
    if message.expiration_time is not None:
        ends_at = min(ends_at, instant(message.expiration_time))
    if at < starts_at:
        raise BadProofError("the message is not valid yet")
    if at >= ends_at:
        raise BadProofError("the message has expired")


def _signer(message: str, signature: str) -> str:
    """Who signed (ERC-191, version 0x45), in mixed case (ERC-55).

    Of the two signatures that anyone can make of one, only that with the lower s is taken (EIP-2). Raises BadProofError.
    """
    from eth_account import Account  # noqa: PLC0415 - see `_load_library`
    from eth_account.messages import encode_defunct  # noqa: PLC0415

    if SIGNATURE.fullmatch(signature) is None:
        raise BadProofError("a signature is 65 bytes in hexadecimal, after 0x", pointer="/signature")
    content = bytes.fromhex(signature[2:])
    r, s, v = int.from_bytes(content[:32], "big"), int.from_bytes(content[32:64], "big"), content[64]
    if s > SECPK1_N // 2 or v not in (0, 1, V_OFFSET, V_OFFSET + 1):
        raise BadProofError("the signature is not in its one canonical form", pointer="/signature")
    try:
        signer: str = Account.recover_message(encode_defunct(text=message), vrs=(v % V_OFFSET + V_OFFSET, r, s))
    except (BadSignature, ValidationError) as error:
        raise BadProofError("this is not a signature", pointer="/signature") from error
    return signer


def _written(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
