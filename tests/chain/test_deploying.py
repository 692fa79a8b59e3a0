"""A deployment that was cut off goes on where it was: one contract is created, and paid for, however often it is begun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import AsyncConnection

from adapters.chain import creations, deployments
from adapters.chain.attach import Roles, deploy
from adapters.chain.creations import address_at
from adapters.chain.deployments import Deployment
from adapters.chain.http_node import HttpNode
from adapters.chain.node import BalanceTooLowError, ChainError
from adapters.chain.signer import GWEI, Fees, Offer, Signer
from adapters.postgres import connect
from tests.anvil import Anvil, dev_key
from tests.chain.pace import RICH
from tests.chain.parts import TREASURY

pytestmark = pytest.mark.anyio
URI = "https://tickets.example/{chain_id}/"


class KilledError(Exception):
    """Nobody expects it."""


class Dying(HttpNode):
    """The process ends before or after a transaction is handed in, or once it is mined."""

    moment = ""
    mined_after = ""
    """The question after whose answer a block comes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sent: set[bytes] = set()

    async def nonce(self, address: str) -> int:
        answer = await super().nonce(address)
        await self._mine_after("nonce")
        return answer

    async def send(self, raw: bytes) -> None:
        self._die_at("before sending")
        self.sent.add(raw)
        await super().send(raw)
        self._die_at("after sending")

    async def receipts(self, transactions: Any) -> Any:
        found = await super().receipts(transactions)
        if any(found):
            self._die_at("when it is mined")
        await self._mine_after("receipts")
        return found

    async def _mine_after(self, question: str) -> None:
        if self.mined_after == question:
            self.mined_after = ""
            await self.rpc("evm_mine")

    def _die_at(self, moment: str) -> None:
        if self.moment == moment:
            self.moment = ""
            raise KilledError


@dataclass
class Yard:
    """Where contracts are built."""

    conn: AsyncConnection
    node: Dying
    anvil: Anvil
    signer: Signer
    offer: Offer

    async def deploy(self, *, uri: str = URI) -> Deployment:
        roles = Roles(self.signer.address, self.signer.address, TREASURY)
        return await deploy(self.conn, self.node, self.signer, self.offer, roles, chain_id=None, base_uri=uri)

    async def nonce(self) -> int:
        return await self.node.nonce(self.signer.address)

    async def open(self) -> int:
        """How many transactions are stored that are to create a contract."""
        cursor = await self.conn.execute("select count(*) from chain.creations")
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def occupy(self, *, gwei: int) -> None:
        """Another transaction of ours at the next nonce."""
        _, raw = self.signer.sign(
            chain_id=self.anvil.chain_id,
            nonce=await self.nonce(),
            to=self.signer.address,
            data=b"",
            gas=21_000,
            fees=Fees(gwei * GWEI, gwei * GWEI),
        )
        await HttpNode.send(self.node, raw)


@pytest.fixture
async def yard(database: str) -> AsyncIterator[Yard]:
    with Anvil("--enable-tx-gas-limit") as anvil:
        node = Dying(anvil.url)
        signer = Signer(bytes.fromhex(dev_key(0).removeprefix("0x")))
        async with await connect(database, "counterfoil_app") as conn:
            yield Yard(conn, node, anvil, signer, Offer(gwei_max=300))
        await node.close()


async def test_a_contract_has_the_address_that_follows_from_its_nonce(yard: Yard) -> None:
    for nonce in (0, 1, 0x7F, 0x80, 0xFFFF, 0x10000):
        yard.anvil.rpc("anvil_setNonce", yard.signer.address, hex(nonce))
        assert (await yard.deploy()).contract == address_at(yard.signer.address, nonce)


@pytest.mark.parametrize("moment", ["before sending", "after sending", "when it is mined"])
async def test_a_deployment_that_was_killed_is_finished_by_the_next(yard: Yard, moment: str) -> None:
    yard.node.moment = moment
    with pytest.raises(KilledError):
        await yard.deploy()
    assert await yard.open() == 1
    assert await deployments.known(yard.conn) == []
    deployment = await yard.deploy()
    assert deployment.contract == address_at(yard.signer.address, 0)
    assert await yard.nonce() == 1
    assert await yard.open() == 0


