"""A mirror in a process of its own, which ends without a word when it has done something for the so-manieth time.

Run as `python -m tests.chain.dying_mirror DATABASE URL KEY STEP COUNT`; the process ends with status DEAD.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from adapters.chain.attach import attach
from adapters.chain.http_node import HttpNode
from adapters.chain.mirror import Mirror
from adapters.chain.signer import Offer, Signer
from adapters.postgres import connect

DEAD = 9
ALIVE_SECONDS_MAX = 60.0
IDLE_SECONDS = 0.02


def mirror_until(database: str, url: str, key: bytes, step: str, count: int) -> None:
    """Run one until it dies."""
    command = [sys.executable, "-m", __name__, database, url, key.hex(), step, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ALIVE_SECONDS_MAX, check=False)
    assert done.returncode == DEAD, done.stderr


async def _mirror(database: str, url: str, key: bytes, step: str, count: int) -> None:
    left = count

    def probe(heard: str) -> None:
        nonlocal left
        left -= heard == step
        if left == 0:
            os._exit(DEAD)

    node, signer = HttpNode(url), Signer(key)
    async with await connect(database, "counterfoil_app") as conn:
        deployment = await attach(conn, node, signer, chain_id=None)
        mirror = Mirror(conn, node, deployment, signer, Offer(gwei_max=300), confirmations=0, probe=probe)
        while True:
            await mirror.step()
            await asyncio.sleep(IDLE_SECONDS)


if __name__ == "__main__":
    asyncio.run(_mirror(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4], int(sys.argv[5])))
