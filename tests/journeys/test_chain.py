"""The ledger on a chain, as people see it: the demo, a node that goes away, a holder who acts alone, another chain."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from api.client import Client
from tests.anvil import Anvil, dev_key
from tests.journeys.chained import link, status, transfer, until, until_mirrored
from tests.journeys.people import People, floor, put_on_sale, sign_up
from tests.server import Server, counterfoil
from tests.signer import new_signer

pytestmark = pytest.mark.anyio

NODE = ("--prune-history", "64", "--enable-tx-gas-limit", "--slots-in-an-epoch", "1")


def chained(directory: Path, anvil: Anvil) -> Server:
    key = dev_key(0)
    return Server(directory, COUNTERFOIL_CHAIN_URL=anvil.url, COUNTERFOIL_CHAIN_KEY=key, COUNTERFOIL_CHAIN_ID="31337")


@pytest.fixture(scope="module")
def anvil() -> Iterator[Anvil]:
    with Anvil(*NODE, block_time=1) as anvil:
        yield anvil


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, anvil: Anvil) -> Iterator[Server]:
    with chained(tmp_path_factory.mktemp("chained"), anvil) as server:
        deployed = server.command("chain", "deploy")
        assert deployed.returncode == 0, deployed.stderr
        assert "on chain 31337" in deployed.stdout
        yield server


@pytest.fixture(scope="module")
async def people(server: Server) -> AsyncIterator[People]:
    async with Client(server.url, 8) as client:
        yield await sign_up(client, buyers=3)


@pytest.mark.parametrize("chain", ["embedded", "anvil"])
def test_the_demo_ends_with_both_sides_in_agreement(tmp_path: Path, chain: str, anvil: Anvil) -> None:
    url = anvil.url if chain == "anvil" else chain
    environment = Server(tmp_path, COUNTERFOIL_CHAIN_KEY=dev_key(1)).environment
    played = counterfoil("demo", "--scale", "0.002", "--chain", url, environment=environment)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "equal to the last ticket and cent" in played.stdout
    assert "unexplained: 0; ledger and chain agree" in played.stdout


async def test_a_holders_own_transfer_comes_back_and_finds_its_holder(
    server: Server, people: People, anvil: Anvil
) -> None:
    seller, finder, _ = people.buyers
    event = await put_on_sale(people, floor(5))
    rules = {"price_max": 9_000, "royalty_basis_points": 500, "direct_transfers": True}
    await people.organizer.ask("PUT", f"/v1/events/{event['event_id']}/resale-rules", rules)
    order = await seller.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 1})
    await seller.pay(order)
    path = f"/v1/tickets/{order['tickets'][0]['ticket_id']}"

    wallet, unknown = new_signer(), new_signer()
    await link(seller, wallet)
    await seller.ask("POST", f"{path}/deliver", {"wallet": wallet.address})
    await until_mirrored(people.admin, finally_=False)
    (token,) = (await seller.ask("GET", f"{path}/chain"))["tokens"]
    assert (token["owner"], token["version"], token["in_custody"]) == (wallet.address, 1, False)
    assert (await seller.ask("GET", path))["chain"]["token_id"] == token["token_id"]

    transfer(anvil, token["contract"], wallet, unknown.address, int(token["token_id"]))
    seen = await until(people.admin, f"{path}/chain", lambda found: found["tokens"][0]["direct_transfers"])
    assert seen["tokens"][0]["direct_transfers"][0]["to_wallet"] == unknown.address
    found = await until(people.admin, path, lambda ticket: ticket["wallet"] == unknown.address)
    assert found["holder_id"] is None
    await link(finder, unknown)
    await until(people.admin, path, lambda ticket: ticket["holder_id"] == finder.user_id)

    await until_mirrored(people.admin)
    history = (await finder.ask("GET", f"{path}/history"))["items"]
    assert [fact["type"] for fact in history][-3:] == [
        "ticket.delivered",
        "ticket.transferred_on_chain",
        "ticket.holder_identified",
    ]
    (token,) = (await finder.ask("GET", f"{path}/chain"))["tokens"]
    assert (token["owner"], token["version"], token["skipped"]) == (unknown.address, 257, [])
    await finder.ask("POST", f"{path}/return")
    await until_mirrored(people.admin)
    (token,) = (await finder.ask("GET", f"{path}/chain"))["tokens"]
    assert (token["in_custody"], token["finality"]) == (True, "finalized")


async def test_a_reconciliation_is_kept_and_can_be_taken_away(server: Server, people: People, tmp_path: Path) -> None:
    buyer = people.buyers[0]
    event = await put_on_sale(people, floor(20))
    await buyer.pay(await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 4}))
    await until_mirrored(people.admin)
    kept, lines = tmp_path / "report.json", tmp_path / "report.csv"
    done = server.command("reconcile", "--json", str(kept), "--csv", str(lines))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(kept.read_text())["report"]
    assert report["unexplained"] == 0
    assert report["hash_equal"]
    assert report["tickets"] == report["equal"] >= 4
    assert next(csv.reader(lines.read_text().splitlines()))[:3] == ["kind", "token_id", "ticket_id"]
    listed = await people.admin.ask("GET", "/v1/chain/reconciliations")
    assert listed["items"][0]["clean"] is True
    one = f"/v1/chain/reconciliations/{listed['items'][0]['reconciliation_id']}"
    assert (await people.admin.ask("GET", one))["report"] == report
    assert (await buyer.refused("GET", one))[0] == 403


async def test_selling_goes_on_while_the_node_is_away_and_the_mirror_catches_up(tmp_path: Path) -> None:
    state = tmp_path / "chain.json"
    with Anvil(*NODE, block_time=1, state=state) as anvil:
        anvil.stop()
        with chained(tmp_path / "server", anvil) as server:
            refused = server.command("chain", "deploy")
            assert refused.returncode == 1
            assert "cannot be reached" in refused.stderr
            async with Client(server.url, 8) as client:
                people = await sign_up(client, buyers=1)
                (buyer,) = people.buyers
                event = await put_on_sale(people, floor(20))
                one = {"tier_id": event["tiers"][0]["tier_id"], "quantity": 1}
                await buyer.pay(await buyer.order(event, one))
                assert await status(people.admin) is None

                anvil.start()
                assert server.command("chain", "deploy").returncode == 0
                await until_mirrored(people.admin)

                anvil.stop()
                await buyer.pay(await buyer.order(event, one))
                await until(people.admin, "/v1/chain/status", lambda found: found["chains"][0]["problem"])
                said = await status(people.admin)
                assert said is not None
                assert "cannot be reached" in said["problem"]
                assert said["lag_events"] == 1

                anvil.start()
                await until_mirrored(people.admin)
                await until(people.admin, "/v1/chain/status", lambda found: found["chains"][0]["problem"] is None)
            assert server.command("reconcile").returncode == 0


async def test_the_contract_can_be_made_again_on_another_chain(server: Server, people: People) -> None:
    buyer = people.buyers[0]
    event = await put_on_sale(people, floor(20))
    await buyer.pay(await buyer.order(event, {"tier_id": event["tiers"][0]["tier_id"], "quantity": 4}))
    with Anvil(*NODE, chain_id=4242, block_time=1) as other:
        moved = server.command("chain", "migrate", "--to", other.url, COUNTERFOIL_CHAIN_ID="4242")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    assert "unexplained" in moved.stdout


def test_a_chain_that_is_not_the_configured_one_is_refused(server: Server, anvil: Anvil) -> None:
    refused = server.command("chain", "deploy", COUNTERFOIL_CHAIN_ID="1")
    assert refused.returncode == 1
    assert "serves chain 31337, COUNTERFOIL_CHAIN_ID says 1" in refused.stderr
    poor = server.command("chain", "deploy", COUNTERFOIL_CHAIN_KEY="7" * 64)
    assert poor.returncode == 1
    assert "ether" in poor.stderr
    assert "send it more" in poor.stderr
