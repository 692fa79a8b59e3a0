"""Plays a week through the HTTP API: people, events, sale, doors, and the reading of the books."""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from rich.console import Console

from api.client import Client
from api.demo.chain import TICKETS_PER_WALLET, into_wallets, reconcile, until_mirrored
from api.demo.figures import CURRENCY, Figures, LedgerReader, pages
from api.demo.people import Person
from api.demo.phase import Phase
from api.demo.plan import Performance, baskets, performances
from api.demo.report import report
from api.demo.week import Week

SEED = 20180916
TICKETS_PER_BUYER = 1_300  # an account costs a password hash: 200 at full scale
BUYERS_MIN, BUYERS_MAX = 4, 200
SIGN_INS_AT_ONCE = 8  # the server bounds its hashing; more would only time out in its queue
GATES = ("North", "South", "East", "West")
CURTAIN_IN = timedelta(hours=2)
PLAYING_TIME = timedelta(hours=10)  # long enough for the slowest run: after the end nobody is admitted
CLOCK_SKEW = timedelta(minutes=1)  # between this machine and the server

Job = TypeVar("Job")


@dataclass(frozen=True, slots=True)
class OnSale:
    """One performance as the server knows it; ``tier_ids`` in the order of ``performance.tiers``."""

    event_id: str
    performance: Performance
    tier_ids: tuple[str, ...]


class Basket(NamedTuple):
    """One order to place."""

    event_id: str
    tier_id: str
    quantity: int
    buyer: Person


class Sold(NamedTuple):
    """One ticket that somebody paid for."""

    ticket_id: str
    holder: Person


@dataclass(slots=True)
class Stage:
    """One run: its people, and what they have brought about so far."""

    console: Console
    workers: int
    admin: Person
    organizer: Person
    gates: dict[str, Person]
    buyers: list[Person]
    rng: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - the same audience again
    on_sale: list[OnSale] = field(default_factory=list)
    sold: list[Sold] = field(default_factory=list)

    # -- The steps, in order. ---------------------------------------------------

    async def hire(self) -> None:
        async def sign_up(role_and_person: tuple[str, Person]) -> int:
            role, person = role_and_person
            await person.register(f"Demo {role}")
            if role != "attendee":
                roles = {"roles": ["attendee", role]}
                await self.admin.ask("PUT", f"/v1/users/{person.user_id}/roles", roles)
            await person.ask("GET", "/v1/me")
            return 1

        staff = [("organizer", self.organizer), *(("gate", person) for person in self.gates.values())]
        people = staff + [("attendee", person) for person in self.buyers]
        await self._phase("People", "people", len(people), people, sign_up, workers=SIGN_INS_AT_ONCE)

    async def announce(self, week: Week) -> None:
        starts_at = datetime.now(UTC) + CURTAIN_IN
        staff = {"user_ids": [person.user_id for person in self.gates.values()]}

        async def put_on_sale(performance: Performance) -> int:
            ask = self.organizer.ask
            event = await ask("POST", "/v1/events", _event(performance, starts_at))
            path = f"/v1/events/{event['event_id']}"
            tier_id = {tier["name"]: tier["tier_id"] for tier in event["tiers"]}
            await ask("PUT", f"{path}/gate-staff", staff)
            await ask("POST", f"{path}/publish")
            for tier in performance.tiers:
                if tier.standing:
                    release = f"{path}/tiers/{tier_id[tier.name]}/releases"
                    await ask("POST", release, {"quantity": tier.standing})
            tier_ids = tuple(tier_id[tier.name] for tier in performance.tiers)
            self.on_sale.append(OnSale(event["event_id"], performance, tier_ids))
            return 1

        programme = [performance for show in week.shows for performance in performances(show)]
        await self._phase("Events", "events", len(programme), programme, put_on_sale)
        self.on_sale.sort(key=lambda on_sale: on_sale.performance.title)  # the seed decides, not who answered first

    async def sell(self, week: Week) -> None:
        async def buy(basket: Basket) -> int:
            items = [{"tier_id": basket.tier_id, "quantity": basket.quantity}]
            ask = basket.buyer.ask
            order = await ask("POST", "/v1/orders", {"event_id": basket.event_id, "items": items})
            payment = {"provider": "sandbox", "token": "tok_ok"}
            await ask("POST", f"/v1/orders/{order['order_id']}/payments", payment)
            self.sold += [Sold(ticket["ticket_id"], basket.buyer) for ticket in order["tickets"]]
            return basket.quantity

        await self._phase("Sale", "tickets", week.attendance, self._queue_at_the_box_office(), buy)

    async def fill_wallets(self) -> None:
        """Every buyer takes the first of their tickets into a wallet of their own."""
        bought: dict[Person, list[str]] = {}
        for ticket in self.sold:
            bought.setdefault(ticket.holder, []).append(ticket.ticket_id)

        async def take(holder: Person) -> int:
            return await into_wallets(holder, bought[holder][:TICKETS_PER_WALLET])

        total = sum(min(TICKETS_PER_WALLET, len(tickets)) for tickets in bought.values())
        await self._phase("Wallets", "tickets", total, bought, take)

    async def open_doors(self) -> None:
        opened_at = {"doors_open_at": _rfc3339(datetime.now(UTC) - CLOCK_SKEW)}

        async def open_door(on_sale: OnSale) -> int:
            await self.organizer.ask("PATCH", f"/v1/events/{on_sale.event_id}", opened_at)
            return 1

        await self._phase("Doors open", "events", len(self.on_sale), self.on_sale, open_door)

    async def admit(self) -> None:
        gates = list(self.gates.items())

        async def scan(ticket: Sold) -> int:
            code = await ticket.holder.ask("GET", f"/v1/tickets/{ticket.ticket_id}/code")
            gate, person = self.rng.choice(gates)
            await person.ask("POST", "/v1/check-ins", {"code": code["code"], "gate": gate})
            return 1

        await self._phase("Check-in", "tickets", len(self.sold), self.sold, scan)

    async def read_the_books(self, week: Week, since: int) -> list[Figures]:
        """The ledger's figures, in the order of ``week.shows``; ``since`` is a position before the first event."""
        figures = {show: Figures() for show in week.shows}
        of_event = {on_sale.event_id: figures[on_sale.performance.show] for on_sale in self.on_sale}
        head: int = (await self.admin.ask("GET", "/v1/ledger/head"))["position"]
        self.admin.wait_for(head)
        reader = LedgerReader(self.admin, of_event)
        await self._phase("Availability", "events", len(of_event), of_event, reader.add_sold)
        await self._phase("Ledger", "facts", head - since, pages(since, head), reader.add_page)
        reader.add_takings()
        return list(figures.values())

    # -- Helpers. ----------------------------------------------------------------

    def _queue_at_the_box_office(self) -> list[Basket]:
        queue = [
            Basket(on_sale.event_id, tier_id, quantity, self.rng.choice(self.buyers))
            for on_sale in self.on_sale
            for tier, tier_id in zip(on_sale.performance.tiers, on_sale.tier_ids, strict=True)
            for quantity in baskets(tier.sold, self.rng)
        ]
        self.rng.shuffle(queue)
        return queue

    async def _phase(
        self,
        title: str,
        unit: str,
        total: int,
        jobs: Iterable[Job],
        work: Callable[[Job], Awaitable[int]],
        *,
        workers: int | None = None,
    ) -> None:
        await Phase(self.console, title, unit, total).work_off(jobs, work, workers or self.workers)


