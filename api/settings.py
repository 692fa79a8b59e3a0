"""Settings, from the environment only. Each is documented in the README; a test keeps that true."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from commands.account import PASSWORD_LENGTH_MIN

SECRET_LENGTH_MIN = 32
CHAIN_KEY = re.compile("(0x)?[0-9a-fA-F]{64}")
CHAIN_FEE_GWEI_MAX = 300
COUNT = re.compile("[0-9]{1,19}")
PORT = re.compile("[0-9]{1,5}")
BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
KAFKA_PARTITIONS = 6
KAFKA_MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")
"""The first unless another is said."""


class SettingsError(ValueError):
    """A setting is missing or cannot be meant. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class Settings:
    database_url: str | None
    data_dir: Path
    host: str
    port: int
    secret: bytes | None
    admin_email: str | None
    admin_password: str | None
    rate_limits: bool
    cors_origins: tuple[str, ...]
    sentry_dsn: str | None
    log_format: str
    public_url: str
    """Where people reach us; the messages that wallets sign name it."""
    chain_urls: tuple[str, ...] | None
    """JSON-RPC addresses of the nodes to mirror to. None: the EVM in the process. Empty: none, the mirror is off."""
    chain_id: int | None
    """The chain that must be found there. None: whichever it is."""
    chain_key: str | None
    """The private key that the mirror signs with. None: one derived from the secret."""
    chain_confirmations: int | None
    """How many blocks deep a block is final. None: as the chain says (`finalized`)."""
    chain_fee_gwei_max: int
    """The most that the mirror offers for a unit of gas, in gwei."""
    kafka_bootstrap: tuple[str, ...]
    """``host:port`` of some of the brokers to relay to. Empty: the relay is off."""
    kafka_partitions: int
    """Of a topic that the relay has to make."""
    kafka_replication: int | None
    """Copies of such a topic. None: as many as the brokers make by default."""
    kafka_tls: bool
    kafka_ca_file: str | None
    """Whom to believe that a broker is one, PEM. None: whom the system believes."""
    kafka_user: tuple[str, str] | None
    """Name and password. None: the brokers do not ask."""
    kafka_mechanism: str
    """How the password is shown to know (SASL)."""
    projectors: str
    """What feeds those views whose rows are of one stream alone: ``table`` or ``kafka``."""

    @property
    def embedded(self) -> bool:
        return self.database_url is None

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Raises SettingsError."""
        database_url = env.get("COUNTERFOIL_DATABASE_URL") or None
        secret = _secret(env.get("COUNTERFOIL_SECRET"), required=database_url is not None)
        email, password = _admin(env.get("COUNTERFOIL_ADMIN_EMAIL"), env.get("COUNTERFOIL_ADMIN_PASSWORD"))
        brokers = _brokers(env.get("COUNTERFOIL_KAFKA_BOOTSTRAP") or "")
        return cls(
            database_url=database_url,
            data_dir=Path(env.get("COUNTERFOIL_DATA_DIR") or ".counterfoil"),
            host=env.get("COUNTERFOIL_HOST") or "127.0.0.1",
            port=_port(env.get("COUNTERFOIL_PORT") or "8000"),
            secret=secret,
            admin_email=email,
            admin_password=password,
            rate_limits=_one_of(env, "COUNTERFOIL_RATE_LIMITS", "on", "off") == "on",
            cors_origins=_origins(env.get("COUNTERFOIL_CORS_ORIGINS") or ""),
            sentry_dsn=env.get("COUNTERFOIL_SENTRY_DSN") or None,
            log_format=_one_of(env, "COUNTERFOIL_LOG_FORMAT", "console", "json"),
            public_url=_public_url(env),
            chain_urls=_chain_urls(env.get("COUNTERFOIL_CHAIN_URL") or None),
            chain_id=_count(env, "COUNTERFOIL_CHAIN_ID", most=2**63 - 1),
            chain_key=_key(env.get("COUNTERFOIL_CHAIN_KEY")),
            chain_confirmations=_count(env, "COUNTERFOIL_CHAIN_CONFIRMATIONS", most=10_000),
            chain_fee_gwei_max=_count(env, "COUNTERFOIL_CHAIN_FEE_GWEI_MAX", most=1_000_000) or CHAIN_FEE_GWEI_MAX,
            kafka_bootstrap=brokers,
            kafka_partitions=_count(env, "COUNTERFOIL_KAFKA_PARTITIONS", most=1_000) or KAFKA_PARTITIONS,
            kafka_replication=_count(env, "COUNTERFOIL_KAFKA_REPLICATION", most=100) or None,
            kafka_tls=_one_of(env, "COUNTERFOIL_KAFKA_TLS", "off", "on") == "on",
            kafka_ca_file=_file(env, "COUNTERFOIL_KAFKA_CA_FILE"),
            kafka_user=_kafka_user(env),
            kafka_mechanism=_one_of(env, "COUNTERFOIL_KAFKA_MECHANISM", *KAFKA_MECHANISMS),
            projectors=_projectors(env, brokers),
        )


def _secret(text: str | None, *, required: bool) -> bytes | None:
    if not text:
        if required:
            raise SettingsError("COUNTERFOIL_SECRET is required when COUNTERFOIL_DATABASE_URL is set")
        return None
    if len(text) < SECRET_LENGTH_MIN:
        raise SettingsError(f"COUNTERFOIL_SECRET needs at least {SECRET_LENGTH_MIN} characters")
    return text.encode()


def _admin(email: str | None, password: str | None) -> tuple[str | None, str | None]:
    if bool(email) != bool(password):
        raise SettingsError("COUNTERFOIL_ADMIN_EMAIL and COUNTERFOIL_ADMIN_PASSWORD go together")
    if not email or not password:
        return None, None
    if "@" not in email:
        raise SettingsError(f"COUNTERFOIL_ADMIN_EMAIL is not an e-mail address: {email!r}")
    if len(password) < PASSWORD_LENGTH_MIN:
        raise SettingsError(f"COUNTERFOIL_ADMIN_PASSWORD needs at least {PASSWORD_LENGTH_MIN} characters")
    return email, password


def _one_of(env: Mapping[str, str], name: str, default: str, *others: str) -> str:
    value = env.get(name) or default
    if value not in (default, *others):
        raise SettingsError(f"{name} is either {' or '.join((default, *others))}, not {value!r}")
    return value


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if origin != "*" and not origin.startswith(("http://", "https://")):
            raise SettingsError(
                f"COUNTERFOIL_CORS_ORIGINS has {origin!r}, which is not an origin such as https://shop.example"
            )
    return origins


def _public_url(env: Mapping[str, str]) -> str:
    host, port = env.get("COUNTERFOIL_HOST") or "127.0.0.1", env.get("COUNTERFOIL_PORT") or "8000"
    text = env.get("COUNTERFOIL_PUBLIC_URL") or f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if not text.isascii() or urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).netloc:
        raise SettingsError(f"COUNTERFOIL_PUBLIC_URL is not an address such as https://tickets.example: {text!r}")
    return text.rstrip("/")


def _chain_urls(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    if text == "off":
        return ()
    urls = tuple(url.strip() for url in text.split(",") if url.strip())
    for url in urls:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise SettingsError(f"COUNTERFOIL_CHAIN_URL is off or the address of a node, https://…, not {url!r}")
    return urls


def _brokers(text: str) -> tuple[str, ...]:
    brokers = tuple(broker.strip() for broker in text.split(",") if broker.strip())
    for broker in brokers:
        if (found := BROKER.fullmatch(broker)) is None or not 0 < int(found[2]) < 65536:
            raise SettingsError(f"COUNTERFOIL_KAFKA_BOOTSTRAP has {broker!r}, which is not a broker's host:port")
    return brokers


def _kafka_user(env: Mapping[str, str]) -> tuple[str, str] | None:
    name, password = env.get("COUNTERFOIL_KAFKA_USERNAME"), env.get("COUNTERFOIL_KAFKA_PASSWORD")
    if not name and not password:
        return None
    if not name or not password:
        raise SettingsError("COUNTERFOIL_KAFKA_USERNAME and COUNTERFOIL_KAFKA_PASSWORD go together")
    if env.get("COUNTERFOIL_KAFKA_MECHANISM") == "PLAIN" and env.get("COUNTERFOIL_KAFKA_TLS") != "on":
        raise SettingsError(
            "COUNTERFOIL_KAFKA_MECHANISM is PLAIN, which sends the password: COUNTERFOIL_KAFKA_TLS has to be on"
        )
    return name, password


def _file(env: Mapping[str, str], name: str) -> str | None:
    path = env.get(name) or None
    if path is not None and not Path(path).is_file():
        raise SettingsError(f"{name} is {path!r}, and there is no such file")
    return path


def _projectors(env: Mapping[str, str], brokers: tuple[str, ...]) -> str:
    feed = _one_of(env, "COUNTERFOIL_PROJECTORS", "table", "kafka")
    if feed == "kafka" and not brokers:
        raise SettingsError("COUNTERFOIL_PROJECTORS is kafka, and COUNTERFOIL_KAFKA_BOOTSTRAP names no broker")
    return feed


def _key(text: str | None) -> str | None:
    if text and CHAIN_KEY.fullmatch(text) is None:
        raise SettingsError("COUNTERFOIL_CHAIN_KEY is not a private key: 32 bytes in hexadecimal")
    return text.removeprefix("0x").lower() if text else None


def _count(env: Mapping[str, str], name: str, *, most: int) -> int | None:
    text = env.get(name)
    if not text:
        return None
    if COUNT.fullmatch(text) is None or int(text) > most:
        raise SettingsError(f"{name} is a number from 0 to {most}, not {text!r}")
    return int(text)


def _port(text: str) -> int:
    if PORT.fullmatch(text) is None or not 0 < int(text) < 65536:
        raise SettingsError(f"COUNTERFOIL_PORT is not a port: {text!r}")
    return int(text)
