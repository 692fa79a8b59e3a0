"""Messages of ERC-4361: its own examples are understood, what is written is read again, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from adapters.erc4361 import LENGTH_MAX, Message, MessageError, instant, parse

ADDRESS = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
EXAMPLE = f"""example.com wants you to sign in with your Ethereum account:
{ADDRESS}

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 1
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json"""
"""The first example of the standard; the other two differ in the first line only."""

FULL = EXAMPLE.replace(
    "\nResources:",
    "\nExpiration Time: 2021-09-30T16:35:24Z\nNot Before: 2021-09-30T16:25:24.5+02:00\nRequest ID: a-%20:@!\nResources:",
)
PLAIN = EXAMPLE.partition("\nResources:")[0]


# -- Read ------------------------------------------------------------------------------------


def test_the_example_of_the_standard_is_understood() -> None:
    assert parse(EXAMPLE) == Message(
        domain="example.com",
        address=ADDRESS,
        statement="I accept the ExampleOrg Terms of Service: https://example.com/tos",
        uri="https://example.com/login",
        chain_id="1",
        nonce="32891756",
        issued_at="2021-09-30T16:25:24Z",
        resources=(
            "ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/",
            "https://example.com/my-web2-claim.json",
        ),
    )


def test_the_standards_examples_with_a_port_and_with_a_scheme_are_understood() -> None:
    plain = parse(EXAMPLE)
    assert parse(EXAMPLE.replace("example.com wants", "example.com:3388 wants")) == replace(
        plain, domain="example.com:3388"
    )
    assert parse(f"https://{EXAMPLE}") == replace(plain, scheme="https")


def test_every_optional_field_has_its_place() -> None:
    message = parse(FULL)
    assert message.expiration_time == "2021-09-30T16:35:24Z"
    assert message.not_before == "2021-09-30T16:25:24.5+02:00"
    assert message.request_id == "a-%20:@!"
    assert message.resources is not None


@pytest.mark.parametrize("statement", [None, "", "A", "Is this ~ok? [yes/no] #1 @ 100*2, (a);b='c'!"])
def test_no_statement_and_an_empty_one_are_two_things(statement: str | None) -> None:
    message = replace(parse(PLAIN), statement=statement)
    assert parse(str(message)) == message
    assert str(message).count("\n") == PLAIN.count("\n") - (statement is None)


def test_a_list_of_no_resources_is_not_no_list() -> None:
    assert parse(PLAIN).resources is None
    assert parse(f"{PLAIN}\nResources:").resources == ()


# -- Written and read again ------------------------------------------------------------------


def text(characters: str, *, least: int = 0) -> st.SearchStrategy[str]:
    return st.text(characters, min_size=least, max_size=12)


LETTERS = "abcXYZ"
DIGITS = "0189"
UNRESERVED = f"{LETTERS}{DIGITS}-._~"
SUB_DELIMS = "!$&'()*+,;="

schemes = st.builds(str.__add__, st.sampled_from(LETTERS), text(f"{LETTERS}{DIGITS}+-."))
pct = st.sampled_from(["%20", "%aF", "%00"])
pieces = st.lists(text(f"{UNRESERVED}{SUB_DELIMS}:@", least=1) | pct, max_size=3).map("".join)
hosts = text(f"{UNRESERVED}{SUB_DELIMS}", least=1) | st.sampled_from(
    ["127.0.0.1", "[::1]", "[2001:db8::7]", "[v1.a:b]"]
)
authorities = st.builds(
    lambda user, host, port: f"{user}{host}{port}",
    st.sampled_from(["", "ada@", "a:b%20@"]),
    hosts,
    st.sampled_from(["", ":", ":8000"]),
)
paths = st.lists(pieces.map("/".__add__), max_size=3).map("".join)
uris = st.builds(
    lambda scheme, rest, query, fragment: f"{scheme}:{rest}{query}{fragment}",
    schemes,
    st.builds(lambda authority, path: f"//{authority}{path}", authorities, paths)
    | st.sampled_from(["", "/", "/a/b", "a/b", "urn:x"]),
    st.just("") | pieces.map("?/".__add__),
    st.just("") | pieces.map("#?".__add__),
)
moments = st.integers(86_400, 7_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
times = moments.flatmap(
    lambda at: st.sampled_from(
        [
            f"{at:%Y-%m-%dT%H:%M:%SZ}",
            f"{at:%Y-%m-%dt%H:%M:%S}.5z",
            f"{at:%Y-%m-%dT%H:%M:%S}.1234567890+05:30",
            f"{at:%Y-%m-%dT%H:%M:%S}-23:59",
        ]
    )
)
addresses = st.binary(min_size=20, max_size=20).map(to_checksum_address)
messages = st.builds(
    Message,
    scheme=st.none() | schemes,
    domain=authorities,
    address=addresses,
    statement=st.none() | text(f"{UNRESERVED}{SUB_DELIMS}:/?#[]@ "),
    uri=uris,
    chain_id=text(DIGITS, least=1),
    nonce=text(f"{LETTERS}{DIGITS}", least=8),
    issued_at=times,
    expiration_time=st.none() | times,
    not_before=st.none() | times,
    request_id=st.none() | pieces,
    resources=st.none() | st.lists(uris, max_size=3).map(tuple),
)


@given(messages)
def test_what_is_written_is_read_again(message: Message) -> None:
    assert parse(str(message)) == message


@given(messages, st.data())
def test_whatever_is_understood_is_written_as_it_was(message: Message, data: st.DataObject) -> None:
    """Also after a character was changed, left out or put in: there is one way to write what was meant."""
    written = str(message)
    at = data.draw(st.integers(0, len(written) - 1))
    new = data.draw(st.sampled_from(["", "\n", " ", "\r", "0", "a", "A", ":", "/", "é", "\x00", "[", "%"]))
    changed = written[:at] + new + written[at + data.draw(st.integers(0, 1)) :]
    try:
        understood = parse(changed)
    except MessageError:
        return
    assert str(understood) == changed


@given(st.text() | st.text(EXAMPLE))
def test_any_other_text_is_refused_and_nothing_worse(anything: str) -> None:
    with pytest.raises(MessageError):
        parse(anything)


# -- Refused ---------------------------------------------------------------------------------

DEVIATIONS: dict[str, tuple[str, str]] = {
    "another sentence": ("wants you to", "wants You to"),
    "no domain": ("example.com wants", " wants"),
    "a scheme without a domain": ("example.com wants", "https:// wants"),
    "a scheme that is none": ("example.com wants", "1https://example.com wants"),
    "a path after the domain": ("example.com wants", "example.com/ wants"),
    "a domain beyond ASCII": ("example.com wants", "exämple.com wants"),
    "a space before the domain": ("example.com wants", " example.com wants"),
    "a port that is none": ("example.com wants", "example.com:8a wants"),
    "a bracket that holds no address": ("example.com wants", "[::1::2] wants"),
    "an IPv6 address with a zone": ("example.com wants", "[fe80::1%25eth0] wants"),
    "a lower-case address": (ADDRESS, ADDRESS.lower()),
    "an upper-case address": (ADDRESS, "0x" + ADDRESS[2:].upper()),
    "a wrong checksum": ("0xC02aaA", "0xC02aAA"),
    "another prefix": ("0xC02", "0XC02"),
    "a short address": ("56Cc2\n", "56Cc\n"),
    "a long address": ("56Cc2\n", "56Cc2a\n"),
    "no address": (f"{ADDRESS}\n", ""),
    "no line after the address": (f"{ADDRESS}\n\n", f"{ADDRESS}\n"),
    "a statement of two lines": ("the ExampleOrg", "the\nExampleOrg"),
    "a statement with a quote": ("the ExampleOrg", 'the "ExampleOrg"'),
    "a statement beyond ASCII": ("the ExampleOrg", "the ÉxampleOrg"),
    "a statement with a tab": ("the ExampleOrg", "the\tExampleOrg"),
    "a statement with a percent sign": ("the ExampleOrg", "100 % of the ExampleOrg"),
    "two empty lines after the statement": ("tos\n\n", "tos\n\n\n"),
    "no line after the statement": ("tos\n\n", "tos\n"),
    "no URI": ("URI: https://example.com/login\n", ""),
    "an empty URI": ("URI: https://example.com/login", "URI: "),
    "a relative URI": ("URI: https://example.com/login", "URI: /login"),
    "a URI with a space": ("com/login", "com/log in"),
    "a URI with half an escape": ("com/login", "com/%2"),
    "a URI with a bad address": ("URI: https://example.com/login", "URI: https://[:::1]/login"),
    "two URIs": ("Version: 1", "URI: https://example.com/other\nVersion: 1"),
    "no version": ("Version: 1\n", ""),
    "another version": ("Version: 1", "Version: 2"),
    "a longer version": ("Version: 1", "Version: 1.0"),
    "a chain id that is none": ("Chain ID: 1", "Chain ID: mainnet"),
    "a negative chain id": ("Chain ID: 1", "Chain ID: -1"),
    "no chain id": ("Chain ID: 1", "Chain ID: "),
    "a chain id in other digits": ("Chain ID: 1", "Chain ID: ١"),
    "a short nonce": ("32891756", "3289175"),
    "a nonce with a dash": ("32891756", "3289-1756"),
    "no nonce": ("Nonce: 32891756\n", ""),
    "another name": ("Issued At:", "issued at:"),
    "no space after the name": ("Nonce: ", "Nonce:"),
    "two spaces after the name": ("Nonce: ", "Nonce:  "),
    "another order": (
        "Chain ID: 1\nNonce: 32891756",
        "Nonce: 32891756\nChain ID: 1",
    ),
    "optional fields in another order": (
        "Not Before: 2021-09-30T16:25:24.5+02:00\nRequest ID: a-%20:@!",
        "Request ID: a-%20:@!\nNot Before: 2021-09-30T16:25:24.5+02:00",
    ),
    "a field that there is not": ("\nResources:", "\nNote: hello\nResources:"),
    "a field twice": ("\nResources:", "\nRequest ID: a\nResources:"),
    "a request id with a slash": ("Request ID: a", "Request ID: a/"),
    "no time of issue": ("Issued At: 2021-09-30T16:25:24Z\n", ""),
    "a time without an offset": ("Issued At: 2021-09-30T16:25:24Z", "Issued At: 2021-09-30T16:25:24"),
    "a time that is a date": ("Issued At: 2021-09-30T16:25:24Z", "Issued At: 2021-09-30"),
    "a day that never comes": ("Issued At: 2021-09-30", "Issued At: 2021-09-31"),
    "an hour that never comes": ("Issued At: 2021-09-30T16", "Issued At: 2021-09-30T24"),
    "an expiry that never comes": ("Time: 2021-09-30", "Time: 2021-02-29"),
    "a beginning that never comes": ("Before: 2021-09-30", "Before: 2021-13-30"),
    "an offset that is none": ("24.5+02:00", "24.5+02:60"),
    "a space instead of the T": ("Issued At: 2021-09-30T16", "Issued At: 2021-09-30 16"),
    "a resource that is no URI": ("- ipfs://", "- "),
    "a resource without its dash": ("- ipfs", "ipfs"),
    "a resource with a star": ("- ipfs", "* ipfs"),
    "a text after the name of the list": ("Resources:", "Resources: two"),
    "lines that end as on Windows": ("\n", "\r\n"),
    "a form feed": ("\nVersion", "\x0cVersion"),
}


@pytest.mark.parametrize(("old", "new"), DEVIATIONS.values(), ids=DEVIATIONS.keys())
def test_every_deviation_is_refused(old: str, new: str) -> None:
    assert old in FULL
    with pytest.raises(MessageError):
        parse(FULL.replace(old, new, 1))


@pytest.mark.parametrize("more", ["\n", " ", "\n\n", "\x00", "\n- ", "x\n"])
@pytest.mark.parametrize("message", [PLAIN, EXAMPLE, FULL])
def test_nothing_comes_before_or_after(message: str, more: str) -> None:
    for text_ in (message + more, more + message):
        with pytest.raises(MessageError):
            parse(text_)


def test_a_message_has_an_end() -> None:
    longest = EXAMPLE.replace("the ExampleOrg", "the " + "x" * (LENGTH_MAX - len(EXAMPLE) + len("ExampleOrg")))
    assert len(longest) == LENGTH_MAX
    assert parse(longest).domain == "example.com"
    with pytest.raises(MessageError):
        parse(longest.replace("xx", "xxx", 1))


# -- Times -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2021-09-30T16:25:24Z", datetime(2021, 9, 30, 16, 25, 24, tzinfo=UTC)),
        ("2021-09-30t16:25:24z", datetime(2021, 9, 30, 16, 25, 24, tzinfo=UTC)),
        ("2021-09-30T16:25:24.1Z", datetime(2021, 9, 30, 16, 25, 24, 100_000, tzinfo=UTC)),
        ("2021-09-30T16:25:24.1234569Z", datetime(2021, 9, 30, 16, 25, 24, 123_456, tzinfo=UTC)),
        ("2021-09-30T16:25:24+02:00", datetime(2021, 9, 30, 14, 25, 24, tzinfo=UTC)),
        ("2021-09-30T16:25:24-00:30", datetime(2021, 9, 30, 16, 55, 24, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_is_the_moment_it_means(written: str, meant: datetime) -> None:
    assert instant(written) == meant


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:60Z", "0000-01-01T00:00:00Z"])
def test_moments_beyond_the_calendar_are_refused(written: str) -> None:
    with pytest.raises(MessageError):
        parse(PLAIN.replace("2021-09-30T16:25:24Z", written))
