"""Idempotency keys: whatever is repeated is answered as it was the first time, and happens once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from adapters.ledger import PostgresLedger
from commands.kernel import AlreadyAnsweredError, Answer, ConflictError, KeyReusedError, Request
from tests.adapters.ledger_parts import METADATA, appending, meet_in_one_batch, new_key, rows_of, scalar, started

pytestmark = pytest.mark.anyio

BODY = b'{"token": "not to lie open in the database"}'


async def test_a_repeat_gets_the_first_answer_and_changes_nothing(ledger: PostgresLedger, database: str) -> None:
    key = new_key()
    position = await ledger.append(appending((uuid4(), 1), (uuid4(), 1), key=key, body=BODY))
    with pytest.raises(AlreadyAnsweredError) as repeated:
        await ledger.append(appending(key=key, body=b"another"))
    assert repeated.value.answer == Answer(201, BODY, position) == Answer(201, BODY, 2)
    assert len(rows_of(database)) == 2


async def test_a_key_used_for_another_request_is_refused(ledger: PostgresLedger, database: str) -> None:
    key = new_key(b"one request")
    await ledger.append(appending(key=key))
    with pytest.raises(KeyReusedError):
        await ledger.append(appending(key=key._replace(fingerprint=b"another one")))
    results = await meet_in_one_batch(
        ledger, database, [appending(key=key._replace(fingerprint=b"a third")), appending(key=key), appending()]
    )
    assert [type(result) for result in results] == [KeyReusedError, AlreadyAnsweredError, int]


async def test_answers_survive_the_process(database: str) -> None:
    key = new_key()
    async with started(database) as ledger:
        position = await ledger.append(appending(key=key, body=BODY))
    async with started(database) as ledger:
        with pytest.raises(AlreadyAnsweredError) as repeated:
            await ledger.append(appending(key=key))
    assert repeated.value.answer == Answer(201, BODY, position)


async def test_an_append_that_is_refused_leaves_no_answer(ledger: PostgresLedger, database: str) -> None:
    taken, key, other = uuid4(), new_key(), new_key()
    async with started(database) as elsewhere:
        await elsewhere.append(appending((taken, 1)))
    with pytest.raises(ConflictError):
        await ledger.append(appending((taken, 1), key=key))
    results = await meet_in_one_batch(ledger, database, [appending((taken, 1), key=other), appending()])
    assert isinstance(results[0], ConflictError)
    assert scalar(database, "select count(*) from ledger.answers") == 0
    assert await ledger.append(appending(key=key)) == 4


async def test_a_command_that_changed_nothing_is_answered_again_too(ledger: PostgresLedger) -> None:
    key = new_key()
    nothing = Request((), METADATA, (), key, Answer(200, b"as it was"))
    assert await ledger.append(nothing) == 0
    with pytest.raises(AlreadyAnsweredError) as repeated:
        await ledger.append(nothing)
    assert repeated.value.answer == Answer(200, b"as it was", 0)


async def test_of_two_at_once_with_one_key_one_is_recorded_and_both_are_answered(
    ledger: PostgresLedger, database: str
) -> None:
    key = new_key()
    async with started(database) as elsewhere:
        attempts = [
            store.append(appending(key=key, body=str(n).encode()))
            for n, store in enumerate((ledger, elsewhere, ledger, elsewhere))
        ]
        results = await asyncio.gather(*attempts, return_exceptions=True)
    positions = [result for result in results if isinstance(result, int)]
    answers = {result.answer for result in results if isinstance(result, AlreadyAnsweredError)}
    assert positions == [1]
    assert answers == {Answer(201, str(results.index(1)).encode(), 1)}
    assert len(rows_of(database)) == 1


@pytest.mark.parametrize("elsewhere_first", [False, True])
async def test_who_repeats_a_request_conflicts_with_himself_and_gets_his_answer(
    ledger: PostgresLedger, database: str, elsewhere_first: bool
) -> None:
    """A repeat that was decided on the state before the first attempt writes the same versions of the same streams."""
    key, ticket_id = new_key(), uuid4()
    async with started(database) as elsewhere:
        await (elsewhere if elsewhere_first else ledger).append(appending((ticket_id, 1), key=key, body=BODY))
    with pytest.raises(AlreadyAnsweredError) as repeated:
        await ledger.append(appending((ticket_id, 1), key=key))
    assert repeated.value.answer == Answer(201, BODY, 1)


async def test_an_answer_names_its_own_position_whoever_was_refused_before_it(
    ledger: PostgresLedger, database: str
) -> None:
    taken, keys = uuid4(), [new_key() for _ in range(3)]
    async with started(database) as elsewhere:
        await elsewhere.append(appending((taken, 1)))
    requests = [
        appending((uuid4(), 1), key=keys[0]),
        appending((uuid4(), 1), (uuid4(), 1), (taken, 1)),
        appending((uuid4(), 1), (uuid4(), 1), key=keys[1]),
        Request((), METADATA, (), keys[2], Answer(200, b"")),
    ]
    results = await meet_in_one_batch(ledger, database, requests)
    assert results[0] == 3
    assert isinstance(results[1], ConflictError)
    assert results[2:] == [5, 0]
    for key, position in zip(keys, (3, 5, 0), strict=True):
        with pytest.raises(AlreadyAnsweredError) as repeated:
            await ledger.append(appending(key=key))
        assert repeated.value.answer.position == position


async def test_answers_do_not_lie_open_in_the_database(ledger: PostgresLedger, database: str) -> None:
    key = new_key()
    await ledger.append(appending(key=key, body=BODY))
    sealed = bytes(scalar(database, "select body from ledger.answers where id = %s", key.id))
    assert b"token" not in sealed
