"""Whose wallets are whose at this very moment: what the views know, and what the ledger says that they have not heard of."""

from __future__ import annotations

from uuid import UUID

from adapters.positions import Positions
from adapters.reader import PAGE_FACTS_MAX, LedgerReader, Wanted
from domain.wallet import Wallet
from projections import wallet as wallets
from projections.kernel import Views

LINKS = Wanted(types=(Wallet.Linked.topic,))


class LedgerLinkedWallets:
    """`commands.privacy.LinkedWallets`. It does not wait for the views: an erasure is not to depend on them."""

    def __init__(self, views: Views, view_positions: Positions, reader: LedgerReader) -> None:
        self._views = views
        self._view_positions = view_positions
        self._reader = reader

    async def of(self, account_id: UUID) -> frozenset[str]:
        reached = self._view_positions.position
        until, _ = await self._reader.head()
        addresses = set(await wallets.addresses_of(self._views, account_id))
        while reached < until:
            found = await self._reader.find(LINKS, after=reached, until=until, limit=PAGE_FACTS_MAX)
            addresses |= {
                fact.data["address"] for fact in found.facts if fact.data.get("account_id") == str(account_id)
            }
            reached = found.reached
        return frozenset(addresses)
