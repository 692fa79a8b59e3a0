"""Whose an e-mail address is, and what people may do."""

from __future__ import annotations

from uuid import UUID

import pytest

from domain.account import (
    Account,
    AdminErasureError,
    EmailClaim,
    EmailTakenError,
    LastAdminError,
    Role,
    email_stream,
    normal_email,
)
from domain.kernel import NotFoundError
from tests.domain.happening import BUYER, FRIEND, NOW, STRANGER
from tests.given import STREAM, folded, given

CLAIMED = EmailClaim.Claimed(account_id=BUYER, at=NOW)
REGISTERED = Account.Registered(email="ada@example.com", name="Ada", roles=(Role.ATTENDEE,), at=NOW)


def roles_set(*roles: Role) -> Account.RolesSet:
    return Account.RolesSet(roles=roles, at=NOW)


def test_an_address_is_whose_claims_it_first() -> None:
    given(EmailClaim).when(lambda claim: claim.claim(BUYER, at=NOW)).then(CLAIMED)


@pytest.mark.parametrize("account_id", [FRIEND, BUYER])
def test_an_address_is_claimed_once_even_by_the_same_account(account_id: UUID) -> None:
    given(EmailClaim, CLAIMED).when(lambda claim: claim.claim(account_id, at=NOW)).then_refused(EmailTakenError)


@pytest.mark.parametrize("spelling", ["ada@example.com", " Ada@Example.COM ", "ADA@EXAMPLE.COM\n"])
def test_two_spellings_of_one_mailbox_are_one_address(spelling: str) -> None:
    assert normal_email(spelling) == "ada@example.com"
    assert email_stream(spelling) == email_stream("ada@example.com")
    assert email_stream(spelling) != email_stream("ada@example.org")


def test_an_account_is_registered() -> None:
    (
        given(Account)
        .when(lambda account: account.register(email="ada@example.com", name="Ada", roles=ATTENDING, at=NOW))
        .then(REGISTERED)
    )


# -- Forgetting. ---------------------------------------------------------------------------------

ERASED = Account.Erased(by=BUYER, at=NOW)


def test_somebody_who_is_erased_has_no_name_and_no_roles() -> None:
    given(Account, REGISTERED).when(lambda account: account.erase(by=BUYER, at=NOW)).then(ERASED)
    forgotten = folded(Account, REGISTERED, ERASED)
    assert (forgotten.email, forgotten.name, forgotten.roles, forgotten.erased) == (None, None, frozenset(), True)


def test_somebody_is_erased_once_and_nobody_cannot_be() -> None:
    given(Account, REGISTERED, ERASED).when(lambda account: account.erase(by=None, at=NOW)).then_nothing()
    given(Account).when(lambda account: account.erase(by=None, at=NOW)).then_refused(NotFoundError)


def test_an_admin_is_not_erased() -> None:
    given(Account, REGISTERED, ADMIN).when(lambda account: account.erase(by=None, at=NOW)).then_refused(
        AdminErasureError
    )


def test_who_is_erased_gets_no_roles() -> None:
    (
        given(Account, REGISTERED, ERASED)
        .when(lambda account: account.set_roles(ATTENDING, by=None, at=NOW))
        .then_refused(NotFoundError)
    )


def test_an_address_is_released_by_the_account_that_has_it() -> None:
    released = EmailClaim.Released(account_id=BUYER, at=NOW)
    given(EmailClaim, CLAIMED).when(lambda claim: claim.release(BUYER, at=NOW)).then(released)
    given(EmailClaim, CLAIMED).when(lambda claim: claim.release(FRIEND, at=NOW)).then_nothing()
    given(EmailClaim, CLAIMED, released).when(lambda claim: claim.claim(FRIEND, at=NOW)).then(
        EmailClaim.Claimed(account_id=FRIEND, at=NOW)
    )


# -- Roles. --------------------------------------------------------------------------------------


ATTENDING = frozenset({Role.ATTENDEE})
ADMIN = roles_set(Role.ATTENDEE, Role.ADMIN)


def test_roles_are_given_and_taken() -> None:
    both = frozenset({Role.GATE, Role.ORGANIZER})
    (
        given(Account, REGISTERED)
        .when(lambda account: account.set_roles(both, by=STRANGER, at=NOW))
        .then(roles_set(Role.ORGANIZER, Role.GATE))
    )
    given(Account, REGISTERED).when(lambda account: account.set_roles(frozenset(), by=None, at=NOW)).then(roles_set())


def test_the_roles_somebody_has_already_add_nothing() -> None:
    given(Account, REGISTERED).when(lambda account: account.set_roles(ATTENDING, by=STRANGER, at=NOW)).then_nothing()


def test_nobody_can_be_given_roles_before_they_are_registered() -> None:
    given(Account).when(lambda account: account.set_roles(ATTENDING, by=STRANGER, at=NOW)).then_refused(NotFoundError)


def test_admins_cannot_take_the_admin_role_from_themselves() -> None:
    (
        given(Account, REGISTERED, ADMIN)
        .when(lambda account: account.set_roles(ATTENDING, by=STREAM, at=NOW))
        .then_refused(LastAdminError)
    )


@pytest.mark.parametrize("by", [STRANGER, None])
def test_another_admin_or_the_operator_can(by: UUID | None) -> None:
    (
        given(Account, REGISTERED, ADMIN)
        .when(lambda account: account.set_roles(ATTENDING, by=by, at=NOW))
        .then(roles_set(Role.ATTENDEE))
    )


def test_who_is_no_admin_has_no_admin_role_to_keep() -> None:
    (
        given(Account, REGISTERED)
        .when(lambda account: account.set_roles(frozenset({Role.GATE}), by=STREAM, at=NOW))
        .then(roles_set(Role.GATE))
    )


def test_admins_may_change_their_other_roles() -> None:
    more = frozenset({Role.ATTENDEE, Role.AUDITOR, Role.ADMIN})
    (
        given(Account, REGISTERED, ADMIN)
        .when(lambda account: account.set_roles(more, by=STREAM, at=NOW))
        .then(roles_set(Role.ATTENDEE, Role.AUDITOR, Role.ADMIN))
    )


def test_the_state_says_who_somebody_is() -> None:
    account = folded(Account, REGISTERED, ADMIN)
    assert (account.email, account.name) == ("ada@example.com", "Ada")
    assert account.roles == {Role.ATTENDEE, Role.ADMIN}
