"""The keys of people: AES-256-GCM with one for each, wrapped by a master key that is not in the database.

Keys are unwrapped for one use and never kept, so that an erasure holds in every process at once.
"""

from __future__ import annotations

import os
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Protocol
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg_pool import AsyncConnectionPool

from adapters.sealing import NONCE_BYTES, SealBrokenError, derive
from domain.kernel import NotFoundError
from domain.personal import Personal, Sealed

KEY_BITS = 256
INTENDED_FOR = timedelta(minutes=1)
"""An erasure that was begun longer ago than any request takes was cut off."""
INTENDED_MAX = 1_000
"""Looked at in one go."""
SEALED = re.compile(rb'\{"subject":"([0-9a-f-]{36})","sealed":"([A-Za-z0-9_-]+)"\}')
"""As our serializers write it; in text of somebody's the quotation marks would be escaped."""


class MasterKey(Protocol):
    """What wraps the keys of people: a key management service, or a key of our own. ``subject`` is the context."""

    @property
    def id(self) -> str: ...

    async def wrap(self, key: bytes, subject: UUID) -> bytes: ...

    async def unwrap(self, wrapped: bytes, subject: UUID) -> bytes:
        """Raises SealBrokenError."""


class LocalMasterKey:
    """Derived from the secret."""

    id = "local-1"

    def __init__(self, secret: bytes) -> None:
        self._aead = AESGCM(derive(secret, "keys of people"))

    async def wrap(self, key: bytes, subject: UUID) -> bytes:
        return _encrypt(self._aead, key, subject)

    async def unwrap(self, wrapped: bytes, subject: UUID) -> bytes:
        return _decrypt(self._aead, wrapped, subject)


class PostgresVault:
    """`commands.privacy.Vault` on the table ``privacy.subject_keys``."""

    def __init__(self, pool: AsyncConnectionPool, master: MasterKey) -> None:
        self._pool = pool
        self._master = master

    async def seal(self, subject: UUID, *texts: str) -> list[Sealed]:
        keys = await self._keys((subject,))
        aead = keys[subject] if subject in keys else await self._make(subject)
        if aead is None:
            raise NotFoundError("this account was erased")
        return [Sealed(subject, _encode(_encrypt(aead, text.encode(), subject))) for text in texts]

    async def open(self, value: Personal | None) -> str | None:
        if not isinstance(value, Sealed):
            return value
        aead = (await self._keys((value.subject,))).get(value.subject)
        return _open(aead, value) if aead is not None else None

    async def reveal(self, body: bytes) -> bytes:
        return (await self.reveal_all((body,)))[0]

    async def reveal_all(self, bodies: Sequence[bytes]) -> list[bytes]:
        """JSON with what is sealed in it opened: text in quotation marks, or null where the person was."""
        subjects = {UUID(found[1].decode()) for body in bodies for found in SEALED.finditer(body)}
        if not subjects:
            return list(bodies)
        keys = await self._keys(subjects)

        def opened(found: re.Match[bytes]) -> bytes:
            value = Sealed(UUID(found[1].decode()), found[2].decode())
            aead = keys.get(value.subject)
            return orjson.dumps(_open(aead, value) if aead is not None else None)

        return [SEALED.sub(opened, body) for body in bodies]

    # -- Erasing --------------------------------------------------------------------

    async def intend(self, subject: UUID) -> None:
        async with self._pool.connection() as conn:
            await conn.execute(
                "update privacy.subject_keys set erasing_since = now() where subject = %s and wrapped is not null",
                (subject,),
            )

    async def intended(self) -> Sequence[UUID]:
        async with self._pool.connection() as conn:
            cursor = await conn.execute(
                "select subject from privacy.subject_keys where wrapped is not null and erasing_since < now() - %s limit %s",
                (INTENDED_FOR, INTENDED_MAX),
            )
            return [row[0] for row in await cursor.fetchall()]

    async def spare(self, subject: UUID) -> None:
        async with self._pool.connection() as conn:
            await conn.execute(
                "update privacy.subject_keys set erasing_since = null"
                " where subject = %s and wrapped is not null and erasing_since < now() - %s",
                (subject, INTENDED_FOR),
            )

    async def destroy(self, subject: UUID) -> None:
        async with self._pool.connection() as conn, conn.transaction():
            # Also where there never was a key: none is to be made by a command that is still under way.
            await conn.execute(
                "insert into privacy.subject_keys (subject, master_key, destroyed_at) values (%s, %s, now())"
                " on conflict (subject) do update set wrapped = null, destroyed_at = now()"
                " where subject_keys.wrapped is not null",
                (subject, self._master.id),
            )
            await conn.execute("delete from secrets.passwords where account_id = %s", (subject,))
            await conn.execute("delete from secrets.refresh_tokens where account_id = %s", (subject,))

    # -- Keys -----------------------------------------------------------------------

    async def _keys(self, subjects: Iterable[UUID]) -> dict[UUID, AESGCM | None]:
        """Of those who have ever had one; None: destroyed."""
        async with self._pool.connection() as conn:
            cursor = await conn.execute(
                "select subject, wrapped from privacy.subject_keys where subject = any(%s)", (list(subjects),)
            )
            rows = await cursor.fetchall()
        return {
            subject: None if wrapped is None else AESGCM(await self._master.unwrap(bytes(wrapped), subject))
            for subject, wrapped in rows
        }

    async def _make(self, subject: UUID) -> AESGCM | None:
        """Ours, or that of whoever was a moment earlier. It is durable before anything is sealed with it."""
        wrapped = await self._master.wrap(AESGCM.generate_key(KEY_BITS), subject)
        async with self._pool.connection() as conn:
            await conn.execute(
                "insert into privacy.subject_keys (subject, master_key, wrapped) values (%s, %s, %s)"
                " on conflict (subject) do nothing",
                (subject, self._master.id, wrapped),
            )
        return (await self._keys((subject,)))[subject]


def _open(aead: AESGCM, value: Sealed) -> str:
    try:
        sealed = urlsafe_b64decode(value.sealed + "=" * (-len(value.sealed) % 4))
    except ValueError as error:
        raise SealBrokenError("this is not base64url") from error
    return _decrypt(aead, sealed, value.subject).decode()


def _encode(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).decode().rstrip("=")


def _encrypt(aead: AESGCM, content: bytes, subject: UUID) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + aead.encrypt(nonce, content, subject.bytes)


def _decrypt(aead: AESGCM, sealed: bytes, subject: UUID) -> bytes:
    try:
        return aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], subject.bytes)
    except (InvalidTag, ValueError) as error:
        raise SealBrokenError("this was sealed with another key") from error
