"""A wallet belongs to one account at a time: the one whose holder proved it last, until they let it go."""

from __future__ import annotations

from uuid import UUID

import pytest
from pydantic import ValidationError

from domain.kernel import NotFoundError
from domain.wallet import Wallet, WalletTakenError, wallet_stream
from tests.domain.happening import BUYER, FRIEND, NOW
from tests.domain.ticket_facts import OTHER_WALLET, WALLET
from tests.given import folded, given


def linked(account_id: UUID = BUYER) -> Wallet.Linked:
    return Wallet.Linked(address=WALLET, account_id=account_id, message="I am", signature="0x00", at=NOW)


UNLINKED = Wallet.Unlinked(account_id=BUYER, at=NOW)


def test_a_wallet_that_is_nobodys_can_be_linked() -> None:
    given(Wallet).when(lambda wallet: wallet.link(linked())).then(linked())
    assert (folded(Wallet, linked()).account_id, folded(Wallet, linked()).linked_at) == (BUYER, NOW)


def test_linking_it_again_adds_nothing() -> None:
    given(Wallet, linked()).when(lambda wallet: wallet.link(linked())).then_nothing()


def test_what_is_somebodys_cannot_be_linked_by_another() -> None:
    given(Wallet, linked()).when(lambda wallet: wallet.link(linked(FRIEND))).then_refused(WalletTakenError)


@pytest.mark.parametrize("account_id", [BUYER, FRIEND])
def test_what_was_let_go_can_be_linked_by_anyone(account_id: UUID) -> None:
    given(Wallet, linked(), UNLINKED).when(lambda wallet: wallet.link(linked(account_id))).then(linked(account_id))


def test_its_account_lets_it_go() -> None:
    given(Wallet, linked()).when(lambda wallet: wallet.unlink(account_id=BUYER, at=NOW)).then(UNLINKED)
    assert (folded(Wallet, linked(), UNLINKED).account_id, folded(Wallet, linked(), UNLINKED).linked_at) == (None, None)


@pytest.mark.parametrize("history", [(), (linked(FRIEND),), (linked(), UNLINKED)])
def test_nobody_else_does(history: tuple[Wallet.Linked, ...]) -> None:
    given(Wallet, *history).when(lambda wallet: wallet.unlink(account_id=BUYER, at=NOW)).then_refused(NotFoundError)


def test_an_address_has_one_stream_and_one_spelling() -> None:
    assert wallet_stream(WALLET) == wallet_stream(WALLET) != wallet_stream(OTHER_WALLET)
    for spelling in (WALLET.upper(), WALLET[2:], f"{WALLET}0", f"0x{'1A' * 20}"):
        with pytest.raises(ValidationError):
            Wallet.Linked(address=spelling, account_id=BUYER, message="", signature="", at=NOW)
