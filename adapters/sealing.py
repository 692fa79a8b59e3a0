"""Keys derived from the one secret, and the sealing of what must not lie open in the database."""

from __future__ import annotations

import os
from hashlib import blake2b
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES_MIN = 32
NONCE_BYTES = 12


class WeakSecretError(ValueError):
    """COUNTERFOIL_SECRET is too short to derive keys from."""


class SealBrokenError(ValueError):
    """Bytes that were not sealed with this secret, or not for this purpose."""


def derive(secret: bytes, purpose: str) -> bytes:
    """A 256-bit key for one purpose (HKDF, RFC 5869). Raises WeakSecretError under 32 bytes."""
    if len(secret) < SECRET_BYTES_MIN:
        raise WeakSecretError(f"COUNTERFOIL_SECRET needs at least {SECRET_BYTES_MIN} bytes")
    return HKDF(SHA256(), 32, salt=None, info=f"counterfoil/{purpose}".encode()).derive(secret)


class Sealer:
    """AES-256-GCM for stored answers: some of them carry tokens."""

    def __init__(self, secret: bytes) -> None:
        self._aead = AESGCM(derive(secret, "answers"))
        self._digest_key = derive(secret, "fingerprints")

    def seal(self, body: bytes, context: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, body, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Raises SealBrokenError."""
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:  # the latter when it is too short to hold a nonce
            raise SealBrokenError("this was sealed with another secret") from error

    def fingerprint(self, *parts: bytes) -> bytes:
        """A keyed digest (BLAKE2b, RFC 7693): request bodies may hold passwords, which a plain hash would give away."""
        digest = blake2b(key=self._digest_key, digest_size=16)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    def key_id(self, caller: str, key: str) -> UUID:
        return UUID(bytes=self.fingerprint(caller.encode(), key.encode()))
