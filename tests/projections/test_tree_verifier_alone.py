"""The arithmetic and the strictness of the verifier that stands alone: what the reference accepts, and no forgery."""

from __future__ import annotations

import importlib.util
import json
import sys
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from projections.canonical import from_line
from projections.ledger_head import HeadKey, SignedHead, key_id_of, signed_text
from projections.merkle import EMPTY_ROOT, leaf_hash, root_of
from tests.projections.test_tree_arithmetic import (
    CONSISTENCIES,
    EXAMPLE,
    INCLUSIONS,
    LEAVES,
    ROOTS,
    SIZES,
    consistency,
    inclusion,
    places,
    root,
    sizes,
)
from tests.projections.test_tree_worked_example import LINES, alone, block, lines

PATH = Path(__file__).parents[2] / "verifier" / "counterfoil_verify.py"

Json = dict[str, Any]


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("counterfoil_verify", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


VERIFIER: Any = loaded()


# -- What the reference accepts --------------------------------------------------------


def test_the_roots_of_the_reference() -> None:
    tree = VERIFIER.Tree()
    assert tree.root() == EMPTY_ROOT
    for content, expected in zip(EXAMPLE, ROOTS, strict=True):
        tree.append(VERIFIER.leaf_hash(bytes.fromhex(content)))
        assert tree.root().hex() == expected


@pytest.mark.parametrize(("leaf", "size", "path"), INCLUSIONS)
def test_the_inclusion_proofs_of_the_reference(leaf: int, size: int, path: list[str]) -> None:
    content = VERIFIER.leaf_hash(bytes.fromhex(EXAMPLE[leaf - 1]))
    hashes = [bytes.fromhex(part) for part in path]
    VERIFIER.check_inclusion(leaf - 1, size, content, hashes, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("old", "new", "path"), CONSISTENCIES)
def test_the_consistency_proofs_of_the_reference(old: int, new: int, path: list[str]) -> None:
    roots = bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[new - 1])
    VERIFIER.check_consistency(old, new, [bytes.fromhex(part) for part in path], roots)


@pytest.mark.parametrize("size", range(1, SIZES + 1, 3))
def test_every_leaf_and_every_older_tree_is_accepted(size: int) -> None:
    for leaf in range(size):
        VERIFIER.check_inclusion(leaf, size, LEAVES[leaf], inclusion(leaf, size), root(size))
        VERIFIER.check_consistency(leaf + 1, size, consistency(leaf + 1, size), (root(leaf + 1), root(size)))
    VERIFIER.check_consistency(0, size, [], (EMPTY_ROOT, root(size)))


# -- Forgeries -------------------------------------------------------------------------


