"""The contract deployed on a node, whichever it is, with what tests do to it and want to know of it."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from eth_hash.auto import keccak
from eth_tester.exceptions import TransactionFailed
from eth_tester.main import EthereumTester
from web3 import EthereumTesterProvider, HTTPProvider, Web3
from web3.exceptions import ContractLogicError

from contracts import Artifact, artifact
from tests.anvil import Anvil
from tests.contracts.decoding import Decoder, Said
from tests.contracts.operations import issue, next_hash, rules

TRANSACTION_GAS = 16_000_000  # below the most that a transaction may have (EIP-7825)
ADMIN_DELAY_SECONDS = 3_600
MAPPINGS_MAX = 32
LEDGER_ID = bytes(range(32))
BASE_URI = "https://tickets.example/"
TEST_ARTIFACTS = Path(__file__).resolve().parents[2] / "contracts" / "test-artifacts.json"


class Node(NamedTuple):
    """A connection, and the one thing that no standard says: how its clock is moved."""

    w3: Web3
    travel: Callable[[int], None]


def anvil_node(anvil: Anvil) -> Node:
    w3 = Web3(HTTPProvider(anvil.url, cache_allowed_requests=True))  # it asks for the chain id at every call

    def travel(timestamp: int) -> None:
        anvil.rpc("evm_setNextBlockTimestamp", timestamp)
        anvil.rpc("evm_mine")

    return Node(w3, travel)


def in_process_node() -> Node:
    tester = EthereumTester()

    def travel(timestamp: int) -> None:
        tester.time_travel(timestamp)
        tester.mine_block()

    return Node(Web3(EthereumTesterProvider(tester)), travel)


class Outcome:
    """A transaction that succeeded. Its logs are read when somebody asks: some have thousands."""

    def __init__(self, receipt: Any, address: str, decoder: Decoder) -> None:
        self.gas = int(receipt["gasUsed"])
        self._logs = [log for log in receipt["logs"] if log["address"] == address]
        self._decoder = decoder

    @cached_property
    def said(self) -> list[Said]:
        return self._decoder.logs(self._logs)

    @property
    def skips(self) -> list[tuple[int, int]]:
        """Of each operation that was skipped, its index in the batch and the reason."""
        return [(args[1], args[3]) for name, args in self.said if name == "OpSkipped"]

    def take_last(self) -> Said:
        """The last of what was said, which is then no longer among it."""
        return self._decoder.logs([self._logs.pop()])[0]


class Chain:
    """A fresh contract whose roles and wallets are accounts of the node."""

    def __init__(self, node: Node, built: Artifact | None = None) -> None:
        self.w3 = node.w3
        self.travel = node.travel
        accounts = list(node.w3.eth.accounts)
        self.admin, self.syncer, self.pauser, self.royalties = accounts[:4]
        self.alice, self.bob, self.carol, self.dave, self.erin = accounts[4:9]
        self.artifact = built or artifact()
        self._decoder = Decoder([*self.artifact.abi, *part("RevertingReceiver")["abi"]])
        self.contract = self.deploy(self.artifact.abi, self.artifact.bytecode, *self._arguments())
        self.address: str = self.contract.address
        self.hash = bytes(32)
        self.synced = 0

    def deploy(self, abi: Any, bytecode: bytes | str, *arguments: object) -> Any:
        factory = self.w3.eth.contract(abi=abi, bytecode=bytecode)
        receipt = self._mined(factory.constructor(*arguments), self.admin)
        return self.w3.eth.contract(address=receipt["contractAddress"], abi=abi)

    def deploy_part(self, name: str, *arguments: object) -> Any:
        """One of the contracts that only tests have."""
        found = part(name)
        return self.deploy(found["abi"], found["bytecode"], *arguments)

    # -- Doing --------------------------------------------------------------------

    def on_sale(self, tickets: int = 4, **terms: int) -> None:
        """The next event, on these terms, with so many tickets in custody."""
        number = self.call("eventCount") + 1
        self.apply(rules(number, **terms), issue(number, 0, tickets))

    def apply(self, *operations: bytes) -> Outcome:
        """A batch of one fact for each operation. Without the word of the batch itself, which is checked here."""
        ops, first, last = b"".join(operations), self.synced + 1, self.synced + max(1, len(operations))
        outcome = self.send("applyBatch", first, last, ops, by=self.syncer)
        self.hash = next_hash(self.hash, first, last, ops)
        self.synced = last
        assert outcome.take_last() == ("BatchApplied", (first, last, self.hash))
        return outcome

    def send(self, function: str, *arguments: object, by: str) -> Outcome:
        return self.transact(self._function(function, *arguments), by)

    def transact(self, call: Any, by: str) -> Outcome:
        """A transaction of any contract, which must succeed."""
        return Outcome(self._mined(call, by), self.address, self._decoder)

    def refusal(self, function: str, *arguments: object, by: str) -> Said | None:
        """What a transaction would be refused with, or None."""
        return self.raw_refusal(self._function(function, *arguments).build_transaction({"from": by, **_FEES}))

    def deployment_refusal(self, **roles: str) -> Said | None:
        factory = self.w3.eth.contract(abi=self.artifact.abi, bytecode=self.artifact.bytecode)
        constructor: Any = factory.constructor(*self._arguments(**roles))
        return self.raw_refusal(constructor.build_transaction({"from": self.admin, **_FEES}))

    def raw_refusal(self, transaction: Any) -> Said | None:
        try:
            self.w3.eth.call(transaction)
        except ContractLogicError as refused:
            data = refused.data if isinstance(refused.data, str) else "0x"
            return self._decoder.error(bytes.fromhex(data.removeprefix("0x")))
        except TransactionFailed as refused:
            return self._decoder.error(_revert_data(refused))
        return None

    def _arguments(self, admin: str | None = None, royalties: str | None = None) -> tuple[object, ...]:
        roles = (admin or self.admin, ADMIN_DELAY_SECONDS, self.syncer, self.pauser, royalties or self.royalties)
        return ("Counterfoil", "SEAT", BASE_URI, *roles, LEDGER_ID)

    # -- Reading ------------------------------------------------------------------

    def call(self, function: str, *arguments: object) -> Any:
        return self._function(function, *arguments).call()

    @property
    def now(self) -> int:
        return int(self.w3.eth.get_block("latest")["timestamp"])

    def _function(self, name: str, *arguments: object) -> Any:
        """By its name, or by its signature where the name alone does not say which."""
        if "(" in name:
            return self.contract.get_function_by_signature(name)(*arguments)
        if name == "safeTransferFrom":
            return self.contract.get_function_by_signature(f"{name}(address,address,uint256,bytes)")(*arguments)
        return self.contract.get_function_by_name(name)(*arguments)

    def _mined(self, call: Any, by: str) -> Any:
        receipt = self.w3.eth.wait_for_transaction_receipt(call.transact({"from": by, **_FEES}), poll_latency=0.002)
        assert receipt["status"] == 1, f"{call.abi_element_identifier} failed, with gas {receipt['gasUsed']}"
        return receipt


_FEES: Mapping[str, int] = {"gas": TRANSACTION_GAS, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 0}


def _revert_data(refused: TransactionFailed) -> bytes:
    """eth-tester gives the data as the text of a bytes literal."""
    data = ast.literal_eval(str(refused).removeprefix("execution reverted: "))
    assert isinstance(data, bytes)
    return data


@cache
def _test_artifacts() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(TEST_ARTIFACTS.read_text())
    return found


def part(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _test_artifacts()[name]
    return found


def patch(anvil: Anvil, chain: Chain, key: int, change: Callable[[int], int]) -> None:
    """Change what the one mapping that has this key keeps there, wherever the compiler has put it."""
    for base in range(MAPPINGS_MAX):
        slot = int.from_bytes(keccak(key.to_bytes(32, "big") + base.to_bytes(32, "big")), "big")
        word = int.from_bytes(chain.w3.eth.get_storage_at(chain.contract.address, slot), "big")
        if word:
            anvil.rpc("anvil_setStorageAt", chain.address, f"0x{slot:064x}", f"0x{change(word):064x}")
            return
    raise AssertionError("no mapping has the key")
