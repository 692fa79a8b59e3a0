"""An EVM in this process: the chain of the embedded default, which forgets everything when the process ends.

py-evm through eth-tester; each transaction is mined at once in a block of its own, and every block is final. The EVM
is slow and blocks whoever calls it, so it runs on a thread of its own, one question at a time.
"""

from __future__ import annotations

import asyncio
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from eth_tester.backends.pyevm.main import PyEVMBackend
from eth_tester.exceptions import BlockNotFound, TransactionFailed, TransactionNotFound
from eth_tester.main import EthereumTester
from eth_utils.exceptions import ValidationError

from adapters.chain.node import (
    FINALIZED,
    LATEST,
    BalanceTooLowError,
    Block,
    Log,
    NonceUsedError,
    Receipt,
    RevertedError,
    TransactionRefusedError,
)

T = TypeVar("T")

TIP = 1_000_000_000
"""Wei."""
ENDOWMENT = 10**24
"""Wei, of play money: what the account that signs is given."""


class EmbeddedNode:
    """See `Node`."""

    name = "the EVM in this process"

    def __init__(self, *, auto_mine: bool = True) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evm")
        self.tester = self._thread.submit(_start, auto_mine=auto_mine).result()

    async def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def endow(self, address: str) -> None:
        """Play money for the account that signs."""
        await self._do(_endow, self.tester, address)

    async def chain_id(self) -> int:
        return int(self.tester.backend.chain.chain_id)

    async def block(self, which: int | str) -> Block | None:
        return await self._do(_block, self.tester, LATEST if which == FINALIZED else which)

    async def blocks(self, numbers: Sequence[int]) -> list[Block | None]:
        return [await self.block(number) for number in numbers]

    async def code(self, address: str) -> bytes:
        return bytes.fromhex((await self._do(self.tester.get_code, address)).removeprefix("0x"))

    async def balance(self, address: str) -> int:
        return int(await self._do(self.tester.get_balance, address))

    async def nonce(self, address: str) -> int:
        return int(await self._do(self.tester.get_nonce, address))

    async def call(self, to: str, data: bytes, block: int | str = LATEST) -> bytes:
        sender = self.tester.get_accounts()[0]
        wanted = {"from": sender, "to": to, "data": "0x" + data.hex(), "gas": 29_000_000}
        try:
            answer = await self._do(self.tester.call, wanted, LATEST if block == FINALIZED else block)
        except TransactionFailed as error:
            raise _reverted(error) from error
        return bytes.fromhex(answer.removeprefix("0x"))

    async def tip(self) -> int:
        return TIP

    async def send(self, raw: bytes) -> None:
        try:
            await self._do(self.tester.send_raw_transaction, "0x" + raw.hex())
        except TransactionFailed:
            return  # it is in the chain, and its receipt says that it failed
        except ValidationError as error:
            _refuse(str(error))

    async def receipts(self, transactions: Sequence[bytes]) -> list[Receipt | None]:
        return [await self._do(_receipt, self.tester, transaction) for transaction in transactions]

    async def logs(self, address: str, topics: Sequence[bytes], first: int, last: int) -> list[Log]:
        return await self._do(_logs, self.tester, address, [list(topics)], first, last)

    async def logs_of_block(self, address: str, topics: Sequence[bytes], block_hash: bytes) -> list[Log]:
        block = await self._do(self.tester.get_block_by_hash, "0x" + block_hash.hex())
        return await self.logs(address, topics, block["number"], block["number"])

    async def _do(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _start(*, auto_mine: bool) -> Any:
    return EthereumTester(PyEVMBackend(), auto_mine_transactions=auto_mine)


def _endow(tester: Any, address: str) -> None:
    rich = tester.get_accounts()
    share = min(ENDOWMENT, tester.get_balance(rich[0]) // 2)
    tester.send_transaction({"from": rich[0], "to": address, "value": share, "gas": 21_000})


def _block(tester: Any, which: int | str) -> Block | None:
    try:
        block = tester.get_block_by_number(which)
    except BlockNotFound:
        return None
    return Block(
        block["number"],
        _bytes(block["hash"]),
        _bytes(block["parent_hash"]),
        block["timestamp"],
        block["base_fee_per_gas"],
        block["gas_limit"],
        block["logs_bloom"].to_bytes(256, "big"),
    )


def _receipt(tester: Any, transaction: bytes) -> Receipt | None:
    try:
        receipt = tester.get_transaction_receipt("0x" + transaction.hex())
    except TransactionNotFound:
        return None
    if receipt["block_number"] is None:
        return None
    created = receipt["contract_address"]
    return Receipt(
        transaction,
        receipt["block_number"],
        _bytes(receipt["block_hash"]),
        receipt["status"] == 1,
        receipt["gas_used"],
        created.lower() if created else None,
        tuple(_log(log) for log in receipt["logs"]),
    )


def _logs(tester: Any, address: str, topics: list[list[bytes]], first: int, last: int) -> list[Log]:
    wanted = [["0x" + topic.hex() for topic in position] for position in topics]
    found = tester.get_logs(from_block=first, to_block=last, address=address, topics=wanted)
    return [_log(log) for log in found]


def _log(log: Mapping[str, Any]) -> Log:
    return Log(
        log["block_number"],
        _bytes(log["block_hash"]),
        _bytes(log["transaction_hash"]),
        log["log_index"],
        tuple(_bytes(topic) for topic in log["topics"]),
        _bytes(log["data"]),
    )


def _reverted(error: TransactionFailed) -> RevertedError:
    """eth-tester writes the contract's error as Python would write the bytes, unless it is a sentence."""
    text = str(error)
    if not text.startswith(("b'", 'b"')):
        return RevertedError(f"execution reverted: {text}")
    return RevertedError("execution reverted", literal_eval(text))


def _refuse(text: str) -> None:
    lower = text.lower()
    if "nonce" in lower:
        raise NonceUsedError(text)
    if "balance" in lower or "funds" in lower:
        raise BalanceTooLowError(text)
    raise TransactionRefusedError(text)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
