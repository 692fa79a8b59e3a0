"""The mirror under load, on a real node with a block each second: how much it mirrors, and how far it falls behind."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any
from uuid import UUID

import orjson
import uvloop
from eth_account import Account
from web3 import HTTPProvider

from adapters.chain.contract import selector
from adapters.chain.http_node import HttpNode
from adapters.ledger import PostgresLedger
from adapters.sealing import Sealer
from api.client import Client
from domain.kernel import Fact
from domain.ticket import Ticket
from tests.anvil import Anvil, dev_key
from tests.benchmarks.box_office import BoxOffice, ask
from tests.benchmarks.harness import Bench, BenchError
from tests.benchmarks.report import Measurement
from tests.benchmarks.served import environment, served
from tests.chain.parts import NOW, Box, Stand, standing
from tests.contracts.chain import TEST_ARTIFACTS

NAMES = ("mirror", "mirror-lag")
FACTS = 24_000
SHARES = {"issue": 60, "deliver": 10, "resale": 3, "void": 2, "check in": 25}
"""Of a hundred facts."""
SEATS = 8_000
"""Sold before: of the event at its doors, whose tickets are admitted and revoked."""
WALLETS = 3
"""Tickets that go to one wallet."""
ONE_BY_ONE = 2_000
RPC_BATCH = 100
MINT_GAS = 100_000
LEVEL_SECONDS_MAX = 300.0
ON_SALE = 20_000
BLOCK_ARGS = ("--prune-history", "--enable-tx-gas-limit")


def measure(bench: Bench, names: Collection[str]) -> Iterator[Measurement]:
    if "mirror" in names:
        yield uvloop.run(_mirror(bench))
    if "mirror-lag" in names:
        yield uvloop.run(_lag(bench))


# -- Facts for each second, against one transaction for each ticket. ---------------------


async def _mirror(bench: Bench) -> Measurement:
    ours: list[float] = []
    peer: list[float] = []
    with bench.steps("Mirror", 2 * bench.repetitions) as step:
        for repetition in range(1, bench.repetitions + 1):
            with Anvil(*BLOCK_ARGS, block_time=1) as anvil:
                step(f"{FACTS:,} facts in batches, round {repetition}")
                ours.append(await _batched(bench, anvil))
            with Anvil(*BLOCK_ARGS, block_time=1) as anvil:
                step(f"{ONE_BY_ONE:,} tickets one by one, round {repetition}")
                peer.append(await asyncio.to_thread(_one_by_one, anvil))
    return Measurement("mirror", ours, peer, "facts/s", {"mixture": SHARES, "tickets_a_wallet": WALLETS})


async def _batched(bench: Bench, anvil: Anvil) -> float:
    """Facts mirrored in a second, from the ledger until they are mined."""
    url = bench.database()
    ledger = PostgresLedger(url, Sealer(bench.secret))
    await ledger.start()
    node = HttpNode(anvil.url)
    try:
        async with standing(url, ledger, node, key=bytes.fromhex(dev_key(0).removeprefix("0x"))) as stand:
            event, doors = await stand.box.event(), await stand.box.event()
            seats = await stand.box.sell(doors, SEATS)
            await stand.level()
            for part in _parts(_mixture(stand.box, event, doors, seats)):
                await stand.box.tell(*part)
            mirror = stand.mirror()
            began = perf_counter()
            await stand.level(mirror)
            took = perf_counter() - began
            await _agrees(stand)
    finally:
        await node.close()
        await ledger.stop()
    return FACTS / took


async def _agrees(stand: Stand) -> None:
    """Speed counts only for what is right."""
    if await stand.agree() != SEATS + FACTS * SHARES["issue"] // 100:
        raise BenchError("the contract has not what the ledger has")


def _mixture(box: Box, event: UUID, doors: UUID, seats: list[UUID]) -> Iterator[list[tuple[UUID, Fact]]]:
    """Facts in the shares of an evening on which one event sells and another admits."""
    rng = random.Random(7)
    arrivals = rng.sample(seats, FACTS * (SHARES["check in"] + SHARES["void"]) // 100)
    in_custody: list[UUID] = []
    in_wallets: list[UUID] = []
    wallet, taken = _wallet(rng), 0
    for _ in range(FACTS // 100):
        kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
        for kind in sorted(kinds, key=lambda kind: (kind != "issue", kind == "resale", rng.random())):
            match kind:
                case "issue":
                    ticket = _ticket(rng)
                    in_custody.append(ticket)
                    yield box.sale(event, ticket)
                case "deliver":
                    if taken % WALLETS == 0:
                        wallet = _wallet(rng)
                    taken += 1
                    ticket = in_custody.pop()
                    in_wallets.append(ticket)
                    yield [(ticket, Ticket.Delivered(wallet=wallet, at=NOW))]
                case "resale":
                    ticket = in_wallets.pop(0)
                    sold = Ticket.Resold(from_id=event, to=doors, price=5_000, wallet=_wallet(rng), at=NOW)
                    yield [(ticket, sold)]
                case "void":
                    yield [(arrivals.pop(), box.cancelled(doors))]
                case _:
                    yield [(arrivals.pop(), box.checked_in(doors))]


def _parts(facts: Iterator[list[tuple[UUID, Fact]]]) -> Iterator[list[tuple[UUID, Fact]]]:
    part: list[tuple[UUID, Fact]] = []
    for few in facts:
        part += few
        if len(part) >= 1_000:
            yield part
            part = []
    yield part


def _ticket(rng: random.Random) -> UUID:
    return UUID(bytes=rng.randbytes(16), version=4)


def _wallet(rng: random.Random) -> str:
    return "0x" + rng.randbytes(20).hex()


def _one_by_one(anvil: Anvil) -> float:
    """Tickets minted in a second by a transaction each, all of them handed in without waiting for any."""
    account = Account.from_key(dev_key(0))
    provider = HTTPProvider(anvil.url)
    code = orjson.loads(TEST_ARTIFACTS.read_bytes())["OneByOneTickets"]["bytecode"]
    fees: dict[str, Any] = {"chainId": anvil.chain_id, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9, "type": 2}
    created = account.sign_transaction({**fees, "nonce": 0, "gas": 5_000_000, "data": code, "value": 0})
    anvil.rpc("eth_sendRawTransaction", "0x" + created.raw_transaction.hex())
    contract = _until(lambda: anvil.rpc("eth_getTransactionReceipt", "0x" + created.hash.hex()))["contractAddress"]
    data = selector("mint(address)") + bytes(12) + bytes.fromhex(account.address[2:])
    began = perf_counter()
    raws = []
    for nonce in range(1, ONE_BY_ONE + 1):
        minted = {**fees, "nonce": nonce, "gas": MINT_GAS, "to": bytes.fromhex(contract[2:]), "data": data, "value": 0}
        raws.append("0x" + account.sign_transaction(minted).raw_transaction.hex())
        if len(raws) == RPC_BATCH:
            provider.make_batch_request([("eth_sendRawTransaction", [raw]) for raw in raws])  # type: ignore[misc]
            raws = []
    _until(lambda: int(anvil.rpc("eth_getTransactionCount", account.address, "latest"), 16) > ONE_BY_ONE)
    return ONE_BY_ONE / (perf_counter() - began)


def _until(found: Any) -> Any:
    deadline = perf_counter() + LEVEL_SECONDS_MAX
    while perf_counter() < deadline:
        if value := found():
            return value
    raise BenchError("the node did not mine what it was given")


# -- How long the chain takes to catch up with an on-sale. -----------------------------------


async def _lag(bench: Bench) -> Measurement:
    waited: list[float] = []
    behind: list[int] = []
    with bench.steps("Mirror's lag", bench.repetitions) as step:
        for repetition in range(1, bench.repetitions + 1):
            step(f"{ON_SALE:,} tickets sold, round {repetition}")
            with Anvil(*BLOCK_ARGS, block_time=1) as anvil:
                async with _mirrored(bench, anvil) as client:
                    office = await BoxOffice.opened(client)
                    event = await office.put_on_sale(quantity=ON_SALE, tiers=1)
                    await office.sell(event, ON_SALE)
                    behind.append((await _status(office))["lag_events"])
                    waited.append(await _until_level(office))
    return Measurement("mirror-lag", waited, (), "s", {"facts_behind_at_the_end": behind})


@asynccontextmanager
async def _mirrored(bench: Bench, anvil: Anvil) -> Any:
    url = bench.database()
    chain = {
        "COUNTERFOIL_CHAIN_URL": anvil.url,
        "COUNTERFOIL_CHAIN_KEY": dev_key(0),
        "COUNTERFOIL_CHAIN_CONFIRMATIONS": "1",
    }
    await asyncio.to_thread(_deploy, environment(bench, url, 8000) | chain)
    async with served(bench, url, **chain) as base_url, Client(base_url, 16) as client:
        yield client


def _deploy(env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "api", "chain", "deploy"]
    deployed = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if deployed.returncode:
        raise BenchError(f"no contract: {deployed.stderr}")


async def _status(office: BoxOffice) -> Any:
    return (await ask(office.admin, "GET", "/v1/chain/status"))["chains"][0]


async def _until_level(office: BoxOffice) -> float:
    began = perf_counter()
    async with asyncio.timeout(LEVEL_SECONDS_MAX):
        while True:
            if not (await _status(office))["lag_events"]:
                return perf_counter() - began
            await asyncio.sleep(0.1)
