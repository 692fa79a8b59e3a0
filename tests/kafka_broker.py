"""A real Apache Kafka for tests and benchmarks: one node that is broker and controller, on free loopback ports.

Its jars come from where Kafka publishes them, by Maven, once for each version of `tests/kafka/pom.xml`, and are kept
outside the repository. COUNTERFOIL_TEST_KAFKA names a broker that runs already, for those tests that do not kill it.

What a test kills with SIGKILL is truly killed. When the tests themselves are killed or run out of time, a guard ends
what they have left.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import randrange
from tempfile import TemporaryDirectory
from typing import Self

from kafka.errors import KafkaError

from adapters.kafka import clients
from adapters.kafka.clients import KafkaSettings
from tests.provisioning import provided, run
from tests.server import HOST, terminate

POM = Path(__file__).parent / "kafka" / "pom.xml"
NAMED = "COUNTERFOIL_TEST_KAFKA"
READY_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
LOG_TAIL_CHARACTERS = 4_000
QUIET_PORTS = (15_000, 30_000)
"""Below those that Linux, and IANA, give to outgoing connections."""
PORTS_TRIED_MAX = 100
FINGERPRINT_DIGITS = 16
CLUSTER_ID = "Y291bnRlcmZvaWwtdGVzdA"
JAVA = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
"""Small, and quick to start."""
GUARD = """
trap "" INT TERM HUP  # a terminal sends them to us as well
for pid in $(cat); do
    case $(ps -o command= -p "$pid") in *kafka.Kafka*) kill -KILL "$pid" ;; esac
done
"""
"""Waits until the tests are gone, then ends the brokers whose process ids they said."""
# Until a broker's session has run out, the one that follows it after a kill has to wait.
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
log.cleaner.enable=false
log.segment.delete.delay.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""


class Broker:
    """Its topics outlive `kill` and `stop`, at the same address, until the end of the block."""

    def __init__(self) -> None:
        self._directory = TemporaryDirectory(prefix="counterfoil-kafka-")
        self._home = Path(self._directory.name)
        self._port, self._controller = quiet_port(), quiet_port()
        self.bootstrap = f"{HOST}:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._lay_out()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._directory.cleanup()

    @property
    def directory(self) -> Path:
        """Where everything lies that it keeps."""
        return self._home

    # -- Running ------------------------------------------------------------------

    def start(self) -> None:
        """Start what is not running and wait until it answers. Raises AssertionError with the log's end."""
        if self._process is None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [*_java(), "kafka.Kafka", str(self._home / "server.properties")],
                    cwd=self._home,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self._watch(self._process.pid)
            self._wait_until_ready()

    def stop(self) -> None:
        """As an operator does; nothing is lost."""
        if self._process is not None:
            terminate(self._process)
            self._process = None
        if self._guard is not None:
            self._guard.communicate()
            self._guard = None

    def kill(self) -> None:
        """As a power failure does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker does not run"
        return self._process.pid

    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self._home / "log"

    def _lay_out(self) -> None:
        shutil.copytree(_jars() / "formatted", self._home / "data")
        (self._home / "server.properties").write_text(self._configuration())

    def _configuration(self) -> str:
        return PROPERTIES.format(host=HOST, port=self._port, controller=self._controller, data=self._home / "data")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError, KafkaError), clients.admin(KafkaSettings((self.bootstrap,), 1, 1)) as admin:
                if admin.describe_cluster()["brokers"]:
                    return
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"the broker did not get ready:\n{self.tail()}")

    def _watch(self, pid: int) -> None:
        if self._guard is None:
            self._guard = subprocess.Popen(["/bin/sh", "-c", GUARD], stdin=subprocess.PIPE)
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"%d\n" % pid)
        self._guard.stdin.flush()


def quiet_port() -> int:
    """One that no outgoing connection is given.

    Whoever looks again and again for a broker that has gone would sooner or later be given its port, be connected to
    itself, and keep the broker out.
    """
    for _ in range(PORTS_TRIED_MAX):
        port = randrange(*QUIET_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("no port is free")


def missing() -> str | None:
    """Why no broker can be run on this machine; None when one can."""
    lacking = [program for program in ("java", "mvn") if shutil.which(program) is None]
    return f"there is no {' and no '.join(lacking)} here" if lacking else None


def _java() -> list[str]:
    return ["java", *JAVA, "-cp", f"{_jars()}/jars/*"]


@cache
def _jars() -> Path:
    """The directory with Kafka's jars and a formatted, empty log. Raises CalledProcessError with Maven's own words."""
    fingerprint = hashlib.sha256(POM.read_bytes()).hexdigest()[:FINGERPRINT_DIGITS]
    return provided(f"kafka-{fingerprint}", _install)


def _install(directory: Path) -> None:
    shutil.copy(POM, directory)
    repository = directory / "repository"
    maven = ["mvn", "--batch-mode", "--quiet", f"-Dmaven.repo.local={repository}"]
    copy = ["dependency:copy-dependencies", f"-DoutputDirectory={directory / 'jars'}", "-DincludeScope=runtime"]
    run([*maven, *copy], directory)
    shutil.rmtree(repository)
    (directory / "server.properties").write_text(
        PROPERTIES.format(host=HOST, port=1, controller=2, data=directory / "formatted")
    )
    java = ["java", *JAVA, "-cp", f"{directory}/jars/*"]
    formatting = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(directory / "server.properties")]
    run([*java, *formatting], directory)


def named() -> str | None:
    """The broker that the environment names."""
    return os.environ.get(NAMED) or None