async def run(
    base_url: str,
    admin_email: str,
    admin_password: str,
    *,
    week: Week,
    scale: float,
    concurrency: int,
    console: Console,
    mirrored: bool = False,
) -> bool:
    """Play ``scale`` of the week against the server and print the comparison; whether every figure is equal.

    ``mirrored``: also put tickets into wallets, wait for the chain, and reconcile it.

    Raises DemoError when the server refuses a step, WeekDataError for a scale out of bounds.
    """
    played = week.scaled(scale)
    async with Client(base_url, concurrency) as client:
        admin = Person(client, admin_email, admin_password)
        stage = _stage(client, admin, played, concurrency, console)
        since: int = (await admin.ask("GET", "/v1/ledger/head"))["position"]
        await stage.hire()
        await stage.announce(played)
        await stage.sell(played)
        if mirrored:
            await stage.fill_wallets()
        await stage.open_doors()
        await stage.admit()
        figures = await stage.read_the_books(played, since)
        equal = report(console, played, scale, figures)
        if not mirrored:
            return equal
        await until_mirrored(admin, console)
        return await reconcile(admin, console) and equal


def _stage(client: Client, admin: Person, week: Week, concurrency: int, console: Console) -> Stage:
    run_id = secrets.token_hex(4)  # its own people each time, so that a server can be played on again

    def person(name: str) -> Person:
        return Person(client, f"{name}-{run_id}@example.com", secrets.token_urlsafe(24))

    buyers = max(BUYERS_MIN, min(BUYERS_MAX, week.attendance // TICKETS_PER_BUYER))
    return Stage(
        console=console,
        workers=concurrency,
        admin=admin,
        organizer=person("organizer"),
        gates={name: person(f"gate-{name.lower()}") for name in GATES},
        buyers=[person(f"buyer-{n}") for n in range(1, buyers + 1)],
    )


def _event(performance: Performance, starts_at: datetime) -> dict[str, object]:
    show = performance.show
    return {
        "title": performance.title,
        "venue": {"name": show.theatre, "city": "New York", "country": "US"},
        "starts_at": _rfc3339(starts_at),
        "ends_at": _rfc3339(starts_at + PLAYING_TIME),
        "doors_open_at": _rfc3339(starts_at - timedelta(hours=1)),
        "timezone": "America/New_York",
        "currency": CURRENCY,
        "tags": ["broadway", show.kind.lower()],
        "tiers": [{"name": tier.name, "price": tier.cents, "quantity": tier.seats} for tier in performance.tiers],
    }


def _rfc3339(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