@pytest.mark.parametrize("question", ["nonce", "receipts"])
async def test_a_deployment_that_is_mined_while_the_next_looks_for_it_is_found(yard: Yard, question: str) -> None:
    yard.anvil.rpc("evm_setAutomine", False)
    yard.node.moment = "after sending"
    with pytest.raises(KilledError):
        await yard.deploy()
    yard.node.mined_after = question
    assert (await yard.deploy()).contract == address_at(yard.signer.address, 0)
    assert len(yard.node.sent) == 1


async def test_the_next_deployment_is_another_contract(yard: Yard) -> None:
    first, second = await yard.deploy(), await yard.deploy()
    assert (first.contract, second.contract) == tuple(address_at(yard.signer.address, nonce) for nonce in (0, 1))
    assert await deployments.known(yard.conn) == [second]
    assert await deployments.is_retired(yard.conn, first.id)


async def test_what_was_to_be_something_else_is_not_taken_for_it(yard: Yard) -> None:
    yard.node.moment = "when it is mined"
    with pytest.raises(KilledError):
        await yard.deploy()
    deployment = await yard.deploy(uri="https://elsewhere.example/")
    assert deployment.contract == address_at(yard.signer.address, 1)
    assert await yard.open() == 0


async def test_a_deployment_that_is_too_cheap_by_now_is_outbid_by_the_next(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creations, "DEPLOY_SECONDS_MAX", 0.5)
    yard.anvil.rpc("evm_setAutomine", False)
    with pytest.raises(ChainError, match=r"has not mined the contract within 0 s: try again to go on waiting for it"):
        await yard.deploy()
    yard.anvil.rpc("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
    yard.anvil.rpc("evm_mine")
    yard.anvil.rpc("evm_setAutomine", True)
    assert (await yard.deploy()).contract == address_at(yard.signer.address, 0)
    assert await yard.nonce() == 1


async def test_a_deployment_whose_nonce_another_has_taken_says_so(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creations, "POLL_SECONDS", 0.01)
    yard.node.moment = "before sending"
    with pytest.raises(KilledError):
        await yard.deploy()
    await yard.occupy(gwei=10)
    assert (await yard.deploy()).contract == address_at(yard.signer.address, 1)  # what was stored can never be mined
    yard.anvil.rpc("evm_setAutomine", False)
    await yard.occupy(gwei=200)
    yard.anvil.rpc("evm_setIntervalMining", 1)
    with pytest.raises(ChainError, match=r"was mined on .* in place of the one that creates the contract: try again"):
        await yard.deploy()
    yard.anvil.rpc("evm_setAutomine", True)
    assert (await yard.deploy()).contract == address_at(yard.signer.address, 3)


async def test_a_contract_that_could_not_be_created_is_begun_anew(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(creations, "DEPLOY_GAS", 1_000_000)
        with pytest.raises(ChainError, match="refused to create the contract"):
            await yard.deploy()
    assert (await yard.deploy()).contract == address_at(yard.signer.address, 1)


async def test_an_account_without_balance_is_told_how_much_it_needs(yard: Yard) -> None:
    yard.anvil.rpc("anvil_setBalance", yard.signer.address, hex(10**12))
    with pytest.raises(BalanceTooLowError) as raised:
        await yard.deploy()
    assert str(raised.value).startswith(
        f"{yard.signer.address} has 0.000001 ether on {yard.node.name}, a deployment may "
    )
    assert await yard.open() == 0
    yard.anvil.rpc("anvil_setBalance", yard.signer.address, hex(RICH))
    assert (await yard.deploy()).contract == address_at(yard.signer.address, 0)


async def test_an_address_that_was_another_contracts_before_the_chain_began_anew_is_passed_over(yard: Yard) -> None:
    first = await yard.deploy()
    yard.anvil.kill()
    yard.anvil.start()
    second = await yard.deploy()
    assert (first.contract, second.contract) == tuple(address_at(yard.signer.address, nonce) for nonce in (0, 1))
