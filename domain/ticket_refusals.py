"""Why a ticket may not be had, handed on, or let in."""

from __future__ import annotations

from domain.kernel import Refusal


class SeatTakenError(Refusal):
    code = "seat-taken"
    title = "Somebody else has this place"


class NotPaidError(Refusal):
    code = "not-paid"
    title = "This ticket has not been paid for"


class CancelledError(Refusal):
    code = "cancelled"
    title = "This ticket is no longer valid"


class AlreadyCheckedInError(Refusal):
    code = "already-checked-in"
    title = "This ticket has admitted somebody already"


class NotYetOpenError(Refusal):
    code = "not-yet-open"
    title = "The doors are not open yet"


class DoorsClosedError(Refusal):
    code = "doors-closed"
    title = "The event is over"


class WrongEventError(Refusal):
    code = "wrong-event"
    title = "This ticket is for another event"


class BadCodeError(Refusal):
    """Forged, mistyped, or replaced by a newer one."""

    code = "bad-code"
    title = "This code is not valid"


class TransferPendingError(Refusal):
    code = "transfer-pending"
    title = "This ticket has been offered to somebody"


class NoTransferError(Refusal):
    code = "no-transfer"
    title = "This ticket is not on offer to you"


class SameHolderError(Refusal):
    code = "same-holder"
    title = "This ticket is theirs already"


class InWalletError(Refusal):
    code = "in-wallet"
    title = "This ticket is in a wallet already"


class InCustodyError(Refusal):
    code = "in-custody"
    title = "This ticket is not in a wallet"


class HolderUnknownError(Refusal):
    code = "holder-unknown"
    title = "Nobody has proved yet that the wallet with this ticket is theirs"


class PriceAboveLimitError(Refusal):
    code = "price-above-limit"
    title = "The organiser does not allow this price"
