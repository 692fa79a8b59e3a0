"""A view brought forward by pages of facts, whatever is wrong with some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import Connection

from adapters.dead_letters import DeadLetters, fold_safely
from adapters.fact_reader import Page
from adapters.view_writer import ViewWriter
from projections.kernel import Projection, Recorded

DATA_ERRORS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,  # an index entry or a text search vector that is too large
    TypeError,  # orjson's, for what JSON cannot carry
    ValueError,
)
"""What the rows themselves can be to blame for. Everything else is the database's trouble and is tried again."""


class ViewUpdater:
    """One view in one schema, on one connection."""

    def __init__(self, connection: Connection[Any], projection: Projection, schema: str) -> None:
        self.connection = connection
        self.projection = projection
        self.letters = DeadLetters(projection.name)
        self.writer = ViewWriter(connection.cursor(), projection, schema)

    def write(self, facts: list[Recorded]) -> int:
        """Returns the number of rows. Raises DATA_ERRORS."""
        return self.writer.write(fold_safely(self.projection, facts, self.letters)) if facts else 0

    def write_bisecting(self, facts: list[Recorded]) -> int:
        """`write`, setting aside the facts whose rows the database refuses. They are found in O(log n) attempts each."""
        facts = self.letters.admit(facts)
        try:
            with self.connection.transaction():
                return self.write(facts)
        except DATA_ERRORS as error:
            if len(facts) == 1:
                self.letters.add(facts[0].stream_id, facts[0].position, error)
                return 0
        middle = len(facts) // 2
        return self.write_bisecting(facts[:middle]) + self.write_bisecting(facts[middle:])


def apply(connection: Connection[Any], views: Sequence[ViewUpdater], page: Page) -> int:
    """Bring views, in the order of the page's reader, past a page; within the caller's transaction.

    Returns the number of rows. Call ``letters.save`` or ``replace`` in the same transaction.
    """
    admitted = [
        view.letters.admit(facts, broken) for view, facts, broken in zip(views, page.facts, page.broken, strict=True)
    ]
    pairs = list(zip(views, admitted, strict=True))
    try:
        with connection.transaction():
            return sum(view.write(facts) for view, facts in pairs)
    except DATA_ERRORS:
        return sum(view.write_bisecting(facts) for view, facts in pairs)
