"""Reconciliation: every ticket of the ledger and every token of a contract, held side by side at one final block.

See docs/decisions/0015-reconciliation.md for what counts as explained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, TypeVar
from uuid import UUID

from psycopg import AsyncConnection

from adapters.chain import contract
from adapters.chain.chain_side import ChainSide, Standing, final_block, orphans, stands
from adapters.chain.deployments import Deployment
from adapters.chain.ledger_side import LedgerSide, read_ledger
from adapters.chain.node import Block, ChainError, Log, Node
from adapters.chain.packed import NOTHING, VOIDED
from adapters.chain.replay import Replay
from adapters.chain.told import Told, read_record, retell, told
from adapters.chain.verdicts import (
    Difference,
    EventDifference,
    Verdict,
    by_itself,
    by_record,
    event_by_itself,
    event_by_record,
)
from adapters.chain.watcher import Transfer
from domain.reconciliation import EXPLAINED, FINDINGS_MAX, Count, FindingKind, Report
from projections.chain_book import PlannedToken
from projections.chain_operations import CANCELLED, SERIAL_BITS, Configure, event_number

TRIES_MAX = 3
"""A block that is final and is reorganised away all the same makes it begin again."""
SERIALS = (1 << SERIAL_BITS) - 1

Tell = Callable[[int, int], Awaitable[None]]
"""Hears how much is done, and of how much: positions of the ledger, then tokens of the contract."""


async def unheard(_done: int, _total: int) -> None:
    """Nobody listens."""


async def reconcile(
    conn: AsyncConnection,
    node: Node,
    deployment: Deployment,
    *,
    confirmations: int | None = None,
    on_progress: Tell = unheard,
) -> Reconciled:
    """``confirmations`` None: at the block that the chain calls finalized. Changes nothing. Raises ChainError."""
    for _ in range(TRIES_MAX):
        began = perf_counter()
        block = await final_block(node, confirmations)
        comparison = Comparison(conn, node, deployment, block, on_progress)
        reconciled = await comparison.run(began)
        if await stands(node, block):
            return reconciled
    raise ChainError(f"{node.name} takes back blocks that it calls final, as often as they are looked at")


class Reconciled(NamedTuple):
    report: Report
    transfers: tuple[Transfer, ...]
    """Those by holders that the ledger has not heard of, in the chain's order: the watcher's way is theirs, too."""


class Judged(NamedTuple):
    difference: Difference
    verdict: Verdict


class JudgedEvent(NamedTuple):
    difference: EventDifference
    verdict: Verdict


J = TypeVar("J", Judged, JudgedEvent)


@dataclass(slots=True)
class Comparison:
    """At one block. It holds every ticket in a compact form, and every difference."""

    conn: AsyncConnection
    node: Node
    deployment: Deployment
    block: Block
    tell: Tell
    tickets: int = 0
    equal: int = 0
    judged: list[Judged] = field(default_factory=list)
    judged_events: list[JudgedEvent] = field(default_factory=list)
    transfers: list[tuple[Log, UUID]] = field(default_factory=list)
    """By holders, that the ledger has not heard of; and of which ticket."""
    _open: list[Difference] = field(default_factory=list)
    """What only the contract's record can explain."""
    _open_events: list[EventDifference] = field(default_factory=list)

    async def run(self, began: float) -> Reconciled:
        chain = ChainSide(self.node, self.deployment, self.block)
        standing = await chain.standing()
        how_far = await told(self.conn, self.node, self.deployment, standing)
        head = await self._head()

        async def on_read(position: int) -> None:
            await self.tell(position, head + standing.issued)

        ledger = await read_ledger(
            self.conn,
            self.deployment.chain,
            told=how_far.position,
            block_number=self.block.number,
            head=head,
            on_read=on_read,
        )
        self._compare_events(ledger, standing)
        await self._compare_tokens(ledger, standing, chain, head)
        await self._compare_orphans(ledger, standing, chain)
        await self._judge(ledger, standing)
        await self.tell(head + standing.issued, head + standing.issued)
        return Reconciled(self._report(ledger, standing, how_far, head, began), self._transfers())

    async def _head(self) -> int:
        """After the block was chosen: what the contract had at it came from facts at or before this position."""
        cursor = await self.conn.execute("select position from ledger.head")
        row = await cursor.fetchone()
        return row[0] if row is not None else 0

    # -- Comparing. --------------------------------------------------------------------

    def _compare_events(self, ledger: LedgerSide, standing: Standing) -> None:
        for number in sorted({*ledger.event_numbers(), *standing.events}):
            on_chain = standing.events.get(number)
            chain = Configure(number, *on_chain[1:]) if on_chain is not None else None
            now, event = ledger.rules_now(number), ledger.event(number)
            if chain == now:
                continue
            then, repaired = ledger.rules_then(number), number in ledger.event_repairs
            event_id = event.event_id if event is not None else None
            found = EventDifference(number, event_id, now, then, chain, repaired)
            verdict = event_by_itself(found)
            if verdict is not None:
                self.judged_events.append(JudgedEvent(found, verdict))
            else:
                self._open_events.append(found)

    async def _compare_tokens(self, ledger: LedgerSide, standing: Standing, chain: ChainSide, head: int) -> None:
        tokens = sorted(ledger.tokens(), key=lambda token: token.token)
        done = head
        async for states in chain.states([token.token for token in tokens]):
            part = tokens[self.tickets : self.tickets + len(states)]
            for token, state in zip(part, states, strict=True):
                if ledger.now(token) == state:
                    self.equal += 1
                else:
                    self._consider(_difference(token, state, ledger, standing))
            self.tickets += len(states)
            done += len(states)
            await self.tell(min(done, head + standing.issued), head + standing.issued)
        for ticket in ledger.sold_without_token():
            self.tickets += 1
            reason = "the plan has no token for it"
            found = Difference(0, ticket, NOTHING, NOTHING, NOTHING, settled=False)
            self.judged.append(Judged(found, Verdict(FindingKind.MISSING_ON_CHAIN, reason)))

    async def _compare_orphans(self, ledger: LedgerSide, standing: Standing, chain: ChainSide) -> None:
        """What the contract has issued beyond the ledger. In an event that was disowned it is void, and let be."""
        for number in standing.events:
            event = ledger.event(number)
            tokens = orphans(standing, number, event.issued if event is not None else 0)
            at = 0
            async for states in chain.states(tokens):
                for token, state in zip(tokens[at : at + len(states)], states, strict=True):
                    if event is not None or ledger.rules_now(number) is None or not state & VOIDED:
                        self._consider(_orphan(token, state, ledger, standing))
                at += len(states)

    def _consider(self, found: Difference) -> None:
        verdict = by_itself(found)
        if verdict is not None:
            self.judged.append(Judged(found, verdict))
        else:
            self._open.append(found)

    async def _judge(self, ledger: LedgerSide, standing: Standing) -> None:
        if not (self._open or self._open_events):
            return
        replay = Replay(found.token for found in self._open)
        record = await read_record(self.node, self.deployment, standing)
        await retell(self.conn, self.deployment, record, replay, ledger.transfers)
        custodian = int(self.deployment.contract, 16)
        for found in self._open:
            self.judged.append(Judged(found, by_record(found, replay, custodian=custodian)))
            if found.ticket_id is not None:
                self.transfers += [(entry, found.ticket_id) for entry in replay.tokens[found.token].unheard]
        self.judged_events += [JudgedEvent(found, event_by_record(found, replay)) for found in self._open_events]

    def _transfers(self) -> tuple[Transfer, ...]:
        in_order = sorted(self.transfers, key=lambda pair: (pair[0].block_number, pair[0].log_index))
        return tuple(_transfer(entry, ticket, self.deployment) for entry, ticket in in_order[:FINDINGS_MAX])

    # -- Reporting. ----------------------------------------------------------------------

    def _report(self, ledger: LedgerSide, standing: Standing, how_far: Told, head: int, began: float) -> Report:
        kinds = Counter(verdict.kind for _, verdict in self.judged)
        event_kinds = Counter(verdict.kind for _, verdict in self.judged_events)
        verdicts = [verdict for _, verdict in (*self.judged, *self.judged_events)]
        reasons = Counter(verdict.reason for verdict in verdicts if verdict.kind is FindingKind.SKIPPED)
        unexplained = sum(verdict.kind not in EXPLAINED for verdict in verdicts)
        return Report(
            chain_id=self.deployment.chain_id,
            contract=self.deployment.contract,
            block_number=self.block.number,
            block_hash=f"0x{self.block.hash.hex()}",
            position=head,
            synced_through=standing.cursor,
            mirrored_position=how_far.position,
            tickets=self.tickets,
            equal=self.equal,
            counts=_counts(kinds),
            skipped=tuple(Count(of=reason, count=count) for reason, count in sorted(reasons.items())),
            events=len(list(ledger.event_numbers())),
            event_counts=_counts(event_kinds),
            hash_equal=how_far.hash_equal,
            adopted=how_far.adopted,
            unexplained=unexplained + (not how_far.hash_equal),
            findings=tuple(found.difference.finding(found.verdict) for found in _gravest(self.judged)),
            event_findings=tuple(f.difference.finding(f.verdict) for f in _gravest(self.judged_events)),
            seconds=round(perf_counter() - began, 3),
        )


