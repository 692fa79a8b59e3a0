"""The restore drill: a ledger is loaded, backed up, written on, destroyed, and restored to a moment in between.

`make drill` runs it on a machine's own disk, with as many orders as one likes; a test runs it small. Whatever it says is
equal was computed on either side of the disaster: before it from the ledger that is then destroyed, after it from the
restored one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.request import urlopen

import psycopg

from adapters import view_schema
from adapters.audit import audit_ledger
from adapters.embedded import EmbeddedPostgres
from adapters.replays import Replays
from adapters.view_cursors import open_connection
from api.client import Client
from projections.ledger_head import HeadKey, head_from, key_from
from projections.registry import ALL
from tests.journeys.people import People, floor, in_time, put_on_sale, sign_up
from tests.server import Server, terminate

ORDERS = 500
CLIENTS = 8
BEFORE, AFTER = "drill_before", "drill_after"
WAIT_SECONDS_MAX = 120.0
POLL_SECONDS = 0.05

Checksums = dict[str, dict[str, view_schema.Checksum]]


class DrillError(Exception):
    """What came back is not what was destroyed."""


class Moment(NamedTuple):
    """What the ledger was at the moment that is to be restored."""

    at: datetime
    position: int
    books: Checksums


class Drill:
    """In an empty directory. `run` is all of it; what it leaves there is the restored ledger, and the backup."""

    def __init__(self, directory: Path, orders: int = ORDERS, say: Callable[[str], object] = lambda _: None) -> None:
        self.server = Server(directory / "first")
        self.backup = directory / "backup"
        self.restored = Server(directory / "second")
        self.heads = directory / "heads.jsonl"
        self.moment: Moment | None = None
        self._orders = orders
        self._say = say

    def run(self) -> None:
        """Raises DrillError when something is not as it was."""
        try:
            with self._step("starting a ledger"):
                self.server.start()
                self.server.wait_until_ready()
            asyncio.run(self._live())
            with self._step("destroying it: PostgreSQL killed, its files deleted"):
                self._destroy()
            assert self.moment is not None
            with self._step(f"restoring to {self.moment.at:%H:%M:%S.%f}, verifying, rebuilding the views"):
                self._restore()
            self.compare()
        finally:
            self.server.stop()

    # -- Before the disaster -----------------------------------------------------------

    async def _live(self) -> None:
        async with Client(self.server.url, CLIENTS) as client:
            people = await sign_up(client, buyers=CLIENTS)
            event = await put_on_sale(
                people, floor(4 * self._orders), starts_at=in_time(hours=9), ends_at=in_time(hours=10)
            )
            with self._step(f"selling {self._orders:,} orders"):
                await self._sell(people, event)
            with self._step("keeping a signed head"):
                await asyncio.to_thread(self._keep_head, max(buyer.position for buyer in people.buyers))
            with self._step("backing up, and following"):
                following = await asyncio.to_thread(self._follow)
            with self._step(f"selling {self._orders:,} orders more, the backup killed meanwhile and begun again"):
                following.kill()
                await self._sell(people, event)
                following.wait()
                following = await asyncio.to_thread(self._follow)
            with self._step("noting the books of this moment"):
                await asyncio.to_thread(self._keep_head, max(buyer.position for buyer in people.buyers))
                self.moment = await asyncio.to_thread(self._note)
            with self._step(f"selling {self._orders:,} orders that will be lost, forgetting a buyer, keeping a head"):
                await self._sell(people, event)
                await people.buyers[0].ask("DELETE", "/v1/me")
                await asyncio.to_thread(self._keep_head, max(buyer.position for buyer in people.buyers))
                await asyncio.to_thread(self._wait_for_the_log, people.buyers[0].user_id)
            self._following = following

    async def _sell(self, people: People, event: dict[str, Any]) -> None:
        async def buy(number: int) -> None:
            buyer = people.buyers[number]
            for _ in range(number, self._orders, CLIENTS):
                order = await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 1})
                await buyer.pay(order)

        await asyncio.gather(*(buy(number) for number in range(CLIENTS)))

    def _keep_head(self, position: int) -> None:
        """One that covers the position: the tree follows the ledger by a moment."""
        head: dict[str, Any] = {"tree_size": -1}
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while head["tree_size"] < position:
            head = self._get("/v1/ledger/head")
            _pause(deadline, "no head was signed")
        with self.heads.open("a") as file:
            print(json.dumps(head), file=file)

    def _follow(self) -> subprocess.Popen[bytes]:
        following = self.server.spawn("backup", str(self.backup), "--follow")
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not (self.backup / "manifest.json").exists():
            if following.poll() is not None:
                raise DrillError(f"the backup ended: {self.server.tail()}")
            _pause(deadline, "the backup took too long")
        return following

    def _note(self) -> Moment:
        url = EmbeddedPostgres(self.server.data_dir).start()  # it runs: to start it is to join it
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            row = connection.execute("select clock_timestamp()").fetchone()
        assert row is not None
        replay = Replays(url, ALL).build(BEFORE, row[0]).replay
        return Moment(row[0], replay.position, checksums(url, lambda _: BEFORE))

    def _wait_for_the_log(self, erased: str) -> None:
        """The list of who was erased is the last that is written of a moment."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while erased not in (self.backup / "erased.json").read_text():
            _pause(deadline, "the backup does not follow")

    def _destroy(self) -> None:
        secret = (self.server.data_dir / "secret").read_text()
        self.server.kill_everything()
        shutil.rmtree(self.server.data_dir)
        terminate(self._following)
        self.restored.data_dir.mkdir(parents=True)
        (self.restored.data_dir / "secret").write_text(secret)  # an operator keeps it elsewhere

    # -- After it -------------------------------------------------------------------------

    def _restore(self) -> None:
        assert self.moment is not None
        target = ("--into", str(self.restored.data_dir), "--to", self.moment.at.isoformat())
        done = self.restored.command("restore", str(self.backup), *target, "--heads", str(self.heads))
        if done.returncode:
            raise DrillError(done.stderr.strip() or done.stdout.strip())
        self.said = done.stdout

    def compare(self) -> None:
        """Hold what was restored to what was noted. Raises DrillError."""
        assert self.moment is not None
        server = EmbeddedPostgres(self.restored.data_dir)
        url = server.start()
        try:
            with self._step("verifying it against the head that was kept before"):
                self._verify(url)
            with self._step("comparing its views with the books of that moment"):
                _equal("the views", self.moment.books, checksums(url, lambda name: name))
            with self._step("comparing a replay of it with the books of that moment"):
                if not any(replay.name == AFTER for replay in Replays(url, ALL).kept()):
                    Replays(url, ALL).build(AFTER, self.moment.position)
                _equal("the replay", self.moment.books, checksums(url, lambda _: AFTER))
        finally:
            server.stop()

    def _verify(self, url: str) -> None:
        assert self.moment is not None
        heads = [head_from(json.loads(line)) for line in self.heads.read_text().splitlines()]
        audit = audit_ledger(url, [head for head in heads if head.tree_size <= self.moment.position], self._keys())
        if audit.findings or audit.doubts or not audit.kept:
            raise DrillError("; ".join([*map(str, audit.findings), *audit.doubts]) or "no head was kept")

    def _keys(self) -> list[HeadKey]:
        return [key_from(key) for key in json.loads((self.backup / "manifest.json").read_text())["keys"]]

    # -- Both -------------------------------------------------------------------------------

    def _get(self, path: str) -> Any:
        with urlopen(f"{self.server.url}{path}", timeout=WAIT_SECONDS_MAX) as answer:
            return json.load(answer)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._say(f"· {what}: {time.monotonic() - began:.1f} s")


def checksums(url: str, schema_of: Callable[[str], str]) -> Checksums:
    with closing(open_connection(url)) as connection, connection.transaction():
        return {view.name: view_schema.checksums(connection, view, schema_of(view.name)) for view in ALL}


def _equal(what: str, wanted: Checksums, found: Checksums) -> None:
    for view, tables in wanted.items():
        for table, checksum in tables.items():
            if found[view][table] != checksum:
                raise DrillError(f"{what}: {table} of {view} has {found[view][table]}, and had {checksum}")


def _pause(deadline: float, complaint: str) -> None:
    if time.monotonic() > deadline:
        raise DrillError(complaint)
    time.sleep(POLL_SECONDS)


def main(orders: int) -> int:
    with TemporaryDirectory(prefix="counterfoil-drill-") as directory:
        drill = Drill(Path(directory), orders, print)
        try:
            drill.run()
        except (DrillError, AssertionError, OSError) as error:
            print(f"FAILED: {error}")
            return 1
        finally:
            drill.restored.stop()
        assert drill.moment is not None
        print(f"OK: back at position {drill.moment.position:,}, and everything is what it was")
        return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS))
