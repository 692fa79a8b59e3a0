"""A real server for tests that go through all of it: `counterfoil serve`, in processes and on a database of its own.

What a test kills with SIGKILL is truly killed. Whatever happened, `Server.stop` leaves no process behind; and when the
tests themselves are killed or run out of time, a guard that this file is also the program of does the same.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
COMMAND_SECONDS_MAX = 120.0
POLL_SECONDS = 0.05
LOG_TAIL_CHARACTERS = 4_000
HOST = "127.0.0.1"
ADMIN_EMAIL = "admin@example.com"
ADMIN_PASSWORD = "the first admin's password"


class Server:
    """`counterfoil serve` on a free port of the loopback interface, with a worker and a PostgreSQL in ``directory``."""

    def __init__(self, directory: Path, *options: str, **environment: str | None) -> None:
        """``options`` are `serve`'s own; of the ``environment``, None takes away what a server here usually has."""
        self.data_dir = directory / "data"
        self.log = directory / "server.log"
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._options = options
        self._overrides = environment
        self._api: subprocess.Popen[bytes] | None = None
        self._seen: set[int] = set()  # every process that ours started, for those that outlive a killed parent
        self._pids = directory / "pids"
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What `counterfoil` commands that are to meet this server need: nothing of it comes from outside."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("COUNTERFOIL_", "OTEL_"))
        }
        ours: dict[str, str | None] = {
            "COUNTERFOIL_DATA_DIR": str(self.data_dir),
            "COUNTERFOIL_HOST": HOST,
            "COUNTERFOIL_PORT": str(self.port),
            "COUNTERFOIL_ADMIN_EMAIL": ADMIN_EMAIL,
            "COUNTERFOIL_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "COUNTERFOIL_RATE_LIMITS": "off",
            "COUNTERFOIL_CHAIN_URL": "off",  # an EVM takes seconds to start; those who want one say so
        }
        return inherited | {name: value for name, value in (ours | self._overrides).items() if value is not None}

    # -- Running ------------------------------------------------------------------

    def start(self) -> None:
        """Start what is not running. Does not wait."""
        if self._guard is None:
            self._guard = subprocess.Popen([sys.executable, __file__, self.data_dir.parent], stdin=subprocess.PIPE)
        if self._api is None:
            self._api = self.spawn("serve", *self._options)

    def wait_until_ready(self, seconds: float = READY_SECONDS_MAX) -> None:
        """Raises AssertionError with the end of the log when the server ends or takes too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._api is None or self._api.poll() is not None:
                raise AssertionError(f"the server ended:\n{self.tail()}")
            if is_ready(self.url):
                self._seen |= children_of(self._api.pid)
                return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"the server was not ready within {seconds} s:\n{self.tail()}")

    def shut_down(self) -> int | None:
        """Ask the API to end, as an operator does; its exit code, or None if it did not run or had to be killed."""
        if self._api is None:
            return None
        self._seen |= children_of(self._api.pid)
        code = terminate(self._api)
        self._api = None
        return code

    def stop(self) -> None:
        """Shut down, end what is left, and PostgreSQL in any case. The guard then has nothing to do."""
        self.shut_down()
        for pid in self._seen:
            end(pid)
        end_postmaster(self.data_dir)
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None

    # -- Killing ------------------------------------------------------------------

    def kill_api(self) -> None:
        """What it started ends by itself."""
        if self._api is not None:
            self._seen |= children_of(self._api.pid)
            self._api.kill()
            self._api.wait()
            self._api = None

    def kill_worker(self) -> None:
        if self._api is not None and (pid := self._child("worker views")) is not None:
            end(pid, politely=signal.SIGKILL)

    def kill_postmaster(self) -> None:
        """PostgreSQL as after a power failure: at the next start it recovers from its log."""
        end_postmaster(self.data_dir, signal.SIGKILL)

    def kill_everything(self) -> None:
        self.kill_api()
        for pid in self._seen:
            end(pid, politely=signal.SIGKILL)
        self.kill_postmaster()

    # -- Looking ------------------------------------------------------------------

    @property
    def api_pid(self) -> int:
        assert self._api is not None, "the API does not run"
        return self._api.pid

    @property
    def worker_pid(self) -> int:
        pid = self._child("worker views")
        assert pid is not None, "the worker does not run"
        return pid

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``counterfoil …`` to its end against this server's data directory."""
        return counterfoil(*arguments, environment=self.environment | environment)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]

    def _child(self, command: str) -> int | None:
        """Of the processes that the API started itself."""
        found = (child for child in children_of(self.api_pid) if command_line(child).endswith(f" {command}"))
        return next(found, None)

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a `counterfoil` command beside the server; the guard knows of it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log, self._pids.open("a") as pids:
            process = subprocess.Popen(
                [sys.executable, "-m", "api", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            print(process.pid, file=pids)
        return process


def counterfoil(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A `counterfoil` command as an operator runs it, with exactly this environment."""
    return subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )


def verdicts(rebuilt: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What `counterfoil rebuild` says of each view, compared with the one that was in use."""
    assert rebuilt.returncode == 0, rebuilt.stderr
    rows = [line.strip("│").split("│") for line in rebuilt.stdout.splitlines() if line.startswith("│")]
    return {row[0].strip(): row[-1].strip() for row in rows}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


# -- Processes, by what `ps` says of them on every Unix ---------------------------


def children_of(pid: int) -> set[int]:
    lines = _ps("-A", "-o", "pid=,ppid=").splitlines()
    return {int(child) for child, parent in map(str.split, lines) if int(parent) == pid}


def command_line(pid: int) -> str:
    """Empty when there is no such process, or only what is left of it until its parent notices."""
    state = _ps("-o", "stat=", "-p", str(pid)).strip()
    return "" if not state or state.startswith("Z") else _ps("-o", "command=", "-p", str(pid)).strip()


def postmaster(data_dir: Path) -> int | None:
    """The process id of a data directory's PostgreSQL, if it runs."""
    with suppress(OSError, ValueError, IndexError):
        pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        if str(data_dir) in command_line(pid):  # the file may have outlived its process
            return pid
    return None


def end_postmaster(data_dir: Path, politely: signal.Signals = signal.SIGQUIT) -> None:
    """By default an immediate shutdown: the data has served its turn."""
    if (pid := postmaster(data_dir)) is not None:
        end(pid, politely)


def terminate(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code; None when it had to be killed."""
    process.terminate()
    try:
        return process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def end(pid: int, politely: signal.Signals = signal.SIGTERM) -> None:
    """Wait until a process that is not our child has ended; kill it when it takes too long."""
    for signum, seconds in ((politely, STOP_SECONDS_MAX), (signal.SIGKILL, STOP_SECONDS_MAX)):
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
        if wait_until_gone(pid, seconds):
            return
    raise AssertionError(f"process {pid} cannot be ended: {command_line(pid)}")


def wait_until_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not command_line(pid):
            return True
        time.sleep(POLL_SECONDS)
    return False


def _ps(*options: str) -> str:
    return subprocess.run(["ps", "-ww", *options], capture_output=True, text=True, check=False).stdout


def guard(directory: Path) -> None:
    """Wait until the tests are gone, then end what they have left of a server."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)  # a terminal sends them to us as well
    sys.stdin.buffer.read()
    with suppress(FileNotFoundError):
        for pid in map(int, (directory / "pids").read_text().split()):
            if " -m api " in command_line(pid):
                end(pid)
    end_postmaster(directory / "data")


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
