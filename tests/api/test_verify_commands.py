"""`counterfoil verify`, `keys` and `export`, and the verifier that stands alone, as an auditor runs them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from api.cli.verify import KeptFileError, read_kept
from projections.ledger_head import SignedHead
from projections.merkle import Frontier, consistency_ranges, prove
from tests.adapters.ledger_parts import SECRET
from tests.adapters.tree_parts import Writer, grow, keys_of, leaves_of
from tests.api.callers import Caller
from tests.api.house import House, fresh_database
from tests.api.scenes import on_sale, ticket_of
from tests.server import counterfoil

VERIFIER = Path(__file__).parents[2] / "verifier" / "counterfoil_verify.py"
CLEAN, ALTERED, CANNOT_TELL = 0, 1, 2
FACTS = 300

Json = dict[str, Any]
Ran = subprocess.CompletedProcess[str]


class Audited(NamedTuple):
    url: str
    heads: Path
    """What the auditor kept."""
    kept: list[SignedHead]

    def run(self, *arguments: str | Path) -> Ran:
        environment = {"COUNTERFOIL_DATABASE_URL": self.url, "COUNTERFOIL_SECRET": SECRET.decode()}
        return counterfoil(*map(str, arguments), environment=environment)

    def tamper(self, statement: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute("alter table ledger.events disable trigger all")
            connection.execute(statement.encode())


@pytest.fixture
def audited(database: str, tmp_path: Path) -> Audited:
    writer, kept = Writer(database), []
    for facts in (100, FACTS - 100):
        writer.append(facts)
        kept.append(grow(database))
    heads = tmp_path / "heads.jsonl"
    heads.write_text("".join(f"{json.dumps(head.document() | {'position': 7})}\n" for head in kept))
    return Audited(database, heads, kept)


def alone(*arguments: str | Path) -> Ran:
    """Without Counterfoil: neither its directory nor its packages can be imported."""
    command = [sys.executable, "-I", str(VERIFIER), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


# -- counterfoil verify --------------------------------------------------------------


def test_a_ledger_that_was_left_alone(audited: Audited) -> None:
    ran = audited.run("verify", "--heads", audited.heads)
    assert ran.returncode == CLEAN, ran.stderr
    assert ran.stdout.splitlines() == [
        f"300 facts, held to 2 heads from {audited.heads} and 0 of its own",
        "nothing was altered up to position 300",
    ]


def test_an_altered_fact_is_named(audited: Audited) -> None:
    audited.tamper("update ledger.events set payload = '{}' where position = 31")
    ran = audited.run("verify", "--heads", audited.heads)
    assert ran.returncode == ALTERED
    assert ran.stdout.splitlines()[1:] == ["position 31: changed: this is not what was recorded"]


def test_heads_are_kept_when_all_is_well_and_not_otherwise(audited: Audited, tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    for _ in range(2):
        assert audited.run("verify", "--keep", file).returncode == CLEAN
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["key_id"] for line in kept] == [keys_of(audited.url)[0].key_id] * 2, "the key, the head, each once"
    before = file.read_text()
    audited.tamper("delete from ledger.events where position = 290")
    assert audited.run("verify", "--heads", file, "--keep", file).returncode == ALTERED
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: lines.replace('"tree_size": 100', '"tree_size": 101'), "is not what was signed"),
        (lambda _: "\n", "no head in it"),
    ],
)
def test_heads_that_are_none_tell_nothing(audited: Audited, spoil: Callable[[str], str], said: str) -> None:
    audited.heads.write_text(spoil(audited.heads.read_text()))
    ran = audited.run("verify", "--heads", audited.heads)
    assert ran.returncode == CANNOT_TELL
    assert said in ran.stderr


def spellings(document: Json, more: Json) -> list[str]:
    """A head and another one, or a key, as they may come to be in a file."""
    one, other = json.dumps(document), json.dumps(more)
    return [
        f"{one}\n{other}\n",
        f"{one}{other}",  # what was fetched twice and appended, without a line between
        f"\ufeff\r\n{one}\r\n\r\n{other}",
        f"{json.dumps(document, indent=2)}\n{json.dumps(more, indent=2)}\n",
        json.dumps({"items": [document, more], "next_cursor": None}),
    ]


def test_heads_and_keys_are_read_however_they_were_collected(audited: Audited) -> None:
    head, key = audited.kept[1], keys_of(audited.url)[0]
    for text in spellings(head.document(), key.document()):
        audited.heads.write_text(text)
        assert read_kept(audited.heads) == ([head], [key]), text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no head in it"),
        (b'{"items": []}', "has no head in it"),
        (b"\xff\xfe", "is no text"),
        (b"\n\nnull", "line 3: this is not a signed head"),
        (b'"a public_key"', "line 1: this is not a key"),
        (b'\n{"public_key": "AA=="}', "line 2: this is not a key"),
        (b'\n{"tree_size": 1', "line 2: this is not JSON"),
        (b'{"ledger_id": null, "tree_size": 0, "root": null}', "line 1: this is not a signed head"),
    ],
)
def test_a_file_of_heads_that_is_none_is_told_by_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "heads"
    path.write_bytes(content)
    with pytest.raises(KeptFileError, match=said):
        read_kept(path)


def test_a_file_that_is_not_there_tells_nothing(audited: Audited) -> None:
    ran = audited.run("verify", "--heads", "/no/such/file")
    assert (ran.returncode, ran.stderr.strip()) == (
        CANNOT_TELL,
        "cannot tell: /no/such/file: No such file or directory",
    )


def test_a_database_that_does_not_answer_tells_nothing(audited: Audited) -> None:
    nowhere = audited._replace(url="postgresql:///none?host=/no/such/directory")
    assert nowhere.run("verify").returncode == CANNOT_TELL


def test_keys_are_listed_and_begun(audited: Audited) -> None:
    with audited.heads.open("a") as file:
        file.write(audited.run("keys").stdout)
    assert audited.run("keys", "--rotate").returncode == 0
    assert len(keys_of(audited.url)) == 2
    grow(audited.url)
    assert audited.run("verify", "--heads", audited.heads).returncode == CLEAN


# -- counterfoil export, and the verifier alone ---------------------------------------


@pytest.fixture(scope="module")
def exported(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An export of 300 facts, and beside it a file with the head of 100."""
    with fresh_database(postgres) as url:
        directory = tmp_path_factory.mktemp("export")
        writer = Writer(url)
        writer.append(100)
        (directory / "kept.jsonl").write_text(json.dumps(grow(url).document()))
        writer.append(FACTS - 100)
        grow(url)
        ran = Audited(url, directory, []).run("export", directory, "--format", "jsonl")
        assert ran.returncode == 0, ran.stderr
        (directory / "keys.json").write_text(json.dumps({"items": [key.document() for key in keys_of(url)]}))
        yield directory


