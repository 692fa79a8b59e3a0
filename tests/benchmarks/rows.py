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
    Row("replay", "replay of all views as of the head ÷ rebuild of all views", 0.8, 1),
    Row("lag", "views at the head again after 30 s of orders at full rate", 3, 1, at_most=True, unit="s"),
    Row("availability", "GET …/availability: time at 1 M facts ÷ at 10 k", 1.5, 1.1, at_most=True),
    Row("ticket-as-of", "GET /v1/tickets/{id}?as_of=: time at 1 M facts ÷ at 10 k", 1.5, 1.1, at_most=True),
    Row("tree-append", "append, 512 clients, while the tree grows ÷ without it", 0.95, 1),
    Row("tree-proof", "proof of inclusion at 1 M leaves: p50 ÷ a SELECT by primary key", 5, 3, at_most=True),
    Row("tree-verify", "verify of 1 M facts ÷ hashing their bytes in one loop", 0.3, 0.5),
    Row("export-memory", "memory of an export of 1 M facts as Parquet ÷ of 50 k", 1.2, 1.1, at_most=True),
    Row("stream-memory", "memory of the API while 1 M facts are streamed ÷ 100 k", 1.1, 1.05, at_most=True),
    Row("gas-mint", "gas for a ticket minted to custody, 500 a batch", 2_150, 2_150, at_most=True, unit="gas"),
    Row("gas-deliver", "gas for a ticket to a new wallet", 48_500, 48_500, at_most=True, unit="gas"),
    Row("gas-check-in", "gas for a check-in, 500 random of 20,000 seats", 1_700, 1_700, at_most=True, unit="gas"),
    Row(
        "gas-resale", "gas for a resale to a new wallet, capped, with royalty", 34_500, 34_500, at_most=True, unit="gas"
    ),
    Row("gas-mixed", "gas for a fact of the mixed stream, 1,000 a batch", 6_700, 6_700, at_most=True, unit="gas"),
    Row("mirror", "mixed facts mirrored ÷ tickets minted one by one, same node, 1 s blocks", 10, 10),
    Row("mirror-lag", "the chain level again after 20,000 tickets sold", 30, 30, at_most=True, unit="s"),
    Row("log-indexing", "logs decoded ÷ web3.py's process_log", 5, 5),
    Row("relay", "messages relayed ÷ sent by kafka-python's producer, the same bytes", 0.5, 0.8),
    Row("relay-lag", "a message readable after its commit, p99 at 500 orders/s", 250, 50, at_most=True, unit=" ms"),
    Row("reconcile", "tickets reconciled in a second", 5_000, 5_000, unit="/s"),
)
NAMES = tuple(row.name for row in ROWS)
