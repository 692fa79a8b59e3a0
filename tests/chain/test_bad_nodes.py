"""What a bad node says, and what is there instead of a node, in words for an operator."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from adapters.chain import contract, http_node
from adapters.chain.answers import refusal_of
from adapters.chain.http_node import HttpNode
from adapters.chain.node import (
    LATEST,
    BalanceTooLowError,
    ChainError,
    NodeUnreachableError,
    NonceUsedError,
    RangeRefusedError,
    TransactionRefusedError,
    UnderpricedError,
)
from adapters.chain.signer import GWEI

pytestmark = pytest.mark.anyio
NOBODY = "0x" + "99" * 20

# -- Refusals, in the words of many. -------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("nonce too low: next nonce 5, tx nonce 3", NonceUsedError),  # Geth, Reth, Erigon
        ("OldNonce", NonceUsedError),  # Nethermind
        ("Nonce too low", NonceUsedError),  # Besu, anvil
        ("replacement transaction underpriced", UnderpricedError),
        ("transaction underpriced: tip needed 1000000, tip permitted 1", UnderpricedError),
        ("FeeTooLow, MaxFeePerGas too low", UnderpricedError),
        ("max fee per gas less than block base fee: address 0x1", UnderpricedError),
        ("Gas price below configured minimum gas price", UnderpricedError),
        ("insufficient funds for gas * price + value", BalanceTooLowError),
        ("InsufficientFunds, Account balance: 0", BalanceTooLowError),
        ("Upfront cost exceeds account balance", BalanceTooLowError),
        ("exceeds block gas limit", TransactionRefusedError),
        ("txpool is full", TransactionRefusedError),
    ],
)
def test_a_refusal_means_the_same_in_all_words(text: str, kind: type[ChainError]) -> None:
    error = refusal_of(text)
    assert type(error) is kind
    assert text in str(error)


@pytest.mark.parametrize(
    "text", ["already known", "AlreadyKnown", "Known transaction", "transaction already imported", "already exists"]
)
async def test_what_a_node_knows_already_has_been_handed_in(text: str) -> None:
    async with serving(answer(error={"code": -32000, "message": text})) as node:
        await node.send(b"\2")


# -- Bad nodes. ----------------------------------------------------------------------

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, path: str = "/key-of-ours") -> AsyncIterator[HttpNode]:
    """A node that is answered for by a function."""
    app = web.Application()
    app.router.add_post(path, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port := unused_port())
    await site.start()
    node = HttpNode(f"http://user:password@127.0.0.1:{port}{path}")
    try:
        yield node
    finally:
        await node.close()
        await runner.cleanup()


def answer(**content: Any) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        question = orjson.loads(await request.read())
        return web.json_response({"jsonrpc": "2.0", "id": question.get("id"), **content})

    return handle


async def complaint(url: str) -> str:
    node = HttpNode(url)
    try:
        with pytest.raises(NodeUnreachableError) as raised:
            await node.chain_id()
    finally:
        await node.close()
    return str(raised.value)


@pytest.mark.parametrize("url", ["", "node", "ftp://example.com", "localhost:8545", "http://"])
async def test_an_address_that_is_none(url: str) -> None:
    assert await complaint(url) == "the chain's URL has to begin with http:// or https:// and a host"


@pytest.mark.parametrize("url", ["http://host:99999", "http://[::1"])
async def test_an_address_without_a_valid_port(url: str) -> None:
    assert await complaint(url) == "the chain's URL is not an address: it has no valid host and port"


async def test_nobody_is_there() -> None:
    port = unused_port()
    text = await complaint(f"http://127.0.0.1:{port}/key-of-ours")
    assert text == f"http://127.0.0.1:{port} cannot be reached: Connect call failed ('127.0.0.1', {port})"


async def test_a_host_that_does_not_exist() -> None:
    text = await complaint("http://no-such-host.invalid:8545/key-of-ours")
    assert text.startswith("http://no-such-host.invalid:8545 cannot be reached: ")
    assert "key-of-ours" not in text


async def test_somebody_is_there_who_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_node, "ANSWER_SECONDS_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        assert await complaint(f"http://127.0.0.1:{port}") == f"http://127.0.0.1:{port} does not answer within 0 s"


async def test_a_connection_that_was_closed_meanwhile_is_not_an_error() -> None:
    closed: list[web.Request] = []

    async def once(request: web.Request) -> web.StreamResponse:
        """Every second question finds the connection closed."""
        closed.append(request)
        if len(closed) % 2 == 0:
            assert request.transport is not None
            request.transport.close()
        return await answer(result="0x7")(request)

    async with serving(once) as node:
        assert [await node.chain_id() for _ in range(3)] == [7, 7, 7]
    assert len(closed) > 3


async def test_a_node_that_always_hangs_up() -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    async with serving(hang_up) as node:
        with pytest.raises(NodeUnreachableError) as raised:
            await node.chain_id()
    assert str(raised.value) == f"{node.name} cannot be reached: ServerDisconnectedError"


async def test_another_kind_of_server() -> None:
    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>hello</html>", content_type="text/html")

    async with serving(page) as node:
        with pytest.raises(NodeUnreachableError) as raised:
            await node.chain_id()
    assert str(raised.value) == f"{node.name} answers, but is not an Ethereum node"
    assert "password" not in str(raised.value)


@pytest.mark.parametrize("body", ["[]", "{}", '"0x1"', "null", '{"hello": 1}'])
async def test_json_that_is_no_answer(body: str) -> None:
    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    async with serving(handle) as node:
        with pytest.raises(NodeUnreachableError, match="answers, but is not an Ethereum node"):
            await node.chain_id()


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_a_status_of_http(status: int) -> None:
    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    async with serving(refuse) as node:
        with pytest.raises(NodeUnreachableError) as raised:
            await node.chain_id()
    assert str(raised.value) == f"{node.name} answers with HTTP status {status}"


@pytest.mark.parametrize("result", [None, 7, "0xzz", [], {"a": 1}])
async def test_a_result_that_is_no_number(result: object) -> None:
    async with serving(answer(result=result)) as node:
        with pytest.raises(ChainError, match=r"where a number was expected|what cannot be understood"):
            await node.chain_id()


@pytest.mark.parametrize("result", [7, "0x", [], {"number": "0x1"}, {"number": None, "hash": 3}])
async def test_a_result_that_is_no_block(result: object) -> None:
    async with serving(answer(result=result)) as node:
        with pytest.raises(ChainError, match=r"where a number was expected|what cannot be understood"):
            await node.block(LATEST)


async def test_an_error_without_words() -> None:
    async with serving(answer(error="no")) as node:
        with pytest.raises(ChainError, match=r"^the node refuses: no$"):
            await node.chain_id()
        with pytest.raises(TransactionRefusedError, match=r"^the node does not take the transaction: no$"):
            await node.send(b"\2")


async def test_an_error_of_null_is_none() -> None:
    async with serving(answer(result="0x7", error=None)) as node:
        assert await node.chain_id() == 7


async def test_a_refusal_is_not_repeated_at_any_length() -> None:
    async with serving(answer(error={"message": "x" * 100_000})) as node:
        with pytest.raises(ChainError) as raised:
            await node.chain_id()
    assert len(str(raised.value)) < 400


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_node, "ANSWER_BYTES_MAX", 1_000)
    async with serving(answer(result="0x" + "00" * 10_000)) as node:
        with pytest.raises(NodeUnreachableError, match="answers with more than 1000 bytes"):
            await node.code(NOBODY)


async def test_a_tip_that_nobody_names_is_a_gwei() -> None:
    async with serving(answer(error={"code": -32601, "message": "method not found"})) as node:
        assert await node.tip() == GWEI


@pytest.mark.parametrize(
    "text", ["query returned more than 10000 results", "block range is too wide", "limit exceeded"]
)
async def test_a_range_that_is_too_wide_is_said_to_be_that(text: str) -> None:
    async with serving(answer(error={"message": text})) as node:
        with pytest.raises(RangeRefusedError, match=f"refuses the blocks 3 to 9: {text}"):
            await node.logs(NOBODY, [contract.TRANSFER], 3, 9)
        with pytest.raises(ChainError) as raised:
            await node.logs(NOBODY, [contract.TRANSFER], 3, 3)  # which cannot be halved
    assert not isinstance(raised.value, RangeRefusedError)


# -- Several questions at once. ------------------------------------------------------


class Several:
    """Answers several questions in its own way, and single ones as it should: every block is missing."""

    def __init__(self, several: Callable[[list[Any]], web.StreamResponse]) -> None:
        self.several = several
        self.single = self.batches = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        if isinstance(asked, list):
            self.batches += 1
            return self.several(asked)
        self.single += 1
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": None})


def told(asked: list[Any]) -> list[dict[str, Any]]:
    return [{"jsonrpc": "2.0", "id": question["id"], "result": None} for question in asked]


async def test_answers_may_come_in_any_order() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        answers = [
            {"jsonrpc": "2.0", "id": question["id"], "result": BLOCK | {"number": question["params"][0]}}
            for question in asked
        ]
        return web.json_response(answers[::-1])

    async with serving(handle) as node:
        blocks = await node.blocks(range(250))
    assert [block.number for block in blocks if block is not None] == list(range(250))


BLOCK = {
    "hash": "0x" + "11" * 32,
    "parentHash": "0x" + "22" * 32,
    "timestamp": "0x1",
    "gasLimit": "0x1",
    "logsBloom": "0x" + "00" * 256,
}


@pytest.mark.parametrize(
    "several",
    [
        lambda _: web.json_response({"jsonrpc": "2.0", "id": None, "error": {"message": "batches are not supported"}}),
        lambda _: web.Response(status=403),
        lambda asked: web.json_response(told(asked)[1:]),
        lambda _: web.json_response([1, None]),
    ],
    ids=["refused", "forbidden", "one missing", "nonsense"],
)
async def test_a_node_that_takes_one_question_at_a_time_is_asked_so(
    several: Callable[[list[Any]], web.StreamResponse],
) -> None:
    handler = Several(several)
    async with serving(handler.handle) as node:
        assert await node.receipts([b"\1" * 32, b"\2" * 32, b"\3" * 32]) == [None] * 3
        assert await node.blocks([1, 2]) == [None] * 2
    assert (handler.batches, handler.single) == (1, 5)


async def test_a_node_that_is_busy_is_asked_again_later_for_several() -> None:
    handler = Several(lambda _: web.Response(status=429))
    async with serving(handler.handle) as node:
        for _ in range(2):
            with pytest.raises(NodeUnreachableError, match="HTTP status 429"):
                await node.blocks([1, 2])
    assert (handler.batches, handler.single) == (2, 0)


async def test_an_answer_without_a_result_does_not_mean_that_nothing_is_there() -> None:
    handler = Several(lambda asked: web.json_response([{"id": question["id"]} for question in asked]))
    async with serving(handler.handle) as node:
        with pytest.raises(ChainError, match="has neither a result nor an error"):
            await node.blocks([1, 2])
