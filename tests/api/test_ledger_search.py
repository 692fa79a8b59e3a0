"""The ledger searched and streamed: what is found is all that there is of it, whatever the page, and lines end when they say."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
from starlette.types import Message

from adapters import reader
from api import ledger_lines
from domain.account import Role
from tests.api.callers import TIMEOUT_SECONDS, Answer, Caller, eventually
from tests.api.house import House, fresh_database
from tests.api.scenes import Json, bought, on_sale, ordered

PATH = "/v1/ledger/events"
NDJSON = {"accept": "application/x-ndjson"}
APPEND = "select ledger.append(%s::uuid[], %s::int[], %s::text[], %s::bytea[], %s::bytea[])"
FOREIGN = 40
"""Facts of other programs, some of a later shape, some that are no JSON."""


class Past(NamedTuple):
    house: House
    analyst: Caller
    facts: list[Json]
    events: list[str]
    orders: list[str]


@pytest.fixture(scope="module")
def past(postgres: str) -> Iterator[Past]:
    """Two events with orders, in a ledger where other programs wrote, too; nothing happens any more."""
    with fresh_database(postgres) as url, House(url, timekeeper=False) as house:
        organizer, buyer = house.person("olga", Role.ORGANIZER), house.person("bea")
        events = [on_sale(organizer)["event_id"] for _ in range(2)]
        shown = [buyer.get(f"/v1/events/{event}").ok() for event in events]
        orders = [bought(buyer, shown[0], 2), ordered(buyer, shown[1], 3), bought(buyer, shown[1])]
        buyer.post(f"/v1/orders/{orders[1]['order_id']}/cancel").ok()
        _write_foreign(url, events[0])
        bought(buyer, shown[0])
        analyst = house.person("ana", Role.ANALYST)
        facts = everything(analyst)
        assert len(facts) == house.head
        yield Past(house, analyst, facts, events, [order["order_id"] for order in orders])


def _write_foreign(url: str, event_id: str) -> None:
    """Facts that name the event where it is not what they are of, or whose bytes are no JSON at all."""
    named = json.dumps({"event_id": event_id.upper(), "note": f'"event_id":"{event_id}"', "in": {"event_id": event_id}})
    payloads = [
        named.encode(),
        b"\xff\xfe",
        f'["event_id", "{event_id}"]'.encode(),
        f'{{"event_id":"{event_id}'.encode(),
    ]
    with psycopg.connect(url, autocommit=True) as connection:
        stream = uuid4()
        rows = [
            (stream, version, "import.noted@2" if version % 2 else "import.noted", payloads[version % 4], b"{}")
            for version in range(1, FOREIGN + 1)
        ]
        connection.execute(APPEND.encode(), [list(column) for column in zip(*rows, strict=True)])


def everything(caller: Caller, **query: object) -> list[Json]:
    """What is found, by the cursor, to the end."""
    facts: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        page = caller.get(PATH, {"limit": 200, **query} | ({"cursor": cursor} if cursor else {})).ok()
        facts += page["items"]
        cursor = page["next_cursor"]
    return facts


def lines_of(answer: Answer) -> tuple[list[Json], list[Json]]:
    """The facts, and what is said of how far it got."""
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    return [line for line in lines if "position" in line], [line for line in lines if "position" not in line]


def type_is(*types: str) -> Callable[[Json], bool]:
    return lambda fact: fact["type"] in types


def of_event(past: Past, event_id: str) -> Callable[[Json], bool]:
    """Told apart in another way than the database does: by the streams whose first fact names it."""
    first = {fact["stream_id"]: fact for fact in past.facts if fact["version"] == 1}
    streams = {stream for stream, fact in first.items() if fact["data"].get("event_id") == event_id} | {event_id}
    return lambda fact: fact["stream_id"] in streams


# -- Filters -------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 200])
@pytest.mark.parametrize("scan", [1, 7, 10_000])
def test_all_of_a_type_is_found_whatever_the_page_and_however_far_a_page_looks(
    past: Past, monkeypatch: pytest.MonkeyPatch, limit: int, scan: int
) -> None:
    monkeypatch.setattr(reader, "SCAN_POSITIONS_MAX", scan)
    wanted = [fact for fact in past.facts if fact["type"] == "ticket.paid"]
    assert len(wanted) == 4
    assert everything(past.analyst, type="ticket.paid", limit=limit) == wanted


def test_several_types_and_the_later_shapes_of_one(past: Past) -> None:
    path = f"{PATH}?type=import.noted&type=order.paid&limit=200"
    wanted = [fact for fact in past.facts if type_is("import.noted", "order.paid")(fact)]
    assert len(wanted) == FOREIGN + 3
    assert past.analyst.get(path).ok()["items"] == wanted


def test_one_stream(past: Past) -> None:
    for stream in (*past.orders, *past.events):
        wanted = [fact for fact in past.facts if fact["stream_id"] == stream]
        assert len(wanted) >= 2
        for limit in (1, 200):
            assert everything(past.analyst, stream=stream, limit=limit) == wanted
    assert everything(past.analyst, stream=uuid4()) == []


def test_all_that_belongs_to_an_event_and_nothing_that_only_mentions_it(past: Past) -> None:
    for event, types in zip(
        past.events,
        (
            {"event.drafted", "event.published", "order.placed", "order.paid", "ticket.held", "ticket.paid"},
            {"order.cancelled", "ticket.released", "ticket.held", "event.tier_added"},
        ),
        strict=True,
    ):
        wanted = list(filter(of_event(past, event), past.facts))
        assert types <= {fact["type"] for fact in wanted}
        assert everything(past.analyst, event_id=event) == wanted
        assert "import.noted" not in {fact["type"] for fact in wanted}


def test_filters_narrow_each_other(past: Past) -> None:
    event, paid = past.events[1], type_is("order.paid")
    wanted = [fact for fact in filter(of_event(past, event), past.facts) if paid(fact)]
    assert len(wanted) == 1
    assert everything(past.analyst, event_id=event, type="order.paid") == wanted
    assert everything(past.analyst, event_id=event, type="order.paid", stream=past.orders[2]) == wanted
    assert everything(past.analyst, event_id=event, stream=past.orders[0]) == []


def test_from_an_instant_and_before_another(past: Past) -> None:
    instants = sorted({fact["at"] for fact in past.facts})
    first, last = instants[len(instants) // 3], instants[2 * len(instants) // 3]
    found = everything(past.analyst, **{"from": first, "to": last})
    assert found == [fact for fact in past.facts if first <= fact["at"] < last]
    assert found, "there is something in between"
    assert found[0]["at"] == first
    after_all = datetime.fromisoformat(instants[-1]) + timedelta(microseconds=1)
    assert everything(past.analyst, **{"from": after_all.isoformat()}) == []
    assert everything(past.analyst, to=instants[0]) == []
    assert everything(past.analyst, **{"from": last, "to": first}) == []


def test_parts_by_time_have_everything_once(past: Past) -> None:
    instants = ["1990-01-01T00:00:00Z", *sorted({fact["at"] for fact in past.facts})[::5], "2190-01-01T00:00:00Z"]
    parts = [everything(past.analyst, **{"from": first, "to": last}) for first, last in pairwise(instants)]
    assert [fact for part in parts for fact in part] == past.facts


def test_as_of_bounds_a_search(past: Past) -> None:
    paid = [fact for fact in past.facts if fact["type"] == "ticket.paid"]
    assert everything(past.analyst, type="ticket.paid", as_of=paid[1]["position"]) == paid[:2]


def test_a_page_that_finds_nothing_says_how_far_it_got(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SCAN_POSITIONS_MAX", 5)
    page = past.analyst.get(PATH, {"type": "no.such", "after": 3}).ok()
    assert (page["items"], page["reached"]) == ([], 8)
    assert page["next_cursor"] is not None
    again = past.analyst.get(PATH, {"type": "no.such", "cursor": page["next_cursor"]}).ok()
    assert again["reached"] == 13


def test_the_last_page_reaches_the_end_whatever_was_found(past: Past) -> None:
    for query in ({}, {"type": "no.such"}, {"stream": past.orders[0]}):
        page = past.analyst.get(PATH, {"limit": 200, "after": len(past.facts) - 3, **query}).ok()
        assert (page["reached"], page["next_cursor"]) == (len(past.facts), None)
    beyond = past.analyst.get(PATH, {"type": "no.such", "after": 2**62}).ok()
    assert beyond == {"items": [], "next_cursor": None, "reached": 2**62}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("type=", "/query/type/0"),
        ("type=ticket", "/query/type/0"),
        ("type=ticket.paid&type=ticket.paid%402", "/query/type/1"),
        ("type=ticket.paid%00", "/query/type/0"),
        ("&".join(["type=ticket.paid"] * 51), "/query/type"),
        ("stream=7", "/query/stream"),
        ("event_id=x", "/query/event_id"),
        ("from=yesterday", "/query/from"),
        ("to=1700000000", "/query/to"),
        ("to=0001-01-01T00:00:00Z", "/query/to"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(past: Past, query: str, pointer: str) -> None:
    past.analyst.get(f"{PATH}?{query}").invalid(pointer)
    past.analyst.send("GET", f"{PATH}?{query}", headers=NDJSON).invalid(pointer)


def test_no_search_reads_more_than_the_positions_of_a_page(past: Past) -> None:
    """As the planner sees it: by an index, bounded on both sides."""
    with psycopg.connect(past.house.database_url) as connection, connection.cursor() as cursor:
        cursor.execute("set enable_seqscan = on")
        wanted = reader.Wanted(("ticket.paid",), None, uuid4())
        condition, parameters = reader._condition(wanted)
        query = f"explain select 1 from ledger.events e where position > %s and position <= %s{condition} limit 9"
        with connection.transaction():
            connection.execute("set local enable_seqscan = off")
            plan = "\n".join(row[0] for row in cursor.execute(query.encode(), (1_000, 11_000, *parameters)))
    assert "events_pkey" in plan
    assert "events_stream_version" in plan, "the first fact of the stream is looked up by its key"
    assert "Hash" not in plan


# -- Lines ---------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 3, 500])
def test_lines_are_the_facts_of_the_pages(past: Past, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(ledger_lines, "PAGE_FACTS", page)
    facts, progress = lines_of(past.analyst.get(PATH, headers=NDJSON))
    assert facts == past.facts
    assert progress == [{"reached": len(past.facts), "complete": True}]


def test_lines_are_filtered_and_go_on_after_any_position(past: Past) -> None:
    paid = [fact for fact in past.facts if fact["type"] == "ticket.paid"]
    for known in (0, 1, 3, 4):
        after = paid[known - 1]["position"] if known else 0
        facts, progress = lines_of(past.analyst.get(PATH, {"type": "ticket.paid", "after": after}, NDJSON))
        assert facts == paid[known:]
        assert progress[-1] == {"reached": len(past.facts), "complete": True}


def test_a_long_search_says_how_far_it_got(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SCAN_POSITIONS_MAX", 10)
    facts, progress = lines_of(past.analyst.get(PATH, {"type": "no.such"}, NDJSON))
    assert facts == []
    head = len(past.facts)
    wanted = [{"reached": reached, "complete": False} for reached in range(10, head, 10)]
    assert progress == [*wanted, {"reached": head, "complete": True}]


def test_lines_end_where_as_of_says(past: Past) -> None:
    facts, progress = lines_of(past.analyst.get(PATH, {"as_of": 7}, NDJSON))
    assert [fact["position"] for fact in facts] == [1, 2, 3, 4, 5, 6, 7]
    assert progress == [{"reached": 7, "complete": True}]


@pytest.mark.parametrize(
    ("accept", "lines"),
    [
        ("application/x-ndjson", True),
        ("Application/X-NDJSON;charset=utf-8", True),
        ("text/html, application/x-ndjson;q=0.5", True),
        ("application/json;q=0.5, application/x-ndjson", True),
        ("application/json, application/x-ndjson;q=0.5", False),
        ("application/x-ndjson;q=0", False),
        ("application/x-ndjson;q=much", False),
        ("application/json", False),
        ("*/*", False),
        (";;,,", False),
    ],
)
def test_who_prefers_lines_is_given_lines(past: Past, accept: str, lines: bool) -> None:
    answer = past.analyst.get(PATH, {"as_of": 1}, {"accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"] == ("application/x-ndjson" if lines else "application/json")


def test_an_attendee_is_given_no_lines(past: Past) -> None:
    past.house.person("bea").get(PATH, headers=NDJSON).refused(403, "forbidden")


def test_too_many_streams_at_once_are_refused(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_lines, "STREAMS_MAX", 0)
    answer = past.analyst.get(PATH, headers=NDJSON)
    answer.refused(503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1


# -- A large ledger ----------------------------------------------------------------------


LARGE = 60_000
"""Some 20 MB as lines: more than the buffers of two sockets."""


@pytest.fixture(scope="module")
def large(postgres: str) -> Iterator[House]:
    with fresh_database(postgres) as url:
        _append_many(url, LARGE)
        with House(url, timekeeper=False) as house:
            house.person("ana", Role.ANALYST)
            yield house


def _append_many(url: str, count: int) -> None:
    """Facts that no view has a use for."""
    rows = [(uuid4(), 1, "import.noted", b'{"note":"%s"}' % (b"x" * 100), b"{}") for _ in range(count)]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(APPEND.encode(), [list(column) for column in zip(*rows, strict=True)])


class Slow:
    """Somebody who asks for lines and takes them as slowly as they like."""

    def __init__(self, caller: Caller, query: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", caller.house.port), TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        head = f"GET {PATH}?{query} HTTP/1.1\r\nHost: x\r\nAccept: application/x-ndjson\r\n"
        self._socket.sendall(f"{head}Authorization: Bearer {caller.token}\r\nConnection: close\r\n\r\n".encode())

    def take(self, size: int) -> bytes:
        return self._socket.recv(size)

    def leave(self) -> None:
        self._socket.close()


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After which positions pages were asked for."""
    asked: list[int] = []
    page = ledger_lines.Search.page

    async def counted(self: ledger_lines.Search, limit: int) -> Any:
        asked.append(self.after)
        return await page(self, limit)

    monkeypatch.setattr(ledger_lines.Search, "page", counted)
    return asked


