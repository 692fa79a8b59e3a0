"""A node that is spoken to by JSON-RPC over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from adapters.chain.node import (
    LATEST,
    BalanceTooLowError,
    Block,
    ChainError,
    Log,
    NodeUnreachableError,
    NonceUsedError,
    RangeRefusedError,
    Receipt,
    RevertedError,
    TransactionRefusedError,
    UnderpricedError,
)

ANSWER_SECONDS_MAX = 20.0
BATCH_MAX = 100
"""Questions in one request."""
TIP_DEFAULT = 1_000_000_000
"""Wei: where the node does not say what a fitting priority fee is."""

KNOWN = ("already known", "already imported", "known transaction", "already exists")
NONCE_USED = ("nonce too low", "nonce is too low", "invalid nonce", "old nonce")
UNDERPRICED = ("underpriced", "fee too low", "less than block base fee", "max fee per gas less", "feetoolow")
TOO_POOR = ("insufficient funds", "insufficient balance")
TOO_MANY = ("range", "too many", "limit", "more than", "exceed", "response size", "query timeout")
REVERTED = 3
"""The code of an answer to a call that the contract refused; its data is the error."""


class _Provider(AsyncHTTPProvider):
    """web3's provider, reading answers with the faster parser: an answer may hold ten thousand logs."""

    @staticmethod
    def decode_rpc_response(raw_response: bytes) -> RPCResponse:
        answer: RPCResponse = orjson.loads(raw_response)
        return answer


class HttpNode:
    """See `Node`. Nothing is retried here: whoever asks knows what a second try would mean."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self._provider = _Provider(
            url,
            request_kwargs={"timeout": aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)},
            exception_retry_configuration=None,
        )

    async def close(self) -> None:
        await self._provider.disconnect()

    async def chain_id(self) -> int:
        return _number(await self._ask("eth_chainId"))

    async def block(self, which: int | str) -> Block | None:
        return _block(await self._ask("eth_getBlockByNumber", _tag(which), False))

    async def blocks(self, numbers: Sequence[int]) -> list[Block | None]:
        asked = [("eth_getBlockByNumber", (hex(number), False)) for number in numbers]
        return [_block(_result(answer)) for answer in await self._ask_all(asked)]

    async def code(self, address: str) -> bytes:
        return _bytes(await self._ask("eth_getCode", address, LATEST))

    async def balance(self, address: str) -> int:
        return _number(await self._ask("eth_getBalance", address, LATEST))

    async def nonce(self, address: str) -> int:
        return _number(await self._ask("eth_getTransactionCount", address, LATEST))

    async def call(self, to: str, data: bytes, block: int | str = LATEST) -> bytes:
        return _bytes(await self._ask("eth_call", {"to": to, "data": "0x" + data.hex()}, _tag(block)))

    async def tip(self) -> int:
        try:
            return _number(await self._ask("eth_maxPriorityFeePerGas"))
        except NodeUnreachableError:
            raise
        except ChainError:
            return TIP_DEFAULT

    async def send(self, raw: bytes) -> None:
        answer = await self._request("eth_sendRawTransaction", ("0x" + raw.hex(),))
        if "error" in answer:
            _refuse(str(answer["error"].get("message", answer["error"])))

    async def receipts(self, transactions: Sequence[bytes]) -> list[Receipt | None]:
        asked = [("eth_getTransactionReceipt", ("0x" + transaction.hex(),)) for transaction in transactions]
        return [_receipt(_result(answer)) for answer in await self._ask_all(asked)]

    async def logs(self, address: str, topics: Sequence[bytes], first: int, last: int) -> list[Log]:
        wanted = {"address": address, "topics": [_hexes(topics)], "fromBlock": hex(first), "toBlock": hex(last)}
        answer = await self._request("eth_getLogs", (wanted,))
        if "error" in answer:
            text = str(answer["error"].get("message", answer["error"]))
            if first < last and any(sign in text.lower() for sign in TOO_MANY):
                raise RangeRefusedError(f"{self.name} refuses the blocks {first} to {last}: {text}")
        return [log_of(log) for log in _result(answer) or ()]

    async def logs_of_block(self, address: str, topics: Sequence[bytes], block_hash: bytes) -> list[Log]:
        wanted = {"address": address, "topics": [_hexes(topics)], "blockHash": "0x" + block_hash.hex()}
        return [log_of(log) for log in await self._ask("eth_getLogs", wanted) or ()]

    async def rpc(self, method: str, *params: Any) -> Any:
        """Any other question: what development nodes understand beyond the standard."""
        return await self._ask(method, *params)

    async def _ask(self, method: str, *params: Any) -> Any:
        return _result(await self._request(method, params))

    async def _ask_all(self, asked: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Mapping[str, Any]]:
        answers: list[Mapping[str, Any]] = []
        for start in range(0, len(asked), BATCH_MAX):
            part = [(RPCEndpoint(method), list(params)) for method, params in asked[start : start + BATCH_MAX]]
            async with _understood(self.name):
                found = await self._provider.make_batch_request(part)
            if not isinstance(found, list) or len(found) != len(part):
                raise ChainError(f"{self.name} does not answer several questions at once")
            answers.extend(found)
        return answers

    async def _request(self, method: str, params: Sequence[Any]) -> Mapping[str, Any]:
        async with _understood(self.name):
            answer: Any = await self._provider.make_request(RPCEndpoint(method), list(params))
            if not (isinstance(answer, dict) and answer.keys() & {"result", "error"}):
                raise NodeUnreachableError(f"{self.name} answers, but is not an Ethereum node")
            return answer


class _understood:  # noqa: N801 - reads as the statement it makes
    """What goes wrong on the way is that the node cannot be reached."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, asyncio.TimeoutError):
            raise NodeUnreachableError(f"{self.name} does not answer within {ANSWER_SECONDS_MAX:.0f} s") from error
        if isinstance(error, (aiohttp.ClientError, OSError)):
            raise NodeUnreachableError(f"{self.name} cannot be reached: {error}") from error
        if isinstance(error, ValueError):
            raise NodeUnreachableError(f"{self.name} answers, but is not an Ethereum node") from error


