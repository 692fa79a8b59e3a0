"""Tools that tests need and a machine may lack: installed once, outside the repository, pinned by what the name says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

INSTALL_SECONDS_MAX = 240.0


def provided(name: str, install: Callable[[Path], None]) -> Path:
    """The directory of this name in the cache, which appears whole or not at all, whoever else installs meanwhile."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "counterfoil"
    directory = home / name
    if not directory.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f"{name}-", dir=home))
        try:
            install(draft)
            with suppress(OSError):  # another run was faster, with the same packages
                draft.rename(directory)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return directory


def run(
    command: list[str],
    directory: Path,
    *,
    environment: Mapping[str, str] | None = None,
    seconds_max: float = INSTALL_SECONDS_MAX,
) -> str:
    """What the command prints. Raises CalledProcessError with the command's own words when it fails."""
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds_max,
        check=False,
    )
    if done.returncode:
        failure = subprocess.CalledProcessError(done.returncode, command)
        failure.add_note(done.stdout + done.stderr)
        raise failure
    return done.stdout
