"""The ticket contract as it was built: what deploys it, calls it, and recognises its code on a chain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

NAME: Final = "CounterfoilTickets"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One build. The same sources give the same bytes; a test holds the committed one to it."""

    name: str
    abi: Sequence[Mapping[str, Any]]
    bytecode: bytes
    """To this the constructor's encoded arguments are appended, and deployed."""
    deployed_bytecode: bytes
    """What is on the chain afterwards, with zeros where the immutables are."""
    immutables: Mapping[str, tuple[slice, ...]]
    """Where in the deployed code each immutable is, by name; each place is 32 bytes."""
    compiler: str
    settings: Mapping[str, Any]
    source_hash: str

    def is_code(self, deployed: bytes) -> bool:
        """Whether code found on a chain is this build's, whatever its immutables are."""
        blank = bytearray(deployed)
        if len(blank) != len(self.deployed_bytecode):
            return False
        for place in (place for places in self.immutables.values() for place in places):
            blank[place] = bytes(place.stop - place.start)
        return blank == self.deployed_bytecode

    def immutable(self, name: str, deployed: bytes) -> bytes:
        """The immutable's value in code found on a chain. Raises KeyError if there is none of this name."""
        return bytes(deployed[self.immutables[name][0]])


@cache
def artifact() -> Artifact:
    """The committed build."""
    built = json.loads(_text(f"{NAME}.json"))
    places = {
        name: tuple(slice(place["start"], place["start"] + place["length"]) for place in found)
        for name, found in built["immutableReferences"].items()
    }
    return Artifact(
        name=built["contractName"],
        abi=tuple(built["abi"]),
        bytecode=bytes.fromhex(built["bytecode"].removeprefix("0x")),
        deployed_bytecode=bytes.fromhex(built["deployedBytecode"].removeprefix("0x")),
        immutables=MappingProxyType(places),
        compiler=built["compiler"],
        settings=MappingProxyType(built["settings"]),
        source_hash=built["sourceHash"],
    )


def verification_input() -> str:
    """The compiler's standard JSON input, as block explorers want it to verify the source."""
    return _text(f"{NAME}.input.json")


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
