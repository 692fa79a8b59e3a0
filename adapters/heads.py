"""Signs heads of the tree with Ed25519 (RFC 8032), and keeps the list of the keys that did.

Private keys are derived from the secret, one for each generation; only public ones are stored. A new secret therefore
makes a new generation by itself, and an operator can ask for one at any time. Nothing is forgotten: a head that was
signed with a retired key stays as good as it was.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from psycopg import Connection

from adapters.sealing import derive
from projections.ledger_head import HeadKey, SignedHead, key_id_of, signed_text

HEADS_LOCK = 0x0C0F_000A
"""Advisory lock: no head is signed while keys change, or a retired key might sign after its time."""
TREE_CHANNEL = "counterfoil_tree"

LEDGER_ID = b"select ledger_id from chain.identity"
ACTIVE = b"select generation, key_id from tree.keys order by generation desc limit 1"
NEW_KEY = b"""
    insert into tree.keys (generation, key_id, public_key, valid_from)
    values (%s, %s, %s, greatest(clock_timestamp(), (select max(signed_at) + interval '1 microsecond' from tree.heads)))"""
INSTANT = b"""
    select greatest(clock_timestamp(), max(valid_from), (
               select signed_at + interval '1 microsecond' from tree.heads order by tree_size desc, generation desc limit 1))
      from tree.keys"""
"""Later than any before, whatever the clock says: of two heads the later one covers no less."""
NEW_HEAD = b"insert into tree.heads (tree_size, generation, root, signed_at, signature) values (%s, %s, %s, %s, %s)"
NOTIFY = b"select pg_notify(%s, %s)"
KEYS = b"""
    select key_id, public_key, valid_from, lead(valid_from) over (order by generation)
      from tree.keys order by generation"""
HEADS = """
    select (select ledger_id from chain.identity), h.tree_size, h.root, h.signed_at, k.key_id, h.signature
      from tree.heads h join tree.keys k using (generation)"""
LATEST = f"{HEADS} order by h.tree_size desc, h.generation desc limit %s"


class Generation(NamedTuple):
    number: int
    key_id: str
    private: Ed25519PrivateKey


class HeadSigner:
    """For the connection of whoever builds the tree."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, connection: Connection[Any], tree_size: int, root: bytes) -> SignedHead:
        """Sign and store a head, durably, and tell those who wait for it."""
        with connection.transaction():
            connection.execute("set local synchronous_commit = on")  # it is about to be handed out
            connection.execute("select pg_advisory_xact_lock(%s)", (HEADS_LOCK,))
            key = self._active(connection)
            ledger_id, at = _value(connection, LEDGER_ID), _value(connection, INSTANT)
            signature = key.private.sign(signed_text(ledger_id, tree_size, root, at))
            connection.execute(NEW_HEAD, (tree_size, key.number, root, at, signature))
            connection.execute(NOTIFY, (TREE_CHANNEL, str(tree_size)))
        return SignedHead(ledger_id, tree_size, root, at, key.key_id, signature)

    def is_due(self, connection: Connection[Any], tree_size: int) -> bool:
        """Whether the key that is ours to sign with has not signed this size."""
        active = connection.execute(ACTIVE).fetchone()
        latest = connection.execute(LATEST.encode(), (1,)).fetchone()
        if active is None or latest is None or active[1] != self._key(active[0]).key_id:
            return True
        return (latest[1], latest[4]) != (tree_size, active[1])

    def rotate(self, connection: Connection[Any]) -> str:
        """Retire the active key; the id of the one that signs from now on."""
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", (HEADS_LOCK,))
            return self._begin(connection, self._active(connection).number + 1).key_id

    def _active(self, connection: Connection[Any]) -> Generation:
        row = connection.execute(ACTIVE).fetchone()
        number = row[0] if row is not None else 0
        key = self._key(number)
        return key if row is not None and row[1] == key.key_id else self._begin(connection, number + 1)

    def _begin(self, connection: Connection[Any], number: int) -> Generation:
        key = self._key(number)
        connection.execute(NEW_KEY, (number, key.key_id, key.private.public_key().public_bytes_raw()))
        return key

    def _key(self, number: int) -> Generation:
        private = Ed25519PrivateKey.from_private_bytes(derive(self._secret, f"ledger-heads/{number}"))
        return Generation(number, key_id_of(private.public_key().public_bytes_raw()), private)


def signing_key_id(secret: bytes, generation: int) -> str:
    """The id of the key that this secret has for a generation: whether it is the secret that signed."""
    return HeadSigner(secret)._key(generation).key_id  # noqa: SLF001 - of this module


def is_signed(head: SignedHead, key: HeadKey) -> bool:
    """Whether the key, while it was valid, signed this head."""
    if head.key_id != key.key_id or head.at < key.valid_from:
        return False
    if key.retired_at is not None and head.at >= key.retired_at:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(head.signature, head.signed_text)
    except InvalidSignature:
        return False
    return True


def read_keys(connection: Connection[Any]) -> list[HeadKey]:
    return [HeadKey(*row) for row in connection.execute(KEYS)]


def latest_heads(connection: Connection[Any], most: int) -> list[SignedHead]:
    """The heads that the ledger keeps itself, latest first."""
    return [SignedHead(*row) for row in connection.execute(LATEST.encode(), (most,))]


def _value(connection: Connection[Any], query: bytes) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
