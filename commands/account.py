"""Registering, and what people may do."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from commands.kernel import AlreadyAnsweredError, Clock, Command, ConflictError, KeyReusedError, Ledger
from commands.privacy import Vault
from domain.account import Account, EmailClaim, EmailTakenError, Role, email_stream, normal_email
from domain.kernel import NotFoundError, Refusal, new_id

PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 256
"""Hashing takes time with the length; nobody types more."""


class BadCredentialsError(Refusal):
    """Not told apart: no such address, wrong password."""

    code = "bad-credentials"
    title = "The e-mail address or the password is wrong"


class BadTokenError(Refusal):
    """A refresh token that is unknown, expired, used before or revoked."""

    code = "bad-token"
    title = "This token is not valid"


class Passwords(Protocol):
    """Password hashes, outside the ledger so that they can be forgotten. Both calls take about 0.1 s, off the loop."""

    async def keep(self, account_id: UUID, password: str) -> None: ...

    async def fits(self, account_id: UUID | None, password: str) -> bool:
        """As slow for an unknown account as for a known one."""


class Tokens(Protocol):
    """Access tokens and rotating refresh tokens."""

    async def issue(self, account_id: UUID) -> TokenPair: ...

    async def rotate(self, refresh_token: str) -> TokenPair:
        """Raises BadTokenError; a token used before revokes the whole family."""

    async def revoke(self, refresh_token: str) -> None:
        """Ends the family of the token. An unknown token is ignored."""


class TokenPair(Command):
    access_token: str
    refresh_token: str
    expires_in_seconds: int


class Register(Command):
    email: str
    password: str
    name: str
    roles: frozenset[Role] = frozenset({Role.ATTENDEE})


class SetRoles(Command):
    user_id: UUID
    roles: frozenset[Role]
    by: UUID | None
    """The admin who asks; None when the operator does, on the command line."""


async def register(command: Register, *, ledger: Ledger, passwords: Passwords, vault: Vault, clock: Clock) -> Account:
    """The hash is kept before the account exists: an orphaned hash opens nothing, an account without one is lost."""
    now = clock()
    claim = await ledger.load(EmailClaim, email_stream(command.email))
    if claim.account_id is not None:
        raise EmailTakenError
    account = Account(id=new_id())
    await passwords.keep(account.id, command.password)
    claim.claim(account.id, at=now)
    email, name = await vault.seal(account.id, normal_email(command.email), command.name.strip())
    account.register(email=email, name=name, roles=command.roles, at=now)
    try:
        return await ledger.append(account, claim)
    except (ConflictError, AlreadyAnsweredError, KeyReusedError):  # it was lost: there is no such account
        await vault.destroy(account.id)
        raise


async def set_roles(command: SetRoles, *, ledger: Ledger, clock: Clock) -> Account:
    account = await ledger.load(Account, command.user_id)
    account.set_roles(command.roles, by=command.by, at=clock())
    return await ledger.append(account)


async def account_of(email: str, *, ledger: Ledger) -> Account:
    """Raises NotFoundError."""
    claim = await ledger.load(EmailClaim, email_stream(email))
    if claim.account_id is None:
        raise NotFoundError("nobody is registered with this address")
    return await ledger.peek(Account, claim.account_id)


async def authenticate(email: str, password: str, *, ledger: Ledger, passwords: Passwords) -> UUID:
    """Whose credentials these are. Raises BadCredentialsError."""
    claim = await ledger.load(EmailClaim, email_stream(email))
    if not await passwords.fits(claim.account_id, password) or claim.account_id is None:
        raise BadCredentialsError
    return claim.account_id
