"""What we have written down ourselves is wrong, or somebody else has spoken to the contract: nothing of it is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
from psycopg.rows import class_row

from adapters.chain.embedded_node import EmbeddedNode
from adapters.chain.mending import CURSOR_MAX, HopelessError, NotSettledError, adopt, replan
from adapters.chain.node import Block, ChainError, Log, NodeBehindError, WrongChainError
from adapters.chain.reconciler import reconcile
from adapters.ledger import PostgresLedger
from tests.anvil import Anvil
from tests.chain.holding import mine
from tests.chain.lying_node import LyingNode
from tests.chain.out_of_step import Bench, counts
from tests.chain.parts import RETURNED, Stand, delivered, on_anvil, standing, wallet
from tests.contracts import operations as ops

pytestmark = pytest.mark.anyio

SECOND_BATCH = "update chain.batches set {} where deployment = %s and number = 2"


class KilledError(Exception):
    """The mirror, in the middle of its work."""


@pytest.fixture
async def bench(stand: Stand) -> Bench:
    return Bench(stand)


@pytest.fixture(params=["embedded", "anvil"])
async def remembering(request: pytest.FixtureRequest, database: str, ledger: PostgresLedger) -> AsyncIterator[Bench]:
    """On chains that know how a contract was some blocks ago."""
    if request.param == "embedded":
        embedded = EmbeddedNode()
        async with standing(database, ledger, embedded) as stand:
            yield Bench(stand)
        await embedded.close()
        return
    with Anvil("--prune-history", "64") as anvil:
        async with on_anvil(anvil, database, ledger) as stand:
            yield Bench(stand)


# -- Batches that the contract cannot apply any more. ------------------------------------


async def test_batches_on_their_way_follow_behind_what_somebody_else_said(bench: Bench) -> None:
    stand = bench.stand
    event = await stand.box.event()
    first, second, third = await stand.box.sell(event, 3)
    await stand.level()
    await stand.box.tell((first, delivered(1)), (second, stand.box.checked_in(event)))
    await stored_and_not_sent(stand)
    await bench.rogue(ops.void(await bench.token(third)), seqs=500)
    await stand.box.sell(event, 2)
    report = await bench.repair()
    assert counts(report) == {"mismatching": 1, "pending": 4}
    assert not report.hash_equal
    assert (await bench.clean()).equal == 5


async def test_a_batch_whose_place_was_taken_is_made_up_for(bench: Bench) -> None:
    """By another that ends where it would have ended, so that the next one of ours fits behind it and is applied."""
    stand = bench.stand
    event = await stand.box.event()
    first, second, third = await stand.box.sell(event, 3)
    await stand.level()
    mirror = replace(stand, node=SilentNode(stand.node)).mirror()
    await stand.box.tell((first, delivered(1)), (third, stand.box.checked_in(event)))
    await mirror.step()
    await stand.box.tell((first, RETURNED), (second, stand.box.cancelled(event)))
    await mirror.step()
    taken, left = await stored(stand)
    await bench.rogue(ops.deliver(await bench.token(second), 0, wallet(66)), seqs=taken.length)
    await stand.node.send(left.raw)
    report = await bench.repair()
    assert (report.hash_equal, report.mirrored_position, report.position) == (False, report.position, report.position)
    assert counts(report) == {"mismatching": 2, "skipped": 1}, "what was returned had never been delivered"
    await bench.clean()


async def test_a_cursor_without_room_behind_it_is_hopeless(bench: Bench) -> None:
    stand = bench.stand
    await stand.box.sell(await stand.box.event(), 1)
    await stand.level()
    await bench.rogue(b"", seqs=CURSOR_MAX)
    report = await bench.report()
    assert (report.hash_equal, report.equal, report.unexplained) == (False, 1, 1)
    with pytest.raises(HopelessError, match="counterfoil chain migrate"):
        await adopt(stand.conn, stand.node, stand.deployment, confirmations=0)


async def test_what_is_not_final_is_not_gone_on_from(remembering: Bench) -> None:
    bench, stand = remembering, remembering.stand
    await stand.box.sell(await stand.box.event(), 1)
    await stand.level()
    await bench.rogue(ops.rules(1), seqs=10)
    await mine(stand.node, 1)
    await bench.rogue(ops.rules(1), seqs=10)
    with pytest.raises(NotSettledError, match="is final"):
        await adopt(stand.conn, stand.node, stand.deployment, confirmations=1)
    await mine(stand.node, 1)
    assert await adopt(stand.conn, stand.node, stand.deployment, confirmations=1)
    assert not await adopt(stand.conn, stand.node, stand.deployment, confirmations=1)


async def test_a_contract_that_heard_only_us_is_not_adopted(bench: Bench) -> None:
    stand = bench.stand
    assert not await adopt(stand.conn, stand.node, stand.deployment, confirmations=0)
    await stand.box.sell(await stand.box.event(), 1)
    await stand.level()
    assert not await adopt(stand.conn, stand.node, stand.deployment, confirmations=0)
    assert (await bench.report()).adopted == 0


# -- What we have written down. -----------------------------------------------------------


TAMPERINGS = (
    "version = version + 3",
    "wallet = '0x00000000000000000000000000000000000000aa'",
    "checked_in = not checked_in",
    "voided = not voided",
    "token = token + 900",
    "ticket_id = gen_random_uuid()",
)


async def test_the_stored_plan_of_a_token_hides_nothing_and_is_mended(bench: Bench) -> None:
    """The mirror goes on by the wrong plan, until a repair makes it again from the ledger."""
    stand = bench.stand
    event = await stand.box.event()
    other, *tickets = await stand.box.sell(event, 1 + len(TAMPERINGS))
    await stand.box.tell(*((ticket, delivered(1)) for ticket in tickets))
    await stand.level()
    for ticket, change in zip(tickets, TAMPERINGS, strict=True):
        token = await bench.token(ticket)
        await bench.tamper(
            f"update chain.tokens set {change} where deployment = %s and token = %s", stand.deployment.id, token
        )
    assert (await bench.report()).clean, "the chain is right"
    await stand.box.tell(*((ticket, delivered(2)) for ticket in tickets), (other, delivered(3)))
    await stand.level()
    assert not (await bench.report()).clean
    for _ in range(2):
        await bench.repair()
    assert (await bench.clean()).equal == 1 + len(TAMPERINGS)


async def test_the_stored_plan_is_not_believed_against_the_chain(bench: Bench) -> None:
    stand = bench.stand
    (ticket,) = await stand.box.sell(await stand.box.event(), 1)
    await stand.level()
    token = await bench.token(ticket)
    await bench.rogue(ops.deliver(token, 0, wallet(66)))
    await bench.tamper(
        "update chain.tokens set wallet = %s, version = 1 where deployment = %s", wallet(66), stand.deployment.id
    )
    assert counts(await bench.repair()) == {"mismatching": 1}
    await bench.clean()


async def test_stored_events_are_mended(bench: Bench) -> None:
    stand = bench.stand
    event = await stand.box.event()
    await stand.box.sell(event, 3)
    await stand.level()
    await bench.tamper("update chain.events set issued = 9, ends_at = 4, price_cap = 1")
    await stand.box.sell(event, 2)
    await stand.level()
    report = await bench.report()
    assert (counts(report), report.unexplained) == ({"missing_on_chain": 2}, 2)
    await bench.repair()
    assert (await bench.clean()).equal == 5
    assert await replan(stand.conn, stand.deployment) == 0


async def test_an_invented_skip_or_transfer_explains_nothing(bench: Bench) -> None:
    stand = bench.stand
    (ticket,) = await stand.box.sell(await stand.box.event(), 1)
    await stand.box.tell((ticket, delivered(1)))
    await stand.level()
    token = await bench.token(ticket)
    await bench.rogue(ops.move(token, 1, wallet(66)))
    await bench.tamper(
        "insert into chain.skipped values (%s, 1, 2, 4, 4, array[%s::bigint])", stand.deployment.id, token
    )
    await bench.tamper(
        "insert into chain.transfers values (%s, '\\x01', 1, 1, '\\x02', %s, %s, %s, 2, 'provisional')",
        stand.deployment.id,
        token,
        wallet(1),
        wallet(66),
    )
    assert counts(await bench.report()) == {"mismatching": 1}


@pytest.mark.parametrize(
    "change", ["operations = operations || '\\x00'", "to_seq = to_seq + 1", "from_seq = from_seq - 1"]
)
async def test_a_stored_batch_that_was_changed_is_noticed_by_the_hash(bench: Bench, change: str) -> None:
    stand = bench.stand
    event = await stand.box.event()
    first, second = await stand.box.sell(event, 2)
    await stand.level()
    await stand.box.tell((first, delivered(1)))
    await stand.level()
    await stand.box.tell((second, delivered(2)))
    await stand.level()
    await bench.tamper(SECOND_BATCH.format(change), stand.deployment.id)
    report = await bench.report()
    assert (report.hash_equal, report.equal, report.unexplained) == (False, 2, 1)
    await bench.repair()
    await bench.clean()


# -- Repairs on their way. ------------------------------------------------------------------


async def test_a_repair_that_is_on_its_way_is_not_ordered_again(bench: Bench) -> None:
    stand = bench.stand
    event = await stand.box.event()
    first, second, third = await stand.box.sell(event, 3)
    await stand.level()
    await bench.rogue(
        ops.void(await bench.token(first))
        + ops.deliver(await bench.token(second), 0, wallet(66))
        + ops.issue(1, 3, 1)
        + ops.rules(1)
        + ops.rules(2)
    )
    await bench.repair(level=False)
    report = await bench.report()
    assert counts(report) == {"pending": 3}
    assert {finding.reason for finding in report.findings} == {"a repair is on its way"}
    assert (report.hash_equal, report.clean) == (True, True)
    await bench.repair(level=False)
    assert third is not None
    await stand.level()
    await bench.clean(strangers=True)


async def test_a_ticket_that_changes_hands_before_its_repair_is_left_to_the_next_one(bench: Bench) -> None:
    stand = bench.stand
    (ticket,) = await stand.box.sell(await stand.box.event(), 1)
    await stand.level()
    await bench.rogue(ops.deliver(await bench.token(ticket), 0, wallet(66)))

    async def deliver() -> None:
        await stand.box.tell((ticket, delivered(5)))

    await bench.repair(meanwhile=deliver)
    report = await bench.repair()
    assert counts(report) == {"mismatching": 1}
    await bench.clean()


# -- Nodes. ------------------------------------------------------------------------------------


async def test_a_node_that_leaves_logs_out_explains_nothing(bench: Bench) -> None:
    stand = bench.stand
    (ticket,) = await stand.box.sell(await stand.box.event(), 1)
    await stand.level()
    await bench.rogue(ops.void(await bench.token(ticket)))
    spoils: list[Callable[[list[Log]], list[Log]]] = [lambda logs: logs[:-1], lambda logs: logs[1:], lambda _: []]
    for spoil in spoils:
        liar = LyingNode(stand.node, spoil_ranges=spoil)
        with pytest.raises(ChainError, match="leaves out logs"):
            await reconcile(stand.conn, liar, stand.deployment, confirmations=0)
    doubled = LyingNode(stand.node, spoil_ranges=lambda logs: [*logs, *logs], span_max=1)
    report = (await reconcile(stand.conn, doubled, stand.deployment, confirmations=0)).report
    assert counts(report) == {"mismatching": 1}


async def test_a_node_that_does_not_know_the_contract_is_refused(bench: Bench) -> None:
    stand = bench.stand
    await mine(stand.node, 2)
    with pytest.raises(NodeBehindError, match="is not final yet"):
        await reconcile(stand.conn, stand.node, stand.deployment, confirmations=3)
    elsewhere = stand.deployment._replace(contract="0x" + "ab" * 20)
    with pytest.raises(WrongChainError, match="does not answer"):
        await reconcile(stand.conn, stand.node, elsewhere, confirmations=0)


class FickleNode(LyingNode):
    """Gives every block another hash each time it is asked for it by its number."""

    async def block(self, which: int | str) -> Block | None:
        found = await super().block(which)
        if found is None or isinstance(which, str):
            return found
        return found._replace(hash=len(self.asked).to_bytes(32, "big"))


async def test_a_node_that_has_forgotten_the_final_block_is_told_so(database: str, ledger: PostgresLedger) -> None:
    with Anvil("--prune-history", "--enable-tx-gas-limit") as forgetful:
        async with on_anvil(forgetful, database, ledger) as stand:
            await mine(stand.node, 4)
            with pytest.raises(ChainError, match="has to keep the state"):
                await reconcile(stand.conn, stand.node, stand.deployment, confirmations=2)


async def test_a_final_block_that_does_not_stay_is_not_reported_on(bench: Bench) -> None:
    stand = bench.stand
    with pytest.raises(ChainError, match="takes back blocks"):
        await reconcile(stand.conn, FickleNode(stand.node), stand.deployment, confirmations=0)


# -- Means. ------------------------------------------------------------------------------------


class SilentNode(LyingNode):
    """Takes transactions and keeps them to itself."""

    async def send(self, raw: bytes) -> None:
        assert raw


class Stored(NamedTuple):
    """A batch that is not final: how far it would move the cursor, and its signed transaction."""

    length: int
    raw: bytes


async def stored(stand: Stand) -> list[Stored]:
    async with stand.conn.cursor(row_factory=class_row(Stored)) as cursor:
        await cursor.execute(
            "select b.to_seq - b.from_seq + 1 as length, a.raw from chain.batches b join chain.attempts a"
            " on a.deployment = b.deployment and a.batch = b.number"
            " where b.deployment = %s and b.state in ('signed', 'sent') order by b.number",
            (stand.deployment.id,),
        )
        return await cursor.fetchall()


async def stored_and_not_sent(stand: Stand) -> None:
    """Let a mirror plan, sign and store its next batch, and die."""

    def kill(step: str) -> None:
        if step == "stored":
            raise KilledError

    with pytest.raises(KilledError):
        await stand.level(stand.mirror(kill))
