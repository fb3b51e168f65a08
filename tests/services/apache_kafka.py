"""A real Apache Kafka for the tests: KRaft in combined mode, one or three brokers, from Maven Central's jars.

The jars are resolved once into `.cache/` of the checkout, by the pom.xml beside this file.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded.service import WRAPPER
from tests.services.processes import HOST, Program, free_ports

POM: Final = Path(__file__).with_name("pom.xml")
CACHE: Final = Path(__file__).parents[2] / ".cache"
CLUSTER_ID: Final = "tickwire-tests-------w"  # 16 bytes in base64, as Kafka wants it
JVM: Final = (
    "-Xms64m", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)  # fmt: skip
QUICK: Final = ("-XX:TieredStopAtLevel=1",)
"""Ready sooner, and dearer for ever."""
START_WITHIN_S: Final = 60.0


@dataclass(frozen=True)
class ApacheKafka:
    """A running cluster; `brokers[i]` may be stopped, killed and started again."""

    bootstrap: str
    brokers: Sequence[Program]


def jars() -> Path:
    """Folder of Kafka's jars; the first call on a checkout (or after a change of pom.xml) fetches them."""
    target = CACHE / f"apache-kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    _need("mvn", "maven")
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        fetched = Path(scratch) / "jars"
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"Maven did not fetch Apache Kafka ({done.returncode}):\n{done.stdout[-3000:]}"
        try:
            fetched.rename(target)  # whole or not at all: a second test process may be doing the same
        except OSError:
            assert target.is_dir()
    return target


@contextmanager
def kafka_cluster(
    brokers: int = 3,
    settings: Mapping[str, str] | None = None,
    *,
    heap_mb: int = 512,
    protocol: str = "PLAINTEXT",
    client: Mapping[str, str] | None = None,
    long: bool = False,
) -> Iterator[ApacheKafka]:
    """Format, start and await a cluster of so many brokers, and take it away again, also where we are killed.

    `settings`: broker properties that override the fixture's. `heap_mb`: of each broker. `protocol`: that they speak, and
    `client`: what a client has to say for it. `long`: it runs for so long that compiling it well pays.
    """
    _need("java", "openjdk-17-jre-headless")
    folder = Path(tempfile.mkdtemp(prefix="tickwire-kafka-"))
    programs: list[Program] = []
    try:
        ports = free_ports(2 * brokers)
        bootstrap = ",".join(f"{HOST}:{port}" for port in ports[:brokers])
        for node in range(brokers):
            config = folder / f"{node}.properties"
            config.write_text(_properties(node, ports, folder / f"{node}", protocol, settings or {}))
            command = [*_with_us(), *_java(heap_mb, quick=not long), "kafka.Kafka", str(config)]
            programs.append(Program(command, folder / f"{node}.log", env=_environment()))
        _format(folder, brokers)
        for program in programs:
            program.start()
        for program, port in zip(programs, ports[:brokers], strict=True):
            program.await_ready(
                lambda port=port: _sees(f"{HOST}:{port}", brokers, client or {}), within_s=START_WITHIN_S
            )  # type: ignore[misc]
        yield ApacheKafka(bootstrap, programs)
    finally:
        # One after the other would cost each survivor its controller quorum, and with it a clean shutdown.
        for program in programs:
            if program.child is not None:
                program.child.terminate()
        for program in programs:
            program.stop(grace_s=3)  # one without a quorum would wait for ever
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[ApacheKafka]:
    """One broker for the whole test run; tests make topics of their own."""
    with kafka_cluster(brokers=1) as cluster:
        yield cluster


def _need(program: str, package: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is missing: apt-get install {package}")


def _with_us() -> list[str]:
    """In front of a command: the kernel ends it when this process dies."""
    return [sys.executable, "-I", "-S", str(WRAPPER), str(os.getpid())]


def _java(heap_mb: int = 512, *, quick: bool = True) -> list[str]:
    return ["java", f"-Xmx{heap_mb}m", *(QUICK if quick else ()), *JVM, "-cp", f"{jars()}{os.sep}*"]


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"}}


def _properties(node: int, ports: Sequence[int], data: Path, protocol: str, settings: Mapping[str, str]) -> str:
    brokers = len(ports) // 2
    copies, majority = str(brokers), str(brokers // 2 + 1)
    controllers = [f"{other}@{HOST}:{port}" for other, port in enumerate(ports[brokers:])]
    properties = {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": ",".join(controllers),
        "listeners": f"{protocol}://{HOST}:{ports[node]},CONTROLLER://{HOST}:{ports[brokers + node]}",
        "advertised.listeners": f"{protocol}://{HOST}:{ports[node]}",
        "inter.broker.listener.name": protocol,
        "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{protocol}:{protocol}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": majority,
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": majority,
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",  # a killed broker is noticed in 3 s, not 9
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "2",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        **settings,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def _format(folder: Path, brokers: int) -> None:
    tool = [*_java(), "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]
    children = [
        subprocess.Popen(
            [*tool, str(folder / f"{node}.properties")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=_environment(),
        )
        for node in range(brokers)
    ]  # fmt: skip
    for child in children:
        said, _ = child.communicate(timeout=START_WITHIN_S)
        assert child.returncode == 0, f"formatting Kafka's storage failed:\n{said.decode(errors='replace')}"


def _sees(address: str, brokers: int, client: Mapping[str, str]) -> bool:
    """Whether the broker at this address answers and knows all the others."""
    admin = AdminClient(
        {"bootstrap.servers": address, "log_level": 0, "socket.connection.setup.timeout.ms": 1000, **client}
    )
    try:
        return len(admin.list_topics(timeout=1).brokers) == brokers
    except KafkaException:
        return False
