"""Everything a run needs: the services, the product on them, the load; and how each of it is killed and started again."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from confluent_kafka.admin import AdminClient

from infra.settings import Kafka
from tests.faults.children import Child
from tests.faults.generator import NoteBook, command
from tests.faults.market import Market
from tests.faults.up import Up
from tests.product.running import environment
from tests.services.apache_kafka import ApacheKafka, kafka_cluster
from tests.services.processes import until

PARTITIONS: Final = 4
BROKERS: Final = 3
HEAP_MB: Final = 256
INSYNC_WITHIN_S: Final = 90.0
SETTINGS: Final = {
    "TICKWIRE_KAFKA__PARTITIONS": str(PARTITIONS),
    "TICKWIRE_KAFKA__RETENTION": "21600",  # what we say is kept for a sixth, and is judged at the end
}
Services = Literal["embedded", "kafka3"]


@dataclass
class Bench:
    """The product on its services, and the load."""

    up: Up
    generator: Child
    book: NoteBook
    cluster: ApacheKafka | None
    killed: dict[str, int] = field(default_factory=dict)
    """Processes that got SIGKILL, by name."""

    @property
    def kafka(self) -> Kafka:
        """How the log is reached."""
        return Kafka(bootstrap=self.up.addresses["kafka"], partitions=PARTITIONS)

    def tend(self) -> None:
        """Start the generator again where it ended: a broker that refuses ends it too."""
        if not self.generator.running:
            self.generator.start()

    def kill(self, victims: tuple[str, ...]) -> None:
        """SIGKILL for all of them at once; what nobody else starts again is started again."""
        if "up" in victims:
            self._count("up", self.up.kill_everything())
            self.up.start()
            return
        for name in self.up.kill([name for name in victims if name != "generator" and not name.startswith("broker")]):
            self._count(name)
        if "generator" in victims:
            self.generator.kill()
            self._count("generator")
            self.generator.start()
        for name in victims:
            if name.startswith("broker"):
                self._kill_broker(int(name.removeprefix("broker")))
                self._count("broker")

    def _count(self, name: str, processes: int = 1) -> None:
        self.killed[name] = self.killed.get(name, 0) + processes

    def _kill_broker(self, number: int) -> None:
        assert self.cluster is not None
        self.cluster.brokers[number].kill()
        self.cluster.brokers[number].start()

    def until_all_replicas(self) -> None:
        """Wait until every partition has all its copies again: with two of three gone, Kafka rightly takes nothing."""
        if self.cluster is None:
            return
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap, "log_level": 0})

        def insync() -> bool:
            self.tend()
            topics = admin.list_topics(timeout=10).topics.values()
            return all(len(part.isrs) == BROKERS for topic in topics for part in topic.partitions.values())

        until("all copies being in sync", insync, within_s=INSYNC_WITHIN_S, every_s=0.2)

    def close_market(self, within_s: float = 60) -> None:
        """Let the generator say its last trades."""
        deadline = time.monotonic() + within_s
        while not self.book.read().closed:
            assert time.monotonic() < deadline, f"the generator did not end:\n{self.generator.tail()}"
            self.tend()
            self.generator.send(signal.SIGTERM)
            time.sleep(0.2)


@contextmanager
def bench(services: Services, seed: int, rate: float, settings: Mapping[str, str] | None = None) -> Iterator[Bench]:
    """Started and working; nothing is left of it behind the block."""
    folder = Path(tempfile.mkdtemp(prefix="tickwire-faults-"))
    try:
        with _cluster(services) as cluster:
            up = Up(folder, SETTINGS | _address(cluster) | dict(settings or {}))
            generator: Child | None = None
            try:
                up.start()
                book = NoteBook(folder / "generator.notes")
                book.open(Market(seed, time.time_ns(), rate, PARTITIONS))
                arguments = command(up.addresses["kafka"], book.read().market, book.path)
                generator = Child("generator", arguments, folder / "generator.log", environment(up.data))
                generator.start()
                yield Bench(up, generator, book, cluster)
            finally:
                if generator is not None:
                    generator.kill()
                up.stop()
    finally:
        if not os.environ.get("KEEP_FAULTS"):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cluster(services: Services) -> Iterator[ApacheKafka | None]:
    if services == "embedded":
        yield None
    else:
        with kafka_cluster(brokers=BROKERS, heap_mb=HEAP_MB) as cluster:
            yield cluster


def _address(cluster: ApacheKafka | None) -> dict[str, str]:
    if cluster is None:
        return {}
    return {
        "TICKWIRE_KAFKA__BOOTSTRAP": cluster.bootstrap,
        "TICKWIRE_KAFKA__REPLICATION": str(BROKERS),
        "TICKWIRE_KAFKA__MIN_INSYNC_REPLICAS": "2",
    }
