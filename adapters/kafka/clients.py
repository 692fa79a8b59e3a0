"""Kafka's clients, with our settings, and made so that an attempt that fails leaves nothing behind."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector

CLIENT_ID = "counterfoil"
REACH_SECONDS_MAX = 2.0
BOOTSTRAP_SECONDS_MAX = 5.0
REQUEST_SECONDS_MAX = 5.0
DELIVERY_SECONDS_MAX = 10.0
"""How long the producer by itself repeats what a broker did not take, in order and without duplicates."""
LINGER_SECONDS = 2.0
"""Longer than a page takes to be handed over: what goes to one partition then goes in one batch, when it is flushed."""
RECONNECT_SECONDS_MAX = 1.0
BATCH_BYTES_MAX = 1 << 20
MESSAGE_BYTES_MAX = 16 << 20
"""Of a fact: four times what a request to the API may have, so what was recorded can be told."""
REQUEST_BYTES_MAX = MESSAGE_BYTES_MAX + BATCH_BYTES_MAX
CLOSE_SECONDS_MAX = 5.0
SESSION_SECONDS_MAX = 10.0
"""After so long without a heartbeat the others of a group take over."""
METADATA_SECONDS_MAX = 5.0
"""A topic that is made, or made again, is noticed by then."""
ATTENDED_SECONDS_MAX = 30.0
"""For the questions of one beginning."""

logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what they have to say, the relay says once, in its own words


@dataclass(frozen=True, slots=True)
class Access:
    """How brokers are spoken to, and who we are to them."""

    tls: bool = False
    ca_file: str | None = None
    """Whom to believe that a broker is one, PEM. None: whom the system believes."""
    username: str | None = None
    """None: brokers do not ask."""
    password: str | None = field(default=None, repr=False)
    mechanism: str = "SCRAM-SHA-512"

    def context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca_file) if self.tls else None

    def config(self) -> dict[str, object]:
        """In Kafka's own words."""
        found: dict[str, object] = {
            "security_protocol": f"{'SASL_' if self.username else ''}{'SSL' if self.tls else 'PLAINTEXT'}",
            "ssl_context": self.context(),
        }
        if self.username:
            found |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return found


class KafkaSettings(NamedTuple):
    bootstrap: tuple[str, ...]
    """``host:port`` of some of the brokers."""
    partitions: int
    """Of a topic that is not there yet."""
    replication: int | None
    """Copies of it. None: as many as the broker makes by default."""
    access: Access = Access()


class NoBrokerError(OSError):
    """Nobody answers at any of the addresses."""


@contextmanager
def admin(settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    with _attended(KafkaAdminClient, settings) as client:
        yield client


@contextmanager
def consumer(settings: KafkaSettings) -> Iterator[KafkaConsumer]:
    """For partitions that are assigned to it; it belongs to no group."""
    with _attended(KafkaConsumer, settings, enable_auto_commit=False, allow_auto_create_topics=False) as client:
        yield client


@contextmanager
def group_member(settings: KafkaSettings, group: str) -> Iterator[KafkaConsumer]:
    """One of those among whom the brokers spread partitions. How far it has read is a hint: it commits when it is told."""
    client: KafkaConsumer
    client, attendance = _made(
        KafkaConsumer,
        settings,
        group_id=group,
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        auto_offset_reset="earliest",
        session_timeout_ms=int(SESSION_SECONDS_MAX * 1_000),
        heartbeat_interval_ms=int(SESSION_SECONDS_MAX * 1_000 / 10),
        metadata_max_age_ms=int(METADATA_SECONDS_MAX * 1_000),
        metrics_enabled=False,
    )
    attendance.cancel()
    try:
        yield client
    finally:
        client.close(timeout_ms=int(CLOSE_SECONDS_MAX * 1_000))


def is_joining(member: KafkaConsumer) -> bool:
    """Whether its group is being shared out anew: the polls that follow should leave time for it.

    Where new partitions were the reason and the answer came between two polls, kafka-python 3.0 leaves the answer lying,
    and the member, which believes to have joined, is soon put out of the group. Told that it has to join, it does.
    """
    coordinator = member._coordinator  # noqa: SLF001 - nothing public says it
    if coordinator._join_task is None:  # noqa: SLF001
        return False
    coordinator.request_rejoin()
    return True


def producer(settings: KafkaSettings) -> KafkaProducer:
    """Idempotent: within its life what it repeats is written once, and in order."""
    made: KafkaProducer
    made, attendance = _made(
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
    attendance.cancel()
    return made


def abandon(client: KafkaProducer) -> None:
    """Close it without waiting for what is on its way: `close` by itself would, and raise when that takes too long."""
    sender = client._sender  # noqa: SLF001 - there is no other way
    sender.force_close()
    sender.join(CLOSE_SECONDS_MAX)
    client.close(timeout=CLOSE_SECONDS_MAX)


@contextmanager
def _attended(kind: Callable[..., Any], settings: KafkaSettings, **config: object) -> Iterator[Any]:
    """A client for a few questions. It fails with KafkaConnectionError when they take too long to be answered."""
    client, attendance = _made(kind, settings, **config)
    try:
        yield client
    finally:
        attendance.cancel()
        client.close()


def _made(kind: Callable[..., Any], settings: KafkaSettings, **config: object) -> tuple[Any, threading.Timer]:
    """A client, connected, and what will stop it unless it is cancelled: some questions have no time limit of their own.

    Raises NoBrokerError, and KafkaError for a broker that does not do its part.
    """
    _reach(settings)
    selector = NetworkSelector(client_id=CLIENT_ID)
    attendance = threading.Timer(ATTENDED_SECONDS_MAX, selector.stop)
    attendance.daemon = True
    attendance.start()
    network: list[KafkaNetClient] = []

    def connect(**configs: Any) -> KafkaNetClient:
        network.append(KafkaNetClient(net=selector, **configs))
        return network[0]

    try:
        client = kind(
            bootstrap_servers=list(settings.bootstrap),
            client_id=CLIENT_ID,
            bootstrap_timeout_ms=int(BOOTSTRAP_SECONDS_MAX * 1_000),
            request_timeout_ms=int(REQUEST_SECONDS_MAX * 1_000),
            reconnect_backoff_max_ms=int(RECONNECT_SECONDS_MAX * 1_000),
            kafka_client=connect,
            **settings.access.config(),
            **config,
        )
    except BaseException as error:
        attendance.cancel()
        for made in network:  # a client that could not be made keeps its thread and its sockets (kafka-python 3.0)
            made.close()
        selector.close()
        if isinstance(error, KafkaTimeoutError):  # all that it says, whatever the broker has said
            raise NoBrokerError(
                f"{', '.join(settings.bootstrap)} took the connection and has not let us in within"
                f" {BOOTSTRAP_SECONDS_MAX:.0f} s: is it starting, or is our name, our password or TLS not what it expects?"
            ) from error
        raise
    return client, attendance


def _reach(settings: KafkaSettings) -> None:
    """Before anything is made: a broker that is away is the usual case, and says so at once."""
    context = settings.access.context()
    for address in settings.bootstrap:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        try:
            with socket.create_connection((host, int(port)), REACH_SECONDS_MAX) as connection:
                if context is not None:
                    context.wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            raise NoBrokerError(
                f"{address} shows a certificate that is not believed: {error.verify_message}"
            ) from error
        except ssl.SSLError as error:
            raise NoBrokerError(f"{address} does not speak TLS, or not with us: {error.reason}") from error
        except OSError:
            continue
        return
    raise NoBrokerError(f"no broker answers at {', '.join(settings.bootstrap)}")
