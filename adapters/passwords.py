"""Password hashes: Argon2id (RFC 9106), off the event loop, with bounded concurrency."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from psycopg_pool import AsyncConnectionPool

from commands.kernel import OverloadedError

T = TypeVar("T")

HASHING_THREADS = 2
"""Each hash takes about 0.1 s of a core and 64 MiB."""
WAITING_MAX = 200
"""More would wait longer than a client does."""


class ArgonPasswords:
    """`commands.account.Passwords` on the table ``secrets.passwords``."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(HASHING_THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobodys_hash = self._hasher.hash("nobody's password")

    async def keep(self, account_id: UUID, password: str) -> None:
        hashed = await self._run(lambda: self._hasher.hash(password))
        async with self._pool.connection() as conn:
            await conn.execute(
                "insert into secrets.passwords values (%s, %s) on conflict (account_id) do update set hash = excluded.hash",
                (account_id, hashed),
            )

    async def fits(self, account_id: UUID | None, password: str) -> bool:
        async with self._pool.connection() as conn:
            cursor = await conn.execute("select hash from secrets.passwords where account_id = %s", (account_id,))
            row = await cursor.fetchone()
        hashed = row[0] if row is not None else self._nobodys_hash
        return await self._run(lambda: self._verify(hashed, password)) and row is not None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise OverloadedError("too many people are logging in at this moment", retry_after_seconds=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