def _difference(token: PlannedToken, chain: int, ledger: LedgerSide, standing: Standing) -> Difference:
    number, serial = event_number(token.token), token.token & SERIALS
    cancelled, cancelled_on_chain = _cancelled(number, ledger, standing)
    issue_from = ledger.event_repairs.get(number)
    return Difference(
        token.token,
        token.ticket_id,
        ledger.now(token),
        ledger.then(token),
        chain,
        settled=not ledger.touched(token) and cancelled == cancelled_on_chain,
        repaired_from=ledger.repairs.get(token.token),
        event_repaired=number in ledger.event_repairs,
        issue_repaired=issue_from is not None and serial >= issue_from,
        event_cancelled=cancelled and cancelled_on_chain,
    )


def _orphan(token: int, chain: int, ledger: LedgerSide, standing: Standing) -> Difference:
    number = event_number(token)
    cancelled, cancelled_on_chain = _cancelled(number, ledger, standing)
    settled = ledger.event(number) is not None and cancelled == cancelled_on_chain
    return Difference(token, None, NOTHING, NOTHING, chain, settled=settled, repaired_from=ledger.repairs.get(token))


def _transfer(entry: Log, ticket_id: UUID, deployment: Deployment) -> Transfer:
    seen = contract.holder_transfer_in(entry)
    return Transfer(
        ticket_id=ticket_id,
        chain_id=deployment.chain_id,
        contract=deployment.contract,
        token_id=seen.token,
        version=seen.version,
        from_wallet=seen.from_wallet,
        to_wallet=seen.to_wallet,
        block_number=entry.block_number,
        block_hash=f"0x{entry.block_hash.hex()}",
        transaction_hash=f"0x{entry.transaction.hex()}",
        log_index=entry.log_index,
    )


def _cancelled(number: int, ledger: LedgerSide, standing: Standing) -> tuple[bool, bool]:
    """Whether the event is cancelled, for the ledger and on the chain."""
    rules, on_chain = ledger.rules_now(number), standing.events.get(number)
    return (
        rules is not None and bool(rules.flags & CANCELLED),
        on_chain is not None and bool(on_chain.flags & CANCELLED),
    )


def _counts(kinds: Counter[FindingKind]) -> tuple[Count, ...]:
    return tuple(Count(of=kind, count=kinds[kind]) for kind in FindingKind)


def _gravest(judged: list[J]) -> list[J]:
    """As many as a report lists: the unexplained first, each part in the order of the chain's numbers."""
    return sorted(judged, key=lambda one: (one[1].kind in EXPLAINED, one[0][0]))[:FINDINGS_MAX]
