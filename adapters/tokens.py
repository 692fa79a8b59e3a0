"""Access tokens (JWT, RFC 7519, HS256) and rotating refresh tokens with reuse detection (RFC 9700, 4.14)."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

import jwt
from psycopg_pool import AsyncConnectionPool

from adapters.sealing import derive
from commands.account import BadTokenError, TokenPair
from commands.kernel import Clock

ISSUER = "counterfoil"
AUDIENCE = "counterfoil"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068's media type, not a secret
ALGORITHM = "HS256"
ACCESS_LIFETIME = timedelta(minutes=60)
REFRESH_LIFETIME = timedelta(days=30)
VERIFIED_MAX = 50_000
"""Tokens whose signatures need not be checked again; until they expire their bytes say the same."""


class JwtTokens:
    """`commands.account.Tokens`, and the verification of access tokens."""

    def __init__(self, pool: AsyncConnectionPool, secret: bytes, clock: Clock) -> None:
        self._pool = pool
        self._key = derive(secret, "access-tokens")
        self._clock = clock
        self._verified: OrderedDict[str, tuple[UUID, float]] = OrderedDict()

    def verify(self, token: str) -> UUID:
        """Whose token it is. Raises BadTokenError for one that is forged, expired, or meant for something else."""
        known = self._verified.get(token)
        now = self._clock().timestamp()
        if known is not None:
            if known[1] <= now:
                raise BadTokenError("the token has expired")
            return known[0]
        account_id, expires_at = self._decode(token, now)
        self._verified[token] = (account_id, expires_at)
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)
        return account_id

    def _decode(self, token: str, now: float) -> tuple[UUID, float]:
        try:
            claims = jwt.decode_complete(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": ["exp", "iss", "aud", "sub", "iat"], "verify_exp": False, "verify_iat": False},
            )
            if claims["header"].get("typ") != TOKEN_TYPE:
                raise BadTokenError("this is not an access token")
            account_id, expires_at = UUID(claims["payload"]["sub"]), float(claims["payload"]["exp"])
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadTokenError("the token is not valid") from error
        if expires_at <= now:
            raise BadTokenError("the token has expired")
        return account_id, expires_at

    async def issue(self, account_id: UUID) -> TokenPair:
        return await self._issue(account_id, uuid4())

    async def rotate(self, refresh_token: str) -> TokenPair:
        now = self._clock()
        digest = _digest(refresh_token)
        async with self._pool.connection() as conn:
            cursor = await conn.execute(
                "update secrets.refresh_tokens t set used_at = %s where digest = %s and used_at is null"
                " and expires_at > %s and not exists (select from secrets.revoked_families r where r.family_id = t.family_id)"
                " returning family_id, account_id",
                (now, digest, now),
            )
            row = await cursor.fetchone()
            if row is None:
                await conn.execute(
                    "insert into secrets.revoked_families (family_id)"
                    " select family_id from secrets.refresh_tokens where digest = %s and used_at is not null"
                    " on conflict do nothing",
                    (digest,),
                )
        if row is None:
            raise BadTokenError("the refresh token is not valid, or was used before")
        return await self._issue(row[1], row[0])

    async def revoke(self, refresh_token: str) -> None:
        async with self._pool.connection() as conn:
            await conn.execute(
                "insert into secrets.revoked_families (family_id)"
                " select family_id from secrets.refresh_tokens where digest = %s on conflict do nothing",
                (_digest(refresh_token),),
            )

    async def _issue(self, account_id: UUID, family_id: UUID) -> TokenPair:
        now = self._clock()
        refresh_token = secrets.token_urlsafe(32)
        async with self._pool.connection() as conn:
            await conn.execute(
                "insert into secrets.refresh_tokens values (%s, %s, %s, %s, null)",
                (_digest(refresh_token), family_id, account_id, now + REFRESH_LIFETIME),
            )
        return TokenPair(
            access_token=self.access_token(account_id, now),
            refresh_token=refresh_token,
            expires_in_seconds=int(ACCESS_LIFETIME.total_seconds()),
        )

    def access_token(self, account_id: UUID, now: datetime, lifetime: timedelta = ACCESS_LIFETIME) -> str:
        claims = {
            "sub": str(account_id),
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now.astimezone(UTC),
            "exp": now.astimezone(UTC) + lifetime,
            "jti": secrets.token_urlsafe(8),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"typ": TOKEN_TYPE})


def _digest(refresh_token: str) -> bytes:
    """Refresh tokens are random and long: a plain digest gives nothing away."""
    return sha256(refresh_token.encode()).digest()
