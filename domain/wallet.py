"""A wallet: an address on a chain, and the account whose holder has proved that it is theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid5

from pydantic import Field

from domain.kernel import Aggregate, Fact, NotFoundError, Refusal
from domain.personal import Personal

WALLET_NAMESPACE = UUID("0d7a54f2-6f0e-5c1b-8a55-5a1f4a3c9be4")

Address = Annotated[str, Field(pattern="^0x[0-9a-f]{40}$")]
"""Twenty bytes in hexadecimal, lower case: one spelling, so that equal addresses are equal strings."""

Hash = Annotated[str, Field(pattern="^0x[0-9a-f]{64}$")]
"""Thirty-two bytes in hexadecimal: a block's, a transaction's."""


class WalletTakenError(Refusal):
    code = "wallet-taken"
    title = "This wallet belongs to another account"


class WalletNotLinkedError(Refusal):
    code = "wallet-not-linked"
    title = "This wallet is not linked to your account"


def wallet_stream(address: str) -> UUID:
    """The stream whose facts say whose an address is; that is what gives a wallet one owner at a time."""
    return uuid5(WALLET_NAMESPACE, address)


@dataclass(slots=True, kw_only=True)
class Wallet(Aggregate):
    stream_type: ClassVar[str] = "wallet"

    address: str = ""
    account_id: UUID | None = None
    linked_at: datetime | None = None

    # -- Facts: what is stored, and what each does to the state. --------------

    class Linked(Fact, topic="wallet.linked"):
        """The account's holder signed a message with the wallet's key. ``message`` and ``signature`` are the proof."""

        address: Address
        account_id: UUID
        message: Personal
        signature: Personal

        def apply(self, wallet: Any) -> None:
            wallet.address, wallet.account_id, wallet.linked_at = self.address, self.account_id, self.at

    class Unlinked(Fact, topic="wallet.unlinked"):
        account_id: UUID

        def apply(self, wallet: Any) -> None:
            wallet.account_id = wallet.linked_at = None

    # -- Decisions: what may happen now. ---------------------------------------

    def link(self, fact: Wallet.Linked) -> None:
        """Linking it again to the same account adds nothing."""
        if self.account_id == fact.account_id:
            return
        if self.account_id is not None:
            raise WalletTakenError
        self.record(fact)

    def unlink(self, *, account_id: UUID, at: datetime) -> None:
        if self.account_id != account_id:
            raise NotFoundError
        self.record(self.Unlinked(account_id=account_id, at=at))
