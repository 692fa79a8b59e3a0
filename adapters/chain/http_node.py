"""A node that is spoken to by JSON-RPC over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import orjson

from adapters.chain.answers import (
    asks_for_less,
    block_of,
    data_of,
    is_known,
    log_of,
    number_of,
    receipt_of,
    refusal_of,
    result_of,
    words_of,
)
from adapters.chain.node import (
    LATEST,
    Block,
    ChainError,
    Log,
    NodeUnreachableError,
    RangeRefusedError,
    Receipt,
)

T = TypeVar("T")

ANSWER_SECONDS_MAX = 20.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""Ten thousand logs take eight million."""
CHUNK_BYTES = 1 << 16
QUESTIONS_MAX = 100
"""In one request."""
TIP_DEFAULT = 1_000_000_000
"""Wei: where the node does not say what a fitting priority fee is."""


class HttpNode:
    """See `Node`. What the node refuses is not asked again here: whoever asks knows what a second try would mean."""

    def __init__(self, url: str) -> None:
        self.name, self._fault = _name_of(url)
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._ids = count(1)
        self._takes_several = True

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def chain_id(self) -> int:
        return await self._ask(number_of, "eth_chainId")

    async def block(self, which: int | str) -> Block | None:
        return await self._ask(block_of, "eth_getBlockByNumber", _tag(which), False)

    async def blocks(self, numbers: Sequence[int]) -> list[Block | None]:
        return await self._ask_all(block_of, "eth_getBlockByNumber", [(hex(number), False) for number in numbers])

    async def code(self, address: str) -> bytes:
        return await self._ask(data_of, "eth_getCode", address, LATEST)

    async def balance(self, address: str) -> int:
        return await self._ask(number_of, "eth_getBalance", address, LATEST)

    async def nonce(self, address: str) -> int:
        return await self._ask(number_of, "eth_getTransactionCount", address, LATEST)

    async def call(self, to: str, data: bytes, block: int | str = LATEST) -> bytes:
        return await self._ask(data_of, "eth_call", {"to": to, "data": _hex(data)}, _tag(block))

    async def tip(self) -> int:
        try:
            return await self._ask(number_of, "eth_maxPriorityFeePerGas")
        except NodeUnreachableError:
            raise
        except ChainError:
            return TIP_DEFAULT

    async def send(self, raw: bytes) -> None:
        answer = await self._request("eth_sendRawTransaction", (_hex(raw),))
        error = answer.get("error")
        if error is not None and not is_known(text := words_of(error)):
            raise refusal_of(text)

    async def receipts(self, transactions: Sequence[bytes]) -> list[Receipt | None]:
        asked = [(_hex(transaction),) for transaction in transactions]
        return await self._ask_all(receipt_of, "eth_getTransactionReceipt", asked)

    async def logs(self, address: str, topics: Sequence[bytes], first: int, last: int) -> list[Log]:
        wanted = {"address": address, "topics": [_hexes(topics)], "fromBlock": hex(first), "toBlock": hex(last)}
        answer = await self._request("eth_getLogs", (wanted,))
        error = answer.get("error")
        if error is not None and first < last and asks_for_less(text := words_of(error)):
            raise RangeRefusedError(f"{self.name} refuses the blocks {first} to {last}: {text}")
        return self._understand(_logs_of, answer)

    async def logs_of_block(self, address: str, topics: Sequence[bytes], block_hash: bytes) -> list[Log]:
        wanted = {"address": address, "topics": [_hexes(topics)], "blockHash": _hex(block_hash)}
        return await self._ask(_logs_of, "eth_getLogs", wanted)

    async def rpc(self, method: str, *params: Any) -> Any:
        """Any other question: what development nodes understand beyond the standard."""
        return await self._ask(_as_it_is, method, *params)

    # -- Asking. ---------------------------------------------------------------------

    async def _ask(self, meaning: Callable[[Any], T], method: str, *params: Any) -> T:
        return self._understand(meaning, await self._request(method, params))

    async def _ask_all(self, meaning: Callable[[Any], T], method: str, asked: Sequence[tuple[Any, ...]]) -> list[T]:
        """The same question many times, in few requests; one by one where the node does not take several at once."""
        answers: list[T] = []
        for start in range(0, len(asked), QUESTIONS_MAX):
            part = [self._question(method, params) for params in asked[start : start + QUESTIONS_MAX]]
            found = await self._several(part) if self._takes_several and len(part) > 1 else None
            if found is None:
                found = [await self._one(question) for question in part]
            answers += [self._understand(meaning, answer) for answer in found]
        return answers

    async def _several(self, questions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]] | None:
        """The answers in the order of the questions. None: the node refuses, and is not asked so again."""
        try:
            answers = await self._post(questions)
        except _StatusError as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.status == HTTPStatus.TOO_MANY_REQUESTS:
                raise
            answers = None
        if isinstance(answers, list):
            by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
            if all(question["id"] in by_id for question in questions):
                return [by_id[question["id"]] for question in questions]
        self._takes_several = False
        return None

    async def _request(self, method: str, params: Sequence[Any]) -> Mapping[str, Any]:
        return await self._one(self._question(method, params))

    async def _one(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await self._post(question)
        if not (isinstance(answer, dict) and answer.keys() & {"result", "error"}):
            raise NodeUnreachableError(f"{self.name} answers, but is not an Ethereum node")
        return answer

    def _question(self, method: str, params: Sequence[Any]) -> Mapping[str, Any]:
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    async def _post(self, body: Any) -> Any:
        if self._fault is not None:
            raise NodeUnreachableError(self._fault)
        try:
            return await self._exchange(orjson.dumps(body))
        except TimeoutError as error:
            raise NodeUnreachableError(f"{self.name} does not answer within {ANSWER_SECONDS_MAX:.0f} s") from error
        except orjson.JSONDecodeError as error:
            raise NodeUnreachableError(f"{self.name} answers, but is not an Ethereum node") from error
        except aiohttp.ClientConnectorError as error:
            raise NodeUnreachableError(f"{self.name} cannot be reached: {error.strerror or error.os_error}") from error
        except (aiohttp.ClientError, OSError) as error:  # whose text may have the address with its secrets
            raise NodeUnreachableError(f"{self.name} cannot be reached: {type(error).__name__}") from error

    async def _exchange(self, content: bytes) -> Any:
        """On a connection that was kept; once more on another when the node has closed that one meanwhile."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX))
        try:
            return await self._try(self._session, content)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self._try(self._session, content)

    async def _try(self, session: aiohttp.ClientSession, content: bytes) -> Any:
        headers = {"content-type": "application/json"}
        async with session.post(self._url, data=content, headers=headers) as response:
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise _StatusError(self.name, response.status)
            return orjson.loads(await self._read(response.content))

    async def _read(self, stream: aiohttp.StreamReader) -> bytearray:
        content = bytearray()
        async for chunk in stream.iter_chunked(CHUNK_BYTES):
            content += chunk
            if len(content) > ANSWER_BYTES_MAX:
                raise NodeUnreachableError(f"{self.name} answers with more than {ANSWER_BYTES_MAX} bytes")
        return content

    def _understand(self, meaning: Callable[[Any], T], answer: Mapping[str, Any]) -> T:
        result = result_of(answer)
        try:
            return meaning(result)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ChainError(f"{self.name} answers what cannot be understood: {error!r}") from error


class _StatusError(NodeUnreachableError):
    """An answer of HTTP's own."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name} answers with HTTP status {status}")
        self.status = status


def _name_of(url: str) -> tuple[str, str | None]:
    """The address without its path, its query and its user, which may be secret; and why it cannot be one."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the chain's URL", "the chain's URL is not an address: it has no valid host and port"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "the chain's URL", "the chain's URL has to begin with http:// or https:// and a host"
    return f"{parts.scheme}://{parts.hostname}{port}", None


def _logs_of(logs: Sequence[Mapping[str, Any]] | None) -> list[Log]:
    return [log_of(log) for log in logs or ()]


def _as_it_is(result: Any) -> Any:
    return result


def _tag(which: int | str) -> str:
    return which if isinstance(which, str) else hex(which)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _hexes(values: Sequence[bytes]) -> list[str]:
    return [_hex(value) for value in values]
