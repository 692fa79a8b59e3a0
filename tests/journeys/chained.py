"""A server with a chain beside it: waiting for the mirror, wallets, and what holders do on the chain by themselves."""

from __future__ import annotations

import asyncio
from typing import Any

from adapters.chain import contract
from adapters.chain import signer as chain_signer
from tests.anvil import Anvil
from tests.journeys.people import Person
from tests.signer import Signer

MIRROR_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1
TRANSFER_FROM = contract.selector("transferFrom(address,address,uint256)")
GAS = 150_000
FEES = chain_signer.Fees(20 * chain_signer.GWEI, chain_signer.GWEI)
PLAY_MONEY = 10**19


async def status(person: Person) -> dict[str, Any] | None:
    """Of the first chain, if there is one."""
    chains: list[dict[str, Any]] = (await person.ask("GET", "/v1/chain/status"))["chains"]
    return chains[0] if chains else None


async def until_mirrored(person: Person, *, finally_: bool = True) -> dict[str, Any]:
    """Wait until the chain has everything that the ledger has, by default for good."""
    async with asyncio.timeout(MIRROR_SECONDS_MAX):
        while True:
            found = await status(person)
            if found is not None and found["observed_at"] is not None and found["lag_events"] == 0:
                final = found["finalized_position"] == found["ledger_position"]
                if final or not finally_:
                    return found
            await asyncio.sleep(POLL_SECONDS)


async def until(person: Person, path: str, wanted: Any) -> Any:
    """Ask until the answer is as wanted."""
    async with asyncio.timeout(MIRROR_SECONDS_MAX):
        while True:
            answer = await person.ask("GET", path)
            if wanted(answer):
                return answer
            await asyncio.sleep(POLL_SECONDS)


async def link(person: Person, wallet: Signer) -> None:
    challenge = await person.ask("POST", "/v1/wallets/challenges", {"address": wallet.address})
    proof = {"message": challenge["message"], "signature": wallet.sign(challenge["message"])}
    await person.ask("POST", "/v1/wallets", proof)


def transfer(anvil: Anvil, address: str, holder: Signer, to: str, token: int) -> None:
    """The holder transfers a token on the chain, paying for it with play money."""
    anvil.rpc("anvil_setBalance", holder.address, hex(PLAY_MONEY))
    words = (int(holder.address, 16), int(to, 16), token)
    data = TRANSFER_FROM + b"".join(word.to_bytes(32, "big") for word in words)
    key = chain_signer.Signer(bytes(holder.key.key))
    nonce = int(anvil.rpc("eth_getTransactionCount", holder.address, "latest"), 16)
    _, raw = key.sign(chain_id=anvil.chain_id, nonce=nonce, to=address, data=data, gas=GAS, fees=FEES)
    anvil.rpc("eth_sendRawTransaction", "0x" + raw.hex())
