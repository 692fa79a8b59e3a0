"""Forgetting people: what is recorded, what is destroyed, and what a crash between the two leaves."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest

from adapters.sealing import SealBrokenError
from adapters.vault import LocalMasterKey, PostgresVault
from commands.kernel import Ledger, decide
from commands.privacy import EraseAccount, erase_account, finish_erasures
from commands.ticket import ClaimTicket
from commands.wallet import link_wallet
from domain.account import Account, AdminErasureError, Role
from domain.kernel import NotFoundError, new_id
from domain.personal import Sealed
from domain.wallet import wallet_stream
from tests.commands.shop import SECRET, Meanwhile, Shop, in_a_shop, together
from tests.commands.test_linking import owner
from tests.commands.test_registering import ADA, reception
from tests.signer import new_signer


@pytest.fixture
def shop_database(database: str) -> str:
    """A ledger for each scenario: an address is registered once in it."""
    return database


def rows(shop: Shop, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(shop.database) as conn:
        return conn.execute(query.encode()).fetchall()


@in_a_shop
async def test_who_is_erased_is_nobody_and_their_address_is_free_again(shop: Shop) -> None:
    async with reception(shop) as desk:
        ada = await desk.register()
        assert isinstance(ada.email, Sealed)
        email = ada.email
        await shop.do(EraseAccount(user_id=ada.id, by=ada.id))
        assert await shop.vault.open(email) is None
        assert await shop.vault.open(ada.name) is None
        again = await desk.register()
    assert again.id != ada.id
    assert [fact.topic for fact in shop.facts()] == [
        "account.registered",
        "email.claimed",
        "account.erased",
        "email.released",
        "account.registered",
        "email.claimed",
    ]
    assert rows(shop, "select count(*) from secrets.passwords") == [(1,)]


@in_a_shop
async def test_nothing_of_a_person_is_in_the_ledger_in_plain(shop: Shop) -> None:
    async with reception(shop) as desk:
        await desk.register()
    stored = b"".join(bytes(row[0]) for row in rows(shop, "select payload || metadata from ledger.events"))
    assert b"Ada" not in stored
    assert b"example.com" not in stored


@in_a_shop
async def test_erasing_again_adds_nothing_and_an_admin_is_not_erased(shop: Shop) -> None:
    somebody, admin = await shop.somebody(), await shop.somebody(Role.ADMIN)
    await shop.do(EraseAccount(user_id=somebody, by=None))
    before = len(shop.facts())
    await shop.do(EraseAccount(user_id=somebody, by=None))
    with pytest.raises(AdminErasureError):
        await shop.do(EraseAccount(user_id=admin, by=None))
    with pytest.raises(NotFoundError):
        await shop.do(EraseAccount(user_id=new_id(), by=None))
    assert len(shop.facts()) == before


@in_a_shop
async def test_no_key_is_ever_made_again(shop: Shop) -> None:
    """Also not by a command that has read the account before it was erased; nor by hand."""
    somebody = await shop.somebody()
    await shop.do(EraseAccount(user_id=somebody, by=None))
    with pytest.raises(NotFoundError):
        await shop.vault.seal(somebody, "Ada")
    for statement in (
        "update privacy.subject_keys set wrapped = '\\x00', destroyed_at = null",
        "delete from privacy.subject_keys",
    ):
        with psycopg.connect(shop.database) as conn, pytest.raises(psycopg.errors.RestrictViolation):
            conn.execute(statement.encode())


@in_a_shop
async def test_an_erasure_that_was_cut_off_is_ended(shop: Shop) -> None:
    """The process dies after the ledger has said so: whoever tidies next destroys the key."""
    ada = await _registered(shop)
    dying = DyingVault(shop)
    with pytest.raises(PowerCutError):
        await decide(
            partial(erase_account, vault=dying, linked=shop, clock=shop.clock),
            EraseAccount(user_id=ada.id, by=None),
            shop.ledger("EraseAccount"),
        )
    assert await shop.vault.open(ada.name) == "Ada"
    assert await _finish(shop) == 0, "somebody may be at it at this moment"
    _age(shop)
    assert await _finish(shop) == 1
    assert await shop.vault.open(ada.name) is None
    assert await _finish(shop) == 0


@in_a_shop
async def test_an_erasure_that_was_not_recorded_destroys_nothing(shop: Shop) -> None:
    ada = await _registered(shop)
    await shop.vault.intend(ada.id)
    _age(shop)
    assert await _finish(shop) == 0
    assert await shop.vault.open(ada.name) == "Ada"
    assert await shop.vault.intended() == []


@in_a_shop
async def test_an_erasure_that_is_begun_anew_is_not_spared_with_the_one_before(shop: Shop) -> None:
    ada = await _registered(shop)
    await shop.vault.intend(ada.id)
    _age(shop)
    [found] = await shop.vault.intended()
    await shop.vault.intend(ada.id)
    await shop.vault.spare(found)
    _age(shop)
    assert await shop.vault.intended() == [ada.id]


def test_tables_whose_rows_are_destroyed_are_vacuumed_whenever_one_was(database: str) -> None:
    at_once = ["autovacuum_vacuum_threshold=0", "autovacuum_vacuum_scale_factor=0"]
    tables = "('privacy.subject_keys'::regclass, 'secrets.passwords'::regclass)"
    with psycopg.connect(database) as conn:
        options = conn.execute(f"select reloptions from pg_class where oid in {tables}".encode()).fetchall()
    assert options == [(at_once,), (at_once,)]


@in_a_shop
async def test_keys_that_are_made_at_once_are_one(shop: Shop) -> None:
    subject = new_id()
    sealed = await together(*(shop.vault.seal(subject, f"text {number}") for number in range(8)))
    assert [await shop.vault.open(one) for (one,) in sealed] == [f"text {number}" for number in range(8)]


@in_a_shop
async def test_a_seal_is_somebodys_and_holds(shop: Shop) -> None:
    ann, bob = new_id(), new_id()
    (of_ann,) = await shop.vault.seal(ann, "Ann")
    await shop.vault.seal(bob, "Bob")
    for forged in (
        Sealed(bob, of_ann.sealed),
        Sealed(ann, of_ann.sealed[:-2] + "AA"),
        Sealed(ann, ""),
        Sealed(ann, "A"),
    ):
        with pytest.raises(SealBrokenError):
            await shop.vault.open(forged)
    stranger = PostgresVault(shop.pool, LocalMasterKey(b"another secret, of thirty-two bytes or more"))
    with pytest.raises(SealBrokenError):
        await stranger.open(of_ann)


@in_a_shop
async def test_what_is_sealed_is_opened_wherever_it_lies_in_json(shop: Shop) -> None:
    subject, nobody = new_id(), new_id()
    one, other = await shop.vault.seal(subject, 'O"Brien \\ Łucja', "x")
    text = f'{{"a":{_json(one)},"b":[{_json(other)}],"c":{_json(Sealed(nobody, "AAAA"))}}}'
    assert await shop.vault.reveal(text.encode()) == '{"a":"O\\"Brien \\\\ Łucja","b":["x"],"c":null}'.encode()
    quoted = b'{"name":"{\\"subject\\":\\"00000000-0000-0000-0000-000000000007\\",\\"sealed\\":\\"AAAA\\"}"}'
    assert await shop.vault.reveal(quoted) == quoted, "text that only looks like it"


@in_a_shop
async def test_who_comes_is_forgotten_with_the_holder(shop: Shop) -> None:
    holder = await shop.somebody()
    event = await shop.event_on_sale()
    ticket = (await shop.bought(event, buyer_id=holder)).lines[0].ticket_id
    claimed = await shop.do(ClaimTicket(ticket_id=ticket, holder_id=holder, attendee_name="Grace Hopper"))
    await shop.do(EraseAccount(user_id=holder, by=holder))
    assert await shop.vault.open(claimed.attendee_name) is None
    with pytest.raises(NotFoundError):
        await shop.do(ClaimTicket(ticket_id=ticket, holder_id=holder, attendee_name="Somebody else"))


# -- A wallet that is linked while its owner is forgotten. ---------------------------------------


@in_a_shop
async def test_a_link_that_was_sealed_before_the_erasure_and_comes_after_it_is_refused(shop: Shop) -> None:
    somebody, wallet = await shop.somebody(), new_signer()
    vault = SlowVault(shop, lambda: shop.do(EraseAccount(user_id=somebody, by=somebody)))
    link = partial(link_wallet, proofs=shop.proofs, vault=vault, clock=shop.clock)
    with pytest.raises(NotFoundError, match="erased"):
        await decide(link, await shop.proof(wallet, somebody), shop.ledger("LinkWallet"))
    assert vault.meanwhile is None, "they were erased between"
    assert shop.facts(wallet_stream(wallet.address)) == []


@in_a_shop
async def test_a_wallet_that_the_erasure_did_not_know_of_is_unlinked_too(shop: Shop) -> None:
    somebody, known = await shop.somebody(), frozenset[str]()
    wallet = await shop.wallet(somebody)
    await shop.do(EraseAccount(user_id=somebody, by=somebody, wallets=known))
    assert [fact.topic for fact in shop.facts()][-2:] == ["account.erased", "wallet.unlinked"]
    assert await owner(shop, wallet) is None
    before = len(shop.facts())
    await shop.do(EraseAccount(user_id=somebody, by=somebody, wallets=known))
    assert len(shop.facts()) == before


@in_a_shop
async def test_a_wallet_that_an_erasure_that_was_cut_off_did_not_know_of_is_unlinked(shop: Shop) -> None:
    ada = await _registered(shop)
    wallet = await shop.wallet(ada.id)
    with pytest.raises(PowerCutError):
        await decide(
            partial(erase_account, vault=shop.vault, linked=NobodyToAsk(), clock=shop.clock),
            EraseAccount(user_id=ada.id, by=None),
            shop.ledger("EraseAccount"),
        )
    assert await owner(shop, wallet) == ada.id
    _age(shop)
    assert await _finish(shop) == 1
    assert await owner(shop, wallet) is None
    assert await shop.vault.open(ada.name) is None


class SlowVault(PostgresVault):
    """``meanwhile`` happens once, when a text is sealed and nothing is appended yet."""

    def __init__(self, shop: Shop, meanwhile: Meanwhile) -> None:
        super().__init__(shop.pool, LocalMasterKey(SECRET))
        self.meanwhile: Meanwhile | None = meanwhile

    async def seal(self, subject: UUID, *texts: str) -> list[Sealed]:
        sealed = await super().seal(subject, *texts)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return sealed


class NobodyToAsk:
    """The process is gone before it could look."""

    async def of(self, account_id: UUID) -> frozenset[str]:
        raise PowerCutError


class PowerCutError(Exception):
    """The process is gone."""


class DyingVault(PostgresVault):
    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.pool, LocalMasterKey(b"a secret that only these tests share"))

    async def destroy(self, subject: object) -> None:
        raise PowerCutError


async def _registered(shop: Shop) -> Account:
    async with reception(shop) as desk:
        return await desk.register(ADA)


async def _finish(shop: Shop) -> int:
    ledger: Ledger = shop.ledger("FinishErasures")
    return await finish_erasures(ledger=ledger, vault=shop.vault, linked=shop, clock=shop.clock)


def _age(shop: Shop) -> None:
    with psycopg.connect(shop.database) as conn:
        conn.execute("update privacy.subject_keys set erasing_since = erasing_since - %s", (timedelta(hours=1),))


def _json(value: Sealed) -> str:
    return f'{{"subject":"{value.subject}","sealed":"{value.sealed}"}}'
