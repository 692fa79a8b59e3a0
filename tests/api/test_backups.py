"""Dumps of a ledger and their way back: what is in them, what is not, and what is refused. The drill does the rest."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import anyio
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from adapters.backups import BackupError, Following, Wish, dump_ledger, people, restore_backup, restoring, tools
from adapters.backups.manifest import read as read_manifest
from api.bootstrap import Application, rebuild_views
from api.cli.backup import repeat_erasures
from api.settings import Settings
from domain.account import Account, Role
from projections.registry import ALL
from tests.adapters.ledger_parts import SECRET as OTHER_SECRET
from tests.api.callers import Caller
from tests.api.house import SECRET, House, fresh_database
from tests.api.scenes import on_sale, ticket_of
from tests.server import counterfoil

FACTS = (
    b"select position, stream_id, version, topic, payload, metadata, recorded_at from ledger.events order by position"
)
HEADS = b"select tree_size, root, signature from tree.heads order by tree_size"


class Kept(NamedTuple):
    """A ledger of three people, and its backup."""

    house: House
    directory: Path
    keys: Path
    stays: Caller
    goes: Caller
    """Erased after the backup."""
    gone: Caller
    """Erased before it."""

    def wish(self, into: str, **changes: Any) -> Wish:
        return Wish(self.directory, into, None, self.keys, False, SECRET)._replace(**changes)


@pytest.fixture(scope="module")
def kept(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    directory = tmp_path_factory.mktemp("backups")
    with fresh_database(postgres) as url, House(url) as house:
        event = on_sale(house.person("olga", Role.ATTENDEE, Role.ORGANIZER))
        stays, goes, gone = (house.person(name) for name in ("stella", "gomez", "gonzo"))
        for person in (stays, goes, gone):
            person.post(f"/v1/tickets/{ticket_of(person, event)}/claim", {"attendee_name": "Somebody"}).ok()
        assert gone.delete("/v1/me").status == 204
        house.run(house.application.tree_sizes.wait_for(house.head))
        dump_ledger(url, directory / "dump", ALL, directory / "keys.json")
        yield Kept(house, directory / "dump", directory / "keys.json", stays, goes, gone)


@pytest.fixture
def target(empty_database: str) -> str:
    return empty_database


ERASED_AGAIN = [
    ("account.erased", "system:restore"),
    ("email.released", "system:restore"),
]


def erasures_in(url: str) -> list[Any]:
    """What the last restore has added to the ledger."""
    query = b"select type, metadata ->> 'actor' from ledger.facts where metadata ->> 'actor' = 'system:restore' order by position"
    return read(url, query)


@contextmanager
def blank_database(server_url: str) -> Iterator[str]:
    name = f"blank_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'create database "{name}"'.encode())
    yield make_conninfo(server_url, dbname=name)
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'drop database "{name}" with (force)'.encode())


def read(url: str, query: bytes) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


async def _name_of(url: str, user_id: str) -> str | None:
    async with Application(Settings.from_environment({}), database_url=url, secret=SECRET) as application:
        (account,) = await application.store.load(Account, [UUID(user_id)])
        return await application.vault.open(account.name)


def name_of(url: str, person: Caller) -> str | None:
    return anyio.run(_name_of, url, person.user_id)


# -- What is in it, and comes back -----------------------------------------------------


def test_a_dump_comes_back_fact_for_fact_with_its_heads_and_its_people(kept: Kept, target: str) -> None:
    restored = restore_backup(kept.wish(target))
    assert (restored.keyless, restored.erased_since, restored.server) == (0, [], None)
    facts = read(target, FACTS)
    assert facts == read(kept.house.database_url, FACTS)[: len(facts)]
    assert restored.position == len(facts) == json.loads((kept.directory / "manifest.json").read_text())["position"]
    heads = read(target, HEADS)
    assert heads
    assert heads == read(kept.house.database_url, HEADS)[: len(heads)]
    assert [name_of(target, person) for person in (kept.stays, kept.goes, kept.gone)] == ["Stella", "Gomez", None]
    assert read(target, b"select hash from secrets.passwords where account_id = '%s'" % kept.stays.user_id.encode())


def test_no_key_no_password_and_no_view_is_in_a_dump(kept: Kept) -> None:
    tool = tools.find("pg_restore", 18)
    text = subprocess.run(
        [tool, "--file=-", kept.directory / "ledger.dump"], capture_output=True, text=True, check=True
    ).stdout
    assert "COPY ledger.events" in text, "it is the dump"
    keys = [
        row[0].hex() for row in read(kept.house.database_url, b"select wrapped from privacy.subject_keys") if row[0]
    ]
    hashes = [row[0] for row in read(kept.house.database_url, b"select hash from secrets.passwords")]
    assert keys
    assert hashes
    assert [secret for secret in (*keys, *hashes) if secret in text] == []
    assert "CREATE SCHEMA tickets" not in text


@pytest.fixture(scope="module")
def later(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """The next backup, before which somebody was erased."""
    directory = tmp_path_factory.mktemp("later")
    assert kept.goes.delete("/v1/me").status == 204
    dump_ledger(kept.house.database_url, directory / "dump", ALL, directory / "keys.json")
    return kept._replace(directory=directory / "dump", keys=directory / "keys.json")


def test_an_old_dump_with_the_newest_keys_erases_again_whoever_was_erased_since(
    kept: Kept, later: Kept, target: str
) -> None:
    assert f'["key","{kept.goes.user_id}","local-1",null]' in later.keys.read_text()
    restored = restore_backup(kept.wish(target, keys=later.keys))
    assert [name_of(target, person) for person in (kept.stays, kept.goes)] == ["Stella", None]
    assert restored.erased_since == [UUID(kept.goes.user_id)], "of the others the ledger knows it"
    assert restored.erased_until > restored.made.at
    rebuild_views(target, [], lambda *_: None)
    repeat_erasures(Settings.from_environment({}), restored, SECRET)
    assert erasures_in(target) == ERASED_AGAIN, "though nobody can open the address any more"

    [(admin,)] = read(target, b"select stream_id from ledger.facts where type = 'account.registered' limit 1")
    repeat_erasures(Settings.from_environment({}), restored._replace(erased_since=[admin]), SECRET)
    assert [fact for fact, _ in erasures_in(target)[2:4]] == ["account.roles_set", "account.erased"], "an admin then"


class Doubtful(NamedTuple):
    url: str
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def doubtful(kept: Kept, later: Kept, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doubtful]:
    """Restored with newer lists of who was erased, and with a head of later facts that nobody has signed."""
    made, directory = read_manifest(kept.directory), tmp_path_factory.mktemp("doubtful")
    assert made.head is not None
    forged = made.head._replace(tree_size=made.position + 1_000)
    (directory / "heads").write_text(json.dumps(forged.document()))
    listed = {"ledger_id": str(made.ledger_id), "at": "2031-05-17T19:00:00Z", "erased": [kept.goes.user_id]}
    (directory / "erased.json").write_text(json.dumps(listed))
    options = ("--keys", str(kept.keys), "--heads", str(directory / "heads"))
    lists = ("--erased", str(directory / "erased.json"), "--erased", str(later.keys))
    environment = {"COUNTERFOIL_DATABASE_URL": kept.house.database_url, "COUNTERFOIL_SECRET": SECRET.decode()}
    with blank_database(postgres) as url:
        done = counterfoil("restore", str(kept.directory), "--into", url, *options, *lists, environment=environment)
        yield Doubtful(url, done)


def test_a_newer_list_erases_whoever_was_erased_since(kept: Kept, doubtful: Doubtful) -> None:
    """Keys and backup are both older than the erasure."""
    assert "Erased after this moment, and now again: 1 accounts" in doubtful.done.stdout, doubtful.done.stderr
    assert "known up to 2031-05-17 19:00:00 UTC" in doubtful.done.stderr
    assert [name_of(doubtful.url, person) for person in (kept.stays, kept.goes)] == ["Stella", None]
    assert erasures_in(doubtful.url) == ERASED_AGAIN


def test_heads_of_which_nothing_can_be_told_are_said_and_are_no_success(kept: Kept, doubtful: Doubtful) -> None:
    done, size = doubtful.done, read_manifest(kept.directory).position + 1_000
    assert done.returncode == 2, done.stderr
    assert f"cannot tell: the kept head of {size} facts" in done.stderr
    assert "nothing was altered" not in done.stdout
    assert "Lost:" not in done.stdout, "nobody has signed that"
    assert "with its views" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "nobody would know who was erased"),
        ("[1, 2]", "no file of keys, or is damaged"),
        ('{"erased": ["somebody"]}', "no list of who was erased"),
        ("not JSON", "no list of who was erased"),
        (
            f'{{"ledger_id": "{UUID(int=1)}", "at": "2031-05-17T19:00:00Z", "erased": []}}',
            f"of another ledger, {UUID(int=1)}",
        ),
    ],
    ids=["none", "other JSON", "no ids", "no JSON", "another ledger"],
)
def test_what_is_no_list_of_who_was_erased_is_refused_before_anything_is_done(
    kept: Kept, tmp_path: Path, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "list").write_text(text)
    with pytest.raises(BackupError, match=said):
        restore_backup(kept.wish("postgresql:///nowhere", erased=[tmp_path / "list"]))


def test_two_backups_that_write_the_same_keys_take_turns(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is at its dump when the second comes."""
    url, keys, run = kept.house.database_url, tmp_path / "keys", tools.run

    def meanwhile(*arguments: Any, **options: Any) -> str:
        with pytest.raises(BackupError, match="keys is being written by another process"):
            dump_ledger(url, tmp_path / "second", ALL, keys)
        return run(*arguments, **options)

    monkeypatch.setattr(tools, "run", meanwhile)
    made = dump_ledger(url, tmp_path / "first", ALL, keys)
    people.check(keys, made.ledger_id)
    assert not (tmp_path / "second").exists()
    monkeypatch.undo()
    dump_ledger(url, tmp_path / "second", ALL, keys)


