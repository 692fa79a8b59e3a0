"""The model by which differences are explained comes to what the contract comes to, whatever both are told."""

from __future__ import annotations

from random import Random

import pytest

from adapters.chain import contract
from adapters.chain.contract import SkipReason
from adapters.chain.replay import Replay
from tests.chain.out_of_step import Bench
from tests.chain.parts import Stand, head_number, wallet
from tests.contracts import operations as ops

pytestmark = pytest.mark.anyio

EVENTS = 3
SERIALS = 6
BATCHES = 15
OPERATIONS = 12
TOKENS = [ops.token(number, serial) for number in range(1, EVENTS + 1) for serial in range(SERIALS + 2)]


def some(random: Random) -> bytes:
    """One operation, which the contract may or may not be able to do."""
    token, number = random.choice(TOKENS), random.randint(1, EVENTS)
    version, to = random.randint(0, 4), random.choice([ops.CUSTODY, wallet(1), wallet(2)])
    return random.choice(
        [
            ops.rules(number, cap=random.randint(1, 9), flags=random.choice([0, 0, 0, 1, 2, 5])),
            ops.issue(number, random.randint(0, 3), random.randint(1, 3)),
            ops.deliver(token, version, to),
            ops.deliver(token, 0, wallet(3)),
            ops.move(token, version, to),
            ops.resale(token, version, to, random.randint(0, 12)),
            ops.check_in(token),
            ops.check_in_word(number, 0, random.getrandbits(SERIALS)),
            ops.void(token),
            ops.void_word(number, 0, random.getrandbits(SERIALS)),
            ops.undo_check_in(token),
            ops.unvoid(token),
        ]
    )


@pytest.mark.parametrize("seed", range(2))
async def test_the_model_and_the_contract_agree(stand: Stand, seed: int) -> None:
    random, bench, replay = Random(seed), Bench(stand), Replay(TOKENS)
    address = stand.deployment.contract
    custodian = int(address, 16)
    reasons: set[SkipReason] = set()
    opening = b"".join(ops.rules(number) + ops.issue(number, 0, 2) for number in range(1, EVENTS + 1))
    for turn in range(BATCHES):
        batch = b"".join(some(random) for _ in range(OPERATIONS)) if turn else opening
        await bench.rogue(batch)
        head = await head_number(stand.node)
        logs = await stand.node.logs(address, [contract.OP_SKIPPED], head, head)
        skipped = {skip.op: SkipReason(skip.reason) for skip in contract.skipped_in(logs)}
        reasons.update(skipped.values())
        replay.apply(batch, skipped)
        answer = await stand.node.call(address, contract.state(TOKENS))
        words = [int.from_bytes(answer[at : at + 32], "big") for at in range(64, len(answer), 32)]
        assert [replay.state_of(token, custodian=custodian) for token in TOKENS] == words
    for number, rules in replay.rules.items():
        event = contract.event_in(await stand.node.call(address, contract.event_of(number)))
        assert event[1:] == rules[1:]
    assert {SkipReason.PARTIAL, SkipReason.WRONG_VERSION, SkipReason.VOIDED} <= reasons
