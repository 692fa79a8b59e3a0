"""A real Ethereum node for tests and benchmarks: anvil, on a free port of the loopback interface.

What a test kills with SIGKILL is truly killed. When the tests themselves are killed or run out of time, a guard ends
what they have left.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self
from urllib.request import Request, urlopen

from eth_account import Account

from tests import npm
from tests.server import HOST, free_port, terminate

READY_SECONDS_MAX = 20.0
ANSWER_SECONDS_MAX = 60.0
POLL_SECONDS = 0.01
LOG_TAIL_CHARACTERS = 4_000
CHAIN_ID = 31_337
MNEMONIC = "test test test test test test test test test test test junk"
"""Anvil's own: the accounts are rich on every node of this kind, and on no other."""
GUARD = """
trap "" INT TERM HUP  # a terminal sends them to us as well
for pid in $(cat); do
    case $(ps -o command= -p "$pid") in *anvil*) kill -KILL "$pid" ;; esac
done
"""
"""Waits until the tests are gone, then ends the nodes whose process ids they said."""


class Anvil:
    """A node that mines each transaction at once, or, with ``block_time``, a block every so many seconds.

    With ``state`` it reads that file when it starts and writes it when it is stopped: `restart` then goes on from
    there. After `kill` it goes on from the last file written, for which anvil has ``--state-interval``.
    """

    def __init__(
        self, *args: str, block_time: float | None = None, state: Path | None = None, chain_id: int = CHAIN_ID
    ) -> None:
        """``args`` are anvil's own, such as ``"--prune-history"``."""
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.chain_id = chain_id
        self._args = ["--host", HOST, "--port", str(self.port), "--chain-id", str(chain_id), *args]
        if block_time is not None:
            self._args += ["--block-time", f"{block_time:g}"]
        if state is not None:
            self._args += ["--state", str(state)]
        self._log = TemporaryFile("w+b")  # noqa: SIM115 - it outlives this call, and is deleted with us
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._log.close()

    # -- Running ------------------------------------------------------------------

    def start(self) -> None:
        """Start what is not running and wait until it answers. Raises AssertionError with the log's end if it ends."""
        if self._process is None:
            command = [str(npm.anvil()), *self._args]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
            self._watch(self._process.pid)
            self._wait_until_ready()

    def stop(self) -> None:
        """As an operator does, which writes the state; the same node may be started again."""
        if self._process is not None:
            terminate(self._process)
            self._process = None
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None

    def kill(self) -> None:
        """As a power failure does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """At the same address. Without ``state`` the chain begins anew."""
        self.stop()
        self.start()

    # -- Asking -------------------------------------------------------------------

    def rpc(self, method: str, *params: object) -> Any:
        """The result of one JSON-RPC call. Raises AssertionError with the node's refusal."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = Request(self.url, body, {"content-type": "application/json"})
        with urlopen(request, timeout=ANSWER_SECONDS_MAX) as answer:
            reply: Mapping[str, Any] = json.load(answer)
        assert "error" not in reply, f"{method}: {reply['error']}"
        return reply["result"]

    def tail(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-LOG_TAIL_CHARACTERS:]

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What happens on the chain within is taken back at the end."""
        snapshot = self.rpc("evm_snapshot")
        try:
            yield
        finally:
            self.rpc("evm_revert", snapshot)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                self.rpc("eth_chainId")
                return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"anvil did not get ready:\n{self.tail()}")

    def _watch(self, pid: int) -> None:
        if self._guard is None:
            self._guard = subprocess.Popen(["/bin/sh", "-c", GUARD], stdin=subprocess.PIPE)
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"%d\n" % pid)
        self._guard.stdin.flush()


@cache
def dev_key(index: int) -> str:
    """The private key of the node's account of this index; the node itself signs for the first ten."""
    Account.enable_unaudited_hdwallet_features()
    account = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
    return "0x" + bytes(account.key).hex()