def test_the_ledger_is_believed_before_keys_that_are_older(kept: Kept, later: Kept, target: str) -> None:
    restore_backup(later.wish(target, keys=kept.keys))
    assert [name_of(target, person) for person in (kept.stays, kept.goes)] == ["Stella", None]
    left = "select count(*) from secrets.passwords where account_id = '%s'"
    assert [read(target, (left % who.user_id).encode()) for who in (kept.stays, kept.goes)] == [[(1,)], [(0,)]]


def test_without_keys_everybody_is_as_if_erased_and_the_ledger_still_is_what_was_signed(
    kept: Kept, target: str
) -> None:
    restored = restore_backup(kept.wish(target, keys=None, without_keys=True))
    assert restored.keyless == 4, "the admin, the organiser and two buyers"
    assert name_of(target, kept.stays) is None
    assert len(read(target, FACTS)) == restored.position


def test_the_commands_say_what_they_did(kept: Kept, target: str, tmp_path: Path) -> None:
    environment = {"COUNTERFOIL_DATABASE_URL": kept.house.database_url, "COUNTERFOIL_SECRET": SECRET.decode()}
    made = counterfoil("backup", str(tmp_path / "b"), "--keys", str(tmp_path / "k"), environment=environment)
    assert made.returncode == 0, made.stderr
    assert "has everything up to position" in made.stdout
    options = ("--into", target, "--keys", str(tmp_path / "k"))
    done = counterfoil("restore", str(tmp_path / "b"), *options, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "nothing was altered up to position" in done.stdout
    assert "with its views" in done.stdout
    assert read(target, b"select count(*) from tickets.tickets") == [
        (read(target, b"select count(distinct stream_id) from ledger.events where topic = 'ticket.held'")[0])
    ]
    with pytest.raises(BackupError, match="the database is not empty"):
        restore_backup(kept.wish(target))


def test_a_ledger_that_was_altered_before_its_backup_is_told_and_is_a_failure(
    kept: Kept, postgres: str, target: str, tmp_path: Path
) -> None:
    restore_backup(kept.wish(target))
    with psycopg.connect(target) as connection:
        connection.execute("alter table ledger.events disable trigger all")
        connection.execute("update ledger.events set recorded_at = recorded_at - interval '1 day' where position = 3")
        connection.execute("alter table ledger.events enable trigger all")
        name = connection.info.dbname
    dump_ledger(target, tmp_path / "dump", ALL, tmp_path / "keys")
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(f'drop database "{name}" with (force)'.encode())
        server.execute(f'create database "{name}"'.encode())
    environment = {"COUNTERFOIL_DATABASE_URL": kept.house.database_url, "COUNTERFOIL_SECRET": SECRET.decode()}
    options = ("--into", target, "--keys", str(tmp_path / "keys"))
    done = counterfoil("restore", str(tmp_path / "dump"), *options, environment=environment)
    assert done.returncode == 1
    assert "position 3: changed: recorded_at" in done.stdout
    assert "error: the restored ledger is not what was signed" in done.stderr
    assert read(target, b"select count(*) from pg_namespace where nspname = 'tickets'") == [(0,)], (
        "no views for anybody"
    )
    directory = tmp_path / "data"
    options = ("--into", str(directory), "--keys", str(tmp_path / "keys"))
    done = counterfoil("restore", str(tmp_path / "dump"), *options, environment=environment)
    assert done.returncode == 1
    assert f"COUNTERFOIL_DATA_DIR={directory / 'restoring'}" in done.stderr
    assert [path.name for path in directory.iterdir()] == ["restoring"]
    done = counterfoil("restore", str(tmp_path / "dump"), *options, "--even-if-altered", environment=environment)
    assert (done.returncode, "all the same" in done.stderr) == (1, True), done.stderr
    assert {path.name for path in directory.iterdir()} == {"postgres"}


# -- What is refused -------------------------------------------------------------------


def spoil(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda backup: (backup / name).write_bytes(change((backup / name).read_bytes()))


REFUSED: list[tuple[str, Callable[[Path], Any], str]] = [
    ("no directory", lambda backup: backup.rename(backup.with_name("elsewhere")), "there is no directory"),
    ("cut off", lambda backup: (backup / "manifest.json").unlink(), "cut off before its end"),
    ("no json", spoil("manifest.json", lambda text: text[:-9]), "manifest.json is damaged"),
    (
        "other format",
        spoil("manifest.json", lambda text: text.replace(b"backup-1", b"backup-9")),
        "'counterfoil-backup-9'",
    ),
    ("no member", spoil("manifest.json", lambda text: text.replace(b'"server"', b'"severer"')), "is damaged"),
    ("one byte", spoil("ledger.dump", lambda dump: dump[:-1] + bytes([dump[-1] ^ 1])), "ledger.dump is damaged"),
    ("short", spoil("ledger.dump", lambda dump: dump[:-100]), "ledger.dump is damaged"),
    ("no dump", lambda backup: (backup / "ledger.dump").unlink(), "ledger.dump is missing"),
    ("too new", spoil("manifest.json", lambda text: text.replace(b'"server": 18', b'"server": 99')), "18 is older"),
]


@pytest.mark.parametrize(("change", "said"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_begun(
    kept: Kept, target: str, tmp_path: Path, change: Callable[[Path], Any], said: str
) -> None:
    backup = tmp_path / "copy"
    backup.mkdir()
    for path in kept.directory.iterdir():
        (backup / path.name).write_bytes(path.read_bytes())
    change(backup)
    with pytest.raises(BackupError, match=said):
        restore_backup(kept.wish(target, directory=backup))
    assert read(target, b"select count(*) from pg_namespace where nspname = 'ledger'") == [(0,)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"secret": None}, "secret is in no backup"),
        ({"secret": OTHER_SECRET}, "not the secret of the ledger"),
        ({"keys": None}, "say where the keys of people are"),
        ({"without_keys": True}, "say where the keys of people are"),
        ({"keys": Path("/no/such/file")}, "No such file"),
        ({"keys": Path(__file__)}, "no file of keys"),
    ],
)
def test_a_wish_that_cannot_be_meant_is_refused(kept: Kept, target: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BackupError, match=said):
        restore_backup(kept.wish(target, **changes))


def test_keys_that_are_damaged_or_of_another_ledger_are_refused(
    kept: Kept, target: str, tmp_path: Path, database: str
) -> None:
    damaged, foreign = tmp_path / "damaged.json", tmp_path / "foreign.json"
    damaged.write_bytes(kept.keys.read_bytes().replace(b"local-1", b"local-2"))
    dump_ledger(database, tmp_path / "another", ALL, foreign)
    for keys, said in ((damaged, "is damaged"), (foreign, "keys of another ledger")):
        with pytest.raises(BackupError, match=said):
            restore_backup(kept.wish(target, keys=keys))


def test_a_backup_wants_an_empty_directory_and_keys_elsewhere(kept: Kept, tmp_path: Path) -> None:
    url = kept.house.database_url
    with pytest.raises(BackupError, match="is not empty"):
        dump_ledger(url, kept.directory, ALL, None)
    with pytest.raises(BackupError, match="would lie in the backup"):
        dump_ledger(url, tmp_path / "new", ALL, tmp_path / "new" / "keys")
    assert not (tmp_path / "new").exists()


def test_a_tool_that_is_missing_is_named_with_its_package(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "_candidates", lambda _: iter(()))
    with pytest.raises(BackupError, match="pg_dump of PostgreSQL 18 or later is needed"):
        dump_ledger(kept.house.database_url, tmp_path / "new", ALL, None)


def test_a_tool_that_fails_leaves_nothing_that_could_be_taken_for_a_backup(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the disk is full: what has no manifest is refused."""
    pretender = tmp_path / "pg_dump"
    pretender.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 'pg_dump (PostgreSQL) 18.0' && exit\necho 'pg_dump: error: could not write to file: No space left on device' >&2; exit 1\n"
    )
    pretender.chmod(0o755)
    monkeypatch.setattr(tools, "_candidates", lambda _: iter((pretender,)))
    with pytest.raises(BackupError, match="No space left on device"):
        dump_ledger(kept.house.database_url, tmp_path / "new", ALL, None)
    with pytest.raises(BackupError, match="cut off before its end"):
        restore_backup(kept.wish("postgresql:///nowhere", directory=tmp_path / "new"))


def test_a_tool_that_does_not_end_is_ended() -> None:
    with pytest.raises(BackupError, match=r"sleep was ended: it had not done after 0 seconds"):
        tools.run(Path("/bin/sleep"), "60", seconds_max=0.1)


def test_a_recovery_is_waited_for_as_long_as_it_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(True, "0/1"), (True, "0/2"), (True, "0/3"), (False, None)]

    class Recovering:
        def execute(self, _: bytes) -> Recovering:
            return self

        def fetchone(self) -> tuple[bool, str | None]:
            return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(restoring, "STALLED_SECONDS_MAX", 0.0)
    monkeypatch.setattr(restoring, "RECOVERY_POLL_SECONDS", 0.001)
    connection: Any = Recovering()
    restoring._wait_until_recovered(connection)
    answers = [(True, "0/4")]
    with pytest.raises(BackupError, match="stopped replaying the log at 0/4"):
        restoring._wait_until_recovered(connection)


# -- Following -----------------------------------------------------------------------


def slots(url: str) -> int:
    [(count,)] = read(url, b"select count(*) from pg_replication_slots where slot_name like 'counterfoil_%'")
    return int(count)


def test_a_copy_that_fails_leaves_nothing_here_and_nothing_kept_on_the_server(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, directory, seen = kept.house.database_url, tmp_path / "copy", list[int]()

    def fail(_: Following) -> None:
        seen.append(slots(url))
        raise BackupError("no space left")

    monkeypatch.setattr(Following, "_copy", fail)
    with pytest.raises(BackupError, match="no space left"):
        Following(url, directory).begin()
    assert (seen, slots(url), list(directory.iterdir())) == ([1], 0, [])


def test_a_directory_that_is_not_followed_on_is_forgotten_by_the_server(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy itself is the drill's; here it is one file."""

    def copy(_: Following) -> None:
        (tmp_path / "base").mkdir()
        (tmp_path / "base" / "backup_manifest").write_text('{"Files": []}')

    monkeypatch.setattr(Following, "_copy", copy)
    url = kept.house.database_url
    made = Following(url, tmp_path).begin()
    assert Following(url, tmp_path).begin() == made, "it goes on"
    assert slots(url) == 1
    with pytest.raises(BackupError, match="earliest moment that can be restored"):
        restore_backup(Wish(tmp_path, str(tmp_path / "new"), made.at - timedelta(seconds=1), None, False, SECRET))
    with pytest.raises(BackupError, match="name a data directory"):
        restore_backup(Wish(tmp_path, url, None, None, False, SECRET))
    meanwhile = kept.house.person("meanwhile")
    assert meanwhile.delete("/v1/me").status == 204
    Following(url, tmp_path).end()
    assert slots(url) == 0
    assert meanwhile.user_id in (tmp_path / "erased.json").read_text(), "a last time"
    with pytest.raises(BackupError, match="the server no longer has what follows"):
        Following(url, tmp_path).begin()
    with pytest.raises(BackupError, match="has a dump in it"):
        Following(url, kept.directory).begin()
    with pytest.raises(BackupError, match="has a dump in it"):
        Following(url, kept.directory).end()
