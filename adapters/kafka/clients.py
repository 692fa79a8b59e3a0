"""Kafka's clients, with our settings, and made so that an attempt that fails leaves nothing behind."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.net.compat import KafkaNetClient

REACH_SECONDS_MAX = 2.0
BOOTSTRAP_SECONDS_MAX = 5.0
REQUEST_SECONDS_MAX = 5.0
DELIVERY_SECONDS_MAX = 10.0
"""How long the producer by itself repeats what a broker did not take, in order and without duplicates."""
LINGER_SECONDS = 2.0
"""Longer than a page takes to be handed over: what goes to one partition then goes in one batch, when it is flushed."""
RECONNECT_SECONDS_MAX = 1.0
BATCH_BYTES_MAX = 1 << 20
REQUEST_BYTES_MAX = 2 << 20
CLOSE_SECONDS_MAX = 5.0

logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what they have to say, the relay says once, in its own words


class KafkaSettings(NamedTuple):
    bootstrap: tuple[str, ...]
    """``host:port`` of some of the brokers."""
    partitions: int
    """Of a topic that is not there yet."""
    replication: int | None
    """Copies of it. None: as many as the broker makes by default."""


class NoBrokerError(OSError):
    """Nobody answers at any of the addresses."""


@contextmanager
def admin(settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    client = _made(KafkaAdminClient, settings)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def consumer(settings: KafkaSettings) -> Iterator[KafkaConsumer]:
    """For partitions that are assigned to it; it belongs to no group."""
    client = _made(KafkaConsumer, settings, enable_auto_commit=False, allow_auto_create_topics=False)
    try:
        yield client
    finally:
        client.close()


def producer(settings: KafkaSettings) -> KafkaProducer:
    """Idempotent: within its life what it repeats is written once, and in order."""
    made: KafkaProducer = _made(
        KafkaProducer,
        settings,
        enable_idempotence=True,
        acks="all",
        allow_auto_create_topics=False,
        batch_size=BATCH_BYTES_MAX,
        max_request_size=REQUEST_BYTES_MAX,
        linger_ms=int(LINGER_SECONDS * 1_000),
        delivery_timeout_ms=int(DELIVERY_SECONDS_MAX * 1_000),
        max_block_ms=int(BOOTSTRAP_SECONDS_MAX * 1_000),
        metrics_enabled=False,
    )
    return made


def abandon(client: KafkaProducer) -> None:
    """Close it without waiting for what is on its way: `close` by itself would, and raise when that takes too long."""
    sender = client._sender  # noqa: SLF001 - there is no other way
    sender.force_close()
    sender.join(CLOSE_SECONDS_MAX)
    client.close(timeout=CLOSE_SECONDS_MAX)


def _made(kind: Callable[..., Any], settings: KafkaSettings, **config: object) -> Any:
    """A client, connected. Raises NoBrokerError, and KafkaError for a broker that does not do its part."""
    _reach(settings.bootstrap)
    networks: list[KafkaNetClient] = []

    def network(**configs: Any) -> KafkaNetClient:
        networks.append(KafkaNetClient(**configs))
        return networks[-1]

    try:
        return kind(
            bootstrap_servers=list(settings.bootstrap),
            client_id="counterfoil",
            bootstrap_timeout_ms=int(BOOTSTRAP_SECONDS_MAX * 1_000),
            request_timeout_ms=int(REQUEST_SECONDS_MAX * 1_000),
            reconnect_backoff_max_ms=int(RECONNECT_SECONDS_MAX * 1_000),
            kafka_client=network,
            **config,
        )
    except BaseException:
        for made in networks:  # a client that could not be made keeps its thread and its sockets (kafka-python 3.0)
            made.close()
        raise


def _reach(bootstrap: tuple[str, ...]) -> None:
    """Before anything is made: a broker that is away is the usual case, and says so at once."""
    for address in bootstrap:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS_MAX).close()
        except OSError:
            continue
        return
    raise NoBrokerError(f"no broker answers at {', '.join(bootstrap)}")
