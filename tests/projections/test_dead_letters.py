"""A fact that a view cannot take stops the view of its own stream, is reported, and stops nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from adapters.projector import Projector
from adapters.rebuild import Rebuild
from domain.account import Account, Role
from projections import account
from projections.account import ACCOUNTS, Accounts
from projections.kernel import Recorded, when
from projections.progress import DeadLetter, dead_letters, lag
from projections.registry import ALL
from projections.rows import Rows
from tests.projections.book import Book
from tests.projections.conftest import Ask
from tests.projections.running import reached, running, until
from tests.projections.town import NOW

NUL_NAME = "a\0b"
"""JSON can carry it and PostgreSQL cannot, so it is the database that refuses the row."""


LONG_NAME = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(4_000))
"""Nothing is wrong with the row, but it is more than an index entry can hold."""


def registered(name: str) -> Account.Registered:
    return Account.Registered(email=f"{name}@example.com", name=name, roles=(Role.ATTENDEE,), at=NOW)


def roles_set(*roles: Role) -> Account.RolesSet:
    return Account.RolesSet(roles=roles, at=NOW)


@pytest.fixture(autouse=True)
def an_index_on_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which a row may have more than an entry can hold."""
    monkeypatch.setitem(vars(ACCOUNTS), "indexes", (*ACCOUNTS.indexes, "(email)"))


class BuggyAccounts(Accounts):
    """Changes a row, and then stumbles over gates."""

    @when(Account.Registered)
    def registered(self, recorded: Recorded, fact: Account.Registered, rows: Rows) -> None:
        Accounts.registered(self, recorded, fact, rows)

    @when(Account.RolesSet)
    def roles_set(self, recorded: Recorded, fact: Account.RolesSet, rows: Rows) -> None:
        rows.patch(ACCOUNTS, recorded.stream_id, name="half a change", version=recorded.version)
        if Role.GATE in fact.roles:
            raise KeyError("gate")
        Accounts.roles_set(self, recorded, fact, rows)


def rows_by_name(ask: Ask) -> dict[str | None, tuple[int, list[str]]]:
    return {row.name: (row.version, row.roles) for row in ask(account.listed, limit=200)}


def letters(ask: Ask) -> dict[tuple[str, UUID], DeadLetter]:
    return {(letter.name, letter.stream_id): letter for letter in ask(dead_letters)}


def test_a_projection_that_fails_stops_one_stream_and_leaves_no_half_of_a_change(
    database: str, book: Book, ask: Ask
) -> None:
    bad, good = uuid4(), uuid4()
    book.append((bad, registered("bad")), (good, registered("good")))
    Projector(database, [BuggyAccounts()]).catch_up()
    position = book.append((bad, roles_set(Role.GATE)))
    book.append((good, roles_set(Role.ADMIN)), (bad, roles_set(Role.ANALYST)), (uuid4(), registered("new")))
    with capture_logs() as logs:
        Projector(database, [BuggyAccounts()]).catch_up()

    names = {row.account_id: (row.name, row.version, row.roles) for row in ask(account.listed, limit=10)}
    assert names[bad] == ("bad", 1, ["attendee"])
    assert names[good] == ("half a change", 2, ["admin"])
    assert len(names) == 3
    assert letters(ask) == {("accounts", bad): DeadLetter("accounts", bad, position, "KeyError: 'gate'", 2)}
    assert [entry["stream_id"] for entry in logs if entry["event"] == "fact_set_aside"] == [str(bad)]
    assert ask(lag)[0].dead_streams == 1

    book.append((bad, roles_set(Role.ADMIN)), (good, roles_set(Role.ADMIN, Role.ANALYST)))
    Projector(database, [BuggyAccounts()]).catch_up()  # a new process, which has to remember
    assert letters(ask)["accounts", bad].set_aside == 3
    assert {row.account_id: row.version for row in ask(account.listed, limit=10)}[good] == 3


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (0, 1), (30, 40)])
def test_rows_that_the_database_refuses_are_found_and_cost_nobody_else_anything(
    database: str, book: Book, ask: Ask, before: int, after: int
) -> None:
    bad, worse = uuid4(), uuid4()
    first = [(uuid4(), registered(f"before {number}")) for number in range(before)]
    last = [(uuid4(), registered(f"after {number}")) for number in range(after)]
    book.append(*first, (bad, registered(NUL_NAME)), *last, (worse, registered(NUL_NAME)), (bad, roles_set(Role.GATE)))
    Projector(database).catch_up()
    assert set(rows_by_name(ask)) == {fact.name for _, fact in first + last}
    found = letters(ask)
    assert {(key, letter.position, letter.set_aside) for key, letter in found.items()} == {
        (("accounts", bad), before + 1, 2),
        (("accounts", worse), before + after + 2, 1),
    }
    assert {letter.error for letter in found.values()} == {
        "UntranslatableCharacter: unsupported Unicode escape sequence"
    }


