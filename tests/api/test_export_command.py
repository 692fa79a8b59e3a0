"""`counterfoil export` in its three forms: nothing is lost, nothing is left of what failed, and what can be told is told."""

from __future__ import annotations

import csv
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from errno import ENOSPC
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pyarrow.parquet
import pytest

from adapters import export_files
from adapters.export_files import Form
from adapters.fact_reader import LedgerGapError
from adapters.tree_export import export_ledger, exportable
from projections.canonical import from_line
from tests.adapters.ledger_parts import SECRET
from tests.adapters.tree_parts import grow, leaves_of
from tests.api.house import fresh_database

Json = dict[str, Any]
Ran = subprocess.CompletedProcess[str]

VERIFIER = Path(__file__).parents[2] / "verifier" / "counterfoil_verify.py"
CLEAN, ALTERED, CANNOT_TELL = 0, 1, 2
DAYS = {"2026-09-14": 100, "2026-09-16": 5_000, "2026-09-17": 1}
"""How many facts were recorded on each; on the day between there were none. One day is more than a page."""
FACTS = sum(DAYS.values())
FILL = """
    insert into ledger.events
    select p + %(before)s, gen_random_uuid(), 1, 'ticket.' || (array['held', 'paid@2'])[1 + p %% 2],
           convert_to(case when p = 3 then 'no JSON, and "quoted",' || chr(10) || ' twice'
                           else format('{"number":%%s,"name":"Béa, \\"B\\""}', p) end, 'UTF8'),
           convert_to(case when p = 4 then '{"actor":null}'
                           else '{"actor":"user-1","command_id":"0198c7f6-4d1e-7a3b-9c55-2f6e8d0a1b3c"}' end, 'UTF8'),
           (%(day)s || ' 23:59:59.999999+00')::timestamptz
      from generate_series(1, %(count)s) p"""


@pytest.fixture(scope="module")
def url(postgres: str) -> Iterator[str]:
    """A ledger of three days, at the last microsecond of each, as its tree has it."""
    with fresh_database(postgres) as url:
        with psycopg.connect(url) as connection:
            before = 0
            for day, count in DAYS.items():
                connection.execute(FILL.encode(), {"before": before, "day": day, "count": count})
                before += count
            connection.execute(
                "update ledger.head set position = %s, recorded_at = '2026-09-17 23:59:59.999999+00'", (FACTS,)
            )
        assert grow(url).tree_size == FACTS
        yield url


def run(url: str, *arguments: str | Path, program: str = "from api.cli import main; main()", **options: Any) -> Ran:
    command = [sys.executable, "-c", program, "export", *map(str, arguments)]
    environment = {"COUNTERFOIL_DATABASE_URL": url, "COUNTERFOIL_SECRET": SECRET.decode()}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60, **options)


def alone(*arguments: str | Path) -> Ran:
    command = [sys.executable, "-I", str(VERIFIER), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)


