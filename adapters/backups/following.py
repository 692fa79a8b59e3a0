"""A copy of the server's files, by `pg_basebackup`, and every change since, by `pg_receivewal`: any later moment can be restored.

It is made of the database's own pages, so the keys of people are in it, wrapped as they are there. Beside it lies a list
of who has been erased since, which a restore erases again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # comes with the embedded server
import psycopg
import structlog
from psycopg import Connection

from adapters.backups import erasures, manifest, tools
from adapters.backups.dump import state
from adapters.backups.erasures import ERASED
from adapters.backups.manifest import Kind, Manifest
from adapters.backups.tools import BackupError

BASE = "base"
BASE_MANIFEST = f"{BASE}/backup_manifest"
LOG = "wal"
PARTIAL = ".partial"
FOLLOW_SECONDS = 3.0
"""Between two looks at who was erased. Each also leaves a moment in the log at which a restore can stop."""
STOP_SECONDS_MAX = 20.0
SLOT_SECONDS_MAX = 300.0
"""To make or drop one, which copies nothing."""
COMPLAINT_BYTES = 4_000

HEARTBEAT = b"select pg_current_xact_id(), clock_timestamp()"
"""A transaction that has an id is in the log with its time, though it did nothing."""

log = structlog.get_logger()


class Following:
    """Into one directory. To go on after an interruption is to follow into it again."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self._directory = directory.resolve()
        self._slot = f"counterfoil_{sha256(str(self._directory).encode()).hexdigest()[:12]}"
        self._away = False
        major = tools.server_major(url)
        self._copier, self._receiver = tools.find("pg_basebackup", major), tools.find("pg_receivewal", major)

    @property
    def slot(self) -> str:
        """The replication slot that has the server keep what was not received yet."""
        return self._slot

    def begin(self) -> Manifest:
        """The copy, unless it is there. Raises BackupError, OSError, psycopg.Error."""
        if (self._directory / manifest.NAME).exists():
            return self._resumed()
        manifest.begin(self._directory)
        try:
            return self._begun()
        except BaseException:
            self._abandon()
            raise

    def end(self) -> None:
        """For good: the server need not keep anything for this directory any more. Raises BackupError, psycopg.Error.

        Its list of who was erased is written a last time; who is erased from now on is on newer ones only.
        """
        kept = manifest.read(self._directory)
        if kept.kind is not Kind.FOLLOWED:
            raise BackupError(f"{self._directory} has a dump in it, which follows nothing")
        with self._alone():
            self._end_left_over()
            with closing(psycopg.connect(self._url, autocommit=True)) as connection:
                self._refuse_other_ledger(connection, kept)
                self._drop_slot()
                erasures.write(connection, self._directory, kept.ledger_id)

    def _begun(self) -> Manifest:
        (self._directory / LOG).mkdir(mode=0o700)
        with closing(psycopg.connect(self._url, autocommit=True)) as connection:
            tools.run(
                self._receiver,
                "--create-slot",
                "--if-not-exists",
                f"--slot={self._slot}",
                "-w",
                url=self._url,
                seconds_max=SLOT_SECONDS_MAX,
            )
            begun = state(connection, Kind.FOLLOWED)
            self._copy()
            erasures.write(connection, self._directory, begun.ledger_id)
            row = connection.execute(HEARTBEAT).fetchone()  # the copy is whole from here on
            assert row is not None
            done = begun._replace(at=row[1], files=manifest.described(self._directory, BASE_MANIFEST))
        manifest.write(self._directory, done)
        return done

    def run(self, stop: threading.Event, on_moment: Callable[[datetime], object]) -> None:
        """Receive changes until told to stop. Raises BackupError when the server no longer has what comes next."""
        kept = manifest.read(self._directory)
        with self._alone(), (self._directory / "log").open("w+b") as said:
            self._end_left_over()
            receiver = self._receive(said.fileno())
            try:
                while not stop.wait(FOLLOW_SECONDS if receiver.poll() is None else 0):
                    if receiver.poll() is not None:
                        said.seek(max(0, said.tell() - COMPLAINT_BYTES))
                        raise BackupError(tools.complaint(self._receiver, said.read().decode(errors="replace")))
                    self._note(kept, on_moment)
                self._note(kept, on_moment)
            finally:
                _end(receiver)

    def _resumed(self) -> Manifest:
        kept = manifest.read(self._directory)
        if kept.kind is not Kind.FOLLOWED:
            raise BackupError(f"{self._directory} has a dump in it; following needs a directory of its own")
        with closing(psycopg.connect(self._url, autocommit=True)) as connection:
            self._refuse_other_ledger(connection, kept)
            slot = connection.execute(
                "select wal_status from pg_replication_slots where slot_name = %s", (self._slot,)
            ).fetchone()
        if slot is None or slot[0] == "lost":
            raise BackupError(
                f"the server no longer has what follows {self._directory}: begin again, in a new directory"
            )
        return kept

    def _refuse_other_ledger(self, connection: Connection[Any], kept: Manifest) -> None:
        if state(connection, Kind.FOLLOWED).ledger_id != kept.ledger_id:
            raise BackupError(f"{self._directory} follows another ledger, {kept.ledger_id}")

    def _abandon(self) -> None:
        """Nothing is left, here or there: a slot that nobody reads from fills the server's disk."""
        with suppress(BackupError):
            self._drop_slot()
        for name in (BASE, LOG):
            shutil.rmtree(self._directory / name, ignore_errors=True)
        (self._directory / ERASED).unlink(missing_ok=True)

    def _drop_slot(self) -> None:
        options = ("--drop-slot", f"--slot={self._slot}", "-w")
        tools.run(self._receiver, *options, url=self._url, seconds_max=SLOT_SECONDS_MAX)

    def _copy(self) -> None:
        options = ("--format=plain", "--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256", "-w")
        tools.run(self._copier, f"--pgdata={self._directory / BASE}", *options, url=self._url)

    def _receive(self, said: int) -> subprocess.Popen[bytes]:
        options = (self._target, f"--slot={self._slot}", "--synchronous", "-w")
        return subprocess.Popen(  # noqa: S603 - PostgreSQL's own
            tools.command(self._receiver, *options, url=self._url),
            env=tools.environment(self._url),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # a terminal's Ctrl-C is for us to pass on
        )

    def _alone(self) -> AbstractContextManager[None]:
        return manifest.alone(self._directory / "lock", self._directory, "followed")

    def _end_left_over(self) -> None:
        """A receiver whose parent was killed goes on by itself, and would keep the slot from ours."""
        for process in psutil.process_iter(("name", "cmdline")):
            if process.info["name"] == self._receiver.name and self._target in (process.info["cmdline"] or ()):
                with suppress(psutil.Error):
                    process.send_signal(signal.SIGINT)
                    process.wait(STOP_SECONDS_MAX)

    @property
    def _target(self) -> str:
        return f"--directory={self._directory / LOG}"

    def _note(self, kept: Manifest, on_moment: Callable[[datetime], object]) -> None:
        """A database that is away for a while has nothing new; the receiver waits for it, too."""
        try:
            with closing(psycopg.connect(self._url, autocommit=True)) as connection:
                row = connection.execute(HEARTBEAT).fetchone()
                erasures.write(connection, self._directory, kept.ledger_id)
            if row is not None:
                on_moment(row[1].astimezone(UTC))
            self._away = False
        except psycopg.OperationalError as error:
            if not self._away:
                log.warning("database_away", error=str(error).strip())
            self._away = True


def _end(receiver: subprocess.Popen[bytes]) -> None:
    """Politely: what was received is then whole on the disk."""
    if receiver.poll() is None:
        os.kill(receiver.pid, signal.SIGINT)
    try:
        receiver.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        receiver.kill()
        receiver.wait()
