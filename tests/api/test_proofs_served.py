"""The tree over HTTP: signed heads, keys, proofs that check out, and a ticket's whole history proved to its holder."""

from __future__ import annotations

from base64 import b64decode
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from adapters import positions
from adapters.heads import HeadSigner, is_signed, latest_heads
from domain.account import Role
from projections.canonical import from_line
from projections.ledger_head import SignedHead, head_from, key_from
from projections.merkle import check_consistency, check_inclusion, leaf_hash
from tests.api.callers import Caller
from tests.api.house import SECRET, House
from tests.api.scenes import bought, on_sale, ticket_of

Json = dict[str, Any]
FAR = 2**40


@pytest.fixture
def auditor(house: House) -> Caller:
    return house.person("aud", Role.AUDITOR)


def covering(house: House, position: int) -> Json:
    """A head whose tree has this position."""
    head: Json = house.anyone.send("GET", "/v1/ledger/head", headers={"ledger-position": str(position)}).ok()
    return head


def hashes(proof: Json) -> list[bytes]:
    return [b64decode(part) for part in proof["hashes"]]


def check(fact: Json, head: SignedHead) -> None:
    """The fact as it is told is the leaf, and the leaf is in the tree."""
    leaf = leaf_hash(from_line(fact))
    assert b64decode(fact["leaf_hash"]) == leaf
    check_inclusion(fact["position"] - 1, head.tree_size, leaf, hashes(fact), head.root)


def signed_by_a_published_key(house: House, document: Json) -> SignedHead:
    head = head_from(document)
    keys = [key_from(item) for item in house.anyone.get("/v1/ledger/keys").ok()["items"]]
    assert [key.key_id for key in keys if is_signed(head, key)] == [head.key_id]
    return head


def test_a_head_covers_the_position_that_was_asked_for(house: House, organizer: Caller, buyer: Caller) -> None:
    bought(buyer, on_sale(organizer), 2)
    document = covering(house, house.position)
    assert house.position <= document["tree_size"] <= document["position"]
    signed_by_a_published_key(house, document)


def test_a_head_that_does_not_come_is_waited_for_a_bounded_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def be_there(_: int) -> None:
        """The views are, and only the tree is not."""

    monkeypatch.setattr(positions, "WAIT_SECONDS_MAX", 0.2)
    monkeypatch.setattr(house.application.view_positions, "wait_for", be_there)
    answer = house.anyone.send("GET", "/v1/ledger/head", headers={"ledger-position": str(FAR)})
    assert "the signed heads have reached" in answer.refused(503, "unavailable")["detail"]


def test_heads_are_kept_in_order_and_each_begins_the_next(
    house: House, auditor: Caller, organizer: Caller, buyer: Caller
) -> None:
    for _ in range(3):
        bought(buyer, on_sale(organizer))
        covering(house, house.position)
    found = all_heads(house, 2)
    kept = [signed_by_a_published_key(house, document) for document in found]
    assert len(kept) >= 3
    assert [head.tree_size for head in kept] == sorted(head.tree_size for head in kept)
    for old, new in pairwise(head for head in kept if head.tree_size):
        asked = {"from": old.tree_size, "to": new.tree_size}
        proof = auditor.get("/v1/ledger/proofs/consistency", asked).ok()
        check_consistency(old.tree_size, new.tree_size, old.root, new.root, hashes(proof))


def all_heads(house: House, limit: int) -> list[Json]:
    """Page after page."""
    found: list[Json] = []
    cursor: str | None = ""
    while cursor is not None:
        page = house.anyone.get("/v1/ledger/heads", {"limit": limit, **({"cursor": cursor} if cursor else {})}).ok()
        found += page["items"]
        cursor = page["next_cursor"]
    return found


