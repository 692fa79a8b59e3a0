"""Ledger and chain out of step without a cause that either knows: found, counted as what it is, repaired to equality."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from adapters.chain.mending import replan
from domain.event import Event
from domain.resale import ResaleRules
from tests.chain.out_of_step import Bench, counts, event_counts, lose, skipped, town
from tests.chain.parts import NOW, Stand, delivered, transferred, wallet
from tests.contracts import operations as ops

pytestmark = pytest.mark.anyio

OPEN = ResaleRules(direct_transfers=True)


@pytest.fixture
async def bench(stand: Stand) -> Bench:
    return Bench(stand)


# -- On one side only. ------------------------------------------------------------------


async def test_what_the_mirror_lost_is_missing_and_issued_again(bench: Bench) -> None:
    place, stand = await town(bench), bench.stand
    plain, moved, entered, ended = lost = await stand.box.sell(place.event, 4)
    await stand.box.tell((moved, delivered(3)), (moved, transferred()), (moved, delivered(5)))
    await stand.box.tell((entered, stand.box.checked_in(place.event)), (ended, stand.box.cancelled(place.event)))
    await lose(bench)
    report = await bench.report()
    assert counts(report) == {"missing_on_chain": 4}
    assert report.unexplained == 4
    assert {finding.ticket_id for finding in report.findings} == set(lost)
    await bench.repair()
    assert plain in lost
    assert (await bench.clean()).equal == 8


async def test_a_gap_closes_although_tickets_are_sold_meanwhile(bench: Bench) -> None:
    """The contract issues in order: behind a gap everything is passed over, until the gap is closed with all behind it."""
    place, stand = await town(bench), bench.stand
    await stand.box.sell(place.event, 30)
    await lose(bench)
    await replan(stand.conn, stand.deployment)
    later = await stand.box.sell(place.event, 20)
    await stand.level()
    report = await bench.report()
    assert (counts(report), skipped(report)) == ({"missing_on_chain": 30, "skipped": 20}, {"out_of_order": 20})
    during: list[UUID] = []

    async def sell_more() -> None:
        during.extend(await stand.box.sell(place.event, 10))

    await bench.repair(meanwhile=sell_more)
    await stand.box.tell((later[3], delivered(4)), (during[3], delivered(5)))
    await stand.level()
    assert (await bench.clean()).equal == 64


async def test_an_event_that_the_mirror_lost_is_told_with_its_tickets(bench: Bench) -> None:
    await town(bench)
    event = await bench.stand.box.event(rules=OPEN)
    tickets = await bench.stand.box.sell(event, 3)
    await bench.stand.box.tell((tickets[1], delivered(3)))
    await lose(bench)
    report = await bench.repair()
    assert (counts(report), event_counts(report)) == ({"missing_on_chain": 3}, {"missing_on_chain": 1})
    assert report.unexplained == 4
    await bench.clean()


async def test_tokens_that_the_ledger_never_issued_are_disowned(bench: Bench) -> None:
    place = await town(bench)
    first = ops.token(1, 4)
    rogue = ops.issue(1, 4, 3) + ops.deliver(first, 0, wallet(66)) + ops.check_in(first + 1) + ops.void(first + 2)
    await bench.rogue(rogue)
    report = await bench.repair()
    assert counts(report) == {"orphan_on_chain": 3}
    assert report.unexplained == 4, "three tokens, and the hash"
    assert (await bench.clean()).tickets == 7
    sold = await bench.stand.box.sell(place.event, 2)
    await bench.stand.level()
    assert await bench.token(sold[0]) == first + 3
    await bench.clean()


async def test_orphans_that_are_sold_before_they_are_disowned_become_tickets(bench: Bench) -> None:
    place = await town(bench)
    await bench.rogue(ops.issue(1, 4, 3))

    async def sell() -> None:
        await bench.stand.box.sell(place.event, 2)

    await bench.repair(meanwhile=sell)
    assert (await bench.clean()).tickets == 7


async def test_an_event_that_the_ledger_does_not_know_is_cancelled_on_the_chain(bench: Bench) -> None:
    await town(bench)
    await bench.rogue(ops.rules(2) + ops.issue(2, 0, 2) + ops.deliver(ops.token(2, 0), 0, wallet(66)) + ops.rules(3))
    report = await bench.repair()
    assert (counts(report), event_counts(report)) == ({"orphan_on_chain": 2}, {"orphan_on_chain": 2})
    await bench.clean(strangers=True)
    event = await bench.stand.box.event()
    await bench.stand.box.sell(event, 2)
    await bench.stand.level()
    assert (await bench.clean(strangers=True)).events == 4
    await bench.rogue(ops.rules(3))
    report = await bench.repair()
    assert event_counts(report) == {"orphan_on_chain": 1}
    await bench.clean(strangers=True)


async def test_an_orphaned_event_that_the_ledger_publishes_before_the_repair_is_its_own(bench: Bench) -> None:
    await town(bench)
    await bench.rogue(ops.rules(2) + ops.issue(2, 0, 3))

    async def publish() -> None:
        await bench.stand.box.sell(await bench.stand.box.event(), 2)

    await bench.repair(meanwhile=publish)
    report = await bench.repair()
    assert counts(report) == {"orphan_on_chain": 1}
    assert (await bench.clean()).tickets == 7


# -- Different. --------------------------------------------------------------------------

Rogue = Callable[[int], bytes]
"""Of a token, what somebody else tells the contract."""

DIFFERENT: dict[str, tuple[str, Rogue, str]] = {
    "another owner": ("owned", lambda t: ops.move(t, 1, wallet(66)), "owner, version"),
    "owned by nobody": ("owned", lambda t: ops.move(t, 1, ops.CUSTODY), "owner, version"),
    "owned by somebody": ("free", lambda t: ops.deliver(t, 0, wallet(66)), "owner, version"),
    "a used one moved": ("used", lambda t: ops.deliver(t, 0, wallet(66)), "owner, version"),
    "another version in a wallet": (
        "owned",
        lambda t: ops.move(t, 1, wallet(66)) + ops.move(t, 2, wallet(1)),
        "version",
    ),
    "another version in custody": (
        "free",
        lambda t: ops.deliver(t, 0, wallet(66)) + ops.move(t, 1, ops.CUSTODY),
        "version",
    ),
    "checked in on the chain only": ("owned", ops.check_in, "checked_in"),
    "checked in in the ledger only": ("used", ops.undo_check_in, "checked_in"),
    "void on the chain only": ("free", ops.void, "void"),
    "void in the ledger only": ("void", ops.unvoid, "void"),
    "void in a wallet": ("owned", ops.void, "void"),
    "void instead of checked in": ("used", lambda t: ops.undo_check_in(t) + ops.void(t), "checked_in, void"),
    "checked in instead of void": ("void", lambda t: ops.unvoid(t) + ops.check_in(t), "checked_in, void"),
    "everything": ("owned", lambda t: ops.move(t, 1, wallet(66)) + ops.check_in(t), "owner, version, checked_in"),
    "stolen and void": ("owned", lambda t: ops.move(t, 1, wallet(66)) + ops.void(t), "owner, version, void"),
}


async def test_tokens_that_are_not_as_the_ledger_says(bench: Bench) -> None:
    """Each in an event of its own, with three tickets that nobody has touched."""
    wrong: dict[UUID, str] = {}
    batch = b""
    for case, (which, rogue, _) in DIFFERENT.items():
        ticket: UUID = getattr(await town(bench), which)
        wrong[ticket] = case
        batch += rogue(await bench.token(ticket))
    await bench.rogue(batch)
    report = await bench.repair()
    assert counts(report) == {"mismatching": len(DIFFERENT)}
    assert report.unexplained == len(DIFFERENT) + 1, "the tokens, and the hash"
    found = {wrong[finding.ticket_id]: finding.reason for finding in report.findings if finding.ticket_id}
    assert found == {case: reason for case, (_, _, reason) in DIFFERENT.items()}
    assert (await bench.clean()).equal == 4 * len(DIFFERENT)


async def test_a_wrong_owner_in_a_cancelled_event(bench: Bench) -> None:
    """Nothing can be done to its tickets on the chain while it is cancelled."""
    place = await town(bench)
    token, used = await bench.token(place.owned), await bench.token(place.used)
    await bench.rogue(ops.move(token, 1, wallet(66)) + ops.undo_check_in(used))
    await bench.stand.box.tell((place.event, Event.Cancelled(reason="rain", at=NOW)))
    await bench.stand.box.tell((place.owned, bench.stand.box.cancelled(place.event)))
    await bench.repair()
    report = await bench.repair()
    assert counts(report) == {"mismatching": 2}
    assert all(finding.event_cancelled for finding in report.findings)
    assert (await bench.clean()).findings == ()


async def test_events_with_other_rules(bench: Bench) -> None:
    for _ in range(4):
        await town(bench)
    await bench.rogue(
        ops.rules(1) + ops.rules(2, flags=ops.CANCELLED) + ops.rules(3, flags=ops.TRANSFERS_OPEN, royalty=900)
    )
    report = await bench.repair()
    assert event_counts(report) == {"mismatching": 3}
    assert counts(report) == {"mismatching": 3}, "those of the event that is cancelled on the chain"
    assert report.unexplained == 7
    assert (await bench.clean()).equal == 16


async def test_an_event_that_only_the_ledger_calls_off(bench: Bench) -> None:
    place = await town(bench)
    await bench.stand.box.tell((place.event, Event.Cancelled(reason="rain", at=NOW)))
    await bench.stand.level()
    await bench.rogue(ops.rules(1) + ops.deliver(await bench.token(place.free), 0, wallet(66)))
    report = await bench.repair()
    assert event_counts(report) == {"mismatching": 1}
    assert counts(report) == {"mismatching": 3}, "one is void by itself"
    await bench.repair()
    await bench.clean()


async def test_a_batch_of_somebody_else_that_changes_nothing_is_noticed_by_the_hash(bench: Bench) -> None:
    place = await town(bench)
    await bench.rogue(ops.check_in(await bench.token(place.used)), seqs=1_000)
    report = await bench.repair()
    assert report.findings == ()
    assert (report.hash_equal, report.unexplained, report.adopted) == (False, 1, 0)
    assert (await bench.clean()).adopted == 1
    await bench.stand.box.tell((place.free, delivered(5)))
    await bench.stand.level()
    await bench.clean()
