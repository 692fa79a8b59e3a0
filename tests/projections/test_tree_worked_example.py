"""The worked ledger of docs/proofs.md, made again from the page's words alone: nothing of Counterfoil is imported here.

Whoever writes a verifier has this page and no more; it has to be enough. The second half holds the product, and the
verifier that stands alone, to the same page.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
import struct
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "proofs.md").read_text()

Json = dict[str, Any]


def block(name: str) -> str:
    found = re.search(rf"^```[a-z]+ {name}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no block {name}"
    return found[1]


def numbered(name: str) -> list[bytes]:
    return [bytes.fromhex(line.split()[1]) for line in block(name).splitlines()]


def lines(name: str) -> list[Json]:
    return [json.loads(line) for line in block(name).splitlines()]


# -- As somebody else would write it ---------------------------------------------------


def sha(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def field(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def fact_bytes(line: Json) -> bytes:
    when = dt.datetime.strptime(line["recorded_at"], "%Y-%m-%dT%H:%M:%S.%f%z")
    since = when - dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return b"CFE1" + struct.pack(">H", 7) + b"".join(
        map(
            field,
            [
                struct.pack(">q", line["position"]),
                uuid.UUID(line["stream_id"]).bytes,
                struct.pack(">i", line["version"]),
                line["topic"].encode("utf-8"),
                line["payload"].encode("utf-8"),
                line["metadata"].encode("utf-8"),
                struct.pack(">q", microseconds),
            ],
        )
    )  # fmt: skip


def half(count: int) -> int:
    """RFC 9162: the largest power of two smaller than it."""
    return max(power for power in (1, 2, 4, 8) if power < count)


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1."""
    if len(leaves) == 1:
        return leaves[0]
    k = half(len(leaves))
    return sha(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = half(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*path(m - k, leaves[k:]), tree_hash(leaves[:k])]


def growth(m: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """RFC 9162, 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [tree_hash(leaves)]
    k = half(len(leaves))
    if m <= k:
        return [*growth(m, leaves[:k], whole=whole), tree_hash(leaves[k:])]
    return [*growth(m - k, leaves[k:], whole=False), tree_hash(leaves[:k])]


def base64s(hashes: list[bytes]) -> list[str]:
    return [base64.b64encode(part).decode() for part in hashes]


LINES = lines("ledger-lines")
LEAVES = [sha(b"\x00" + fact_bytes(line)) for line in LINES]


def test_the_canonical_bytes() -> None:
    documented = [
        bytes.fromhex(found) for found in re.split(r"^\d+:", block("ledger-canonical"), flags=re.MULTILINE)[1:]
    ]
    assert [fact_bytes(line) for line in LINES] == documented
    assert len(documented) == 5


def test_the_leaves_and_the_roots() -> None:
    assert numbered("ledger-leaves") == LEAVES
    assert [tree_hash(LEAVES[:size]) for size in range(1, 6)] == numbered("ledger-roots")


def test_the_proof_of_inclusion() -> None:
    proof = json.loads(block("ledger-inclusion"))
    assert proof["leaf_index"] == proof["position"] - 1
    assert proof["leaf_hash"] == base64s(LEAVES)[proof["leaf_index"]]
    assert proof["hashes"] == base64s(path(proof["leaf_index"], LEAVES[: proof["tree_size"]]))


def test_the_proof_of_consistency() -> None:
    proof = json.loads(block("ledger-consistency"))
    assert proof["hashes"] == base64s(growth(proof["from"], LEAVES[: proof["to"]]))


def signed_text(head: Json) -> bytes:
    return f"counterfoil/{head['ledger_id']}\n{head['tree_size']}\n{head['root']}\nat {head['at']}\n".encode()


def test_the_heads_and_the_key() -> None:
    secret = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(block("ledger-seed").strip()))
    public, key = secret.public_key().public_bytes_raw(), json.loads(block("ledger-key"))
    assert key["public_key"] == base64.b64encode(public).decode()
    assert key["key_id"] == hashlib.sha256(public).hexdigest()[:32]
    for head in lines("ledger-heads"):
        assert head["root"] == base64s([tree_hash(LEAVES[: head["tree_size"]])])[0]
        assert head["key_id"] == key["key_id"]
        assert head["signature"] == base64.b64encode(secret.sign(signed_text(head))).decode()
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(public).verify(
                base64.b64decode(head["signature"]), signed_text(head | {"tree_size": 4})
            )


# -- As the product, and the verifier that stands alone, have it -----------------------


def test_the_product_agrees_with_the_page() -> None:
    from adapters.heads import is_signed  # noqa: PLC0415 - only the second half may look so far
    from projections import canonical, ledger_head, merkle  # noqa: PLC0415

    leaves = [merkle.leaf_hash(canonical.from_line(line)) for line in LINES]
    assert leaves == LEAVES
    assert [merkle.root_of(leaves[:size]) for size in range(1, 6)] == numbered("ledger-roots")
    key = ledger_head.key_from(json.loads(block("ledger-key")))
    assert all(is_signed(ledger_head.head_from(head), key) for head in lines("ledger-heads"))


def alone(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(ROOT / "verifier" / "counterfoil_verify.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


def test_the_verifier_that_stands_alone_agrees_with_the_page(tmp_path: Path) -> None:
    old, new = lines("ledger-heads")
    key = json.loads(block("ledger-key"))
    first, last = LINES[0]["position"], LINES[-1]["position"]
    files = [{"name": "facts-2026-09-16.jsonl", "first_position": first, "last_position": last}]
    documents = {
        "manifest.json": {"format": "counterfoil-export-1", "head": new, "keys": [key], "files": files},
        "keys.json": {"items": [key]},
        "old.json": old,
        "new.json": new,
        "proof.json": json.loads(block("ledger-consistency")),
    }
    for name, document in documents.items():
        (tmp_path / name).write_text(json.dumps(document))
    (tmp_path / "facts-2026-09-16.jsonl").write_text(block("ledger-lines"))
    keys = ("--keys", tmp_path / "keys.json")
    ran = alone("export", tmp_path, "--heads", tmp_path / "old.json", *keys)
    assert (ran.returncode, ran.stdout) == (0, "all is as it was signed\n"), ran.stderr
    ran = alone("growth", tmp_path / "old.json", tmp_path / "new.json", tmp_path / "proof.json", *keys)
    assert ran.returncode == 0, ran.stderr
