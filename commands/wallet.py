"""Linking wallets to accounts: who can sign with a wallet's key has its tickets."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from commands.kernel import Clock, Command, Ledger
from commands.privacy import Vault
from domain.account import Account
from domain.kernel import NotFoundError, Refusal
from domain.wallet import Address, Wallet, wallet_stream


class BadProofError(Refusal):
    """Forged, altered, expired, used before, or given to somebody else. ``pointer`` says which part of the proof."""

    code = "bad-proof"
    title = "This does not prove that the wallet is yours"

    def __init__(self, detail: str, *, pointer: str = "/message") -> None:
        super().__init__(detail, errors=[{"pointer": pointer, "detail": detail}])


class Challenge(NamedTuple):
    """What is to be signed, to the last byte."""

    message: str
    nonce: str
    expires_at: datetime


class Proof(NamedTuple):
    """A message that the wallet at ``address`` has signed for us, and lately. Whether we asked for it is still open."""

    address: str
    message: str
    signature: str


class WalletProofs(Protocol):
    """Messages that a wallet signs. ``version`` is that of the wallet's stream: a proof is good for one step of it."""

    def challenge(
        self, address: str, *, chain_id: int | None, account_id: UUID, version: int, at: datetime
    ) -> Challenge:
        """Raises InvalidError for a chain that is not ours. ``chain_id`` None: ours."""

    def read(self, message: str, signature: str, *, at: datetime) -> Proof:
        """Raises BadProofError."""

    def refuse_unless_challenged(self, proof: Proof, *, account_id: UUID, version: int) -> None:
        """Raises BadProofError unless `challenge` gave this message to this account at this version."""


class ChallengeWallet(Command):
    address: Address
    chain_id: int | None
    account_id: UUID


class LinkWallet(Command):
    message: str
    signature: str
    account_id: UUID


class UnlinkWallet(Command):
    address: Address
    account_id: UUID


async def challenge_wallet(
    command: ChallengeWallet, *, ledger: Ledger, proofs: WalletProofs, clock: Clock
) -> Challenge:
    """Says nothing of whose the wallet is now: that is only for those who can sign with it."""
    wallet = await ledger.load(Wallet, wallet_stream(command.address))
    return proofs.challenge(
        command.address, chain_id=command.chain_id, account_id=command.account_id, version=wallet.version, at=clock()
    )


async def link_wallet(
    command: LinkWallet, *, ledger: Ledger, proofs: WalletProofs, vault: Vault, clock: Clock
) -> Wallet:
    """Raises BadProofError, WalletTakenError when another account has it, and NotFoundError for who was erased.

    It rests on the account: who is erased while this is decided gets no wallet any more.
    """
    now = clock()
    account = await ledger.peek(Account, command.account_id)
    if account.erased:
        raise NotFoundError("this account was erased")
    proof = proofs.read(command.message, command.signature, at=now)
    wallet = await ledger.load(Wallet, wallet_stream(proof.address))
    message, signature = await vault.seal(command.account_id, proof.message, proof.signature)
    wallet.link(
        Wallet.Linked(
            address=proof.address, account_id=command.account_id, message=message, signature=signature, at=now
        )
    )
    # After the decision: who has lost a race is told that the wallet is taken, not that their proof is stale.
    proofs.refuse_unless_challenged(proof, account_id=command.account_id, version=wallet.stored_version)
    return await ledger.append(wallet, rests_on=(account,))


async def unlink_wallet(command: UnlinkWallet, *, ledger: Ledger, clock: Clock) -> Wallet:
    """The tickets in it stay the account's; what comes into it from now on has no known holder."""
    wallet = await ledger.load(Wallet, wallet_stream(command.address))
    wallet.unlink(account_id=command.account_id, at=clock())
    return await ledger.append(wallet)
