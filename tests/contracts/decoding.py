"""Logs and refusals of a contract in words, as its ABI names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from eth_abi.abi import decode
from eth_hash.auto import keccak
from eth_utils.address import to_checksum_address

Abi = Sequence[Mapping[str, Any]]


class Said(NamedTuple):
    """An event that was emitted, or an error that was raised, with its arguments in the order of the source."""

    name: str
    args: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"{self.name}{self.args!r}"


def said(name: str, *args: object) -> Said:
    return Said(name, args)


class Decoder:
    def __init__(self, abi: Abi) -> None:
        self._events = {keccak(_signature(entry)): entry for entry in abi if entry["type"] == "event"}
        self._errors = {keccak(_signature(entry))[:4]: entry for entry in abi if entry["type"] == "error"}

    def logs(self, logs: Iterable[Mapping[str, Any]]) -> list[Said]:
        return [self._log(log) for log in logs]

    def error(self, data: bytes) -> Said:
        """What a call was refused with; an error that the ABI does not have is named by its bytes."""
        entry = self._errors.get(data[:4])
        if entry is None:
            return said(f"0x{data.hex()}")
        types = [field["type"] for field in entry["inputs"]]
        return Said(entry["name"], tuple(map(_plain, types, decode(types, data[4:]))))

    def _log(self, log: Mapping[str, Any]) -> Said:
        entry = self._events[bytes(log["topics"][0])]
        unindexed = [field["type"] for field in entry["inputs"] if not field["indexed"]]
        topics = iter(log["topics"][1:])
        values = iter(decode(unindexed, bytes(log["data"])))
        args = [
            _plain(field["type"], decode([field["type"]], bytes(next(topics)))[0] if field["indexed"] else next(values))
            for field in entry["inputs"]
        ]
        return Said(entry["name"], tuple(args))


def _signature(entry: Mapping[str, Any]) -> bytes:
    types = ",".join(field["type"] for field in entry["inputs"])
    return f"{entry['name']}({types})".encode()


def _plain(kind: str, value: Any) -> Any:
    return _checksummed(value) if kind == "address" else value


@lru_cache(maxsize=1024)
def _checksummed(address: str) -> str:
    return to_checksum_address(address)
