"""Brokers that have a certificate and ask who is there."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from adapters.kafka import clients
from adapters.kafka.clients import Access, KafkaSettings
from api.settings import Settings, SettingsError
from tests.kafka.conftest import skip_or_fail
from tests.kafka.feeding import SECRET, check_views, feed, feeding, projecting, until_level
from tests.kafka.parts import (
    administering,
    check,
    delete_topics,
    head,
    problem,
    received,
    relayed,
    relaying,
    settings_for,
    until,
)
from tests.kafka_broker import Broker, missing, quiet_port
from tests.projections.town import Town
from tests.server import HOST

NAME, PASSWORD = "counterfoil", "a password of the brokers"
GUARDED = """
listeners=PLAINTEXT://{host}:{open},SASL_SSL://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{open},SASL_SSL://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keys}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
    user_{name}="{password}";
"""
ENVIRONMENT = {
    "COUNTERFOIL_KAFKA_BOOTSTRAP": "kafka-1:9093",
    "COUNTERFOIL_KAFKA_USERNAME": NAME,
    "COUNTERFOIL_KAFKA_PASSWORD": PASSWORD,
}


def certificate(directory: Path, name: str) -> Path:
    """Signed by itself, for the loopback address; the key is in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


pytestmark = pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning", "ignore:unclosed <ssl:ResourceWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """kafka-python leaves the sockets of refused connections to be collected, which is to happen here."""
    yield
    gc.collect()


class GuardedBroker(Broker):
    """With a second address, where it shows a certificate and asks for a password."""

    def __init__(self, keys: Path) -> None:
        super().__init__()
        self._keys, self._guarded = keys, quiet_port()

    def _configuration(self) -> str:
        more = GUARDED.format(
            host=HOST,
            open=self._port,
            port=self._guarded,
            controller=self._controller,
            keys=self._keys,
            name=NAME,
            password=PASSWORD,
        )
        return super()._configuration() + more  # the last line for a name counts

    def settings(self, access: Access) -> KafkaSettings:
        return KafkaSettings((f"{HOST}:{self._guarded}",), 3, 1, access)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("keys"), "broker")


@pytest.fixture(scope="module")
def access(keys: Path) -> Access:
    return Access(tls=True, ca_file=str(keys), username=NAME, password=PASSWORD)


@pytest.fixture(scope="module")
def guarded(keys: Path) -> Iterator[GuardedBroker]:
    if (reason := missing()) is not None:
        skip_or_fail(reason)
    with GuardedBroker(keys) as broker:
        with administering(settings_for(broker.bootstrap)) as admin:
            told = admin.alter_user_scram_credentials(
                [UserScramCredentialUpsertion(NAME, ScramMechanism.SCRAM_SHA_512, iterations=4096, password=PASSWORD)]
            )
            assert told == {NAME: None}
        yield broker


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_who_shows_the_password_may_relay(
    database: str, guarded: GuardedBroker, access: Access, town: Town, mechanism: str
) -> None:
    beside = settings_for(guarded.bootstrap)
    delete_topics(beside)
    with relaying(database, guarded.settings(replace(access, mechanism=mechanism))):
        town.act(200)
        until(lambda: relayed(database) == head(database))
    assert check(received(beside), database) == 0


def test_views_are_fed_by_brokers_that_ask(database: str, guarded: GuardedBroker, access: Access, town: Town) -> None:
    delete_topics(settings_for(guarded.bootstrap))
    settings = guarded.settings(access)
    one = feed(database, settings)
    with relaying(database, settings, SECRET), projecting(database), feeding(one):
        until(lambda: town.act(5) and one.facts_total)
        until_level(database)
    check_views(database)


def test_tls_where_there_is_none_is_said(database: str, guarded: GuardedBroker, access: Access) -> None:
    settings = settings_for(guarded.bootstrap)._replace(access=access)
    with relaying(database, settings):
        until(lambda: "does not speak TLS, or not with us" in (problem(database) or ""))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"password": "another password"},
            "has not let us in within 1 s: is it starting, or is our name, our password",
        ),
        ({"username": "somebody"}, "has not let us in within 1 s: is it starting, or is our name, our password"),
        ({"tls": False}, "has not let us in within 1 s: is it starting, or is our name, our password"),
        ({"ca_file": "another"}, "shows a certificate that is not believed: "),
    ],
    ids=["password", "name", "no TLS", "certificate"],
)
def test_what_is_wrong_is_said_and_nothing_is_told(
    database: str,
    guarded: GuardedBroker,
    access: Access,
    town: Town,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    said: str,
) -> None:
    delete_topics(settings_for(guarded.bootstrap))
    monkeypatch.setattr(clients, "BOOTSTRAP_SECONDS_MAX", 1.0)
    if "ca_file" in changes:
        changes = {"ca_file": str(certificate(tmp_path, "another"))}
    with relaying(database, guarded.settings(replace(access, **changes))):  # type: ignore[arg-type]
        until(lambda: said in (problem(database) or ""))
        town.act(20)
    assert PASSWORD not in (problem(database) or "")
    assert received(settings_for(guarded.bootstrap)) == []


# -- Settings. -----------------------------------------------------------------------------


def test_access_is_taken_from_the_environment(keys: Path) -> None:
    nobody = Settings.from_environment({})
    assert (nobody.kafka_tls, nobody.kafka_ca_file, nobody.kafka_user) == (False, None, None)
    settings = Settings.from_environment(
        ENVIRONMENT | {"COUNTERFOIL_KAFKA_TLS": "on", "COUNTERFOIL_KAFKA_CA_FILE": str(keys)}
    )
    assert (settings.kafka_tls, settings.kafka_ca_file) == (True, str(keys))
    assert settings.kafka_user == (NAME, PASSWORD)
    assert settings.kafka_mechanism == "SCRAM-SHA-512"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"COUNTERFOIL_KAFKA_TLS": "yes"}, "COUNTERFOIL_KAFKA_TLS is either off or on"),
        ({"COUNTERFOIL_KAFKA_MECHANISM": "GSSAPI"}, "COUNTERFOIL_KAFKA_MECHANISM is either SCRAM-SHA-512 or"),
        ({"COUNTERFOIL_KAFKA_MECHANISM": "PLAIN"}, "COUNTERFOIL_KAFKA_TLS has to be on"),
        ({"COUNTERFOIL_KAFKA_PASSWORD": ""}, "go together"),
        ({"COUNTERFOIL_KAFKA_CA_FILE": "/nowhere/ca.pem"}, "there is no such file"),
    ],
)
def test_access_that_cannot_be_meant_is_refused(changes: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.from_environment(ENVIRONMENT | changes)


def test_a_password_is_not_shown(access: Access) -> None:
    assert PASSWORD not in repr(access)
