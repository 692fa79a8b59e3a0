"""Ticket codes: what a QR picture holds. Signed with Ed25519 (RFC 8032), so that a gate can check them offline.

A code is ``CF1.`` and the unpadded base64url of 16 bytes ticket id, 4 bytes custody (big-endian) and 64 bytes signature.
The signature covers the prefix and the first 20 bytes.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64encode
from hmac import compare_digest
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters.sealing import derive
from commands.ticket import CodeContent
from domain.ticket_refusals import BadCodeError

PREFIX = "CF1."
CODE_LENGTH = len(PREFIX) + 112


class Ed25519TicketCodes:
    """`commands.ticket.TicketCodes` with a key derived from the secret."""

    def __init__(self, secret: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(derive(secret, "ticket-codes"))
        self._public = self._private.public_key()

    @property
    def public_key(self) -> bytes:
        """32 bytes, for scanners that check codes by themselves."""
        return self._public.public_bytes_raw()

    def sign(self, ticket_id: UUID, custody: int) -> str:
        content = ticket_id.bytes + custody.to_bytes(4, "big")
        signature = self._private.sign(PREFIX.encode() + content)
        return PREFIX + urlsafe_b64encode(content + signature).decode().rstrip("=")

    def verify(self, code: str) -> CodeContent:
        # We hold the private key and Ed25519 is deterministic: there is one right code, and making it again takes a
        # third of the time that checking a signature does. Scanners, with the public key only, check the signature.
        if len(code) != CODE_LENGTH or not code.startswith(PREFIX):
            raise BadCodeError
        try:
            body = b64decode(code[len(PREFIX) :].encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise BadCodeError from error
        content = CodeContent(UUID(bytes=body[:16]), int.from_bytes(body[16:20], "big"))
        if not compare_digest(code, self.sign(*content)):
            raise BadCodeError
        return content
