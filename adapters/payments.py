"""The sandbox payment provider: it moves no money, and answers as the token says."""

from __future__ import annotations

import asyncio
from uuid import UUID

from commands.order import Capture
from domain.kernel import InvalidError
from domain.money import Money

SLOW_SECONDS = 2.0
"""How long ``tok_slow`` takes: longer than a short hold, for trying out payments that come too late."""


class SandboxPayments:
    """`commands.order.PaymentProvider`. Tokens: ``tok_ok``, ``tok_declined``, and ``tok_slow``, which is captured late."""

    name = "sandbox"

    async def capture(self, payment_id: UUID, amount: Money, token: str) -> Capture:  # noqa: ARG002 - the port's shape
        match token:
            case "tok_ok":
                return Capture(captured=True)
            case "tok_declined":
                return Capture(captured=False, reason="the card was declined")
            case "tok_slow":
                await asyncio.sleep(SLOW_SECONDS)
                return Capture(captured=True)
            case _:
                raise InvalidError("the sandbox knows tok_ok, tok_declined and tok_slow", pointer="/token")

    async def refund(self, payment_id: UUID, amount: Money) -> None:
        """Nothing was taken, so there is nothing to send back; the ledger holds the record of it."""
