"""PostgreSQL's own tools: found, run, and what they complain of in one sentence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from adapters.embedded import PROGRAMS

VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
COMPLAINT_CHARACTERS_MAX = 600
SECONDS_MAX = 24 * 3600.0
"""A dump, a copy or its way back that takes longer hangs, or wants another kind of backup."""
VERSION_SECONDS_MAX = 60.0
NOISE = ("pg_dump: detail", "pg_restore: detail", "Command was:", "pg_restore: from TOC")


class BackupError(RuntimeError):
    """A backup cannot be made, or not be restored: what an operator can put right, in a sentence."""


def server_major(url: str) -> int:
    """Raises psycopg.OperationalError."""
    with psycopg.connect(url) as connection:
        return connection.info.server_version // 10000


def find(name: str, major: int) -> Path:
    """The tool of this major version or a later one, the earliest that fits. Raises BackupError."""
    found = [(version, path) for path in _candidates(name) if (version := _version(path)) is not None]
    fitting = sorted((version, path) for version, path in found if version >= major)
    if fitting:
        return fitting[0][1]
    seen = f" (found: {', '.join(str(version) for version, _ in found)})" if found else ""
    raise BackupError(
        f"{name} of PostgreSQL {major} or later is needed and was not found{seen};"
        f" it comes with the client programs (Debian: postgresql-client-{major}) and has to be on the PATH"
    )


def run(tool: Path, *arguments: str, url: str | None = None, seconds_max: float = SECONDS_MAX) -> str:
    """Its standard output. Raises BackupError with its own complaint, or when it was ended for taking too long."""
    try:
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own
            command(tool, *arguments, url=url),
            env=environment(url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds_max,
        )
    except subprocess.TimeoutExpired as error:
        raise BackupError(f"{tool.name} was ended: it had not done after {seconds_max:,.0f} seconds") from error
    except OSError as error:
        raise BackupError(f"{tool} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise BackupError(complaint(tool, done.stderr))
    return done.stdout


def command(tool: Path, *arguments: str, url: str | None) -> list[str]:
    where = () if url is None else ("--dbname", _without_password(url))
    return [str(tool), *arguments, *where]


def environment(url: str | None) -> dict[str, str]:
    """The password goes here: a command line can be read by everybody on the machine."""
    password = conninfo_to_dict(url).get("password") if url is not None else None
    return {**os.environ, "LC_MESSAGES": "C"} | ({"PGPASSWORD": str(password)} if password else {})


def complaint(tool: Path, said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.strip().startswith(NOISE)]
    errors = [line for line in lines if "error:" in line or "fatal:" in line.lower()] or lines[-1:] or ["it failed"]
    text = errors[0].removeprefix(f"{tool.name}: ").removeprefix("error: ")
    return f"{tool.name}: {text[:COMPLAINT_CHARACTERS_MAX]}"


def _without_password(url: str) -> str:
    given = conninfo_to_dict(url)
    given.pop("password", None)
    return make_conninfo("", **given)


def _candidates(name: str) -> Iterator[Path]:
    on_path = shutil.which(name)
    if on_path is not None:
        yield Path(on_path)
    places: Sequence[Path] = [*PROGRAMS, *sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    yield from (path for place in places if (path := place / name).exists())


def _version(tool: Path) -> int | None:
    try:
        said = subprocess.run(  # noqa: S603 - PostgreSQL's own
            [tool, "--version"], capture_output=True, text=True, check=False, timeout=VERSION_SECONDS_MAX
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = VERSION.search(said)
    return int(found[1]) if found else None
