"""Every fact of the domain: the message that it becomes, or why it stays in. A test sees that none is undecided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.account import Account, EmailClaim
from domain.allowance import Allowance
from domain.event import Event
from domain.kernel import Fact
from domain.order import Order
from domain.reconciliation import Reconciliation
from domain.wallet import Wallet
from projections.messages import event, order, ticket  # noqa: F401 - defining the messages is what it is for
from projections.messages.kernel import Message, message_for

PUBLISHED: Final[Mapping[type[Fact], type[Message]]] = message_for
CHANNELS: Final = tuple(sorted({message.channel for message in PUBLISHED.values()}))
"""The Kafka topics."""
STREAM_TYPES: Final = frozenset(fact.topic.partition(".")[0] for fact in PUBLISHED)
"""Streams of which something is published: a fact of theirs that we do not know must not be passed over."""

INTERNAL: Final[Mapping[type[Fact], str]] = {
    EmailClaim.Claimed: "an e-mail address, and whose it is",
    Account.Registered: "a name and an e-mail address",
    EmailClaim.Released: "an e-mail address, and whose it was",
    Account.Erased: "who is forgotten is not to be talked of",
    Account.RolesSet: "what somebody may do here helps nobody but those who would like to be them",
    Allowance.Taken: "bookkeeping of a limit; the order says it",
    Allowance.Returned: "bookkeeping of a limit; the order says it",
    Event.GateStaffed: "who works where",
    Order.EntryDated: "the organiser's books, with a reason in their words",
    Wallet.Linked: "ties a person to an address, with the message they signed",
    Wallet.Unlinked: "ties a person to an address",
    Reconciliation.Requested: "operations",
    Reconciliation.Completed: "operations: a report of what may be mended by the next fact",
    Reconciliation.Corrected: "operations: an order to the mirror",
    Reconciliation.Failed: "operations",
}
