"""What our append is compared with: the library's own recorder, and plain INSERTs without any promise of order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from uuid import uuid4

import psycopg
import uvloop
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresFactory
from eventsourcing.utils import Environment
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict

from tests.benchmarks.harness import Window

TABLE = b"""
    create table if not exists public.plain (
        position  bigserial primary key,
        stream_id uuid      not null,
        version   integer   not null,
        topic     text      not null,
        payload   bytea     not null,
        unique (stream_id, version)
    )"""
INSERT = b"insert into public.plain (stream_id, version, topic, payload) values (%b, %b, %b, %b)"


class Fact(NamedTuple):
    """The same stored form for everybody."""

    topic: str
    payload: bytes


class Rate(NamedTuple):
    per_second: float
    client: str


def library(url: str, fact: Fact, threads: int, seconds: float) -> float:
    """Facts per second of `PostgresApplicationRecorder` as its factory makes it by default."""
    at = conninfo_to_dict(url)
    env = {
        "POSTGRES_DBNAME": str(at["dbname"]),
        "POSTGRES_HOST": str(at.get("host", "")),
        "POSTGRES_PORT": str(at.get("port", "5432")),
        "POSTGRES_USER": str(at.get("user", "")),
        "POSTGRES_PASSWORD": str(at.get("password", "not asked for")),
    }
    factory = PostgresFactory(Environment("bench", env))
    recorder = factory.application_recorder()
    try:
        return _in_threads(
            [lambda: recorder.insert_events([StoredEvent(uuid4(), 1, fact.topic, fact.payload)])] * threads, seconds
        )
    finally:
        factory.close()


def inserts(url: str, fact: Fact, connections: int, seconds: float) -> Rate:
    """Facts per second of the faster of two clients: threads, and one event loop (uvloop). Each is measured."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLE)
    threads = Rate(_inserts_in_threads(url, fact, connections, seconds), "threads")
    tasks = Rate(uvloop.run(_inserts_in_tasks(url, fact, connections, seconds)), "asyncio and uvloop")
    return max(threads, tasks)


def _inserts_in_threads(url: str, fact: Fact, connections: int, seconds: float) -> float:
    opened = [Connection.connect(url, autocommit=True, prepare_threshold=0) for _ in range(connections)]
    cursors = [connection.cursor(binary=True) for connection in opened]

    def inserting(cursor: psycopg.Cursor[tuple[object, ...]]) -> Callable[[], object]:
        return lambda: cursor.execute(INSERT, (uuid4(), 1, fact.topic, fact.payload), prepare=True)

    try:
        return _in_threads([inserting(cursor) for cursor in cursors], seconds)
    finally:
        for connection in opened:
            connection.close()


async def _inserts_in_tasks(url: str, fact: Fact, connections: int, seconds: float) -> float:
    opened = [await AsyncConnection.connect(url, autocommit=True, prepare_threshold=0) for _ in range(connections)]
    window = Window(seconds)

    async def insert(connection: AsyncConnection) -> int:
        cursor, count = connection.cursor(binary=True), 0
        while not window.is_over():
            await cursor.execute(INSERT, (uuid4(), 1, fact.topic, fact.payload), prepare=True)
            count += window.is_open()
        return count

    try:
        return sum(await asyncio.gather(*map(insert, opened))) / window.seconds
    finally:
        for connection in opened:
            await connection.close()


def _in_threads(work: list[Callable[[], object]], seconds: float) -> float:
    """Calls per second, each function on a thread of its own."""
    window = Window(seconds)

    def repeat(call: Callable[[], object]) -> int:
        count = 0
        while not window.is_over():
            call()
            count += window.is_open()
        return count

    with ThreadPoolExecutor(len(work)) as pool:
        return sum(pool.map(repeat, work)) / window.seconds