def test_the_head_that_a_new_key_signs_is_not_lost_between_pages(house: House, organizer: Caller) -> None:
    """It is of the size that the old key has signed."""
    on_sale(organizer)
    covering(house, house.position)
    signer = HeadSigner(SECRET)
    with psycopg.connect(house.database_url, autocommit=True) as connection:
        (before,) = latest_heads(connection, 1)
        new_key = signer.rotate(connection)
        signer.sign(connection, before.tree_size, before.root)
    whole = all_heads(house, 200)
    keys = [head["key_id"] for head in whole if head["tree_size"] == before.tree_size]
    assert keys == [before.key_id, new_key]
    assert all_heads(house, 1) == whole


def test_a_fact_is_proved_to_be_in_the_tree_of_a_head(
    house: House, auditor: Caller, organizer: Caller, buyer: Caller
) -> None:
    bought(buyer, on_sale(organizer))
    document = covering(house, house.position)
    head = head_from(document)
    for position in (1, head.tree_size // 2, head.tree_size):
        asked = {"position": position, "tree_size": head.tree_size}
        proof = auditor.get("/v1/ledger/proofs/inclusion", asked).ok()
        assert head_from(proof["head"]) == head
        assert proof["leaf_index"] == position - 1
        check_inclusion(position - 1, head.tree_size, b64decode(proof["leaf_hash"]), hashes(proof), head.root)


@pytest.mark.parametrize(
    ("path", "asked", "pointer"),
    [
        ("inclusion", {"position": 2, "tree_size": 1}, "/query/position"),
        ("inclusion", {"position": 1, "tree_size": FAR}, "/query/position"),
        ("inclusion", {"position": FAR}, "/query/position"),
        ("consistency", {"from": 2, "to": 1}, "/query/from"),
        ("consistency", {"from": 1, "to": FAR}, "/query/from"),
    ],
)
def test_what_the_tree_cannot_prove_is_refused(
    house: House, auditor: Caller, organizer: Caller, path: str, asked: Json, pointer: str
) -> None:
    on_sale(organizer)
    covering(house, house.position)
    auditor.get(f"/v1/ledger/proofs/{path}", asked).invalid(pointer)


def test_a_holder_proves_the_whole_history_of_the_own_ticket(house: House, organizer: Caller, buyer: Caller) -> None:
    ticket = ticket_of(buyer, on_sale(organizer))
    buyer.post(f"/v1/tickets/{ticket}/claim", {"attendee_name": "Béa 🎻"}).ok()
    proof = buyer.get(f"/v1/tickets/{ticket}/proof").ok()
    head = signed_by_a_published_key(house, proof["head"])
    assert [fact["version"] for fact in proof["facts"]] == [1, 2, 3]
    assert [fact["topic"] for fact in proof["facts"]] == ["ticket.held", "ticket.paid", "ticket.claimed"]
    assert {fact["stream_id"] for fact in proof["facts"]} == {ticket}
    for fact in proof["facts"]:
        check(fact, head)


def test_a_long_history_is_proved_in_pages(house: House, organizer: Caller, buyer: Caller) -> None:
    ticket = ticket_of(buyer, on_sale(organizer))
    first = buyer.get(f"/v1/tickets/{ticket}/proof", {"limit": 1}).ok()
    second = buyer.get(f"/v1/tickets/{ticket}/proof", {"limit": 1, "cursor": first["next_cursor"]}).ok()
    assert second["next_cursor"] is None
    for page, version in ((first, 1), (second, 2)):
        (fact,) = page["facts"]
        assert fact["version"] == version
        check(fact, head_from(page["head"]))


def test_nobody_is_shown_the_proof_of_anothers_ticket(organizer: Caller, buyer: Caller, other: Caller) -> None:
    ticket = ticket_of(buyer, on_sale(organizer))
    other.get(f"/v1/tickets/{ticket}/proof").refused(404, "not-found")


def test_the_keys_say_since_when_they_sign(house: House, organizer: Caller) -> None:
    on_sale(organizer)
    covering(house, house.position)
    keys = [key_from(item) for item in house.anyone.get("/v1/ledger/keys").ok()["items"]]
    assert [key.retired_at for key in keys] == [key.valid_from for key in keys[1:]] + [None]