@pytest.fixture
def export(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "export")


def edit(export: Path, change: Callable[[list[Json]], object]) -> None:
    """Tamper with the lines of an export."""
    (path,) = export.glob("facts-*.jsonl")
    facts = [json.loads(line) for line in path.read_text().splitlines()]
    change(facts)
    path.write_text("".join(f"{json.dumps(fact)}\n" for fact in facts))


def test_an_export_that_was_left_alone(export: Path) -> None:
    for options in ((), ("--heads", export / "kept.jsonl"), ("--keys", export / "keys.json")):
        ran = alone("export", export, *options)
        assert ran.returncode == CLEAN, ran.stderr
        said = ran.stdout.splitlines()
        assert said[0] == "all is as it was signed"
        assert len(said) == (1 if options else 2), "what vouches for itself only is told to"


def test_an_export_that_was_only_written_differently_is_still_good(export: Path) -> None:
    edit(export, len)
    assert alone("export", export).returncode == CLEAN


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts.pop(150), "line 151: position 151: missing: what follows is position 152"),
        (
            lambda facts: facts.insert(150, facts[20]),
            "line 151: position 151: inserted, or moved: position 21 was there",
        ),
        (lambda facts: facts.reverse(), "line 1: position 1: missing: what follows is position 300"),
        (lambda facts: facts.append(facts[0] | {"position": 301}), "line 301: position 301: inserted"),
        (lambda facts: facts.__delitem__(slice(299, None)), "positions 300 to 300: cut off"),
        (lambda facts: facts.clear(), "positions 1 to 100: cut off"),
        (lambda facts: facts[150].update(payload="{}"), "positions 101 to 300: altered"),
        (lambda facts: facts[99].update(version=1), "positions 1 to 100: altered"),
        (lambda facts: facts[150].pop("topic"), "line 151: position 151: this is no fact"),
        (lambda facts: facts[0].update(recorded_at="2026-01-01T00:00:00.000000Z"), "positions 1 to 100: altered"),
    ],
)
def test_an_export_that_was_altered(export: Path, change: Callable[[list[Json]], object], said: str) -> None:
    edit(export, change)
    ran = alone("export", export, "--heads", export / "kept.jsonl")
    assert ran.returncode == ALTERED, ran.stderr
    assert said in ran.stdout


@pytest.mark.parametrize("column", ["stream_id", "version", "topic", "payload", "metadata", "recorded_at"])
def test_every_column_of_an_export_counts(export: Path, column: str) -> None:
    edit(export, lambda facts: facts[7].update({column: facts[252][column]}))
    assert alone("export", export).returncode == ALTERED