def test_who_does_not_read_is_not_read_for(large: House, pages: list[int]) -> None:
    """The pages that fit into the buffers of the sockets are made, and no more, until somebody takes them."""
    slow = Slow(large.person("ana"))
    slow.take(1)
    eventually(lambda: len(pages) > 0)
    settled = _settled(pages)
    assert settled < LARGE // ledger_lines.PAGE_FACTS / 2
    assert ledger_lines.LinesResponse.under_way == 1
    while slow.take(1 << 16):
        pass
    assert len(pages) > settled
    eventually(lambda: ledger_lines.LinesResponse.under_way == 0)
    slow.leave()


def test_who_leaves_is_not_read_for_any_longer(large: House, pages: list[int]) -> None:
    slow = Slow(large.person("ana"))
    slow.take(1)
    slow.leave()
    eventually(lambda: ledger_lines.LinesResponse.under_way == 0)
    assert len(pages) < LARGE // ledger_lines.PAGE_FACTS


def test_who_stops_reading_is_hung_up_on_and_the_stream_is_free_again(
    large: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = large.person("ana")
    monkeypatch.setattr(ledger_lines, "STREAMS_MAX", 1)
    monkeypatch.setattr(ledger_lines, "STALL_SECONDS_MAX", 1.0)
    connections = large._server.server_state.connections
    before = len(connections)
    slow = Slow(ana)
    taken = slow.take(1)
    ana.get(PATH, headers=NDJSON).refused(503, "unavailable")
    eventually(lambda: ledger_lines.LinesResponse.under_way == 0)
    eventually(lambda: len(connections) <= before)
    while some := slow.take(1 << 16):
        taken += some
    slow.leave()
    assert b"complete" not in taken, "what comes in the end is what was on its way"
    facts, _ = lines_of(ana.get(PATH, {"after": large.head - 3}, NDJSON))
    assert len(facts) == 3


def test_who_reads_slowly_but_reads_is_not_hung_up_on(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes in all: the time that is allowed is for a piece."""
    monkeypatch.setattr(ledger_lines, "STALL_SECONDS_MAX", 1.0)
    sent: list[bytes] = []

    async def send(message: Message) -> None:
        await asyncio.sleep(0.2)
        sent.append(message.get("body", b""))

    async def receive() -> Message:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def stream() -> None:
        search = ledger_lines.Search(large.application, reader.Wanted((), None, None), 0, 1_000)
        await ledger_lines.LinesResponse(search)({"type": "http", "extensions": {}}, receive, send)

    large.run(stream())
    assert len(sent) * 0.2 > 1.0
    assert max(map(len, sent)) <= ledger_lines.PIECE_BYTES
    assert b"".join(sent).endswith(b'{"reached":1000,"complete":true}\n')


def test_a_server_that_cannot_hang_up_is_told_that_the_reader_stalled(
    large: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_lines, "STALL_SECONDS_MAX", 0.1)

    async def never(_: Message | None = None) -> Message:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def stream() -> None:
        search = ledger_lines.Search(large.application, reader.Wanted((), None, None), 0, 1_000)
        await ledger_lines.LinesResponse(search)({"type": "http"}, never, never)  # type: ignore[arg-type]

    with pytest.raises(ledger_lines.ReaderStalledError):
        large.run(stream())
    assert ledger_lines.LinesResponse.under_way == 0


def _settled(pages: list[int]) -> int:
    """How many there are when no more come."""
    count = -1
    while count != len(pages):
        count = len(pages)
        threading.Event().wait(0.5)
    return count


def test_what_happens_meanwhile_is_for_the_next_time(large: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ana = large.person("ana")
    before = large.head
    slow = Slow(ana, f"after={before - 5_000}")
    taken = slow.take(1)
    _append_many(large.database_url, 3)
    while some := slow.take(1 << 16):
        taken += some
    slow.leave()
    assert f'{{"reached":{before},"complete":true}}'.encode() in taken
    facts, progress = lines_of(ana.get(PATH, {"after": before}, NDJSON))
    assert [fact["position"] for fact in facts] == [before + 1, before + 2, before + 3]
    assert progress == [{"reached": before + 3, "complete": True}]


def test_a_database_that_fails_cuts_the_stream_short_where_it_can_be_seen(
    large: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ledger_lines.Search.page

    async def failing(self: ledger_lines.Search, limit: int) -> Any:
        if self.after >= 1_000:
            raise psycopg.OperationalError("gone")
        return await page(self, limit)

    monkeypatch.setattr(ledger_lines.Search, "page", failing)
    slow = Slow(large.person("ana"))
    taken = b""
    while some := slow.take(1 << 16):
        taken += some
    slow.leave()
    assert b'"position":1000,' in taken
    assert b"complete" not in taken
    assert not taken.endswith(b"0\r\n\r\n"), "nor does the transfer end as a whole one does"
