"""Bodies that cannot be read: not JSON, not said to be JSON, ambiguous, too deep, too large. Nothing comes of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from api.protection import BODY_BYTES_MAX
from tests.api.callers import TIMEOUT_SECONDS, Answer, Caller
from tests.api.house import House, fresh_database
from tests.api.scenes import STALLS, drafted, event_request

LONE_SURROGATE = "\ud800"


@pytest.fixture(scope="module")
def house(postgres: str) -> Iterator[House]:
    """Without a timekeeper: only what a test asks for can move the ledger."""
    with fresh_database(postgres) as url, House(url, timekeeper=False) as house:
        yield house


def quoted(value: object) -> bytes:
    return json.dumps(value).encode()


BROKEN: list[tuple[str, bytes]] = [
    ("nothing", b" "),
    ("words", b"tickets, please"),
    ("half", quoted(event_request())[:-1]),
    ("more", quoted(event_request()) + b"{}"),
    ("comma", b'{"title": "A",}'),
    ("single quotes", b"{'title': 'A'}"),
    ("not a number", b'{"title": NaN}'),
    ("infinity", b'{"title": -Infinity}'),
    ("a bare NUL", b'{"title": "A\x00B"}'),
    ("a bare newline", b'{"title": "A\nB"}'),
    ("invalid UTF-8", b'{"title": "\xff\xfe"}'),
    ("an encoded surrogate", b'{"title": "\xed\xa0\x80"}'),
    ("UTF-16", json.dumps(event_request()).encode("utf-16")),
    ("a byte order mark", b"\xef\xbb\xbf" + quoted(event_request())),
    ("a member twice", b'{"title": "A", ' + quoted(event_request())[1:]),
    ("a member twice, deep", quoted(event_request()).replace(b'"price"', b'"price": 1, "price"')),
    ("deep arrays", b"[" * 100_000),
    ("deep objects", b'{"a":' * 100_000),
    ("deep and closed", b"[" * 100_000 + b"]" * 100_000),
    ("an endless integer", b'{"title": ' + b"9" * 100_000 + b"}"),
]


@pytest.mark.parametrize("body", [body for _, body in BROKEN], ids=[name for name, _ in BROKEN])
def test_what_is_not_json_is_refused_as_that(organizer: Caller, unmoved: None, body: bytes) -> None:
    problem = organizer.post("/v1/events", body).invalid("")
    assert problem["errors"][0]["detail"].startswith("this is not JSON: ")


def test_a_number_beyond_all_numbers_is_refused(organizer: Caller, unmoved: None) -> None:
    body = quoted(event_request()).replace(b"60.39", b"1e400")
    organizer.post("/v1/events", body).invalid("/venue/latitude")


@pytest.mark.parametrize("body", [b"null", b"[]", b"7", b'"x"', b"true", b"[" * 90 + b"]" * 90])
def test_json_that_is_no_object_is_refused(organizer: Caller, unmoved: None, body: bytes) -> None:
    organizer.post("/v1/events", body).invalid("")


def test_no_body_where_one_is_needed_is_refused(organizer: Caller, unmoved: None) -> None:
    organizer.post("/v1/events").invalid("")
    organizer.post("/v1/events", b"").invalid("")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "",
        "json",
    ],
)
def test_a_body_that_is_not_declared_to_be_json_is_refused(organizer: Caller, unmoved: None, content_type: str) -> None:
    answer = organizer.send("POST", "/v1/events", event_request(), {"content-type": content_type})
    assert answer.invalid("")["errors"][0]["detail"] == "send the body with Content-Type: application/json"


def test_json_is_declared_in_more_ways_than_one(organizer: Caller) -> None:
    for content_type in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.tickets+json"):
        organizer.send("POST", "/v1/events", event_request(), {"content-type": content_type}).ok(201)


@pytest.mark.parametrize("name", [LONE_SURROGATE, "\x00", "x" * 100_000, "/~", "", "😀" * 300])
def test_the_name_of_an_unknown_member_may_be_anything_and_is_not_echoed_at_length(
    organizer: Caller, unmoved: None, name: str
) -> None:
    answer = organizer.post("/v1/events", event_request() | {name: 1})
    (error,) = answer.refused(422, "invalid")["errors"]
    assert error["detail"]
    assert len(answer.body) < 5_000


def test_ten_thousand_mistakes_are_not_all_listed(organizer: Caller, unmoved: None) -> None:
    wrong = event_request(tiers=[{"name": "Stalls", "price": 1, "seats": [{}] * 10_000}])
    assert len(organizer.post("/v1/events", wrong).refused(422, "invalid")["errors"]) == 50


# -- Too large -----------------------------------------------------------------------------


def raw(house: House, *parts: bytes) -> Answer:
    """What is answered to these bytes, sent until the other side has had enough."""
    with socket.create_connection(("127.0.0.1", house.port), timeout=TIMEOUT_SECONDS) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was answered, and no more is read
        received = b""
        while b"\r\n\r\n" not in received or len(received) < _length(received):
            if not (more := connection.recv(65_536)):
                break
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body)


def _length(received: bytes) -> int:
    head, _, _ = received.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return len(head) + 4 + (lengths[0] if lengths else 0)


def head_of(caller: Caller, *lines: str) -> bytes:
    head = ["POST /v1/events HTTP/1.1", "Host: x", "Content-Type: application/json"]
    return "\r\n".join([*head, f"Authorization: Bearer {caller.token}", *lines, "", ""]).encode()


@pytest.mark.parametrize("length", [BODY_BYTES_MAX + 1, 10**15])
def test_a_body_that_says_it_is_too_large_is_not_even_read(
    house: House, organizer: Caller, unmoved: None, length: int
) -> None:
    answer = raw(house, head_of(organizer, f"Content-Length: {length}"))
    answer.refused(413, "too-large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("lines", [(), ("Idempotency-Key: large",)], ids=["plain", "keyed"])
def test_a_body_that_turns_out_too_large_is_read_no_further(
    house: House, organizer: Caller, unmoved: None, lines: tuple[str, ...]
) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    answer = raw(house, head_of(organizer, "Transfer-Encoding: chunked", *lines), *[chunk] * 6)
    answer.refused(413, "too-large")
    assert answer.headers["connection"] == "close"


def test_a_body_of_exactly_the_limit_is_read(house: House, organizer: Caller) -> None:
    body = quoted(event_request())
    padded = body[:-1] + b" " * (BODY_BYTES_MAX - len(body)) + b"}"
    organizer.post("/v1/events", padded).ok(201)
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (padded[:1_000_000], padded[1_000_000:])]
    raw(house, head_of(organizer, "Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n").ok(201)


def test_the_largest_seat_map_is_a_request_like_others(organizer: Caller) -> None:
    seats = [{"section": f"S{n // 1000}", "row": f"R{n // 50 % 20}", "number": str(n % 50)} for n in range(50_000)]
    request = event_request(tiers=[{"name": "Arena", "price": 1, "seats": seats}])
    assert len(quoted(request)) < BODY_BYTES_MAX
    assert drafted(organizer, request)["tiers"][0]["capacity"] == 50_000
    tier = {"name": "More", "price": 1, "seats": [*seats, STALLS[0]]}
    organizer.post("/v1/events", event_request(tiers=[tier])).invalid("/tiers/0/seats")