def bits_changed(everything: bytes, data: st.DataObject) -> list[bytes]:
    forged = bytearray(everything)
    forged[data.draw(st.integers(0, len(forged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return [bytes(forged[at : at + 32]) for at in range(0, len(forged), 32)]


@given(places(), st.data())
def test_a_proof_is_refused_when_any_bit_of_it_is_another(place: tuple[int, int], data: st.DataObject) -> None:
    leaf, size = place
    content, forged, *proof = bits_changed(b"".join([LEAVES[leaf], root(size), *inclusion(leaf, size)]), data)
    with pytest.raises(VERIFIER.AlteredError):
        VERIFIER.check_inclusion(leaf, size, content, proof, forged)


@given(places(), places())
def test_a_proof_is_good_for_its_own_place_in_its_own_tree_only(one: tuple[int, int], other: tuple[int, int]) -> None:
    if one != other:
        with pytest.raises(VERIFIER.AlteredError):
            VERIFIER.check_inclusion(*other, LEAVES[one[0]], inclusion(*one), root(other[1]))


@given(places())
def test_a_proof_is_refused_when_a_part_is_missing_or_added(place: tuple[int, int]) -> None:
    leaf, size = place
    proof = inclusion(leaf, size)
    for forged in (proof[:-1], proof[1:], [*proof, LEAVES[0]], [LEAVES[0], *proof]):
        if forged != proof:
            with pytest.raises(VERIFIER.AlteredError):
                VERIFIER.check_inclusion(leaf, size, LEAVES[leaf], forged, root(size))


@given(sizes, sizes, st.data())
def test_a_history_is_refused_when_any_bit_of_it_is_another(one: int, other: int, data: st.DataObject) -> None:
    old, new = sorted((one, other))
    before, after, *proof = bits_changed(b"".join([root(old), root(new), *consistency(old, new)]), data)
    with pytest.raises(VERIFIER.AlteredError):
        VERIFIER.check_consistency(old, new, proof, (before, after))


@given(sizes, sizes, sizes)
def test_a_history_of_other_sizes_or_length_is_refused(one: int, other: int, wrong: int) -> None:
    old, new = sorted((one, other))
    proof = consistency(old, new)
    for forged in (proof[:-1], proof[1:], [*proof, LEAVES[0]], [LEAVES[0], *proof]):
        if forged != proof:
            with pytest.raises(VERIFIER.AlteredError):
                VERIFIER.check_consistency(old, new, forged, (root(old), root(new)))
    for pair in {(wrong, new), (old, wrong)} - {(old, new)}:
        with pytest.raises(VERIFIER.AlteredError):
            VERIFIER.check_consistency(*pair, proof, (root(pair[0]), root(pair[1])))


@pytest.mark.parametrize(
    ("old", "proof", "before"), [(0, [LEAVES[0]], EMPTY_ROOT), (0, [], LEAVES[0]), (-1, [], EMPTY_ROOT)]
)
def test_nothing_is_one_thing_only(old: int, proof: list[bytes], before: bytes) -> None:
    with pytest.raises(VERIFIER.AlteredError):
        VERIFIER.check_consistency(old, 3, proof, (before, root(3)))


def test_parts_that_are_no_hashes_are_refused() -> None:
    for part in ("", "AAAA", "A" * 44):
        with pytest.raises((VERIFIER.AlteredError, ValueError)):
            VERIFIER.decoded([part])


# -- A fact has one spelling -----------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"payload_base64": "e30="},
        {"payload_base64": None},
        {"metadata_base64": "e30="},
        {"position": "1"},
        {"recorded_at": 1.5},
        {"recorded_at": "2026-09-16T19:00:00"},
        {"topic": None},
        {"stream_id": "nobody"},
    ],
)
def test_a_fact_that_says_two_things_or_none_is_refused_here_and_by_the_product(change: Json) -> None:
    """A reader of `payload` must not be shown a proof of `payload_base64`."""
    with pytest.raises(VERIFIER.MALFORMED):
        VERIFIER.canonical(LINES[0] | change)
    with pytest.raises(ValueError, match=r".*"):
        from_line(LINES[0] | change)


def test_true_is_not_one() -> None:
    with pytest.raises(ValueError, match="no whole number"):
        VERIFIER.canonical(LINES[0] | {"position": True})


# -- Documents -------------------------------------------------------------------------

KEY = json.loads(block("ledger-key"))
OLD, NEW = lines("ledger-heads")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The worked ledger, in a file for each day of two."""
    for name, some in (("facts-2026-09-16.jsonl", LINES[:3]), ("facts-2026-09-17.jsonl", LINES[3:])):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in some))
    spoil_manifest(tmp_path, lambda _: None)
    (tmp_path / "keys.json").write_text(json.dumps({"items": [KEY]}))
    return tmp_path


def spoil_manifest(export: Path, change: Callable[[Json], object]) -> None:
    files = [
        {"name": "facts-2026-09-16.jsonl", "first_position": 1, "last_position": 3},
        {"name": "facts-2026-09-17.jsonl", "first_position": 4, "last_position": 5},
    ]
    manifest = {"format": "counterfoil-export-1", "head": dict(NEW), "keys": [KEY], "files": files}
    change(manifest)
    (export / "manifest.json").write_text(json.dumps(manifest))


def test_what_only_vouches_for_itself_is_told_to(export: Path) -> None:
    ran = alone("export", export)
    assert ran.returncode == 0
    assert "a head or a key that you kept would tell more" in ran.stdout
    assert "would tell more" not in alone("export", export, "--keys", export / "keys.json").stdout


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (
            lambda e: (e / "facts-2026-09-17.jsonl").unlink(),
            1,
            "facts-2026-09-17.jsonl, positions 4 to 5: the file is missing",
        ),
        (lambda e: (e / "facts-2026-09-18.jsonl").touch(), 1, "facts-2026-09-18.jsonl: the manifest does not list it"),
        (lambda e: spoil_manifest(e, lambda m: m["files"].pop()), 1, "positions 4 to 5: cut off"),
        (
            lambda e: spoil_manifest(e, lambda m: m["files"].reverse()),
            1,
            "position 1: missing: what follows is position 4",
        ),
        (lambda e: spoil_manifest(e, lambda m: m["files"].append(m["files"][0])), 1, "position 6: inserted, or moved"),
        (lambda e: spoil_manifest(e, lambda m: m["files"][0].update(name="../manifest.json")), 1, "this is no fact"),
        (lambda e: spoil_manifest(e, lambda m: m["files"][0].update(name="..")), 1, "Is a directory"),
        (
            lambda e: spoil_manifest(e, lambda m: m.update(head=OLD)),
            1,
            "position 4: inserted: the export's head does not",
        ),
        (lambda e: spoil_manifest(e, lambda m: m.update(files=None)), 2, "not what it should be"),
        (lambda e: spoil_manifest(e, lambda m: m["head"].clear()), 2, "not what it should be"),
        (lambda e: (e / "manifest.json").unlink(), 2, "No such file"),
        (lambda e: (e / "manifest.json").write_text("[" * 100_000), 2, "not what it should be"),
        (lambda e: (e / "manifest.json").write_text('{"format": 1, "format": 2}'), 2, "a member has two values"),
        (lambda e: (e / "facts-2026-09-16.jsonl").write_bytes(b"\xff\n"), 1, "position 1: this is no fact"),
        (lambda e: (e / "facts-2026-09-16.jsonl").write_text("[" * 100_000), 1, "position 1: this is no fact"),
    ],
)
def test_a_damaged_export(export: Path, spoil: Callable[[Path], object], code: int, said: str) -> None:
    spoil(export)
    ran = alone("export", export, "--keys", export / "keys.json")
    assert ran.returncode == code, ran.stderr
    assert said in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_an_export_of_which_the_end_is_missing_and_the_head_with_it(export: Path) -> None:
    """Nothing of it is altered; that it is less than what was kept is said, and it is no success."""
    (export / "facts-2026-09-17.jsonl").unlink()
    spoil_manifest(export, lambda manifest: (manifest.update(head=OLD), manifest["files"].pop()))
    assert alone("export", export).returncode == 0
    (export / "kept").write_text(json.dumps(NEW))
    ran = alone("export", export, "--heads", export / "kept")
    assert ran.returncode == 2
    assert "ends at 3, and a head that was kept covers 5" in ran.stderr


def ticket_pages(*sizes: int) -> list[Json]:
    """The history of the worked ledger's first ticket, so many facts to a page."""
    facts = [line for line in LINES if line["stream_id"] == LINES[0]["stream_id"]]
    leaves = [leaf_hash(from_line(line)) for line in LINES]
    assert VERIFIER.Head.of(NEW).root == root_of(leaves)
    proofs = {1: [leaves[1], pair(leaves[2], leaves[3]), leaves[4]], 3: [leaves[3], pair(*leaves[:2]), leaves[4]]}
    proofs[4] = [leaves[2], pair(*leaves[:2]), leaves[4]]
    proven = [
        fact | {"hashes": [VERIFIER.b64encode(part).decode() for part in proofs[fact["position"]]]} for fact in facts
    ]
    pages, at = [], 0
    for size in sizes:
        page = proven[at : at + size]
        at += size
        more = None if at >= len(proven) else "more"
        pages.append({"ticket_id": facts[0]["stream_id"], "head": NEW, "facts": page, "next_cursor": more})
    return pages


def pair(left: bytes, right: bytes) -> bytes:
    found: bytes = VERIFIER.node_hash(left, right)
    return found


def check_pages(tmp_path: Path, pages: list[Json], heads: list[Json]) -> int:
    """In this process, which is quicker; what the command does with it is the same."""
    paths = [tmp_path / f"{number}.json" for number in range(len(pages))]
    for path, page in zip(paths, pages, strict=True):
        path.write_text(json.dumps(page))
    (tmp_path / "heads").write_text("".join(map(json.dumps, heads)))
    (tmp_path / "keys").write_text(json.dumps({"items": [KEY]}))
    options = ["--heads", str(tmp_path / "heads"), "--keys", str(tmp_path / "keys")]
    return int(VERIFIER.main(["ticket", *map(str, paths), *options]))


@pytest.mark.parametrize("cut", [(3,), (1, 2), (2, 1), (1, 1, 1)])
def test_a_long_history_is_checked_page_by_page(tmp_path: Path, cut: tuple[int, ...]) -> None:
    assert check_pages(tmp_path, ticket_pages(*cut), [OLD, NEW]) == 0


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda pages: pages.pop(), 2, "there are more facts than these 2"),
        (lambda pages: pages.pop(0), 1, "is version 2 where 1 belongs"),
        (lambda pages: pages.reverse(), 1, "is version 3 where 1 belongs"),
        (lambda pages: pages.insert(0, pages[0]), 1, "is version 1 where 2 belongs"),
        (lambda pages: [page["facts"].clear() for page in pages], 2, "no facts were handed out"),
        (lambda pages: pages[1].update(ticket_id=LINES[1]["stream_id"]), 1, "the answers are of two tickets"),
        (lambda pages: pages[1].update(head=OLD), 1, "position 3, ticket.paid: the proof is too long"),
        (lambda pages: pages[2].update(facts="what"), 2, "not what it should be"),
        (lambda pages: pages[0]["facts"][0].update(payload_base64="e30="), 2, "payload and payload_base64"),
        (lambda pages: (pages[0]["facts"][0].update(payload="{}"), pages.pop()), 1, "does not lead to the signed root"),
    ],
)
def test_pages_that_do_not_make_a_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[list[Json]], object], code: int, said: str
) -> None:
    pages = ticket_pages(1, 1, 1)
    change(pages)
    assert check_pages(tmp_path, pages, []) == code
    assert said in "".join(capsys.readouterr())


