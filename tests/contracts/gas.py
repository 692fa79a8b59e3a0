"""What the mirror's operations cost, measured on anvil: ``python -m tests.contracts.gas`` prints the table.

Every figure is all in: the transaction, its data and the batch's own bookkeeping are shared out over the tickets. Each
is measured three times, on other tickets, and the median counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import NamedTuple

from tests.anvil import Anvil
from tests.contracts.chain import Chain, anvil_node
from tests.contracts.operations import check_in_word, deliver, issue, resale, rules, token, void

ROUNDS = 3
SEATS = 20_000
MINTED_AT_ONCE = 500
ADMITTED_AT_ONCE = 500
MOVED_AT_ONCE = 250  # more would not fit into a transaction (EIP-7825)
ISSUED_AT_ONCE = 5_000
SHARES = {"issue": 600, "deliver": 100, "resale": 30, "void": 20, "check in": 250}
MIXED = sum(SHARES.values())
ORDER_SIZES = (1, 2, 3, 4)
BLOCK_GAS = 60_000_000
BLOCK_SECONDS = 12

ON_SALE, AT_THE_DOORS, MINTING = 1, 2, 3


class Cost(NamedTuple):
    what: str
    gas: float
    at_most: int
    peer: str

    @property
    def share_of_block(self) -> float:
        """Of a block of 60 M gas, what a thousand of them take."""
        return 1_000 * self.gas / BLOCK_GAS


class House:
    """A contract with an event on sale, one at its doors where every word of seats has been touched, and one to mint."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._random = random.Random(5)
        self._issued = dict.fromkeys((ON_SALE, AT_THE_DOORS, MINTING), 0)
        self._delivered = 0
        self._for_resale: list[int] = []
        chain.apply(*(rules(number, cap=10**6, royalty=1_000) for number in self._issued))
        chain.apply(self._issue(ON_SALE, ISSUED_AT_ONCE))
        while self._issued[AT_THE_DOORS] < SEATS:
            chain.apply(self._issue(AT_THE_DOORS, ISSUED_AT_ONCE))
        chain.apply(*check_ins(range(0, SEATS, 256)), *(void(token(AT_THE_DOORS, s)) for s in range(1, SEATS, 256)))
        self._doors = [seat for seat in range(SEATS) if seat % 256 > 1]
        self._random.shuffle(self._doors)
        chain.apply(self._issue(MINTING, 1))

    def mint(self) -> float:
        return self._chain.apply(self._issue(MINTING, MINTED_AT_ONCE)).gas / MINTED_AT_ONCE

    def deliver(self) -> float:
        return self._applied([self._deliver(self._wallet()) for _ in range(MOVED_AT_ONCE)])

    def resell(self) -> float:
        return self._applied([self._resell() for _ in range(MOVED_AT_ONCE)])

    def admit(self) -> float:
        return self._chain.apply(*check_ins(self._arrivals(ADMITTED_AT_ONCE))).gas / ADMITTED_AT_ONCE

    def mixed(self) -> float:
        """Of two events at once: one sells, in orders of one to four tickets, and the other admits.

        Packed as the mirror packs: issues first, check-ins of one batch gathered into words.
        """
        ops = [self._issue(ON_SALE, SHARES["issue"])]
        ops += [self._deliver(wallet) for wallet in self._buyers(SHARES["deliver"])]
        ops += [self._resell() for _ in range(SHARES["resale"])]
        ops += [void(token(AT_THE_DOORS, self._doors.pop())) for _ in range(SHARES["void"])]
        return self._chain.apply(*ops, *check_ins(self._arrivals(SHARES["check in"]))).gas / MIXED

    def _applied(self, ops: list[bytes]) -> float:
        outcome = self._chain.apply(*ops)
        assert outcome.skips == []
        return outcome.gas / len(ops)

    def _issue(self, number: int, count: int) -> bytes:
        first = self._issued[number]
        self._issued[number] += count
        return issue(number, first, count)

    def _deliver(self, wallet: str) -> bytes:
        self._delivered += 1
        self._for_resale.append(token(ON_SALE, self._delivered - 1))
        return deliver(self._for_resale[-1], 0, wallet)

    def _resell(self) -> bytes:
        return resale(self._for_resale.pop(0), 1, self._wallet(), 500)

    def _arrivals(self, count: int) -> list[int]:
        return [self._doors.pop() for _ in range(count)]

    def _wallet(self) -> str:
        return "0x" + self._random.randbytes(20).hex()

    def _buyers(self, tickets: int) -> Iterator[str]:
        while tickets > 0:
            size = min(tickets, self._random.choice(ORDER_SIZES))
            yield from [self._wallet()] * size
            tickets -= size


def check_ins(seats: Iterable[int]) -> list[bytes]:
    masks: dict[int, int] = {}
    for seat in seats:
        masks[seat >> 8] = masks.get(seat >> 8, 0) | 1 << (seat & 255)
    return [check_in_word(AT_THE_DOORS, word, mask) for word, mask in sorted(masks.items())]


def costs(chain: Chain) -> list[Cost]:
    house = House(chain)
    one_by_one = chain.deploy_part("OneByOneTickets")
    packed_slot = chain.deploy_part("PackedSlotCheckIns")
    chain.transact(packed_slot.functions.issue(0, ROUNDS, chain.alice), chain.admin)

    def of(measure: Callable[[], float]) -> float:
        return median(measure() for _ in range(ROUNDS))

    serials, buyers = iter(range(ROUNDS)), iter((chain.alice, chain.bob, chain.carol))
    minted = of(lambda: chain.transact(one_by_one.functions.mint(next(buyers)), chain.admin).gas)
    checked = of(lambda: chain.transact(packed_slot.functions.checkIn(next(serials)), chain.admin).gas)
    return [
        Cost("minted to custody, 500 a batch", of(house.mint), 2_150, f"OpenZeppelin, one by one: {minted:,.0f}"),
        Cost("delivered to a new wallet", of(house.deliver), 48_500, "two new slots and a log: 46,075"),
        Cost("resold to a new wallet", of(house.resell), 34_500, ""),
        Cost("checked in, 500 of 20,000", of(house.admit), 1_700, f"a packed slot, one by one: {checked:,.0f}"),
        Cost("mixed, 1,000 a batch", of(house.mixed), 6_700, ""),
    ]


def main() -> None:
    with Anvil("--enable-tx-gas-limit") as anvil:
        for cost in costs(Chain(anvil_node(anvil))):
            block = f"{cost.share_of_block:7.1%} of a block for 1,000"
            print(f"{cost.what:32} {cost.gas:9,.0f} gas (at most {cost.at_most:6,}) {block}  {cost.peer}")


if __name__ == "__main__":
    main()
