"""What is measured, and what would be good: the rows of the table in the README."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One figure. ``at_most``: smaller is better; otherwise larger is."""

    name: str
    what: str
    target: float
    aim: float
    at_most: bool = False
    unit: str = "×"


ROWS = (
    Row("append-library", "append, 32 clients ÷ the library's PostgresApplicationRecorder, 32 threads", 20, 40),
    Row("append-insert", "append, 32 clients ÷ plain autocommit INSERT, 32 connections", 1.2, 2),
    Row("append-512", "append, 512 clients ÷ plain autocommit INSERT, 32 connections", 4, 8),
    Row("append-1", "append, 1 client ÷ plain autocommit INSERT, 1 connection", 0.7, 1),
    Row("orders", "POST /v1/orders ÷ a no-op POST with the same body, 64 connections", 0.30, 0.5),
    Row("check-ins", "POST /v1/check-ins ÷ a no-op POST with the same body, 64 connections", 0.35, 0.6),
    Row("orders-p99", "POST /v1/orders, 64 connections: p99 ÷ p50", 5, 3, at_most=True),
    Row("on-sale", "on-sale, 500 connections: goodput ÷ uncontended orders", 0.6, 0.9),
    Row("rebuild", "rebuild of all views ÷ reading and decoding the ledger once", 0.25, 0.5),
    Row("lag", "views at the head again after 30 s of orders at full rate", 3, 1, at_most=True, unit="s"),
    Row("availability", "GET …/availability: time at 1 M facts ÷ at 10 k", 1.5, 1.1, at_most=True),
    Row("ticket-as-of", "GET /v1/tickets/{id}?as_of=: time at 1 M facts ÷ at 10 k", 1.5, 1.1, at_most=True),
)
NAMES = tuple(row.name for row in ROWS)
