"""The relay, with a real broker: messages in a second against the bare producer, and how soon a reader has what happened."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Event as Flag
from statistics import quantiles
from time import perf_counter
from typing import Any

import psycopg
import uvloop
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from adapters.kafka import cursor, topics
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.encoding import Outgoing
from adapters.kafka.ledger_pages import LedgerPages
from adapters.kafka.relay import Relay
from api.client import Client, Response
from projections.messages.registry import CHANNELS
from tests import kafka_broker
from tests.benchmarks.box_office import BoxOffice
from tests.benchmarks.harness import Bench, BenchError, Window
from tests.benchmarks.http_load import Shot, wanting
from tests.benchmarks.report import Measurement
from tests.benchmarks.served import served
from tests.benchmarks.world import fill
from tests.kafka.parts import delete_topics
from tests.kafka_broker import Broker

NAMES = ("relay", "relay-lag")
PARTITIONS = 6
FACTS = 60_000
LEVEL_SECONDS_MAX = 120.0
POLL_SECONDS = 0.01
COMMANDS_PER_SECOND = 500
COMMANDS_SHARE_MIN = 0.98
"""Of those that were to be sent in the window: fewer, and it was not the rate that the figure is about."""
LAG_SECONDS = 20.0
WARM_UP_SECONDS = 3.0
CONNECTIONS = 64
PLENTY = 100_000
DRAIN_SECONDS = 3.0


def measure(bench: Bench, wanted: Collection[str]) -> Iterator[Measurement]:
    if (reason := kafka_broker.missing()) is not None:
        raise BenchError(f"no Kafka: {reason}")
    if "relay" in wanted:
        yield _rates(bench)
    if "relay-lag" in wanted:
        yield uvloop.run(_lags(bench))


# -- Messages in a second -------------------------------------------------------------------


def _rates(bench: Bench) -> Measurement:
    """A whole ledger relayed, and the same keys, headers and values sent by a producer that has them in memory."""
    url = bench.database()
    ours: list[float] = []
    peer: list[float] = []
    with ExitStack() as stack:
        step = stack.enter_context(bench.steps("Relay", 2 + 2 * bench.repetitions))
        step("a broker")
        kafka = _settings(stack.enter_context(Broker()))
        step(f"a ledger of {FACTS:,} facts")
        uvloop.run(fill(url, bench.secret, FACTS))
        messages = _messages(url)
        for repetition in range(1, bench.repetitions + 1):
            step(f"relaying, round {repetition}")
            ours.append(_relay(url, kafka, len(messages)))
            step(f"producing, round {repetition}")
            peer.append(_produce(kafka, messages))
    size = sum(message.size for message in messages) // len(messages)
    return Measurement("relay", ours, peer, "messages/s", {"messages": len(messages), "message_bytes": size})


def _settings(broker: Broker) -> KafkaSettings:
    return KafkaSettings((broker.bootstrap,), PARTITIONS, 1)


def _messages(url: str) -> list[Outgoing]:
    """Everything that the ledger has for Kafka."""
    with closing(cursor.open_connection(url)) as connection:
        assert cursor.take_lead(connection, threading.Event())
        pages = LedgerPages(connection, cursor.read(connection).generation, 0)
        return [message for page in iter(pages.next, None) for message in page.messages]


def _relay(url: str, kafka: KafkaSettings, messages: int) -> float:
    """Messages per second into empty topics, from the relay's start until its cursor is at the head."""
    delete_topics(kafka)
    topics.ends(kafka, CHANNELS)  # made, as the producer finds them
    cursor.begin_again(url, 0)
    relay, stop = Relay(url, kafka), threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,), name="relay")
    began = perf_counter()
    thread.start()
    try:
        _until_level(url)
        seconds = perf_counter() - began
    finally:
        stop.set()
        thread.join()
    if relay.messages_total != messages:
        raise BenchError(f"{relay.messages_total} of {messages} messages were relayed")
    return messages / seconds


def _until_level(url: str) -> None:
    deadline = perf_counter() + LEVEL_SECONDS_MAX
    with psycopg.connect(url, autocommit=True) as connection:
        while perf_counter() < deadline:
            row = connection.execute("select c.position = h.position from relay.cursor c, ledger.head h").fetchone()
            if row == (True,):
                return
            time.sleep(POLL_SECONDS)
    raise BenchError("the relay did not get to the ledger's head")


def _produce(kafka: KafkaSettings, messages: Sequence[Outgoing]) -> float:
    """Messages per second, as `kafka.benchmarks.producer_performance` counts them: from the first to a last flush."""
    delete_topics(kafka)
    topics.ends(kafka, CHANNELS)
    producer = KafkaProducer(bootstrap_servers=list(kafka.bootstrap), acks="all", metrics_enabled=False)
    send: Callable[..., Any] = producer.send
    began = perf_counter()
    words = [send(told.channel, told.value, told.key, told.headers, None, told.timestamp_ms) for told in messages]
    producer.flush()
    seconds = perf_counter() - began
    producer.close()
    if not all(word.succeeded() for word in words):
        raise BenchError("the producer lost messages")
    return len(messages) / seconds


