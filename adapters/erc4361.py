"""Messages of ERC-4361 (Sign-In with Ethereum): exactly its grammar, both ways, and nothing that only resembles it.

The constants are the rules of the same names in ERC-4361, RFC 3986 (URIs) and RFC 3339 (times).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address

from eth_utils.address import to_checksum_address

LENGTH_MAX = 4_000
"""Characters; the standard names no limit. What wallets show is a tenth of that."""

UNRESERVED = r"A-Za-z0-9\-._~"
SUB_DELIMS = "!$&'()*+,;="
RESERVED = rf":/?#\[\]@{SUB_DELIMS}"
PCT_ENCODED = "%[0-9A-Fa-f]{2}"
PCHAR = f"(?:[{UNRESERVED}{SUB_DELIMS}:@]|{PCT_ENCODED})"

USERINFO = f"(?:[{UNRESERVED}{SUB_DELIMS}:]|{PCT_ENCODED})*"
REG_NAME = f"(?:[{UNRESERVED}{SUB_DELIMS}]|{PCT_ENCODED})*"
IP_LITERAL = rf"\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[{UNRESERVED}{SUB_DELIMS}:]+)\]"
AUTHORITY = f"(?:{USERINFO}@)?(?:{IP_LITERAL}|{REG_NAME})(?::[0-9]*)?"
IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+)\]")
"""Where the grammar has an IPv6 address; which of these are one is not for a regular expression to say."""

SCHEME = r"[A-Za-z][A-Za-z0-9+\-.]*"
SEGMENTS = f"(?:/{PCHAR}*)*"
HIER_PART = f"(?://{AUTHORITY}{SEGMENTS}|/(?:{PCHAR}+{SEGMENTS})?|{PCHAR}+{SEGMENTS}|)"
REST = f"(?:{PCHAR}|[/?])*"
URI = rf"{SCHEME}:{HIER_PART}(?:\?{REST})?(?:#{REST})?"

HOUR, MINUTE, SECOND = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]", "(?:[0-5][0-9]|60)"
DATE_TIME = f"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt]{HOUR}:{MINUTE}:{SECOND}(?:[.][0-9]+)?(?:[Zz]|[+-]{HOUR}:{MINUTE})"
SECONDS = slice(17, 19)
"""Where they are in a DATE_TIME."""

MESSAGE = re.compile(
    f"(?:(?P<scheme>{SCHEME})://)?(?P<domain>{AUTHORITY}) wants you to sign in with your Ethereum account:\n"
    "(?P<address>0x[0-9A-Fa-f]{40})\n"
    "\n"
    f"(?:(?P<statement>[{RESERVED}{UNRESERVED} ]*)\n)?"
    "\n"
    f"URI: (?P<uri>{URI})\n"
    "Version: 1\n"
    "Chain ID: (?P<chain_id>[0-9]+)\n"
    "Nonce: (?P<nonce>[A-Za-z0-9]{8,})\n"
    f"Issued At: (?P<issued_at>{DATE_TIME})"
    f"(?:\nExpiration Time: (?P<expiration_time>{DATE_TIME}))?"
    f"(?:\nNot Before: (?P<not_before>{DATE_TIME}))?"
    f"(?:\nRequest ID: (?P<request_id>{PCHAR}*))?"
    f"(?P<resources>\nResources:(?:\n- {URI})*)?"
)


class MessageError(ValueError):
    """The text is not a message of ERC-4361."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Every field as it is written, so that ``str(parse(text)) == text``. None: the field is not there."""

    scheme: str | None = None
    domain: str
    address: str
    statement: str | None = None
    uri: str
    chain_id: str
    nonce: str
    issued_at: str
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None

    def __str__(self) -> str:
        origin = self.domain if self.scheme is None else f"{self.scheme}://{self.domain}"
        lines = [f"{origin} wants you to sign in with your Ethereum account:", self.address, ""]
        if self.statement is not None:
            lines.append(self.statement)
        lines += [
            "",
            f"URI: {self.uri}",
            "Version: 1",
            f"Chain ID: {self.chain_id}",
            f"Nonce: {self.nonce}",
            f"Issued At: {self.issued_at}",
        ]
        optional = {
            "Expiration Time": self.expiration_time,
            "Not Before": self.not_before,
            "Request ID": self.request_id,
        }
        lines += [f"{name}: {value}" for name, value in optional.items() if value is not None]
        if self.resources is not None:
            lines += ["Resources:", *(f"- {resource}" for resource in self.resources)]
        return "\n".join(lines)


def parse(text: str) -> Message:
    """Raises MessageError."""
    found = MESSAGE.fullmatch(text) if len(text) <= LENGTH_MAX else None
    if found is None:
        raise MessageError("this is not a message of ERC-4361")
    fields = found.groupdict()
    resources = fields.pop("resources")
    listed = tuple(line.removeprefix("- ") for line in resources.split("\n")[2:]) if resources is not None else None
    message = Message(**fields, resources=listed)
    if not message.domain:
        raise MessageError("the message names no domain")
    if message.address != to_checksum_address(message.address):
        raise MessageError("the address is not in its mixed-case form (ERC-55)")
    for authority_or_uri in (message.domain, message.uri, *(message.resources or ())):
        _check_ipv6(authority_or_uri)
    for written in (message.issued_at, message.expiration_time, message.not_before):
        if written is not None:
            instant(written)
    return message


def instant(date_time: str) -> datetime:
    """The moment that a DATE_TIME means, in UTC and to the microsecond. Raises MessageError for one that never comes."""
    leap = date_time[SECONDS] == "60"  # datetime knows of no leap seconds: the moment after second 59 is as good
    if leap:
        date_time = f"{date_time[: SECONDS.start]}59{date_time[SECONDS.stop :]}"
    try:
        return (datetime.fromisoformat(date_time.upper()) + timedelta(seconds=leap)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MessageError(f"there is no such time as {date_time}") from error


def _check_ipv6(text: str) -> None:
    found = IPV6.search(text)
    if found is None:
        return
    try:
        IPv6Address(found[1])
    except ValueError as error:
        raise MessageError(f"[{found[1]}] is not an IPv6 address") from error
