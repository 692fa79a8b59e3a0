"""Sealing what says who somebody is, and forgetting them: the record of an erasure stays, the key that it took goes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

from commands.kernel import Clock, Command, Ledger, decide
from domain.account import Account, EmailClaim, email_stream
from domain.kernel import Aggregate
from domain.personal import Personal, Sealed
from domain.wallet import Address, Wallet, wallet_stream


class Vault(Protocol):
    """A key for each person, wrapped by a master key. What it has destroyed it can never open or make again."""

    async def seal(self, subject: UUID, *texts: str) -> list[Sealed]:
        """With the subject's key, which is made when there is none. Raises NotFoundError for somebody who was erased."""

    async def open(self, value: Personal | None) -> str | None:
        """None once the subject was erased. Raises SealBrokenError for what was not sealed with their key."""

    async def intend(self, subject: UUID) -> None:
        """Remember that the subject may be erased in a moment: whoever finds this later has to look."""

    async def intended(self) -> Sequence[UUID]:
        """Whose erasure was begun a while ago and not ended."""

    async def spare(self, subject: UUID) -> None:
        """They were not erased after all. One that was begun anew in this moment stays remembered."""

    async def destroy(self, subject: UUID) -> None:
        """The key, and all else that is kept of them outside of the ledger: password, sessions. May be repeated."""


class LinkedWallets(Protocol):
    async def of(self, account_id: UUID) -> frozenset[Address]:
        """All that are linked to the account at this moment, and perhaps some that no longer are."""


class EraseAccount(Command):
    user_id: UUID
    by: UUID | None
    wallets: frozenset[Address] = frozenset()
    """Those that are known to be linked to the account. What else is among them is left alone."""
    claims: frozenset[UUID] = frozenset()
    """The same of the streams of e-mail addresses: whose key is gone already, of them nobody can open the address."""


class UnlinkErased(Command):
    """A wallet that is somebody's who was erased."""

    address: Address


async def erase_account(
    command: EraseAccount, *, ledger: Ledger, vault: Vault, linked: LinkedWallets, clock: Clock
) -> Account:
    """First the ledger says so, then the key is destroyed; `finish_erasures` ends what a crash has left between the two.

    Tickets and orders stay as they are: they are the event's books. Raises AdminErasureError, NotFoundError.
    """
    now = clock()
    account = await ledger.load(Account, command.user_id)
    email = await vault.open(account.email)
    account.erase(by=command.by, at=now)
    changed: list[Aggregate] = []
    claims = command.claims | ({email_stream(email)} if email else set())
    for claim in await ledger.load_all(EmailClaim, sorted(claims) if account.pending else []):
        claim.release(account.id, at=now)
        changed.append(claim)
    for wallet in await ledger.load_all(Wallet, sorted(map(wallet_stream, command.wallets))):
        if wallet.account_id == account.id:
            wallet.unlink(account_id=account.id, at=now)
            changed.append(wallet)
    await vault.intend(account.id)
    await ledger.append(account, *changed)
    await _unlink_the_rest(account.id, ledger=ledger.refusing(), linked=linked, clock=clock)
    await vault.destroy(account.id)
    return account


async def finish_erasures(*, ledger: Ledger, vault: Vault, linked: LinkedWallets, clock: Clock) -> int:
    """Destroy the keys of those of whom the ledger says that they are erased; how many that were."""
    finished = 0
    for subject in await vault.intended():
        account = await ledger.load(Account, subject)
        if account.erased:
            await _unlink_the_rest(subject, ledger=ledger, linked=linked, clock=clock)
            await vault.destroy(subject)
            finished += 1
        else:
            await vault.spare(subject)
    return finished


async def _unlink_the_rest(account_id: UUID, *, ledger: Ledger, linked: LinkedWallets, clock: Clock) -> None:
    """What was linked while the erasure was decided. From then on nothing is: a link rests on the account."""
    for address in sorted(await linked.of(account_id)):
        unlink = partial(_unlink, account_id=account_id, clock=clock)
        await decide(unlink, UnlinkErased(address=address), ledger)


async def _unlink(command: UnlinkErased, *, ledger: Ledger, account_id: UUID, clock: Clock) -> None:
    wallet = await ledger.load(Wallet, wallet_stream(command.address))
    if wallet.account_id == account_id:
        wallet.unlink(account_id=account_id, at=clock())
        await ledger.append(wallet)
