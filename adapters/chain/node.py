"""What the mirror asks of a node, in the terms of Ethereum's JSON-RPC; and what can go wrong with one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

LATEST = "latest"
FINALIZED = "finalized"


class ChainError(Exception):
    """Something about a chain or its node that an operator can put right; the text says what. Selling goes on."""


class NodeUnreachableError(ChainError):
    """Nobody answers at the address, or what answers is not a node."""


class WrongChainError(ChainError):
    """The node serves another chain than the configured one, or the contract there is not ours."""


class BalanceTooLowError(ChainError):
    """The account that signs cannot pay for the gas."""


class NodeBehindError(ChainError):
    """The node has not seen what we know to be final."""


class RevertedError(ChainError):
    """A call was refused by the contract. ``data`` is the ABI-encoded error."""

    def __init__(self, text: str, data: bytes = b"") -> None:
        super().__init__(text)
        self.data = data


class RangeRefusedError(ChainError):
    """Too many blocks or logs were asked for at once."""


class NonceUsedError(ChainError):
    """Another transaction with this nonce has been mined."""


class UnderpricedError(ChainError):
    """The node has a transaction with this nonce that pays as much, or the fee is below its least."""


class TransactionRefusedError(ChainError):
    """The node does not take the transaction, for another reason."""


class Block(NamedTuple):
    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    base_fee: int
    gas_limit: int
    bloom: bytes
    """The 2048-bit filter over addresses and topics of its logs (Yellow Paper, 4.3.1)."""


class Log(NamedTuple):
    block_number: int
    block_hash: bytes
    transaction: bytes
    log_index: int
    topics: tuple[bytes, ...]
    data: bytes


class Receipt(NamedTuple):
    transaction: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    contract: str | None
    """The address of the contract that it created."""
    logs: tuple[Log, ...]


class Node(Protocol):
    """One Ethereum node. Addresses are lower-case hexadecimal, amounts are in wei.

    Every method raises NodeUnreachableError, and ChainError for an answer that cannot be understood.
    """

    @property
    def name(self) -> str:
        """For people: the address without what is secret in it."""

    async def close(self) -> None: ...

    async def chain_id(self) -> int: ...

    async def block(self, which: int | str) -> Block | None:
        """By number, or LATEST or FINALIZED; None when there is none."""

    async def blocks(self, numbers: Sequence[int]) -> list[Block | None]: ...

    async def code(self, address: str) -> bytes: ...

    async def balance(self, address: str) -> int: ...

    async def nonce(self, address: str) -> int:
        """How many transactions of the account have been mined: the next nonce that is not used."""

    async def call(self, to: str, data: bytes, block: int | str = LATEST) -> bytes:
        """Raises RevertedError."""

    async def tip(self) -> int:
        """A priority fee that the node thinks enough."""

    async def send(self, raw: bytes) -> None:
        """Hand in a signed transaction; that the node knows it already is success.

        Raises NonceUsedError, UnderpricedError, BalanceTooLowError, TransactionRefusedError.
        """

    async def receipts(self, transactions: Sequence[bytes]) -> list[Receipt | None]: ...

    async def logs(self, address: str, topics: Sequence[bytes], first: int, last: int) -> list[Log]:
        """Of the blocks ``first`` … ``last``, those whose first topic is one of ``topics``. Raises RangeRefusedError."""

    async def logs_of_block(self, address: str, topics: Sequence[bytes], block_hash: bytes) -> list[Log]:
        """Of one block (EIP-234), so that a reorganisation between two questions cannot mix them."""
