"""The demo's last act: some tickets go into wallets, everything reaches the chain, and both sides are held together."""

from __future__ import annotations

import asyncio
from typing import Any

from rich.console import Console
from rich.table import Table

from api.demo.people import DemoError, Person
from api.demo.phase import Phase

TICKETS_PER_WALLET = 2
MIRROR_SECONDS_MAX = 3_600.0
RECONCILE_SECONDS_MAX = 600.0
POLL_SECONDS = 0.5


async def into_wallets(holder: Person, ticket_ids: list[str]) -> int:
    """Link a new wallet to the holder's account, and have these tickets delivered to it."""
    from eth_account import Account  # noqa: PLC0415 - half a second that only this act needs
    from eth_account.messages import encode_defunct  # noqa: PLC0415

    wallet = Account.create()
    address = wallet.address.lower()
    challenge = await holder.ask("POST", "/v1/wallets/challenges", {"address": address})
    signed = wallet.sign_message(encode_defunct(text=challenge["message"]))
    proof = {"message": challenge["message"], "signature": "0x" + signed.signature.hex()}
    await holder.ask("POST", "/v1/wallets", proof)
    for ticket_id in ticket_ids:
        await holder.ask("POST", f"/v1/tickets/{ticket_id}/deliver", {"wallet": address})
    return len(ticket_ids)


async def until_mirrored(admin: Person, console: Console) -> None:
    """Wait until the chain has all that the ledger has, for good. Raises DemoError."""
    total = int((await _chain(admin))["ledger_position"])

    async def reached() -> int:
        status = await _chain(admin)
        level = status["lag_events"] == 0 and status["finalized_position"] == status["mined_position"]
        return total if level else min(int(status["finalized_position"]), total - 1)

    try:
        async with asyncio.timeout(MIRROR_SECONDS_MAX):
            await Phase(console, "Mirror", "positions", total).watch(reached, POLL_SECONDS)
    except TimeoutError as error:
        raise DemoError(f"the mirror is not done after an hour: {(await _chain(admin))['problem']}") from error


async def reconcile(admin: Person, console: Console) -> bool:
    """Compare both sides, print what was found; whether nothing is unexplained."""
    asked = await admin.ask("POST", "/v1/chain/reconciliations", {})
    path = f"/v1/chain/reconciliations/{asked['reconciliation_id']}"
    async with asyncio.timeout(RECONCILE_SECONDS_MAX):
        while True:
            found = await admin.ask("GET", path)
            if found["status"] != "requested":
                break
            await asyncio.sleep(POLL_SECONDS)
    if found["status"] != "completed":
        raise DemoError(f"the reconciliation failed: {found['failure']}")
    report = found["report"]
    table = Table(f"Reconciliation at block {report['block_number']:,}", f"chain {report['chain_id']}")
    rows = {"tickets": report["tickets"], "equal": report["equal"]}
    rows |= {count["of"].replace("_", " "): count["count"] for count in report["counts"]}
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    table.add_row("head hash", "equal" if report["hash_equal"] else "differs")
    console.print(table)
    clean = bool(found["clean"])
    verdict = f"unexplained: {report['unexplained']:,}" + ("; ledger and chain agree" if clean else "")
    console.print(verdict, style="green" if clean else "red", highlight=False)
    return clean


async def _chain(admin: Person) -> dict[str, Any]:
    """Raises DemoError where nothing is mirrored."""
    for _ in range(int(60 / POLL_SECONDS)):
        chains: list[dict[str, Any]] = (await admin.ask("GET", "/v1/chain/status"))["chains"]
        if chains and chains[0]["observed_at"] is not None:
            return chains[0]
        await asyncio.sleep(POLL_SECONDS)
    raise DemoError("the server mirrors to no chain: COUNTERFOIL_CHAIN_URL is off, or its mirror does not run")