@pytest.fixture(scope="module")
def exported(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directories = {}
    for form in ("jsonl", "csv", "parquet"):
        directories[form] = tmp_path_factory.mktemp(form) / "out"
        export_ledger(url, directories[form], Form(form), exportable(url), abs)
    return directories


@pytest.fixture(params=["jsonl", "csv", "parquet"])
def copy(request: pytest.FixtureRequest, exported: dict[str, Path], tmp_path: Path) -> Path:
    """One to spoil; in each form."""
    copied: Path = tmp_path / request.param
    shutil.copytree(exported[request.param], copied)
    return copied


def manifest_of(directory: Path) -> Json:
    document: Json = json.loads((directory / "manifest.json").read_text())
    return document


def rows_of(directory: Path) -> list[Json]:
    """As a reader of CSV finds them."""
    rows: list[Json] = []
    for listed in manifest_of(directory)["files"]:
        with (directory / listed["name"]).open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
    return rows


# -- What is there ---------------------------------------------------------------------


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_a_file_for_each_day_and_the_manifest_lists_them(exported: dict[str, Path], form: str) -> None:
    directory = exported[form]
    document = manifest_of(directory)
    listed, first = document["files"], 1
    assert {path.name for path in directory.iterdir()} == {"manifest.json", *(one["name"] for one in listed)}
    for one, (day, count) in zip(listed, DAYS.items(), strict=True):
        content = (directory / one["name"]).read_bytes()
        assert one == {
            "name": f"facts-{day}.{form}",
            "day": day,
            "first_position": first,
            "last_position": first + count - 1,
            "count": count,
            "sha256": sha256(content).hexdigest(),
        }
        first += count
    assert (document["encoding"], document["last_position"]) == (form, FACTS)
    assert document["head"]["tree_size"] == FACTS


def test_json_lines_have_every_byte(url: str, exported: dict[str, Path]) -> None:
    lines = b"".join(path.read_bytes() for path in sorted(exported["jsonl"].glob("facts-*"))).splitlines()
    leaves = [sha256(b"\x00" + from_line(json.loads(line))).digest() for line in lines]
    assert leaves == leaves_of(url)


def test_the_tables_say_what_the_ledger_says(url: str, exported: dict[str, Path]) -> None:
    with psycopg.connect(url) as connection:
        query = """
            select position, stream_id::text, stream_type, version, split_part(topic, '@', 1), recorded_at,
                   metadata ->> 'actor', metadata ->> 'command_id',
                   (select convert_from(payload, 'UTF8') from ledger.events e where e.position = f.position)
              from ledger.facts f order by position"""
        stored = connection.execute(query).fetchall()
    names = ("position", "stream_id", "stream_type", "version", "type", "at", "actor", "command_id", "data")
    tables = [
        pyarrow.parquet.read_table(exported["parquet"] / one["name"]).to_pylist()
        for one in manifest_of(exported["parquet"])["files"]
    ]
    parquet = [row for table in tables for row in table]
    assert [tuple(row[name] for name in names) for row in parquet] == stored
    assert parquet[0].keys() == {*names, "correlation_id", "causation_id", "topic", "metadata", "stored_base64"}
    rows = rows_of(exported["csv"])
    assert [(int(row["position"]), row["stream_id"], row["actor"] or None, row["data"]) for row in rows] == [
        (row[0], row[1], row[6], row[8]) for row in stored
    ]
    assert {row["at"] for row in rows} == {f"{day}T23:59:59.999999Z" for day in DAYS}


def test_parquet_is_written_in_row_groups(
    url: str, tmp_path: Path, exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_files, "ROW_GROUP_FACTS", 1_000)
    export_ledger(url, tmp_path / "out", Form.PARQUET, exportable(url), abs)
    file = pyarrow.parquet.ParquetFile(tmp_path / "out" / "facts-2026-09-16.parquet")
    assert file.num_row_groups > 1
    assert file.read() == pyarrow.parquet.read_table(exported["parquet"] / "facts-2026-09-16.parquet")


def test_a_clock_that_was_set_back_loses_nothing(postgres: str, tmp_path: Path) -> None:
    """Nor does one that is out of all bounds: the verifier is to see such a ledger, too."""
    times = ("-infinity", "2026-09-16", "2026-09-14", "0044-03-15 BC", "2026-09-17", "infinity", "2026-09-18")
    with fresh_database(postgres) as url:
        with psycopg.connect(url) as connection:
            for position, at in enumerate(times, 1):
                values = (position, at)
                connection.execute(
                    "insert into ledger.events values (%s, gen_random_uuid(), 1, 'a.b', '{}', '{}', %s)", values
                )
            connection.execute("update ledger.head set position = %s, recorded_at = now()", (len(times),))
        grow(url)
        for form in Form:
            written = export_ledger(url, tmp_path / form, form, exportable(url), abs)
            assert [one.day for one in written] == ["0001-01-01", "2026-09-16", "2026-09-17", "9999-12-31"]
            assert [one.facts for one in written] == [1, 3, 1, 2]
    for form in Form:
        assert alone("export", tmp_path / form).returncode == CLEAN
    rows = rows_of(tmp_path / "csv")
    assert [row["position"] for row in rows if row["stored_base64"]] == ["1", "4", "6"], (
        "no year can be written of these"
    )


def test_what_is_no_text_is_whole_in_tables_too(postgres: str, tmp_path: Path) -> None:
    """Other programs may append what they like through the recorder."""
    payloads = (b"{}", b"\xff\x00 packed", b'{"a": NaN}', b'"a\r\n""b",', b"", '{"k":"\u2028, ü"}'.encode())
    with fresh_database(postgres) as url:
        with psycopg.connect(url) as connection:
            for position, payload in enumerate(payloads, 1):
                connection.execute(
                    "insert into ledger.events values (%s, gen_random_uuid(), 1, 'a.b@3', %b, '{\"actor\":\"x\"}', now())",
                    (position, payload),
                )
            connection.execute("update ledger.head set position = %s, recorded_at = now()", (len(payloads),))
        grow(url)
        for form in Form:
            export_ledger(url, tmp_path / form, form, exportable(url), abs)
            assert alone("export", tmp_path / form).returncode == CLEAN
    rows = rows_of(tmp_path / "csv")
    assert [row["data"] for row in rows] == ["{}", "", *(payload.decode() for payload in payloads[2:])]
    assert {row["type"] for row in rows} == {"a.b"}


# -- What the verifier can tell -------------------------------------------------------


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_the_verifier_reads_over_all_files(exported: dict[str, Path], form: str) -> None:
    ran = alone("export", exported[form])
    assert ran.returncode == CLEAN, ran.stderr
    assert ran.stdout.startswith("all is as it was signed\n")


def test_without_pyarrow_it_says_what_parquet_needs(exported: dict[str, Path]) -> None:
    program = (
        f"import runpy, sys; sys.modules['pyarrow'] = None; sys.argv[1:] = ['export', {str(exported['parquet'])!r}]"
    )
    command = [sys.executable, "-I", "-c", f"{program}; runpy.run_path({str(VERIFIER)!r}, run_name='__main__')"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (CANNOT_TELL, "")
    assert "Parquet needs the package `pyarrow`" in ran.stderr


def respelled(directory: Path, name: str, change: Callable[[str], str], row: int = 150) -> None:
    """One cell of a table, with a manifest that fits: what the files say of themselves is no proof."""
    document = manifest_of(directory)
    for listed in document["files"]:
        if not listed["first_position"] <= row <= listed["last_position"]:
            continue
        path, index = directory / listed["name"], row - listed["first_position"]
        if directory.name == "parquet":
            table = pyarrow.parquet.read_table(path)
            rows = table.to_pylist()
            cell = rows[index][name]
            rows[index][name] = (str if cell is None else type(cell))(change(str(cell)))
            pyarrow.parquet.write_table(type(table).from_pylist(rows, schema=table.schema), path)
        else:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            rows[index][name] = change(rows[index][name])
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
        listed["sha256"] = sha256(path.read_bytes()).hexdigest()
    (directory / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("data", lambda text: text.replace(":50", ":51"), "positions 1 to 5101: altered"),
        ("data", lambda text: f" {text}", "positions 1 to 5101: altered"),
        ("metadata", lambda _: "{}", "position 150: actor"),
        ("stream_id", lambda _: str(UUID(int=7)), "positions 1 to 5101: altered"),
        ("version", lambda text: str(int(text) + 1), "positions 1 to 5101: altered"),
        ("position", lambda text: str(int(text) + 1), "position 150: missing"),
        ("actor", lambda _: "somebody else", "position 150: actor: not what is stored says"),
        ("type", lambda _: "order.paid", "position 150: type: not what is stored says"),
        ("topic", lambda _: "order.paid@1", "position 150: stream_type, type: not what is stored says"),
    ],
)
def test_a_cell_that_was_changed_is_found_though_the_manifest_fits(
    exported: dict[str, Path], tmp_path: Path, form: str, name: str, change: Callable[[str], str], said: str
) -> None:
    directory = shutil.copytree(exported[form], tmp_path / form)
    respelled(directory, name, change)
    ran = alone("export", directory)
    assert ran.returncode == ALTERED, ran.stderr
    assert said in ran.stdout


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_stored_bytes_beside_what_they_are_to_replace_are_refused(
    exported: dict[str, Path], tmp_path: Path, form: str
) -> None:
    """Readers of the one would be shown a proof of the other."""
    directory = shutil.copytree(exported[form], tmp_path / form)
    respelled(directory, "stored_base64", lambda _: "Q0ZFMQ==", row=101)
    ran = alone("export", directory)
    assert ran.returncode == ALTERED
    assert "position 101: stored_base64 is for facts that cannot be written otherwise" in ran.stdout


@pytest.mark.parametrize("spelling", ["0150", "1_50", "+150", " 150", "150.0", "１５０", ""])
def test_a_number_that_readers_take_differently_is_none(
    exported: dict[str, Path], tmp_path: Path, spelling: str
) -> None:
    directory = shutil.copytree(exported["csv"], tmp_path / "csv")
    respelled(directory, "position", lambda _: spelling)
    ran = alone("export", directory)
    assert (ran.returncode, ran.stderr) == (ALTERED, "")
    assert "position 150: this is no fact" in ran.stdout


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_that_is_no_table(exported: dict[str, Path], tmp_path: Path, form: str) -> None:
    directory = shutil.copytree(exported[form], tmp_path / form)
    document = manifest_of(directory)
    for listed, content in zip(document["files"], (b"position,stream_id\r\n1,2\r\n", b"\xff\xfe", b""), strict=False):
        (directory / listed["name"]).write_bytes(content)
        listed["sha256"] = sha256(content).hexdigest()
    (directory / "manifest.json").write_text(json.dumps(document))
    ran = alone("export", directory)
    assert (ran.returncode, ran.stderr) == (ALTERED, "")


def test_one_byte_of_one_file(copy: Path) -> None:
    path = copy / f"facts-2026-09-16.{copy.name}"
    content = bytearray(path.read_bytes())
    at = content.index(b"number") + 20 if copy.name != "parquet" else len(content) // 2
    content[at] ^= 1
    path.write_bytes(content)
    ran = alone("export", copy)
    assert ran.returncode == ALTERED, ran.stderr
    said = "position" if copy.name == "jsonl" else f"{path.name}, positions 101 to 5100: not as it was exported"
    assert said in ran.stdout


def test_a_file_that_is_gone_and_one_that_is_not_listed_any_more(copy: Path) -> None:
    path = copy / f"facts-2026-09-16.{copy.name}"
    path.unlink()
    ran = alone("export", copy)
    assert ran.returncode == ALTERED
    assert f"{path.name}, positions 101 to 5100: the file is missing" in ran.stdout
    document = manifest_of(copy)
    del document["files"][1]
    (copy / "manifest.json").write_text(json.dumps(document))
    ran = alone("export", copy)
    assert ran.returncode == ALTERED
    assert "101" in ran.stdout


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.pop(),
        lambda files: files.reverse(),
        lambda files: files[1].update(count=1),
        lambda files: files[0].update(last_position=99, count=99),
        lambda files: files[2].update(last_position=FACTS + 1, count=2),
    ],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_list_of_tables_that_has_not_every_position(
    exported: dict[str, Path], tmp_path: Path, form: str, change: Callable[[list[Json]], object]
) -> None:
    directory = shutil.copytree(exported[form], tmp_path / "copy")
    document = manifest_of(directory)
    change(document["files"])
    (directory / "manifest.json").write_text(json.dumps(document))
    assert alone("export", directory).returncode == ALTERED


