"""Facts of tickets, with everything that a test does not care about filled in."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from domain.ticket import Ticket
from tests.domain.happening import BUYER, DOORS, EVENT, FRIEND, HOLD_ENDS, NOW, ORDER, TIER

WALLET, OTHER_WALLET = f"0x{'1a' * 20}", f"0x{'2b' * 20}"


def held(*, buyer_id: UUID = BUYER, **more: Any) -> Ticket.Held:
    defaults: dict[str, Any] = {"serial": 7, "order_id": ORDER, "until": HOLD_ENDS, "at": NOW}
    return Ticket.Held(event_id=EVENT, tier_id=TIER, price=4500, buyer_id=buyer_id, **defaults | more)


def released(cause: str = "expired", *, at: datetime = HOLD_ENDS) -> Ticket.Released:
    return Ticket.Released(cause=cause, event_id=EVENT, tier_id=TIER, at=at)


def claimed(attendee_name: str = "Ada") -> Ticket.Claimed:
    return Ticket.Claimed(attendee_name=attendee_name, at=NOW)


def offered(to: UUID = FRIEND) -> Ticket.TransferOffered:
    return Ticket.TransferOffered(to=to, at=NOW)


def declined(by: UUID = FRIEND) -> Ticket.TransferDeclined:
    return Ticket.TransferDeclined(by=by, at=NOW)


def transferred(to: UUID = FRIEND, *, from_id: UUID = BUYER) -> Ticket.Transferred:
    return Ticket.Transferred(from_id=from_id, to=to, at=NOW)


def checked_in(gate: str = "North", *, at: datetime = DOORS) -> Ticket.CheckedIn:
    return Ticket.CheckedIn(event_id=EVENT, tier_id=TIER, gate=gate, at=at)


def cancelled(reason: str = "sold to a tout") -> Ticket.Cancelled:
    return Ticket.Cancelled(event_id=EVENT, tier_id=TIER, reason=reason, at=NOW)


def resold(to: UUID = FRIEND, *, price: int = 5000, wallet: str | None = None, from_id: UUID = BUYER) -> Ticket.Resold:
    return Ticket.Resold(from_id=from_id, to=to, price=price, wallet=wallet, at=NOW)


def delivered(wallet: str = WALLET) -> Ticket.Delivered:
    return Ticket.Delivered(wallet=wallet, at=NOW)


def transferred_on_chain(
    to_wallet: str = OTHER_WALLET, *, to: UUID | None = None, from_id: UUID | None = BUYER, block: int = 7, **more: Any
) -> Ticket.TransferredOnChain:
    """Out of the buyer's wallet; each block has one."""
    defaults: dict[str, Any] = {"chain_id": 31337, "contract": f"0x{'c0' * 20}", "token_id": 4294967297, "version": 2}
    defaults |= {"from_wallet": WALLET, "log_index": 0, "transaction_hash": f"0x{'dd' * 32}", "at": NOW}
    of_block = {"block_number": block, "block_hash": f"0x{block:064x}"}
    return Ticket.TransferredOnChain(to_wallet=to_wallet, to=to, from_id=from_id, **defaults | of_block | more)


def holder_identified(holder_id: UUID = FRIEND, wallet: str = OTHER_WALLET) -> Ticket.HolderIdentified:
    return Ticket.HolderIdentified(holder_id=holder_id, wallet=wallet, at=NOW)


HELD = held()
RELEASED = released()
PAID = Ticket.Paid(event_id=EVENT, tier_id=TIER, at=NOW)
CLAIMED = claimed()
OFFERED = offered()
CHECKED_IN = checked_in()
CANCELLED = cancelled()
DELIVERED = delivered()
RETURNED = Ticket.ReturnedToCustody(at=NOW)