def test_a_tickets_head_is_held_to_those_that_were_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_pages(tmp_path, ticket_pages(3), [NEW | {"root": OLD["root"]}]) == 2
    assert "of those that were kept, the head of 5 facts" in capsys.readouterr().err
    assert check_pages(tmp_path, ticket_pages(3), [NEW | {"ledger_id": LINES[0]["stream_id"]}]) == 2
    assert "of another ledger" in capsys.readouterr().err


# -- Growth, and heads that were kept --------------------------------------------------

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SIGNER.public_key().public_bytes_raw()


def instant(minute: int) -> datetime:
    return datetime(2026, 9, 16, 19, minute, tzinfo=UTC)


def signed(size: int, content: bytes, minute: int) -> Json:
    ledger_id = UUID(NEW["ledger_id"])
    signature = SIGNER.sign(signed_text(ledger_id, size, content, instant(minute)))
    return SignedHead(ledger_id, size, content, instant(minute), key_id_of(PUBLIC), signature).document()


def check_grown(tmp_path: Path, kept: Json) -> int:
    """From 3 facts to 7, which is so, before somebody who has kept another head."""
    grown = {
        "old": signed(3, root(3), 10),
        "new": signed(7, root(7), 20),
        "proof": {"hashes": [b64encode(part).decode() for part in consistency(3, 7)]},
        "heads": kept,
        "keys": {"items": [HeadKey(key_id_of(PUBLIC), PUBLIC, instant(0), None).document()]},
    }
    for name, document in grown.items():
        (tmp_path / name).write_text(json.dumps(document))
    old, new, proof, heads, keys = (str(tmp_path / name) for name in grown)
    return int(VERIFIER.main(["growth", old, new, proof, "--heads", heads, "--keys", keys]))


