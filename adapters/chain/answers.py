"""What a node's JSON says, in our terms. Nodes differ in their words for a refusal, not in what they mean by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.chain.node import (
    BalanceTooLowError,
    Block,
    ChainError,
    Log,
    NonceUsedError,
    Receipt,
    RevertedError,
    TransactionRefusedError,
    UnderpricedError,
)

KNOWN = ("already known", "alreadyknown", "already imported", "known transaction", "already exists")
UNDERPRICED = (
    "underpriced",
    "fee too low",
    "feetoolow",
    "less than block base fee",
    "max fee per gas less",
    "gas price below",
)
NONCE_USED = ("nonce too low", "nonce is too low", "nonce_too_low", "invalid nonce", "old nonce", "oldnonce")
TOO_POOR = (
    "insufficient funds",
    "insufficientfunds",
    "insufficient balance",
    "exceeds account balance",
    "upfront cost",
)
TOO_MANY = ("range", "too many", "limit", "more than", "exceed", "response size", "query timeout")
"""Geth, Nethermind, Besu, Erigon, Reth and anvil, in lower case."""
REVERTED = 3
"""The code of an answer to a call that the contract refused; its data is the error."""
TEXT_CHARACTERS_MAX = 300
"""Of a node's own words in ours: some send the whole request back."""


def result_of(answer: Mapping[str, Any]) -> Any:
    """Raises RevertedError, and ChainError for another refusal and for what is no answer."""
    error = answer.get("error")
    if error is None:
        if "result" not in answer:
            raise ChainError("the node's answer has neither a result nor an error")
        return answer["result"]
    text = words_of(error)
    data = error.get("data") if isinstance(error, Mapping) else None
    if "revert" in text.lower() or (isinstance(error, Mapping) and error.get("code") == REVERTED):
        raise RevertedError(text, data_of(data) if isinstance(data, str) and data.startswith("0x") else b"")
    raise ChainError(f"the node refuses: {text}")


def words_of(error: Any) -> str:
    text = str(error.get("message") or error) if isinstance(error, Mapping) else str(error)
    return text if len(text) <= TEXT_CHARACTERS_MAX else f"{text[:TEXT_CHARACTERS_MAX]}…"


def is_known(text: str) -> bool:
    return _says(text, KNOWN)


def asks_for_less(text: str) -> bool:
    """Whether a refusal of logs means that there would be too many of them."""
    return _says(text, TOO_MANY)


def refusal_of(text: str) -> ChainError:
    """Of a transaction that was handed in. `UNDERPRICED` comes first: some name the nonce as well."""
    if _says(text, UNDERPRICED):
        return UnderpricedError(text)
    if _says(text, NONCE_USED):
        return NonceUsedError(text)
    if _says(text, TOO_POOR):
        return BalanceTooLowError(text)
    return TransactionRefusedError(f"the node does not take the transaction: {text}")


def _says(text: str, signs: tuple[str, ...]) -> bool:
    lower = text.lower()
    return any(sign in lower for sign in signs)


def log_of(log: Mapping[str, Any]) -> Log:
    return Log(
        int(log["blockNumber"], 16),
        bytes.fromhex(log["blockHash"][2:]),
        bytes.fromhex(log["transactionHash"][2:]),
        int(log["logIndex"], 16),
        tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
        bytes.fromhex(log["data"][2:]),
    )


def block_of(block: Mapping[str, Any] | None) -> Block | None:
    if block is None:
        return None
    return Block(
        number_of(block["number"]),
        data_of(block["hash"]),
        data_of(block["parentHash"]),
        number_of(block["timestamp"]),
        number_of(block.get("baseFeePerGas") or "0x0"),
        number_of(block["gasLimit"]),
        data_of(block["logsBloom"]),
    )


def receipt_of(receipt: Mapping[str, Any] | None) -> Receipt | None:
    if receipt is None:
        return None
    created = receipt.get("contractAddress")
    return Receipt(
        data_of(receipt["transactionHash"]),
        number_of(receipt["blockNumber"]),
        data_of(receipt["blockHash"]),
        receipt["status"] == "0x1",
        number_of(receipt["gasUsed"]),
        created.lower() if created else None,
        tuple(log_of(log) for log in receipt["logs"]),
    )


def number_of(text: Any) -> int:
    if not isinstance(text, str):
        raise ChainError(f"the node answers {text!r} where a number was expected")
    return int(text, 16)


def data_of(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ChainError(f"the node answers {text!r} where bytes were expected")
    return bytes.fromhex(text.removeprefix("0x"))
