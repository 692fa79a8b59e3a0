"""Registering, logging in, and roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from adapters.passwords import ArgonPasswords
from adapters.postgres import conninfo
from commands.account import BadCredentialsError, Register, SetRoles, account_of, authenticate, register
from commands.kernel import decide
from domain.account import Account, EmailTakenError, LastAdminError, Role
from domain.kernel import NotFoundError
from tests.commands.shop import Shop, in_a_shop, names, together
from tests.domain.happening import numbered

ADA = Register(email=" Ada@Example.com ", password="analytical engine", name="Ada")


@pytest.fixture
def shop_database(database: str) -> str:
    """A ledger for each scenario: an address is registered once in it."""
    return database


class Reception:
    """Where people register and log in to a shop, with the real password hashes."""

    def __init__(self, shop: Shop, passwords: ArgonPasswords) -> None:
        self._shop = shop
        self._passwords = passwords

    async def register(self, command: Register = ADA) -> Account:
        handler = partial(register, passwords=self._passwords, vault=self._shop.vault, clock=self._shop.clock)
        account: Account = await decide(handler, command, self._shop.ledger("Register"))
        return account

    async def log_in(self, email: str, password: str) -> object:
        return await authenticate(email, password, ledger=self._shop.ledger("LogIn"), passwords=self._passwords)


@asynccontextmanager
async def reception(shop: Shop) -> AsyncIterator[Reception]:
    async with AsyncConnectionPool(conninfo(shop.database, "counterfoil_app"), open=False, min_size=1) as pool:
        passwords = ArgonPasswords(pool)
        try:
            yield Reception(shop, passwords)
        finally:
            passwords.close()


# -- Registering. ------------------------------------------------------------------------------


@in_a_shop
async def test_who_registers_is_an_attendee_and_can_log_in(shop: Shop) -> None:
    async with reception(shop) as desk:
        ada = await desk.register()
        assert await shop.vault.open(ada.email) == "ada@example.com"
        assert ada.roles == {Role.ATTENDEE}
        assert await desk.log_in("ADA@example.com", "analytical engine") == ada.id
        assert (await account_of("ada@example.com", ledger=shop.ledger("Look"))).id == ada.id
    assert [fact.topic for fact in shop.facts()] == ["account.registered", "email.claimed"]


@in_a_shop
async def test_the_password_is_nowhere_in_the_ledger(shop: Shop) -> None:
    async with reception(shop) as desk:
        await desk.register()
    assert not [fact for fact in shop.facts() if b"analytical" in fact.encode()]
    with psycopg.connect(shop.database) as conn:
        (hashed,) = conn.execute("select hash from secrets.passwords").fetchall()
    assert str(hashed[0]).startswith("$argon2id$")


@in_a_shop
async def test_an_address_is_registered_once_however_it_is_spelled(shop: Shop) -> None:
    async with reception(shop) as desk:
        ada = await desk.register()
        with pytest.raises(EmailTakenError):
            await desk.register(ADA.model_copy(update={"email": "ADA@EXAMPLE.COM", "password": "difference engine"}))
        assert await desk.log_in("ada@example.com", "analytical engine") == ada.id
    assert len(shop.facts()) == 2


@in_a_shop
async def test_of_those_who_register_one_address_at_once_one_has_it_with_their_own_password(shop: Shop) -> None:
    mine = [ADA.model_copy(update={"password": f"engine number {number}"}) for number in range(3)]
    async with reception(shop) as desk:
        outcomes = await together(*(desk.register(command) for command in mine))
        assert names(outcomes) == ["Account"] + ["EmailTakenError"] * 2
        for command, outcome in zip(mine, outcomes, strict=True):
            if isinstance(outcome, Account):
                assert await desk.log_in("ada@example.com", command.password) == outcome.id
            else:
                with pytest.raises(BadCredentialsError):
                    await desk.log_in("ada@example.com", command.password)
    with psycopg.connect(shop.database) as conn:
        kept = "select (select count(*) from secrets.passwords), count(wrapped) from privacy.subject_keys"
        assert conn.execute(kept).fetchone() == (1, 1), "of those who lost, neither hash nor key"


# -- Logging in. ---------------------------------------------------------------------------------


@in_a_shop
async def test_a_wrong_password_and_an_unknown_address_are_not_told_apart(shop: Shop) -> None:
    async with reception(shop) as desk:
        await desk.register()
        refusals = await together(
            desk.log_in("ada@example.com", "Analytical Engine"), desk.log_in("grace@example.com", "analytical engine")
        )
    assert names(refusals) == ["BadCredentialsError"] * 2
    assert len({(refusal.code, refusal.detail) for refusal in refusals}) == 1


@in_a_shop
async def test_nobody_is_found_under_an_unknown_address(shop: Shop) -> None:
    with pytest.raises(NotFoundError):
        await account_of("grace@example.com", ledger=shop.ledger("Look"))


# -- Roles. --------------------------------------------------------------------------------------


@in_a_shop
async def test_roles_are_set_once_and_repeating_adds_nothing(shop: Shop) -> None:
    somebody = await shop.somebody(Role.ATTENDEE)
    command = SetRoles(user_id=somebody, roles=frozenset({Role.ATTENDEE, Role.ORGANIZER}), by=numbered(17))
    for _ in range(2):
        assert (await shop.do(command)).roles == command.roles
    assert [fact.topic for fact in shop.facts()] == ["account.registered", "account.roles_set"]


@in_a_shop
async def test_nobody_unknown_has_roles(shop: Shop) -> None:
    with pytest.raises(NotFoundError):
        await shop.do(SetRoles(user_id=numbered(404), roles=frozenset({Role.GATE}), by=None))


@in_a_shop
async def test_an_admin_keeps_the_role_against_themselves_only(shop: Shop) -> None:
    somebody = await shop.somebody(Role.ATTENDEE, Role.ADMIN)
    command = SetRoles(user_id=somebody, roles=frozenset({Role.ATTENDEE}), by=somebody)
    with pytest.raises(LastAdminError):
        await shop.do(command)
    assert (await shop.do(command.model_copy(update={"by": None}))).roles == {Role.ATTENDEE}


@in_a_shop
async def test_roles_set_at_once_are_set_one_after_the_other(shop: Shop) -> None:
    somebody = await shop.somebody(Role.ATTENDEE)
    wanted = [frozenset({role}) for role in Role if role is not Role.ATTENDEE]
    outcomes = await together(*(shop.do(SetRoles(user_id=somebody, roles=roles, by=None)) for roles in wanted))
    assert names(outcomes) == ["Account"] * len(wanted)
    (last,) = await shop.store.load(Account, [somebody])
    assert last.version == 1 + len(wanted)
