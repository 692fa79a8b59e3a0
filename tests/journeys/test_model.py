"""The HTTP API and a model of a few hundred lines of plain Python, told the same things: they must always agree.

Hypothesis thinks up the story and shortens the one that fails; each step is printed as the request and the answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.journeys.model import BAD_CODE, FORBIDDEN, Model, Refused
from tests.journeys.model_machine import CAST, Comparison, World
from tests.journeys.model_state import Item, Tier
from tests.journeys.people import concert, floor, in_time, seat, stalls
from tests.server import Server

EXAMPLES = 80
STEPS = 30
SHRINKING_SECONDS_MAX = 900
"""A pass takes less than one of them in ten: a failure is worth the time to make it short."""
ORDER_MAX = 4
REFUND_POLLS_MAX = 200
REFUND_POLL_SECONDS = 0.05
BOOK = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    derandomize=bool(os.environ.get("CI")),
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase is not Phase.explain],
)


def rarely() -> st.SearchStrategy[bool]:
    return st.integers(0, 5).map(lambda drawn: drawn == 5)


names = st.sampled_from(CAST)
nth = st.integers(0, 50)
on_the_floor = st.integers(1, 3).map(lambda quantity: Item("Floor", quantity))
some_seats = st.lists(st.sampled_from(["1", "2", "3", "1", "2", "99"]), min_size=1, max_size=2)
these_stalls = some_seats.map(lambda seats: Item("Stalls", seats=seats))
any_stalls = st.integers(1, 2).map(lambda quantity: Item("Stalls", quantity))
seats_on_the_floor = st.just(Item("Floor", seats=["1"]))
wishes = st.lists(
    st.one_of(on_the_floor, on_the_floor, these_stalls, these_stalls, any_stalls, seats_on_the_floor),
    min_size=1,
    max_size=2,
)


class Ticketing(Comparison):
    """One event from its draft to its cancellation, and everybody who has to do with it."""

    orders: Bundle[str] = Bundle("orders")

    # -- The organiser. ---------------------------------------------------------------

    @initialize(
        ground=st.integers(2, 5),
        chairs=st.integers(1, 3),
        buyer_max=st.none() | st.integers(3, 6),
        doors_open=st.booleans(),
        only_drafted=rarely(),
    )
    def offer(self, ground: int, chairs: int, buyer_max: int | None, *, doors_open: bool, only_drafted: bool) -> None:
        tiers = {
            "Floor": Tier(4_500, list(range(1, ground + 1)), seated=False),
            "Stalls": Tier(9_000, [str(number) for number in range(1, chairs + 1)], seated=True),
        }
        gates = {self.people.gate.user_id, self.world.usher.user_id}
        self.model = Model(self.people.organizer.user_id, gates, tiers, ORDER_MAX, buyer_max, doors_open)
        body = concert(
            floor(ground),
            stalls(chairs),
            max_tickets_per_order=ORDER_MAX,
            max_tickets_per_buyer=buyer_max,
            starts_at=in_time(hours=3),
            doors_open_at=in_time(hours=-1 if doors_open else 1),
        )
        event = self.command(self.people.organizer, "POST", "/v1/events", body, None)
        self.path = f"/v1/events/{event['event_id']}"
        self.event_id: str = event["event_id"]
        self.tier_ids: dict[str, str] = {tier["name"]: tier["tier_id"] for tier in event["tiers"]}
        self.tier_names = {tier_id: name for name, tier_id in self.tier_ids.items()}
        if not only_drafted:
            self.publish()

    @rule()
    def publish(self) -> None:
        self.command(self.people.organizer, "POST", f"{self.path}/publish", None, self.model.publish())

    @rule(by_buyer=rarely())
    def open_doors(self, *, by_buyer: bool) -> None:
        body = {"doors_open_at": in_time(hours=-1)}
        who = self.people.buyers[0] if by_buyer else self.people.organizer
        expected = FORBIDDEN if by_buyer else self.model.open_doors()
        self.command(who, "PATCH", self.path, body, expected)

    @rule(first=st.booleans(), second=st.booleans(), outsider=rarely())
    def staff_gates(self, *, first: bool, second: bool, outsider: bool) -> None:
        staff = [self.people.gate.user_id] * first + [self.world.usher.user_id] * second
        staff += [self.people.buyers[0].user_id] * outsider
        body = {"user_ids": staff}
        self.command(self.people.organizer, "PUT", f"{self.path}/gate-staff", body, self.model.staff_gates(staff))

    @rule(tier=st.sampled_from(["Floor", "Stalls"]), count=st.integers(1, 2), known=rarely())
    def release_more(self, tier: str, count: int, *, known: bool) -> None:
        first = len(self.model.tiers[tier].places) + (0 if known and tier == "Stalls" else 1)
        numbers = range(first, first + count)
        seats = [str(number) for number in numbers]
        path = f"{self.path}/tiers/{self.tier_ids[tier]}/releases"
        if tier == "Stalls":
            expected = self.model.release(tier, seats)
            self.command(self.people.organizer, "POST", path, {"seats": [seat(number) for number in numbers]}, expected)
        else:
            expected = self.model.release(tier, list(numbers))
            self.command(self.people.organizer, "POST", path, {"quantity": count}, expected)

    @rule(really=rarely())
    def cancel_event(self, *, really: bool) -> None:
        if not really:
            return
        expected = self.model.cancel()
        path, body = f"{self.path}/cancel", {"reason": "rain"}
        self.command(self.people.organizer, "POST", path, body, expected, remember=False)
        for _ in range(REFUND_POLLS_MAX):  # the worker's doing
            if self.orders_now() == {order_id: self.model.order_document(order_id) for order_id in self.model.orders}:
                break
            self.world.sleep(REFUND_POLL_SECONDS)
        self.remember()

    @rule(order=orders, some=st.none() | st.lists(nth, min_size=1, max_size=2))
    def refund(self, order: str, some: list[int] | None) -> None:
        tickets = self.model.orders[order].tickets
        chosen = None if some is None else sorted({tickets[number % len(tickets)] for number in some})
        body = {"reason": "sorry"} | ({} if chosen is None else {"ticket_ids": chosen})
        path = f"/v1/orders/{order}/refunds"
        self.command(self.people.organizer, "POST", path, body, self.model.refund(order, chosen))

    @rule(order=orders, number=nth, by_buyer=rarely())
    def revoke(self, order: str, number: int, *, by_buyer: bool) -> None:
        ticket_id = self.ticket(order, number)
        who = self.people.buyers[0] if by_buyer else self.people.organizer
        expected = self.model.revoke(who.user_id, ticket_id)
        self.command(who, "POST", f"/v1/tickets/{ticket_id}/revoke", {"reason": "no refund"}, expected)

    # -- Buyers. ----------------------------------------------------------------------

    @rule(target=orders, name=names, items=wishes)
    def place_order(self, name: str, items: list[Item]) -> Any:
        buyer = self.world.cast[name]
        expected = self.model.place(buyer.user_id, items)
        body = {"event_id": self.event_id, "items": [self._item(item) for item in items]}
        other = body | {"items": [self._item(Item("Floor", quantity=2 if items[0].quantity == 1 else 1))]}
        order = self.command(buyer, "POST", "/v1/orders", body, expected, other=other, remember=False)
        if order is None:
            return multiple()
        places = {ticket["ticket_id"]: self._place(ticket) for ticket in order["tickets"]}
        assert len(places) == len(order["tickets"]) == sum(item.quantity or len(item.seats or ()) for item in items)
        self.model.placed(order["order_id"], buyer.user_id, places)
        self.remember()
        return order["order_id"]

    @rule(
        order=orders, stranger=rarely(), token=st.sampled_from(["tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_x"])
    )
    def pay(self, order: str, token: str, *, stranger: bool) -> None:
        who = self.buyer_of(order, stranger=stranger)
        body = {"provider": "sandbox", "token": token}
        other = {"provider": "sandbox", "token": "tok_declined" if token == "tok_ok" else "tok_ok"}
        expected = self.model.pay(who.user_id, order, "sandbox", token)
        self.command(who, "POST", f"/v1/orders/{order}/payments", body, expected, other=other)

    @rule(order=orders, stranger=rarely())
    def cancel_order(self, order: str, *, stranger: bool) -> None:
        who = self.buyer_of(order, stranger=stranger)
        self.command(who, "POST", f"/v1/orders/{order}/cancel", None, self.model.give_up(who.user_id, order))

    # -- Holders. ---------------------------------------------------------------------

    @rule(order=orders, number=nth, stranger=rarely(), called=st.sampled_from(["Kim", "Lee"]))
    def claim(self, order: str, number: int, called: str, *, stranger: bool) -> None:
        ticket_id = self.ticket(order, number)
        who = self.holder_of(ticket_id, stranger=stranger)
        expected = self.model.claim(who.user_id, ticket_id, called)
        body, other = {"attendee_name": called}, {"attendee_name": "Somebody Else"}
        self.command(who, "POST", f"/v1/tickets/{ticket_id}/claim", body, expected, other=other)

    @rule(order=orders, number=nth, stranger=rarely(), to=names | st.just("nobody"), offer=st.booleans())
    def transfer(self, order: str, number: int, to: str, *, stranger: bool, offer: bool) -> None:
        ticket_id = self.ticket(order, number)
        who = self.holder_of(ticket_id, stranger=stranger)
        other = self.world.cast.get(to)
        expected = self.model.transfer(who.user_id, ticket_id, other.user_id if other else None, offer=offer)
        body = {"to": other.email if other else "nobody@example.com", "needs_acceptance": offer}
        self.command(who, "POST", f"/v1/tickets/{ticket_id}/transfer", body, expected)

    @rule(order=orders, number=nth, name=names, accepts=st.booleans())
    def answer_an_offer(self, order: str, number: int, name: str, *, accepts: bool) -> None:
        ticket_id = self.ticket(order, number)
        who = self.world.cast[name]
        decide = self.model.accept if accepts else self.model.decline
        path = f"/v1/tickets/{ticket_id}/transfer/{'accept' if accepts else 'decline'}"
        self.command(who, "POST", path, None, decide(who.user_id, ticket_id))

    @rule(order=orders, number=nth, stranger=rarely())
    def read_code(self, order: str, number: int, *, stranger: bool) -> None:
        ticket_id = self.ticket(order, number)
        who = self.holder_of(ticket_id, stranger=stranger)
        expected = self.model.code(who.user_id, ticket_id)
        response = self.world.send(who, "GET", f"/v1/tickets/{ticket_id}/code")
        self.compare(who, "GET", f"/v1/tickets/{ticket_id}/code", None, response, expected)
        if expected is None:
            self.codes.append((ticket_id, self.model.tickets[ticket_id].custody, response.json()["code"]))

    # -- The gate. --------------------------------------------------------------------

    @rule(
        number=nth,
        who=st.sampled_from(["gate", "gate", "usher", "organizer", "ann"]),
        elsewhere=rarely(),
        forged=rarely(),
    )
    def check_in(self, number: int, who: str, *, elsewhere: bool, forged: bool) -> None:
        if not self.codes:
            return
        ticket_id, custody, code = self.codes[-1 - number % len(self.codes)]  # the latest first: others may be stale
        staff = {
            "gate": self.people.gate,
            "usher": self.world.usher,
            "organizer": self.people.organizer,
        } | self.world.cast
        body = {"code": code[:-8] + "AAAAAAAA" if forged else code, "gate": "North"}
        if elsewhere:
            body["event_id"] = str(uuid4())
        caller = staff[who]
        decided = BAD_CODE if forged else self.model.check_in(caller.user_id, ticket_id, custody, elsewhere=elsewhere)
        self.command(caller, "POST", "/v1/check-ins", body, decided)

    # -- Again. -----------------------------------------------------------------------

    @rule(number=nth)
    def repeat(self, number: int) -> None:
        """The first answer, and nothing happens: `agree` would see it."""
        first = self.sent[number % len(self.sent)]
        again = self.world.send(first.who, first.method, first.path, first.body, key=first.key)
        note(f"again {first.method} {first.path} → {again.status}")
        assert (again.status, again.body) == (first.answer.status, first.answer.body)
        if first.answer.status != FORBIDDEN.status:  # which may be said before the key is looked at
            assert again.headers.get("idempotent-replayed") == "true"
        assert again.headers.get("ledger-position") == first.answer.headers.get("ledger-position")

    @rule(number=nth)
    def reuse_a_key(self, number: int) -> None:
        candidates = [sent for sent in self.sent if sent.other is not None]
        if candidates:
            first = candidates[number % len(candidates)]
            again = self.world.send(first.who, first.method, first.path, first.other, key=first.key)
            self.compare(
                first.who, first.method, first.path, first.other, again, Refused(422, "idempotency-key-reused")
            )

    # -- Looking. ---------------------------------------------------------------------

    @invariant()
    def agree(self) -> None:
        """The event as it is now: everything that one request tells about many things."""
        if hasattr(self, "event_id"):
            self.check(self.model, "")

    @rule(number=nth, by_instant=st.booleans())
    def look_back(self, number: int, *, by_instant: bool) -> None:
        position, model = list(self.remembered.items())[number % len(self.remembered)]
        as_of = str(position)
        if by_instant:
            [fact] = self.world.ask(self.people.admin, f"/v1/ledger/events?after={position - 1}&limit=1")["items"]
            as_of = fact["at"]
        note(f"as of {as_of}")
        self.check(model, as_of)
        for ticket_id, ticket in model.tickets.items():
            self.check_ticket(ticket_id, ticket, model, as_of)

    @rule(order=orders, number=nth)
    def look_at_a_ticket(self, order: str, number: int) -> None:
        ticket_id = self.ticket(order, number)
        self.check_ticket(ticket_id, self.model.tickets[ticket_id], self.model, "")
        history = self.world.ask(self.people.organizer, f"/v1/tickets/{ticket_id}/history?limit=200")["items"]
        assert [fact["type"] for fact in history] == self.model.tickets[ticket_id].facts
        assert [fact["version"] for fact in history] == list(range(1, len(history) + 1))

    @rule(name=names)
    def look_at_my_tickets(self, name: str) -> None:
        person = self.world.cast[name]
        person.position = max(person.position, self.people.organizer.position)
        page = self.world.ask(person, "/v1/tickets?limit=200")["items"]
        mine = {ticket["ticket_id"]: ticket["status"] for ticket in page if ticket["event_id"] == self.event_id}
        tickets = self.model.tickets.items()
        assert mine == {i: self.model.seen(ticket) for i, ticket in tickets if ticket.holder == person.user_id}


@pytest.fixture(scope="module")
def world(server: Server) -> Iterator[World]:
    world = World(server)
    yield world
    world.close()


@pytest.mark.timeout(SHRINKING_SECONDS_MAX)
def test_the_api_and_the_model_agree(world: World) -> None:
    run_state_machine_as_test(lambda: Ticketing(world), settings=BOOK)  # type: ignore[arg-type]


def test_decided_again_under_the_rules_of_then_nothing_would_have_differed(server: Server, tmp_path: Path) -> None:
    """Of everything that the model and the API did to each other, through two hands: the API's and the timekeeper's."""
    rules = tmp_path / "rules.toml"
    rules.touch()
    ran = server.command("replay", "--what-if", str(rules))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "Nothing would have differed.", ran.stdout
