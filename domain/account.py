"""An account: one person, who they say they are, and what they may do here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID, uuid5

from domain.kernel import Aggregate, Fact, NotFoundError, Refusal
from domain.personal import Personal

EMAIL_NAMESPACE = UUID("5f6d1f0e-7f51-5b0e-9d0e-0b6a2b1f3c11")


class Role(StrEnum):
    ATTENDEE = "attendee"
    ORGANIZER = "organizer"
    GATE = "gate"
    ANALYST = "analyst"
    AUDITOR = "auditor"
    ADMIN = "admin"


class EmailTakenError(Refusal):
    code = "email-taken"
    title = "This e-mail address already has an account"


class LastAdminError(Refusal):
    code = "last-admin"
    title = "An admin cannot take the admin role from themselves"


class AdminErasureError(Refusal):
    code = "admin-erasure"
    title = "An admin is erased only once somebody has taken the admin role from them"


def normal_email(email: str) -> str:
    """Two spellings of one mailbox are one address: surrounding space and letter case do not count."""
    return email.strip().casefold()


def email_stream(email: str) -> UUID:
    """The stream whose first fact says whose an address is; that is what makes an address unique."""
    return uuid5(EMAIL_NAMESPACE, normal_email(email))


@dataclass(slots=True, kw_only=True)
class EmailClaim(Aggregate):
    """An e-mail address as a resource that only one account can hold."""

    stream_type: ClassVar[str] = "email"

    account_id: UUID | None = None

    class Claimed(Fact, topic="email.claimed"):
        account_id: UUID

        def apply(self, claim: Any) -> None:
            claim.account_id = self.account_id

    class Released(Fact, topic="email.released"):
        """Its account was erased: the address may be registered again."""

        account_id: UUID

        def apply(self, claim: Any) -> None:
            claim.account_id = None

    def claim(self, account_id: UUID, *, at: datetime) -> None:
        if self.account_id is not None:
            raise EmailTakenError
        self.record(self.Claimed(account_id=account_id, at=at))

    def release(self, account_id: UUID, *, at: datetime) -> None:
        """Of somebody else's address nothing is released."""
        if self.account_id == account_id:
            self.record(self.Released(account_id=account_id, at=at))


@dataclass(slots=True, kw_only=True)
class Account(Aggregate):
    stream_type: ClassVar[str] = "account"

    email: Personal | None = ""
    name: Personal | None = ""
    roles: frozenset[Role] = frozenset()
    erased: bool = False

    # -- Facts: what is stored, and what each does to the state. --------------

    class Registered(Fact, topic="account.registered"):
        email: Personal
        name: Personal
        roles: tuple[Role, ...]

        def apply(self, account: Any) -> None:
            account.email, account.name, account.roles = self.email, self.name, frozenset(self.roles)

    class RolesSet(Fact, topic="account.roles_set"):
        roles: tuple[Role, ...]

        def apply(self, account: Any) -> None:
            account.roles = frozenset(self.roles)

    class Erased(Fact, topic="account.erased"):
        """The person is forgotten: their key is destroyed, and with it all that was sealed with it."""

        by: UUID | None
        """The account itself, or the admin who did it; none: the operator."""

        def apply(self, account: Any) -> None:
            account.email = account.name = None
            account.roles, account.erased = frozenset(), True

    # -- Decisions: what may happen now. ---------------------------------------

    def register(self, *, email: Personal, name: Personal, roles: frozenset[Role], at: datetime) -> None:
        """``email`` in its normal form, before it was sealed."""
        self.record(self.Registered(email=email, name=name, roles=_in_order(roles), at=at))

    def set_roles(self, roles: frozenset[Role], *, by: UUID | None, at: datetime) -> None:
        if not self.exists or self.erased:
            raise NotFoundError
        if by == self.id and Role.ADMIN in self.roles and Role.ADMIN not in roles:
            raise LastAdminError
        if roles != self.roles:
            self.record(self.RolesSet(roles=_in_order(roles), at=at))

    def erase(self, *, by: UUID | None, at: datetime) -> None:
        """Forgetting somebody again adds nothing. Raises AdminErasureError, so that there is always somebody in charge."""
        if not self.exists:
            raise NotFoundError
        if Role.ADMIN in self.roles:
            raise AdminErasureError
        if not self.erased:
            self.record(self.Erased(by=by, at=at))


def _in_order(roles: frozenset[Role]) -> tuple[Role, ...]:
    return tuple(role for role in Role if role in roles)