def test_a_manifest_with_a_head_that_nobody_signed(copy: Path) -> None:
    document = manifest_of(copy)
    document["head"]["tree_size"] -= 1
    (copy / "manifest.json").write_text(json.dumps(document))
    assert alone("export", copy).returncode == ALTERED


# -- What goes wrong ------------------------------------------------------------------


def test_a_directory_with_another_export_is_left_as_it_is(url: str, copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    for gone in ("nothing", "manifest.json"):
        (copy / gone).unlink(missing_ok=True)
        before.pop(gone, None)
        with pytest.raises(export_files.DirectoryTakenError, match="has another export in it, or a part of one"):
            export_ledger(url, copy, Form.JSONL, exportable(url), abs)
        assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_what_else_is_in_the_directory_stays(url: str, tmp_path: Path) -> None:
    (tmp_path / "heads.jsonl").write_text("mine")
    ran = run(url, tmp_path)
    assert (ran.returncode, "5,101 facts as jsonl" in ran.stdout) == (0, True), ran.stderr
    assert (tmp_path / "heads.jsonl").read_text() == "mine"


def test_a_disk_that_is_full_is_said_to_be(url: str, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    ran = run(url, tmp_path / "out", "--format", "csv", preexec_fn=limit)
    assert ran.returncode == 1, ran.stderr
    assert "File too large. Nothing was exported" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("room", [0, 10_000])
def test_a_disk_that_is_full_leaves_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form, room: int
) -> None:
    write = export_files.Hashed.write

    def full(self: export_files.Hashed, content: Any) -> int:
        nonlocal room
        room -= len(content)
        if room < 0 and not self._discarding:
            raise OSError(ENOSPC, "No space left on device")
        return write(self, content)

    monkeypatch.setattr(export_files.Hashed, "write", full)
    with pytest.raises(OSError, match="No space left"):
        export_ledger(url, tmp_path / "out", form, exportable(url), abs)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("form", Form)
def test_who_stops_it_is_left_nothing(url: str, tmp_path: Path, form: Form) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_ledger(url, tmp_path / "out", form, exportable(url), stop)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_who_stops_it_is_told_so(url: str, tmp_path: Path, number: str) -> None:
    program = f"""if True:
        import os, signal
        from adapters.export_files import DayFiles
        write = DayFiles.write
        def stopped(self, page):
            write(self, page)
            os.kill(os.getpid(), signal.{number})
        DayFiles.write = stopped
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from api.cli import main
        main()"""
    ran = run(url, tmp_path / "out", program=program)
    assert ran.returncode == 1, ran.stderr
    assert "stopped before the end. Nothing was exported." in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_ledger_with_a_gap_is_not_exported(url: str, tmp_path: Path) -> None:
    covered = exportable(url)
    assert covered.head is not None
    beyond = covered._replace(head=covered.head._replace(tree_size=FACTS + 1))
    with pytest.raises(LedgerGapError):
        export_ledger(url, tmp_path / "out", Form.CSV, beyond, abs)
    assert list((tmp_path / "out").iterdir()) == []


def test_without_pyarrow_it_says_how_to_get_it(url: str, tmp_path: Path) -> None:
    program = "import sys; sys.modules['pyarrow'] = None; from api.cli import main; main()"
    ran = run(url, tmp_path / "out", "--format", "parquet", program=program)
    assert ran.returncode == 1
    assert "pip install pyarrow" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_it_says_that_the_directory_is_taken(url: str, exported: dict[str, Path]) -> None:
    program = "import sys; sys.modules['pyarrow'] = None; from api.cli import main; main()"
    ran = run(url, exported["jsonl"], "--format", "csv", program=program)  # which needs no extra
    assert ran.returncode == 1
    assert "has another export in it" in ran.stderr
