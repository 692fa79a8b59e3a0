"""Linking wallets to accounts: proved once, used once, and never two owners."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from adapters.wallet_proofs import LIFETIME
from commands.wallet import BadProofError, UnlinkWallet
from domain.kernel import NotFoundError
from domain.wallet import Wallet, WalletTakenError, wallet_stream
from tests.commands.shop import Shop, in_a_shop, names, together
from tests.domain.happening import BUYER, FRIEND, STRANGER, numbered
from tests.signer import Signer, mirrored, new_signer


def unlink(wallet: Signer, account_id: UUID = BUYER) -> UnlinkWallet:
    return UnlinkWallet(address=wallet.address, account_id=account_id)


async def owner(shop: Shop, wallet: Signer) -> UUID | None:
    return (await shop.store.load(Wallet, [wallet_stream(wallet.address)]))[0].account_id


# -- Done. -----------------------------------------------------------------------------------


@in_a_shop
async def test_who_signs_the_challenge_has_the_wallet_and_the_proof_is_kept(shop: Shop) -> None:
    wallet = new_signer()
    proof = await shop.proof(wallet, BUYER)
    assert shop.facts() == [], "asking records nothing"
    linked = await shop.do(proof)
    assert (linked.address, linked.account_id, linked.linked_at) == (wallet.address, BUYER, shop.clock.now)
    (fact,) = shop.facts(wallet_stream(wallet.address))
    assert isinstance(fact, Wallet.Linked)
    assert await shop.vault.open(fact.message) == proof.message
    assert await shop.vault.open(fact.signature) == proof.signature


@in_a_shop
async def test_an_account_may_have_many_wallets(shop: Shop) -> None:
    wallets = [await shop.wallet(BUYER) for _ in range(3)]
    assert [await owner(shop, wallet) for wallet in wallets] == [BUYER] * 3


@in_a_shop
async def test_what_was_let_go_can_be_somebody_elses(shop: Shop) -> None:
    wallet = await shop.wallet(BUYER)
    await shop.do(unlink(wallet))
    assert await owner(shop, wallet) is None
    await shop.do(await shop.proof(wallet, FRIEND))
    assert await owner(shop, wallet) == FRIEND


# -- Refused. --------------------------------------------------------------------------------


@in_a_shop
async def test_nobody_takes_a_wallet_that_is_somebodys_even_with_its_key(shop: Shop) -> None:
    wallet = await shop.wallet(BUYER)
    before = shop.facts()
    with pytest.raises(WalletTakenError):
        await shop.do(await shop.proof(wallet, FRIEND))
    with pytest.raises(NotFoundError):
        await shop.do(unlink(wallet, FRIEND))
    with pytest.raises(NotFoundError):
        await shop.do(unlink(new_signer()))
    assert shop.facts() == before


@in_a_shop
async def test_without_the_key_nobody_learns_whose_it_is(shop: Shop) -> None:
    wallet = await shop.wallet(BUYER)
    proof = await shop.proof(wallet, FRIEND)
    with pytest.raises(BadProofError):
        await shop.do(proof.model_copy(update={"signature": new_signer().sign(proof.message)}))


@in_a_shop
async def test_a_challenge_answers_for_the_account_that_asked(shop: Shop) -> None:
    proof = await shop.proof(new_signer(), BUYER)
    with pytest.raises(BadProofError):
        await shop.do(proof.model_copy(update={"account_id": FRIEND}))
    assert shop.facts() == []


@in_a_shop
async def test_a_forged_or_mirrored_signature_links_nothing(shop: Shop) -> None:
    proof = await shop.proof(new_signer(), BUYER)
    for signature in (mirrored(proof.signature), new_signer().sign(proof.message), "0x"):
        with pytest.raises(BadProofError):
            await shop.do(proof.model_copy(update={"signature": signature}))
    assert shop.facts() == []


@in_a_shop
async def test_a_challenge_is_answered_in_time_or_not_at_all(shop: Shop) -> None:
    proof = await shop.proof(new_signer(), BUYER)
    shop.clock.now += LIFETIME
    with pytest.raises(BadProofError, match="expired"):
        await shop.do(proof)
    shop.clock.now -= timedelta(hours=1)
    with pytest.raises(BadProofError, match="not valid yet"):
        await shop.do(proof)
    assert shop.facts() == []


# -- Repeated. -------------------------------------------------------------------------------


@in_a_shop
async def test_a_proof_is_used_once_also_after_unlinking(shop: Shop) -> None:
    wallet = new_signer()
    proof, another = await shop.proof(wallet, BUYER), await shop.proof(wallet, BUYER)
    await shop.do(proof)
    for used in (proof, another):
        with pytest.raises(BadProofError, match="used"):
            await shop.do(used)
    await shop.do(unlink(wallet))
    for used in (proof, another):
        with pytest.raises(BadProofError, match="used"):
            await shop.do(used)
    assert await owner(shop, wallet) is None


@in_a_shop
async def test_linking_again_with_a_new_proof_adds_nothing(shop: Shop) -> None:
    wallet = await shop.wallet(BUYER)
    before = shop.facts()
    shop.clock.now += timedelta(seconds=1)
    again = await shop.do(await shop.proof(wallet, BUYER))
    assert (again.account_id, shop.facts()) == (BUYER, before)


@in_a_shop
async def test_letting_go_twice_is_refused(shop: Shop) -> None:
    wallet = await shop.wallet(BUYER)
    await shop.do(unlink(wallet))
    with pytest.raises(NotFoundError):
        await shop.do(unlink(wallet))


# -- Raced. ----------------------------------------------------------------------------------


@in_a_shop
async def test_of_many_accounts_that_link_a_wallet_at_once_one_has_it(shop: Shop) -> None:
    wallet = new_signer()
    people = [BUYER, FRIEND, STRANGER, *(numbered(1000 + number) for number in range(7))]
    proofs = [await shop.proof(wallet, person) for person in people]
    outcomes = await together(*(shop.do(proof) for proof in proofs))
    assert names(outcomes) == ["Wallet"] + ["WalletTakenError"] * 9
    winner = next(person for person, outcome in zip(people, outcomes, strict=True) if isinstance(outcome, Wallet))
    assert await owner(shop, wallet) == winner
    assert len(shop.facts()) == 1


@in_a_shop
async def test_two_processes_link_a_wallet_once(shop: Shop) -> None:
    wallet = new_signer()
    mine, theirs = await shop.proof(wallet, BUYER), await shop.proof(wallet, FRIEND)
    async with Shop(shop.database) as other:
        outcomes = await together(shop.do(mine), other.do(theirs))
    assert names(outcomes) == ["Wallet", "WalletTakenError"]


@in_a_shop
async def test_one_proof_shown_many_times_at_once_links_once(shop: Shop) -> None:
    proof = await shop.proof(new_signer(), BUYER)
    outcomes = await together(*(shop.do(proof) for _ in range(10)))
    assert names(outcomes) == ["BadProofError"] * 9 + ["Wallet"]
    assert len(shop.facts()) == 1
