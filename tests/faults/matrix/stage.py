"""Where a fault is played: one log, one history, the real scoring process, and a proxy before each of its services."""

import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import msgspec
import redis
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from infra.clickhouse import Database, connect
from infra.embedded.services import Embedded
from infra.kafka import client_config
from infra.kafka_log import READER, end_offsets
from infra.kafka_writer import KafkaWriter
from infra.settings import Kafka
from processors.shard import FoldRules
from schemas.events import Event
from schemas.rows import SCORE_STATUS_KEY, ScoreStatus
from schemas.topics import EVENTS, PREDICTIONS, Topic
from streams.decode import Poll
from tests.faults.matrix.history import differences, folded, stored
from tests.faults.proxy import ChaosProxy
from tests.product.running import environment
from tests.services.flows import fresh_topics
from tests.services.processes import HOST, Program, free_ports, until

PARTITIONS = 2
MIB = 1 << 20
SETTLED_WITHIN_S = 40.0


@dataclass(frozen=True)
class Services:
    """The embedded services, and a proxy before each; Kafka's clients are sent to the proxy by the broker's own answers."""

    embedded: Embedded
    kafka: ChaosProxy
    clickhouse: ChaosProxy
    redis: ChaosProxy

    def heal(self) -> None:
        for proxy in (self.kafka, self.clickhouse, self.redis):
            proxy.heal()


@contextmanager
def proxied(embedded: Embedded) -> Iterator[Services]:
    """Proxies before these services."""
    ports = [int(address.rpartition(":")[2]) for address in (embedded.kafka, embedded.clickhouse_url)]
    with ExitStack() as stack:
        kafka = stack.enter_context(ChaosProxy(ports[0], kafka=True))
        clickhouse = stack.enter_context(ChaosProxy(ports[1]))
        store = stack.enter_context(ChaosProxy(urlsplit(embedded.redis_url).port or 0))
        yield Services(embedded, kafka, clickhouse, store)


