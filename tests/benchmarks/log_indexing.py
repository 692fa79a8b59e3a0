"""How fast holders' transfers are read from a node's answers, against web3.py's own decoder on the same logs."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any

from hexbytes import HexBytes
from web3 import Web3
from web3.datastructures import AttributeDict

from adapters.chain.answers import log_of
from adapters.chain.contract import HOLDER_TRANSFER
from adapters.chain.log_reader import Seen, seen_in
from contracts import artifact
from tests.benchmarks.harness import Bench, BenchError
from tests.benchmarks.report import Measurement

NAMES = ("log-indexing",)
LOGS = 5_000
"""What one answer of a provider holds at most, by our own choice (`log_reader.LOGS_WANTED_MAX`)."""
LOGS_PER_BLOCK = 50
CONTRACT = "0x" + "c0" * 20

Json = Mapping[str, Any]


def measure(bench: Bench, _: Collection[str]) -> Iterator[Measurement]:
    answer = _answer(LOGS)
    ready = [_as_web3_has_it(log) for log in answer]
    process = Web3().eth.contract(abi=artifact().abi).events.HolderTransfer().process_log
    _refuse_unless_equal(_ours(answer), [process(log) for log in ready])
    ours: list[float] = []
    peer: list[float] = []
    with bench.steps("Logs", 2 * bench.repetitions) as step:
        for repetition in range(1, bench.repetitions + 1):
            step(f"{LOGS:,} logs, round {repetition}")
            ours.append(_rate(lambda: _ours(answer)))
            step(f"web3.py's process_log, round {repetition}")
            peer.append(_rate(lambda: [process(log) for log in ready]))
    yield Measurement("log-indexing", ours, peer, "logs/s", {"logs": LOGS})


def _ours(answer: Sequence[Json]) -> list[Seen]:
    """From the node's JSON to what is stored. The peer has the first half of this way behind it already."""
    return seen_in(map(log_of, answer))


def _rate(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return LOGS / (perf_counter() - began)


def _answer(quantity: int) -> list[Json]:
    """As a node gives it, of transfers between random wallets."""
    dice = random.Random(quantity)
    topic = "0x" + HOLDER_TRANSFER.hex()
    return [
        {
            "address": CONTRACT,
            "topics": [topic, _word(1 << 32 | serial), _word(dice.getrandbits(160)), _word(dice.getrandbits(160))],
            "data": _word(dice.getrandbits(16)),
            "blockNumber": hex(serial // LOGS_PER_BLOCK),
            "blockHash": _word(serial // LOGS_PER_BLOCK),
            "transactionHash": _word(dice.getrandbits(256)),
            "transactionIndex": hex(serial % LOGS_PER_BLOCK),
            "logIndex": hex(2 * (serial % LOGS_PER_BLOCK) + 1),
            "removed": False,
        }
        for serial in range(quantity)
    ]


def _as_web3_has_it(log: Json) -> Any:
    return AttributeDict(
        {
            **log,
            "address": Web3.to_checksum_address(log["address"]),
            "topics": [HexBytes(topic) for topic in log["topics"]],
            "data": HexBytes(log["data"]),
            "blockHash": HexBytes(log["blockHash"]),
            "transactionHash": HexBytes(log["transactionHash"]),
            "blockNumber": int(log["blockNumber"], 16),
            "transactionIndex": int(log["transactionIndex"], 16),
            "logIndex": int(log["logIndex"], 16),
        }
    )


def _refuse_unless_equal(ours: Sequence[Seen], peer: Sequence[Any]) -> None:
    for seen, theirs in zip(ours, peer, strict=True):
        said = theirs["args"]
        meant = (said["tokenId"], said["from"].lower(), said["to"].lower(), said["version"], theirs["logIndex"])
        if meant != (seen.token, seen.from_wallet, seen.to_wallet, seen.version, seen.log_index):
            raise BenchError(f"the two do not read the same in the log {seen.log_index} of block {seen.block_number}")


def _word(value: int) -> str:
    return f"0x{value:064x}"
