"""A chain whose blocks come when a test says so, and what else can be done to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

from adapters.chain import contract
from adapters.chain.lookout import Probe, unheard
from adapters.chain.mirror import Mirror
from adapters.chain.node import ChainError
from adapters.chain.signer import GWEI, Fees, Signer
from adapters.ledger import PostgresLedger
from tests.anvil import Anvil, dev_key
from tests.chain.parts import Stand, on_anvil

ROUNDS_MAX = 120
CONFIRMATIONS = 3
RICH = 10**22
"""Wei."""
GRANT_ROLE = contract.selector("grantRole(bytes32,address)")
PAUSER_ROLE = keccak(text="PAUSER_ROLE")


@dataclass
class Pace:
    stand: Stand
    anvil: Anvil
    heard: list[ChainError] = field(default_factory=list)
    """What the mirror has complained of."""

    # -- The chain. ------------------------------------------------------------------

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.anvil.rpc("evm_mine")

    def reorganise(self, depth: int) -> None:
        """Other blocks take the place of so many, and none of what was in them is in any of these."""
        self.anvil.rpc("anvil_reorg", depth, [])

    def forget_pool(self) -> None:
        """What was handed in and not mined is lost."""
        self.anvil.rpc("anvil_dropAllTransactions")

    def pool(self) -> list[str]:
        """The hashes of what waits to be mined."""
        content = self.anvil.rpc("txpool_content")
        return [
            transaction["hash"]
            for part in ("pending", "queued")
            for by_nonce in content[part].values()
            for transaction in by_nonce.values()
        ]

    def next_base_fee(self, gwei: float) -> None:
        """Of the next block that is mined."""
        self.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(int(gwei * GWEI)))

    def set_balance(self, wei: int) -> None:
        self.anvil.rpc("anvil_setBalance", self.stand.signer.address, hex(wei))

    def block_hash(self, number: int) -> bytes:
        return bytes.fromhex(self.anvil.rpc("eth_getBlockByNumber", hex(number), False)["hash"][2:])

    async def pauser(self) -> Signer:
        """Somebody who may pause the contract, and nothing else."""
        other = Signer(bytes.fromhex(dev_key(1).removeprefix("0x")))
        data = GRANT_ROLE + PAUSER_ROLE + int(other.address, 16).to_bytes(32, "big")
        nonce = await self.stand.node.nonce(self.stand.signer.address)
        await self.use_nonce(nonce, data=data, to=self.stand.deployment.contract)
        self.mine()
        return other

    async def use_nonce(
        self, nonce: int, *, data: bytes = b"", to: str | None = None, gwei: int = 200, signer: Signer | None = None
    ) -> None:
        """Somebody else has our key, or that of another."""
        stand = self.stand
        signer = signer or stand.signer
        fees = Fees(gwei * GWEI, gwei * GWEI)
        _, raw = signer.sign(
            chain_id=stand.deployment.chain_id,
            nonce=nonce,
            to=to or signer.address,
            data=data,
            gas=2_000_000,
            fees=fees,
        )
        await stand.node.send(raw)

    # -- The ledger. -----------------------------------------------------------------

    async def sell(self, quantity: int) -> None:
        """Tickets of a new event."""
        await self.stand.box.sell(await self.stand.box.event(), quantity)

    # -- The mirror. -----------------------------------------------------------------

    def mirror(self, probe: Probe = unheard) -> Mirror:
        return self.stand.mirror(probe)

    async def states(self) -> list[str]:
        return [row.state for row in await self.stand.states()]

    async def step(self, mirror: Mirror) -> Mirror:
        """As the worker does it: after an error a new mirror goes on from what is stored."""
        try:
            await mirror.step()
        except ChainError as error:
            self.heard.append(error)
            return self.mirror()
        return mirror

    async def rounds(self, mirror: Mirror, rounds: int) -> Mirror:
        """A look, a block, and so on."""
        for _ in range(rounds):
            mirror = await self.step(mirror)
            self.mine()
        return await self.step(mirror)

    async def until(self, mirror: Mirror, wanted: Callable[[], Any]) -> Mirror:
        """Rounds until something is so."""
        for _ in range(ROUNDS_MAX):
            mirror = await self.step(mirror)
            if await wanted():
                return mirror
            self.mine()
        raise AssertionError(f"not within {ROUNDS_MAX} blocks: {await self.stand.states()} {self.heard[-3:]}")

    async def level(self, mirror: Mirror | None = None) -> Mirror:
        """Until everything is mined."""
        return await self.until(mirror or self.mirror(), self.stand.is_level)

    async def settled(self, mirror: Mirror | None = None) -> Mirror:
        """Until everything is final."""

        async def final() -> bool:
            return set(await self.states()) <= {"finalized"}

        return await self.until(await self.level(mirror), final)


@asynccontextmanager
async def paced(
    database: str,
    ledger: PostgresLedger,
    *args: str,
    confirmations: int | None = 0,
    state: Path | None = None,
    fee_gwei_max: int = 300,
) -> AsyncIterator[Pace]:
    """A stand on a node of its own."""
    flags = ("--prune-history", "1000", "--enable-tx-gas-limit", *args)
    with Anvil(*flags, state=state) as anvil:
        async with on_anvil(anvil, database, ledger, confirmations=confirmations) as stand:
            anvil.rpc("evm_setAutomine", False)
            stand.offer.most = fee_gwei_max * GWEI
            yield Pace(stand, anvil)