# -- From the commit to a reader -----------------------------------------------------------------


async def _lags(bench: Bench) -> Measurement:
    figures: list[float] = []
    medians: list[float] = []
    rates: list[float] = []
    with ExitStack() as stack:
        step = stack.enter_context(bench.steps("Relay's lag", bench.repetitions))
        broker = await asyncio.to_thread(stack.enter_context, Broker())
        kafka = _settings(broker)
        for repetition in range(1, bench.repetitions + 1):
            step(f"{COMMANDS_PER_SECOND} orders a second, round {repetition}")
            await asyncio.to_thread(delete_topics, kafka)
            await asyncio.to_thread(topics.ends, kafka, CHANNELS)
            rate, lags = await _lag(bench, kafka)
            percents = quantiles(lags, n=100)
            figures.append(1e3 * percents[98])
            medians.append(round(1e3 * percents[49], 1))
            rates.append(round(rate, 1))
    return Measurement("relay-lag", figures, (), "ms", {"p50_ms": medians, "orders_per_second": rates})


async def _lag(bench: Bench, kafka: KafkaSettings) -> tuple[float, list[float]]:
    """Orders per second, and for each message the seconds from its recording until a reader had it."""
    url = bench.database()
    environment = {"COUNTERFOIL_KAFKA_BOOTSTRAP": kafka.bootstrap[0]}
    async with served(bench, url, **environment) as base_url, Client(base_url, CONNECTIONS) as client:
        office = await BoxOffice.opened(client)
        event = await office.put_on_sale(quantity=PLENTY)
        with _reader(kafka) as (counting, results):
            window = Window(LAG_SECONDS, WARM_UP_SECONDS)
            answered = await _pace(client, office.orders([event]), window, counting)
            await asyncio.sleep(DRAIN_SECONDS)
            counting.clear()
            lags: list[float] = await asyncio.to_thread(results.recv)
    rate = answered / LAG_SECONDS
    if rate < COMMANDS_SHARE_MIN * COMMANDS_PER_SECOND:
        raise BenchError(f"{rate:.0f} orders a second, not {COMMANDS_PER_SECOND}")
    if len(lags) < answered:
        raise BenchError(f"{len(lags)} messages for {answered} orders")
    return rate, lags


async def _pace(client: Client, shots: Iterator[Shot], window: Window, counting: Flag) -> int:
    """Send at the rate, however long answers take; how many of those sent within the window were answered as wanted."""
    take, begin, answered = wanting(201), perf_counter(), 0

    async def ask(shot: Shot, *, counts: bool) -> None:
        nonlocal answered
        response: Response = await client.request(*shot)
        take(response)
        answered += counts

    async with asyncio.TaskGroup() as group:
        for number, shot in enumerate(shots):
            await asyncio.sleep(begin + number / COMMANDS_PER_SECOND - perf_counter())
            if window.is_over():
                break
            if window.is_open() and not counting.is_set():
                counting.set()
            group.create_task(ask(shot, counts=window.is_open()))
    return answered


@contextmanager
def _reader(kafka: KafkaSettings) -> Iterator[tuple[Flag, Any]]:
    """A reader in a process of its own; it counts while told to, and then says what it has measured."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    counting = context.Event()
    process = context.Process(target=_read, args=(kafka, counting, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(LEVEL_SECONDS_MAX) or ours.recv() != "ready":
            raise BenchError("the reader did not start")
        yield counting, ours
    finally:
        process.terminate()
        process.join()


def _read(kafka: KafkaSettings, counting: Flag, results: Pipe) -> None:
    """Only messages that were recorded after counting began: what was on its way is the warm-up's."""
    consumer = KafkaConsumer(bootstrap_servers=list(kafka.bootstrap), enable_auto_commit=False)
    partitions = [TopicPartition(channel, number) for channel in CHANNELS for number in range(PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_end(*partitions)
    for partition in partitions:
        consumer.position(partition, timeout_ms=10_000)
    results.send("ready")
    lags: list[float] = []
    since: float | None = None
    while since is None or counting.is_set():
        if since is None and counting.is_set():
            since = time.time()
        for records in consumer.poll(timeout_ms=100).values():
            now = time.time()
            if since is not None:
                recorded = (_recorded(record.headers) for record in records)
                lags += [now - at for at in recorded if at >= since]
    results.send(lags)
    consumer.close()


def _recorded(headers: Sequence[tuple[str, bytes]]) -> float:
    return datetime.fromisoformat(dict(headers)["ce_time"].decode()).timestamp()
