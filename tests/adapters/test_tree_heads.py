"""Signed heads: by a key that was valid, over a text that says it all; keys that come and go, and heads that stay good."""

from __future__ import annotations

import threading
from datetime import timedelta
from itertools import pairwise
from uuid import uuid4

import psycopg
import pytest

from adapters.heads import is_signed
from adapters.tree import TreeBuilder, rotate_head_key
from projections.ledger_head import HeadKey, SignedHead, head_from, key_from
from tests.adapters.ledger_parts import SECRET, scalar
from tests.adapters.tree_parts import Writer, grow, heads_of, keys_of


def key_of(url: str, head: SignedHead) -> HeadKey:
    (key,) = (key for key in keys_of(url) if key.key_id == head.key_id)
    return key


def test_a_head_is_signed_by_the_key_that_it_names(database: str) -> None:
    Writer(database).append(5)
    head = grow(database)
    assert is_signed(head, key_of(database, head))
    assert head.ledger_id == scalar(database, "select ledger_id from chain.identity")


def test_nothing_of_a_head_can_be_changed(database: str) -> None:
    head = grow(database)
    key = key_of(database, head)
    for change in (
        {"ledger_id": uuid4()},
        {"tree_size": head.tree_size + 1},
        {"root": bytes(32)},
        {"at": head.at + timedelta(microseconds=1)},
        {"signature": bytes(64)},
        {"signature": b""},
        {"key_id": "0" * 32},
    ):
        assert not is_signed(head._replace(**change), key)


def test_a_key_signs_only_while_it_is_valid(database: str) -> None:
    head = grow(database)
    key = key_of(database, head)
    moment = timedelta(microseconds=1)
    assert is_signed(head, key._replace(valid_from=head.at, retired_at=head.at + moment))
    assert not is_signed(head, key._replace(valid_from=head.at + moment))
    assert not is_signed(head, key._replace(retired_at=head.at))


def test_a_new_key_signs_from_now_on_and_old_heads_stay_good(database: str) -> None:
    writer = Writer(database)
    writer.append(5)
    before = grow(database)
    new_id = rotate_head_key(database, SECRET)
    after = grow(database)
    assert (after.tree_size, after.root, after.key_id) == (before.tree_size, before.root, new_id)
    old, new = keys_of(database)
    assert (old.retired_at, new.retired_at) == (new.valid_from, None)
    assert [is_signed(before, old), is_signed(after, new)] == [True, True]
    assert before.at < new.valid_from <= after.at


def test_a_new_secret_begins_a_new_key_by_itself(database: str) -> None:
    before = grow(database)
    after = grow(database, b"another secret, as long as the first one")
    assert before.key_id != after.key_id
    assert is_signed(before, key_of(database, before))
    assert is_signed(after, key_of(database, after))


def test_keys_that_change_at_the_same_moment_follow_each_other(database: str) -> None:
    grow(database)
    threads = [threading.Thread(target=rotate_head_key, args=(database, SECRET)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = keys_of(database)
    assert len({key.key_id for key in keys}) == len(keys) == 5
    assert all(old.retired_at == new.valid_from > old.valid_from for old, new in pairwise(keys))


def test_a_later_head_is_told_to_be_later_whatever_the_clock_says(database: str) -> None:
    writer = Writer(database)
    first = grow(database)
    with psycopg.connect(database) as connection:  # as if the clock had been a day ahead
        connection.execute("alter table tree.heads disable trigger all")
        connection.execute("update tree.heads set signed_at = signed_at + interval '1 day'")
    writer.append(5)
    second = grow(database)
    writer.append(5)
    third = grow(database)
    assert first.at + timedelta(days=1) < second.at < third.at


def test_a_size_is_signed_once_by_each_key(database: str) -> None:
    grow(database)
    assert TreeBuilder(database, SECRET).catch_up() is None
    assert len(heads_of(database)) == 1


@pytest.mark.parametrize("facts", [0, 12])
def test_heads_and_keys_come_back_from_what_is_published(database: str, facts: int) -> None:
    Writer(database).append(facts)
    head = grow(database)
    assert head_from(head.document()) == head
    (key,) = keys_of(database)
    assert key_from(key.document()) == key