class Scoring(Program):
    """`tickwire score` in a process of its own."""

    metrics_port: int

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's series that carry these labels."""
        series = re.findall(rf"^tickwire_{name}(?:\{{(.*)\}})? (\S+)$", self.metrics(), re.MULTILINE)
        return sum(float(v) for has, v in series if all(f'{n}="{label}"' in has for n, label in labels.items()))

    def metrics(self) -> str:
        """As Prometheus reads them."""
        with urlopen(f"http://{HOST}:{self.metrics_port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def rss(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def virtual(self) -> int:
        """Bytes of address space, which RLIMIT_AS counts."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")

    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def code(self, within_s: float) -> int:
        """The exit status, once it has ended."""
        assert self.child is not None
        code = self.child.wait(within_s)
        self.child = None
        return code

    def sends(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


@dataclass
class Stage:
    """A fresh log and a fresh history on shared services, or those of another stage; `settings` for the scoring process."""

    services: Services
    folder: Path
    partitions: int = PARTITIONS
    settings: Mapping[str, str] = field(default_factory=dict)
    same_log: "Stage | None" = None
    rules: FoldRules = field(default_factory=FoldRules)
    """What `settings` say, for the undisturbed fold."""

    def __post_init__(self) -> None:
        self.log_id: str = self.same_log.log_id if self.same_log else uuid.uuid4().hex
        self.history = f"t_{self.log_id[:12]}"
        self.kafka = Kafka(bootstrap=self.services.embedded.kafka, partitions=self.partitions, log_id=self.log_id)
        if self.same_log is None:
            fresh_topics(self.kafka)
        self.writer = KafkaWriter(self.kafka)
        self.database: Database = connect(self.services.embedded.clickhouse_url, timeout_s=30)
        self.redis: Any = redis.Redis.from_url(self.services.embedded.redis_url)

    def close(self) -> None:
        self.services.heal()
        self.database.command(f"DROP DATABASE IF EXISTS `{self.history}`")
        self.database.close()
        self.redis.close()

    @property
    def environment(self) -> dict[str, str]:
        """Of a tickwire process that reaches everything through the proxies."""
        told = {
            "TICKWIRE_KAFKA__BOOTSTRAP": f"{HOST}:{self.services.kafka.port}",
            "TICKWIRE_KAFKA__PARTITIONS": str(self.partitions),
            "TICKWIRE_KAFKA__LOG_ID": self.log_id,
            "TICKWIRE_CLICKHOUSE__URL": f"http://{HOST}:{self.services.clickhouse.port}",
            "TICKWIRE_CLICKHOUSE__DATABASE": self.history,
            "TICKWIRE_REDIS__URL": f"redis://{HOST}:{self.services.redis.port}/0",
            "TICKWIRE_FOLD__EPOCH": "0.5",
        }
        return environment(self.folder / "data", **told | dict(self.settings))

    def scoring(self, prefix: Sequence[str] = (), **settings: str) -> Scoring:
        """A scoring process that is not started yet; `prefix` goes before its command, `settings` into its environment."""
        (port,) = free_ports(1)
        command = [*prefix, sys.executable, "-m", "infra.cli", "score", "--metrics-port", str(port)]
        made = Scoring(command, self.folder / f"score-{port}.log", env=self.environment | settings)
        made.metrics_port = port
        return made

    @contextmanager
    def scores(self, prefix: Sequence[str] = (), **settings: str) -> Iterator[Scoring]:
        """A scoring process that has said that it is alive; SIGTERM behind the block."""
        made = self.scoring(prefix, **settings)
        try:
            self.ready(made)
            yield made
        finally:
            if made.child is not None:
                made.sends(signal.SIGCONT)
            made.stop(grace_s=8)

    def ready(self, scoring: Scoring) -> None:
        """Start it and wait until it says, itself, that it is alive."""
        self.redis.delete(SCORE_STATUS_KEY.format(group="0"))  # what the one before it said last
        scoring.start()
        scoring.await_ready(lambda: self.status() is not None, within_s=60)

    def status(self) -> ScoreStatus | None:
        raw = self.redis.get(SCORE_STATUS_KEY.format(group="0"))
        return None if raw is None else msgspec.json.decode(raw, type=ScoreStatus)

    def write(self, events: Sequence[Event]) -> None:
        """Onto the log, past every proxy."""
        self.writer.write(events)
        self.writer.flush()

    def write_raw(self, values: Sequence[bytes | None], partition: int = 0) -> None:
        """Records of whatever bytes onto one partition of the log."""
        producer = Producer(client_config(self.kafka))
        for value in values:
            producer.produce(EVENTS.name, value, partition=partition)
        assert producer.flush(20) == 0

    def records(self) -> int:
        """On the log."""
        return sum(self.ends().values())

    def ends(self) -> dict[int, int]:
        """Partition to the offset of its next record."""
        return {partition: high for partition, (_, high) in end_offsets(self.kafka).items()}

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the history says, asked past the proxy; `{db}` stands for its database."""
        return self.database.rows(sql.replace("{db}", f"`{self.history}`")).rows

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count() FROM {{db}}.{table}")[0][0])

    def committed(self) -> int:
        """Rows that are surely stored, with their epochs: 0 while there is no table."""
        there = self.database.rows(f"SELECT count() FROM system.tables WHERE database = '{self.history}'").rows[0][0]
        return self.count("predictions") if there else 0

    def exact(self, within_s: float = SETTLED_WITHIN_S) -> None:
        """The history becomes, and stays for a moment, that of an undisturbed fold of the whole log."""
        expected = folded(self.polls(), self.log_id, self.rules)
        deadline = time.monotonic() + within_s
        while told := differences(expected, stored(self.database, self.history, self.log_id)):
            assert time.monotonic() < deadline, "\n".join(told)
            time.sleep(0.1)

    def until(self, what: str, sql: str, expected: object, within_s: float = 30) -> None:
        until(what, lambda: self.rows(sql)[0][0] == expected, within_s=within_s)

    def predicted(self) -> list[tuple[int, int]]:
        """(source partition, source offset) of every record of the predictions' topic, in no order."""
        rows = [PREDICTIONS.decode(message.value()) for message in self._messages(PREDICTIONS)]
        return [(row.src_partition, row.src_offset) for row in rows if row.log_id == self.log_id]

    def said_once(self, within_s: float = SETTLED_WITHIN_S) -> None:
        """The predictions' topic comes to hold one record of every prediction that is stored: it may still be on its way."""
        stored_, deadline = self.count("predictions"), time.monotonic() + within_s
        while len(told := self.predicted()) < stored_:
            assert time.monotonic() < deadline, f"{len(told)} of {stored_} predictions were said"
            time.sleep(0.2)
        assert len(told) == len(set(told)) == stored_

    def polls(self) -> list[Poll]:
        """The whole log, read past every proxy."""
        found = []
        messages = sorted(self._messages(EVENTS), key=lambda message: (message.partition(), message.offset()))
        for partition, group in groupby(messages, lambda message: int(message.partition())):
            told = list(group)
            offsets, times = [m.offset() for m in told], [m.timestamp()[1] for m in told]
            found.append(Poll(partition, [m.value() for m in told], offsets, times))
        return found

    def _messages(self, topic: Topic[Any]) -> list[Message]:
        consumer = Consumer({**client_config(self.kafka), **READER})
        ends = end_offsets(self.kafka, topic.name)
        consumer.assign([TopicPartition(topic.name, p, low) for p, (low, _) in ends.items()])
        found: list[Message] = []
        deadline = time.monotonic() + 30
        while len(found) < sum(high - low for low, high in ends.values()):
            assert time.monotonic() < deadline, f"{topic.name} was not read to its end"
            found += [message for message in consumer.consume(4096, 0.5) if message.error() is None]
        consumer.close()
        return found


def stays(what: str, holds: Callable[[], bool], for_s: float) -> None:
    """Poll `holds`, which must be true all the time."""
    until_ = time.monotonic() + for_s
    while time.monotonic() < until_:
        assert holds(), f"{what} did not last {for_s:g} s"
        time.sleep(0.1)
