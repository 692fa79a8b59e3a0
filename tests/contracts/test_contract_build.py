"""What is committed is what the sources give, on this machine as on any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import contracts
from tests.contracts.building import ARTIFACTS, build
from tests.contracts.chain import LEDGER_ID, Chain, Node
from tests.npm import CONTRACTS

CODE_BYTES_MAX = 24_576  # EIP-170


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("built")
    build(directory)
    return directory


@pytest.mark.parametrize("name", ARTIFACTS)
def test_the_committed_artifact_is_what_the_sources_give(built: Path, name: str) -> None:
    assert (built / name).read_bytes() == (CONTRACTS / name).read_bytes(), "run `make contracts` and commit the result"


def test_the_code_fits_into_a_contract() -> None:
    assert len(contracts.artifact().deployed_bytecode) <= CODE_BYTES_MAX


def test_the_code_on_a_chain_is_recognised_and_says_which_ledger_it_mirrors(on_anvil: Node) -> None:
    chain, artifact = Chain(on_anvil), contracts.artifact()
    code = bytes(chain.w3.eth.get_code(chain.contract.address))
    assert artifact.is_code(code)
    assert artifact.immutable("ledgerId", code) == LEDGER_ID == chain.call("ledgerId")


def test_other_code_is_not_taken_for_it() -> None:
    artifact = contracts.artifact()
    code = artifact.deployed_bytecode
    assert not artifact.is_code(code[:-1])
    assert not artifact.is_code(bytes([code[0] ^ 1]) + code[1:])
    assert not artifact.is_code(b"")


def test_the_verification_input_holds_every_source_and_the_settings() -> None:
    document = json.loads(contracts.verification_input())
    ours = {f"src/{path.name}" for path in (CONTRACTS / "src").glob("*.sol")}
    assert ours <= set(document["sources"])
    assert all(source["content"] for source in document["sources"].values())
    assert {name: document["settings"][name] for name in contracts.artifact().settings} == contracts.artifact().settings


def test_the_lock_names_no_registry() -> None:
    assert "resolved" not in (CONTRACTS / "package-lock.json").read_text()