def test_what_came_before_the_bad_fact_in_its_stream_stays(database: str, book: Book, ask: Ask) -> None:
    stream = uuid4()
    book.append((stream, registered("kept")), (stream, roles_set(Role.ADMIN)), (stream, roles_set(Role.GATE)))
    Projector(database, [BuggyAccounts()]).catch_up()
    assert rows_by_name(ask) == {"half a change": (2, ["admin"])}


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"at": "yesterday"}', b"\xff"])
def test_bytes_that_are_not_the_fact_they_claim_to_be(database: str, book: Book, ask: Ask, payload: bytes) -> None:
    bad, good = uuid4(), uuid4()
    book.append((bad, registered("bad")), (good, registered("good")))
    position = book.append_stored((bad, "account.roles_set", payload))
    book.append((bad, roles_set(Role.ADMIN)), (good, roles_set(Role.ADMIN)))
    assert Projector(database).catch_up() == 5
    assert rows_by_name(ask) == {"bad": (1, ["attendee"]), "good": (2, ["admin"])}
    assert {(key, letter.position, letter.set_aside) for key, letter in letters(ask).items()} == {
        (("accounts", bad), position, 2)  # no other view has a use for such a fact, and so no quarrel with it
    }
    assert "yesterday" not in letters(ask)["accounts", bad].error  # what is logged names the place, not what is there


@pytest.mark.parametrize("topic", ["account.knighted", "account.roles_set@9", "nonsense", "wallet.melted"])
def test_facts_of_a_release_to_come_are_passed_over(database: str, book: Book, ask: Ask, topic: str) -> None:
    stream = uuid4()
    book.append((stream, registered("ann")))
    book.append_stored((stream, topic, b"{}"), (stream, topic, b"{}"))
    book.append((stream, roles_set(Role.ADMIN)))
    with capture_logs() as logs:
        assert Projector(database).catch_up() == 4
    assert rows_by_name(ask) == {"ann": (4, ["admin"])}
    assert letters(ask) == {}
    assert [(entry["topic"], entry["position"]) for entry in logs if entry["event"] == "topic_not_known"] == [
        (topic, 2)
    ]


def fill(book: Book, stream: UUID) -> None:
    for number in range(30):
        book.append((uuid4(), registered(f"somebody {number}")), (stream, roles_set(Role.ADMIN)))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda book, bad: book.append((bad, roles_set(Role.GATE))), id="projection fails"),
        pytest.param(lambda book, bad: book.append((uuid4(), registered(NUL_NAME))), id="database refuses"),
        pytest.param(lambda book, bad: book.append((uuid4(), registered(LONG_NAME))), id="index refuses"),
        pytest.param(lambda book, bad: book.append_stored((bad, "account.roles_set", b"{")), id="not a fact"),
    ],
)
def test_a_rebuild_sets_aside_what_the_projector_does(
    database: str, book: Book, ask: Ask, spoil: Callable[[Book, UUID], Any]
) -> None:
    bad = uuid4()
    book.append((bad, registered("bad")))
    fill(book, bad)
    spoil(book, bad)
    fill(book, bad)
    projections = [BuggyAccounts(), *ALL[:-1]]
    Projector(database, projections).catch_up()
    before = letters(ask)
    assert len(before) == 1
    reports = Rebuild(database, projections).run()
    assert [report.equal for report in reports] == [True] * len(projections)
    assert {report.name: report.dead_streams for report in reports if report.dead_streams} == {"accounts": 1}
    assert letters(ask) == before


def test_a_rebuild_with_the_bug_mended_takes_everything_also_by_the_projector_that_was_there(
    database: str, book: Book, ask: Ask
) -> None:
    bad = uuid4()
    book.append((bad, registered("bad")), (bad, roles_set(Role.GATE)))
    with running(Projector(database, [BuggyAccounts()])):
        until(lambda: reached(book.connection, 2))
        assert len(letters(ask)) == 1
        Rebuild(database, [Accounts()]).run()
        assert letters(ask) == {}
        assert rows_by_name(ask) == {"bad": (2, ["gate"])}
        position = book.append((bad, roles_set(Role.ADMIN)))
        until(lambda: reached(book.connection, position))
    assert rows_by_name(ask) == {"half a change": (3, ["admin"])}