def manifest(export: Path, change: Callable[[Json], object]) -> None:
    path = export / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda document: document["head"].update(root=document["head"]["root"][::-1]), CANNOT_TELL),
        (lambda document: document["head"].update(tree_size=299), ALTERED),
        (lambda document: document["keys"][0].update(public_key="A" * 43 + "="), ALTERED),
        (lambda document: document["keys"].clear(), CANNOT_TELL),
        (lambda document: document.update(format="counterfoil-export-9"), CANNOT_TELL),
        (lambda document: document.pop("head"), CANNOT_TELL),
    ],
)
def test_a_manifest_that_was_altered_vouches_for_nothing(
    export: Path, change: Callable[[Json], object], code: int
) -> None:
    manifest(export, change)
    assert alone("export", export).returncode == code


def test_a_kept_head_that_was_spoilt_says_nothing_of_the_export(export: Path) -> None:
    kept = json.loads((export / "kept.jsonl").read_text())
    (export / "kept.jsonl").write_text(json.dumps(kept | {"tree_size": 101}))
    ran = alone("export", export, "--heads", export / "kept.jsonl")
    assert ran.returncode == CANNOT_TELL
    assert "is not signed" in ran.stderr


def test_an_export_that_ends_before_a_kept_head(export: Path, audited: Audited) -> None:
    """It is of another ledger, and that is what is said first."""
    assert "of another ledger" in alone("export", export, "--heads", audited.heads).stderr


def test_nothing_is_exported_before_a_head_was_signed(database: str, tmp_path: Path) -> None:
    Writer(database).append(3)
    ran = Audited(database, tmp_path, []).run("export", tmp_path / "export")
    assert ran.returncode == 1
    assert "no head has been signed yet" in ran.stderr


# -- Proofs -----------------------------------------------------------------------------


@pytest.fixture
def proof(house: House, organizer: Caller, buyer: Caller, tmp_path: Path) -> tuple[Path, Path]:
    """A ticket's, as it was fetched, and the keys."""
    ticket = ticket_of(buyer, on_sale(organizer))
    proof, keys = tmp_path / "proof.json", tmp_path / "keys.json"
    proof.write_bytes(buyer.get(f"/v1/tickets/{ticket}/proof").body)
    keys.write_bytes(house.anyone.get("/v1/ledger/keys").body)
    return proof, keys


def test_a_tickets_proof_as_it_is_handed_out(proof: tuple[Path, Path]) -> None:
    ran = alone("ticket", proof[0], "--keys", proof[1])
    assert (ran.returncode, ran.stdout) == (CLEAN, "all is as it was signed\n"), ran.stderr


@pytest.mark.parametrize(
    ("forge", "code"),
    [
        (lambda document: document["facts"][0].update(payload="{}"), ALTERED),
        (lambda document: document["facts"].reverse(), ALTERED),
        (lambda document: document["facts"][1].update(position=1), ALTERED),
        (lambda document: document["facts"][0]["hashes"].pop(), ALTERED),
        (lambda document: document["facts"][0]["hashes"].append("AAAA"), ALTERED),
        (lambda document: document.update(ticket_id="00000000-0000-4000-8000-000000000000"), ALTERED),
        (lambda document: document["head"].update(tree_size=document["head"]["tree_size"] - 1), ALTERED),
        (lambda document: document["head"].update(key_id="0" * 32), CANNOT_TELL),
        (lambda document: document.pop("facts"), CANNOT_TELL),
    ],
)
def test_a_forged_proof_is_refused(proof: tuple[Path, Path], forge: Callable[[Json], object], code: int) -> None:
    document = json.loads(proof[0].read_text())
    forge(document)
    proof[0].write_text(json.dumps(document))
    assert alone("ticket", proof[0], "--keys", proof[1]).returncode == code


def test_a_proof_without_keys_tells_nothing(proof: tuple[Path, Path]) -> None:
    assert alone("ticket", proof[0]).returncode == CANNOT_TELL


def test_one_head_is_shown_to_have_grown_into_another(audited: Audited, tmp_path: Path) -> None:
    old, new = audited.kept
    frontier = Frontier()
    nodes = {
        (level, leaf >> level): found
        for leaf, content in enumerate(leaves_of(audited.url))
        for level, found in enumerate(frontier.append(content))
    }
    parts = prove(consistency_ranges(old.tree_size, new.tree_size), lambda node: nodes[node])
    hashes = [b64encode(part).decode() for part in parts]
    files = {
        "old": old.document(),
        "new": new.document(),
        "proof": {"hashes": hashes},
        "short": {"hashes": hashes[:-1]},
        "keys": {"items": [key.document() for key in keys_of(audited.url)]},
    }
    paths = {name: tmp_path / f"{name}.json" for name in files}
    for name, document in files.items():
        paths[name].write_text(json.dumps(document))
    keys = ("--keys", paths["keys"])
    assert alone("growth", paths["old"], paths["new"], paths["proof"], *keys).returncode == CLEAN
    assert alone("growth", paths["new"], paths["old"], paths["proof"], *keys).returncode == ALTERED
    assert alone("growth", paths["old"], paths["new"], paths["short"], *keys).returncode == ALTERED
