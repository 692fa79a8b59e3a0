"""The server is killed again and again, with SIGKILL and at any moment, while people order, pay and enter.

Whoever is not told the outcome of a command asks again with the same Idempotency-Key, as clients are to do. In the end
nothing that was acknowledged is lost, nothing was done twice, and what may never happen has not happened.
`make crash KILLS=500` does the same for longer; COUNTERFOIL_CRASH_SEED chooses another course.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from api.client import Client
from projections.registry import ALL
from tests.journeys.crash_audit import Books, check_journal
from tests.journeys.crash_clients import HOLD_SECONDS, Command, Rush, insist
from tests.journeys.people import AVAILABILITY, PAYMENT, Person, sign_up
from tests.server import Server, verdicts

KILLS = int(os.environ.get("COUNTERFOIL_CRASH_KILLS", "20"))
SEED = int(os.environ.get("COUNTERFOIL_CRASH_SEED", "20180916"))
SECONDS_PER_KILL_MAX = 45.0
"""A start or two, and people served; five on an idle machine, and many more on a busy one."""
BUYERS = 10
CONNECTIONS = 24
AGAIN_AT_ONCE = 8
KILLS_PER_EVENT = 4
UP_SECONDS = (0.0, 1.5)
"""How long the server may work, once people are served, before it is killed again."""
SERVED_SECONDS_MAX = 60.0
START_SECONDS = (0.2, 3.0)
"""How far it gets with starting when it is killed doing that."""
VICTIMS = ("api", "api", "worker", "api", "everything", "api", "start", "api", "database", "api")
"""In turns, so that a short run has them all."""
REFUSALS = {"sold-out", "seat-taken", "payment-declined", "already-checked-in"}
"""What people must have met where others were first."""


@pytest.mark.timeout(SECONDS_PER_KILL_MAX * KILLS)
def test_nothing_is_lost_or_done_twice_however_often_the_server_is_killed(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        asyncio.run(_rush_and_audit(server))
        rebuilt = server.command("rebuild")
    assert verdicts(rebuilt) == {view.name: "equal" for view in ALL}, rebuilt


async def _rush_and_audit(server: Server) -> None:
    async with Client(server.url, CONNECTIONS) as client:
        people = await sign_up(client, buyers=BUYERS)
        rush = Rush(people, SEED)
        await rush.announce()
        async with asyncio.TaskGroup() as clients:
            for buyer in people.buyers:
                clients.create_task(rush.shop(buyer))
            await _kill_again_and_again(server, rush)
            rush.stopping = True
        commands = rush.journal.commands
        _report(commands)
        await asyncio.sleep(HOLD_SECONDS + 1)  # nobody asks for it: the holds of those who forgot run out
        await _buy_what_is_left(people.buyers[0], rush)
        await _ask_again(commands)
        people.admin.position = await people.admin.head()
        facts = await people.admin.facts()
        check_journal(commands, facts)
        books = Books.of(facts)
        assert {order.status for order in books.orders.values()} == {"paid", "cancelled", "expired"}
        for event in rush.events:
            answer = await people.admin.ask("GET", f"/v1/events/{event['event_id']}/availability")
            for tier in answer["tiers"]:
                assert {name: tier[name] for name in AVAILABILITY} == books.figures()[tier["tier_id"]]


async def _kill_again_and_again(server: Server, rush: Rush) -> None:
    chance = random.Random(SEED)
    for kill in range(KILLS):
        await asyncio.sleep(chance.uniform(*UP_SECONDS))
        victim = VICTIMS[kill % len(VICTIMS)]
        match victim:
            case "worker":
                await asyncio.to_thread(server.kill_worker)
            case "database":
                await asyncio.to_thread(server.kill_postmaster)
            case "everything":
                await asyncio.to_thread(server.kill_everything)
            case _:
                await asyncio.to_thread(server.kill_api)
        server.start()
        if victim == "start":
            await asyncio.sleep(chance.uniform(*START_SECONDS))
            await asyncio.to_thread(server.kill_api)
            server.start()
        await asyncio.to_thread(server.wait_until_ready)
        await _until_people_are_served(rush)
        print(f"kill {kill + 1} of {KILLS}: {victim}, {len(rush.journal.commands)} commands so far")
        if kill % KILLS_PER_EVENT == KILLS_PER_EVENT - 1:
            await rush.announce()


async def _until_people_are_served(rush: Rush) -> None:
    rush.served.clear()
    async with asyncio.timeout(SERVED_SECONDS_MAX):
        await rush.served.wait()


def _report(commands: list[Command]) -> None:
    unknown = [command for command in commands if command.unknown]
    recovered = [command for command in unknown if command.recovered]
    print(f"{len(commands)} commands, {len(unknown)} of unknown outcome, {len(recovered)} of those had been done")
    assert unknown, "no command was under way at any of the kills"
    refusals = {json.loads(command.answer)["code"] for command in commands if not command.acknowledged}
    assert refusals >= REFUSALS, f"the rush was no rush: {refusals}"


async def _buy_what_is_left(buyer: Person, rush: Rush) -> None:
    """No place was lost on the way: what is said to be available can be bought, to the last ticket."""
    event = rush.events[-1]
    buyer.position = await buyer.head()
    for tier, (_, available, held, _) in zip(event["tiers"], await buyer.availability(event), strict=True):
        assert held == 0
        for _ in range(available):
            wish = {"event_id": event["event_id"], "items": [{"tier_id": tier["tier_id"], "quantity": 1}]}
            order = await rush.must(buyer, "POST", "/v1/orders", wish)
            await rush.must(buyer, "POST", f"/v1/orders/{order['order_id']}/payments", PAYMENT)
    buyer.position = await buyer.head()
    assert [(available, held) for _, available, held, _ in await buyer.availability(event)] == [(0, 0), (0, 0)]


async def _ask_again(commands: list[Command]) -> None:
    """Every command once more: each gets the answer that it was given before."""
    queue = iter(list(commands))

    async def repeat() -> None:
        for command in queue:
            again = await insist(command)
            told = f"{command.method} {command.path}: {command.status} {command.answer!r}, then {again}"
            assert (again.status, again.body) == (command.status, command.answer), told
            assert again.headers.get("idempotent-replayed") == "true", told
            assert int(again.headers.get("ledger-position", 0)) == command.position, told

    async with asyncio.TaskGroup() as clients:
        for _ in range(AGAIN_AT_ONCE):
            clients.create_task(repeat())