def _result(answer: Mapping[str, Any]) -> Any:
    if "error" not in answer:
        return answer.get("result")
    error = answer["error"]
    text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    data = error.get("data") if isinstance(error, dict) else None
    if "revert" in text.lower() or (isinstance(error, dict) and error.get("code") == REVERTED):
        raise RevertedError(text, _bytes(data) if isinstance(data, str) and data.startswith("0x") else b"")
    raise ChainError(f"the node refuses: {text}")


def _refuse(text: str) -> None:
    """For the answer to a transaction that was handed in. Nodes differ in their words, not in what they mean."""
    lower = text.lower()
    if any(sign in lower for sign in KNOWN):
        return
    if any(sign in lower for sign in UNDERPRICED):
        raise UnderpricedError(text)
    if any(sign in lower for sign in NONCE_USED):
        raise NonceUsedError(text)
    if any(sign in lower for sign in TOO_POOR):
        raise BalanceTooLowError(text)
    raise TransactionRefusedError(text)


def log_of(log: Mapping[str, Any]) -> Log:
    return Log(
        int(log["blockNumber"], 16),
        bytes.fromhex(log["blockHash"][2:]),
        bytes.fromhex(log["transactionHash"][2:]),
        int(log["logIndex"], 16),
        tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
        bytes.fromhex(log["data"][2:]),
    )


def _block(block: Mapping[str, Any] | None) -> Block | None:
    if block is None:
        return None
    return Block(
        int(block["number"], 16),
        _bytes(block["hash"]),
        _bytes(block["parentHash"]),
        int(block["timestamp"], 16),
        int(block.get("baseFeePerGas") or "0x0", 16),
        int(block["gasLimit"], 16),
        _bytes(block["logsBloom"]),
    )


def _receipt(receipt: Mapping[str, Any] | None) -> Receipt | None:
    if receipt is None:
        return None
    created = receipt.get("contractAddress")
    return Receipt(
        _bytes(receipt["transactionHash"]),
        int(receipt["blockNumber"], 16),
        _bytes(receipt["blockHash"]),
        receipt["status"] == "0x1",
        int(receipt["gasUsed"], 16),
        created.lower() if created else None,
        tuple(log_of(log) for log in receipt["logs"]),
    )


def _tag(which: int | str) -> str:
    return which if isinstance(which, str) else hex(which)


def _hexes(values: Sequence[bytes]) -> list[str]:
    return ["0x" + value.hex() for value in values]


def _number(text: Any) -> int:
    if not isinstance(text, str):
        raise ChainError(f"the node answers {text!r} where a number was expected")
    return int(text, 16)


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ChainError(f"the node answers {text!r} where bytes were expected")
    return bytes.fromhex(text.removeprefix("0x"))
