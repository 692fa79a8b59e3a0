"""The whole ledger as a topic, for our own projectors: every fact as it is stored, sealed.

What is stored may be about people, so nobody reads it without the secret. A message also says which one comes before it in
its partition: who does not have that one knows that something is missing, whatever became of the topic. That is
under the seal, too: whoever can write to the topic can repeat what the relay has said, and say nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.fact_reader import Stored
from adapters.kafka.encoding import (
    ID,
    SEQUENCE,
    SOURCE,
    SPECVERSION,
    TIME,
    Header,
    Outgoing,
    milliseconds,
    partition_of,
)
from adapters.sealing import NONCE_BYTES, SealBrokenError, derive

FACTS = "counterfoil.ledger.v1"
PREVIOUS = "previous"
"""The position of the message before this one in its partition: nothing that belongs there is between the two."""
PARTITIONS = "partitions"
"""How many there were when its partition was chosen."""
FACT = "fact"
KIND: Header = ("ce_type", b"counterfoil.fact")
CONTENT_TYPE: Header = ("content-type", b"application/octet-stream")


class Delivered(NamedTuple):
    """A fact as it comes from the topic."""

    previous: int
    partitions: int
    stored: Stored

    @property
    def position(self) -> int:
        return self.stored[0]

    @property
    def partition(self) -> int:
        """Where it belongs: `previous` is about no other."""
        return partition_of(str(self.stored[1]).encode(), self.partitions)


class FactSealer:
    """AES-256-GCM with a key of its own. What is sealed is bound to its place in the ledger, and in the topic."""

    def __init__(self, secret: bytes, ledger_id: UUID) -> None:
        self._aead = AESGCM(derive(secret, "topics"))
        self.source = ledger_id.urn.encode()

    def prepare(
        self, position: int, stream_id: UUID, version: int, topic: str, payload: bytes, recorded_at: datetime
    ) -> Outgoing:
        """As it is stored; it must not go out before it is sealed, which its place in the topic is needed for."""
        key = str(stream_id).encode()
        headers = [
            SPECVERSION,
            (ID, b"%b:%d" % (key, version)),
            (SOURCE, self.source),
            KIND,
            (TIME, recorded_at.isoformat().encode()),
            (SEQUENCE, b"%d" % position),
            (FACT, topic.encode()),
            CONTENT_TYPE,
        ]
        return Outgoing(position, FACTS, key, payload, headers, milliseconds(recorded_at))

    def seal(self, prepared: Outgoing, previous: int, partitions: int) -> Outgoing:
        headers = [*prepared.headers, (PREVIOUS, b"%d" % previous), (PARTITIONS, b"%d" % partitions)]
        nonce = os.urandom(NONCE_BYTES)
        value = nonce + self._aead.encrypt(nonce, prepared.value, _place(headers))
        return prepared._replace(value=value, headers=headers)

    def open(self, headers: Iterable[tuple[str, bytes | None]], value: bytes | None) -> Delivered | None:
        """Nothing for what is none of ours. Raises SealBrokenError for what claims to be, and is not as we sealed it."""
        ours = list(headers)
        said = dict(ours)
        if said.get(SOURCE) != self.source or said.get("ce_type") != KIND[1]:
            return None
        whole = [(name, text) for name, text in ours if text is not None]
        try:
            payload = self._aead.decrypt((value or b"")[:NONCE_BYTES], (value or b"")[NONCE_BYTES:], _place(whole))
            return _delivered(dict(whole), payload)
        except (InvalidTag, KeyError, ValueError) as error:
            raise SealBrokenError("this was sealed with another secret, or elsewhere") from error


def _delivered(said: dict[str, bytes], payload: bytes) -> Delivered:
    stream_id, _, version = said[ID].decode().partition(":")
    recorded_at = datetime.fromisoformat(said[TIME].decode())
    stored = (int(said[SEQUENCE]), UUID(stream_id), int(version), said[FACT].decode(), payload, recorded_at)
    return Delivered(int(said[PREVIOUS]), int(said[PARTITIONS]), stored)


def _place(headers: Iterable[Header]) -> bytes:
    return b"\n".join(b"%b=%b" % (name.encode(), text) for name, text in headers)