@pytest.mark.parametrize(("size", "minute"), [(3, 10), (3, 15), (5, 15), (7, 20), (7, 30), (9, 30)])
def test_a_growth_that_heads_that_were_kept_do_not_contradict(tmp_path: Path, size: int, minute: int) -> None:
    assert check_grown(tmp_path, signed(size, root(size), minute)) == 0


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (
            lambda: signed(3, root(4), 10),
            "the head of 3 facts, 2026-09-16T19:10:00.000000Z is not the one of this size",
        ),
        (
            lambda: signed(7, root(6), 30),
            "the head of 7 facts, 2026-09-16T19:20:00.000000Z is not the one of this size",
        ),
        (lambda: signed(5, root(5), 5), "positions 4 to 5: cut off"),
        (lambda: signed(9, root(9), 15), "positions 8 to 9: cut off"),
    ],
)
def test_a_growth_that_a_head_that_was_kept_contradicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: Callable[[], Json], said: str
) -> None:
    assert check_grown(tmp_path, kept()) == 1
    assert said in capsys.readouterr().out


def test_a_growth_beside_a_head_that_is_good_for_nothing_cannot_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_grown(tmp_path, signed(5, root(5), 15) | {"root": b64encode(root(4)).decode()}) == 2
    assert "of those that were kept, the head of 5 facts" in capsys.readouterr().err
