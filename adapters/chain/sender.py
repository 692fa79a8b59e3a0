"""Hands signed batches to a node, and again with more to pay when they are not mined."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from psycopg import AsyncConnection

from adapters.chain import batches, contract, deployments
from adapters.chain.batches import Attempt, OpenBatch
from adapters.chain.deployments import Deployment
from adapters.chain.lookout import Probe
from adapters.chain.node import BalanceTooLowError, Block, Node, NonceUsedError, UnderpricedError
from adapters.chain.signer import ETHER, GWEI, Fees, Offer, Signer

STUCK_BLOCKS = 3
"""After so many blocks without it, a transaction is sent again; the first in line with more to pay."""

log = structlog.get_logger()


class Sender:
    """For one deployment. What it remembers is only when to do something again."""

    def __init__(
        self, conn: AsyncConnection, node: Node, deployment: Deployment, signer: Signer, offer: Offer, probe: Probe
    ) -> None:
        self._conn = conn
        self._node = node
        self._deployment = deployment
        self._signer = signer
        self._offer = offer
        self._probe = probe
        self._sent_at: dict[int, int] = {}
        """Batch → the block at which it was last sent from here."""
        self._front = (0, 0)
        """The first batch in line, 0 for none, and the block at which it became that."""
        self._concern: str | None = None

    def forget(self, batch: int) -> None:
        """It is to be sent again at once."""
        self._sent_at.pop(batch, None)

    async def sign_again(self, batch: OpenBatch, nonce: int, gas: int, fees: Fees) -> Attempt:
        from_seq, to_seq, operations = await batches.operations_of(self._conn, self._deployment.id, batch.number)
        attempt = self.sign(batch.number, nonce, contract.apply_batch(from_seq, to_seq, operations), gas, fees)
        await batches.add_attempt(self._conn, self._deployment.id, attempt, gas)
        self._sent_at.pop(batch.number, None)
        return attempt

    def sign(self, number: int, nonce: int, data: bytes, gas: int, fees: Fees) -> Attempt:
        to = self._deployment.contract
        chain_id = self._deployment.chain_id
        transaction, raw = self._signer.sign(chain_id=chain_id, nonce=nonce, to=to, data=data, gas=gas, fees=fees)
        return Attempt(transaction, number, nonce, raw, fees.most, fees.tip)

    # -- Sending. --------------------------------------------------------------------

    async def send(self, open_batches: Sequence[OpenBatch], head: Block) -> bool:
        """Hand in what has not been, and again what has waited for too long."""
        waiting = [batch for batch in open_batches if batch.state in ("signed", "sent")]
        front = waiting[0].number if waiting else 0
        if front != self._front[0]:
            self._front = (front, head.number)
            await self._concerned(None)
        due = [b for b in waiting if head.number - self._sent_at.get(b.number, -STUCK_BLOCKS) >= STUCK_BLOCKS]
        if not due:
            return False
        tried = await batches.attempts(self._conn, self._deployment.id, [batch.number for batch in due])
        for batch in due:
            attempt = batches.current(batch, tried[batch.number])
            if batch.number in self._sent_at and self._pays_too_little(attempt, head):
                attempt = await self._offer_more(batch, attempt, head)
            await self.hand_in(attempt, head)
        return True

    def _pays_too_little(self, attempt: Attempt, head: Block) -> bool:
        """Those behind the first in line cannot be mined before it, whatever they pay."""
        front, since = self._front
        return attempt.max_fee < head.base_fee or (attempt.batch == front and head.number - since >= STUCK_BLOCKS)

    async def _offer_more(self, batch: OpenBatch, attempt: Attempt, head: Block) -> Attempt:
        """The same again where the limit has been reached: the base fee may fall."""
        fees = self._offer.more(Fees(attempt.max_fee, attempt.priority_fee), head.base_fee, await self._node.tip())
        if fees is None:
            log.error(
                "fee_limit_reached",
                chain=self._node.name,
                batch=batch.number,
                offered=attempt.max_fee,
                base_fee=head.base_fee,
            )
            await self._concerned(
                f"batch {batch.number} is stuck: it offers {attempt.max_fee / GWEI:.2f} gwei and may not offer more,"
                f" the base fee is {head.base_fee / GWEI:.2f} gwei"
            )
            return attempt
        return await self.sign_again(batch, attempt.nonce, batch.gas_limit, fees)

    async def hand_in(self, attempt: Attempt, head: Block) -> None:
        try:
            await self._node.send(attempt.raw)
        except NonceUsedError:  # the lookout finds out by what
            log.info("nonce_used", chain=self._node.name, batch=attempt.batch, nonce=attempt.nonce)
        except UnderpricedError as error:
            log.warning("underpriced", chain=self._node.name, batch=attempt.batch, error=str(error))
        except BalanceTooLowError as error:
            raise await self._too_poor(attempt) from error
        self._probe("sent")
        await batches.mark_sent(self._conn, self._deployment.id, attempt)
        self._sent_at[attempt.batch] = head.number
        if self._front[0] == 0:
            self._front = (attempt.batch, head.number)

    async def _too_poor(self, attempt: Attempt) -> BalanceTooLowError:
        balance = await self._node.balance(self._signer.address) / ETHER
        return BalanceTooLowError(
            f"{self._signer.address} has {balance:.6f} ether on {self._node.name},"
            f" which does not pay for batch {attempt.batch} at {attempt.max_fee / GWEI:.2f} gwei: send it more"
        )

    async def _concerned(self, concern: str | None) -> None:
        """What does not stop the mirror and should be known all the same."""
        if concern != self._concern:
            await deployments.set_problem(self._conn, self._deployment.id, concern)
            self._concern = concern
