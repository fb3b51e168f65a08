"""The scoring process against services that run, with a log, tables and state of one test's own."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.clickhouse import connect
from infra.composition import ShardMaker, rules, sessions
from infra.kafka import client_config
from infra.kafka_log import READER, KafkaLog, end_offsets
from infra.kafka_writer import KafkaWriter
from infra.settings import Fold, Kafka
from processors.features import FEATURE_NAMES
from processors.shard import ShardOutput
from schemas.events import Event
from schemas.topics import EVENTS, Topic
from streams.decode import Poll, decode
from tests.services.flows import fresh_topics
from tests.services.processes import until

ROOT = Path(__file__).parents[2]
UP_WITHIN_S = 150.0


@dataclass
class Scoring:
    """One deployment: topics made anew, a database and a directory of its own."""

    kafka: Kafka
    data: Path
    clickhouse_url: str
    redis_url: str
    database: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")

    @property
    def recovery(self) -> Path:
        """The recovery directory in force; there must be one."""
        (found,) = [path for path in (self.data / "recovery").iterdir() if path.is_dir()]
        return found

    def environment(self, **settings: str) -> dict[str, str]:
        """Nothing of ours but these settings."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("TICKWIRE_", "FP"))}
        named = {
            "DATA": str(self.data), "KAFKA__BOOTSTRAP": self.kafka.bootstrap, "KAFKA__LOG_ID": self.kafka.log_id,
            "KAFKA__PARTITIONS": str(self.kafka.partitions), "CLICKHOUSE__URL": self.clickhouse_url,
            "CLICKHOUSE__DATABASE": self.database, "REDIS__URL": self.redis_url, "FOLD__EPOCH": "0.2",
            "FOLD__CALENDARS": "{}",
        }  # fmt: skip
        return (
            plain | {f"TICKWIRE_{name}": value for name, value in named.items()} | {"PYTHONPATH": str(ROOT), **settings}
        )

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run `tickwire` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments], env=self.environment(**settings), cwd=ROOT, text=True,
            capture_output=True, timeout=240, check=False,
        )  # fmt: skip

    def rebuilt(self, *arguments: str, **settings: str) -> Any:
        """What `tickwire rebuild --no-live --json` says."""
        done = self.command("rebuild", "--no-live", "--json", *arguments, **settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    @contextmanager
    def running(self, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """`tickwire score` from start to SIGTERM; it ends well, or is ended by its own alarm where the machine is busy."""
        said = self.data.with_name(f"{self.data.name}.said")
        with said.open("a") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "infra.cli", "score", *arguments], env=self.environment(**settings), cwd=ROOT,
                stdout=out, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        try:
            yield process
            assert process.poll() is None, said.read_text()[-3000:]
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
        assert code in {0, -signal.SIGALRM}, said.read_text()[-3000:]

    def write(self, events: Sequence[Event]) -> None:
        """Append to the log; returns when all are acknowledged."""
        writer = KafkaWriter(self.kafka)
        writer.write(events)
        writer.flush()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What ClickHouse says."""
        with closing(connect(f"{self.clickhouse_url}/{self.database}", timeout_s=30)) as database:
            return database.rows(sql).rows

    def delete(self, table: str, where: str) -> None:
        """Take rows away, as nobody should."""
        with closing(connect(f"{self.clickhouse_url}/{self.database}", timeout_s=30)) as database:
            database.command(f"ALTER TABLE {table} DELETE WHERE {where} SETTINGS mutations_sync = 1")

    def until_folded(self, outputs: Sequence[ShardOutput]) -> None:
        """Wait until every row that these outputs make is stored."""
        expected = sum(len(output.folded) for output in outputs)
        until("the first table", self._has_tables, within_s=UP_WITHIN_S)
        until(
            f"{expected} predictions and features in {self.data.with_name(f'{self.data.name}.said')}",
            lambda: (
                self.rows("SELECT (SELECT count() FROM predictions), (SELECT count() FROM features)")
                == [(expected, expected)]
            ),
            within_s=UP_WITHIN_S,
        )

    def _has_tables(self) -> bool:
        with closing(connect(self.clickhouse_url, timeout_s=30)) as database:
            made = database.rows(
                "SELECT count() FROM system.tables WHERE database = {d:String} AND name = 'bars_latest'",
                {"d": self.database},
            )
        return bool(made.rows[0][0])

    def polls(self, behind: Sequence[Poll] = ()) -> list[Poll]:
        """What is on the log now, behind what was read before."""
        read = {poll.partition: poll.offsets[-1] + 1 for poll in behind}
        log = KafkaLog(self.kafka, self.kafka.log_id, list(range(self.kafka.partitions)))
        found = list(behind)
        for partition, (low, high) in end_offsets(self.kafka).items():
            at = read.get(partition, low)
            reader = log.open(partition, at)
            while at < high:
                if (poll := reader.poll(1000)) is not None:
                    found.append(poll)
                    at = poll.offsets[-1] + 1
            reader.close()
        return found

    def oracle(self, polls: Sequence[Poll] | None = None, **changed: Any) -> list[ShardOutput]:
        """The fold of all that is on the log now, in this process, without any state kept in between."""
        make = ShardMaker(rules(Fold(calendars={}, **changed)), sessions(Fold(calendars={})), None)
        shards = {partition: make(partition) for partition in range(self.kafka.partitions)}
        return [shards[poll.partition].advance(decode(poll)) for poll in (self.polls() if polls is None else polls)]

    def forget_topic(self, keep: int) -> None:
        """Let retention pass: only the last `keep` records of every partition stay on the topic."""
        admin = AdminClient(client_config(self.kafka))
        gone = [
            TopicPartition(EVENTS.name, partition, max(low, high - keep))
            for partition, (low, high) in end_offsets(self.kafka).items()
        ]
        for deleted in admin.delete_records(gone, request_timeout=20).values():
            deleted.result(20)
        until(
            "the deletion",
            lambda: all(high - low <= keep for low, high in end_offsets(self.kafka).values()),
            within_s=20,
        )

    def said_on(self, topic: Topic[Any]) -> list[tuple[int, int]]:
        """(partition, offset) of the log record behind every message on one of our topics, in order."""
        consumer = Consumer({**client_config(self.kafka), **READER})
        said = []
        for partition, (low, high) in end_offsets(self.kafka, topic.name).items():
            consumer.assign([TopicPartition(topic.name, partition, low)])
            at = low
            while at < high:
                message = consumer.poll(10)
                assert message is not None, f"{topic.name}[{partition}]@{at}"
                at = message.offset() + 1
                value = topic.decode(message.value())
                said.append((value.src_partition, value.src_offset))
        consumer.close()
        return said


@contextmanager
def scoring(services: Mapping[str, str], data: Path, events: Sequence[Event], partitions: int = 2) -> Iterator[Scoring]:
    """A deployment on these services (`kafka`, `clickhouse_url`, `redis_url`) with the events on its log."""
    log_id = f"log-{uuid.uuid4().hex[:8]}"
    kafka = Kafka(bootstrap=services["kafka"], partitions=partitions, log_id=log_id)
    fresh_topics(kafka)
    data.mkdir(mode=0o700)
    deployment = Scoring(kafka, data, services["clickhouse_url"], services["redis_url"])
    deployment.write(events)
    yield deployment
    with closing(connect(services["clickhouse_url"], timeout_s=30)) as database:
        database.command(f"DROP DATABASE IF EXISTS `{deployment.database}`")


def served(deployment: Scoring) -> dict[tuple[int, int], tuple[Any, ...]]:
    """Feature bits, online score and learning steps of every row that is stored, by where it comes from; raw, not FINAL."""
    columns = ", ".join(f"reinterpretAsUInt64({name})" for name in FEATURE_NAMES)
    features = deployment.rows(f"SELECT src_partition, src_offset, {columns} FROM features")
    scores = deployment.rows(
        "SELECT src_partition, src_offset, reinterpretAsUInt64(assumeNotNull(online)), online_steps FROM predictions"
    )
    found = {(row[0], row[1]): tuple(_nan(bits) for bits in row[2:]) for row in features}
    assert len(found) == len(features) == len(scores)
    return {(row[0], row[1]): (*found[row[0], row[1]], *row[2:]) for row in scores}


def folded(outputs: Sequence[ShardOutput]) -> dict[tuple[int, int], tuple[Any, ...]]:
    """The same of what was folded here."""
    rows = {}
    for output in outputs:
        offsets = output.stretch.offsets[output.folded].tolist()
        features = np.ascontiguousarray(output.features.T).view(np.uint64).tolist()
        scores = np.ascontiguousarray(output.scores.by_model[:, 0]).view(np.uint64).tolist()
        steps = output.scores.steps.tolist()
        for offset, bits, score, step in zip(offsets, features, scores, steps, strict=True):
            rows[output.partition, offset] = (*(_nan(word) for word in bits), score, step)
    return rows


def _nan(bits: int) -> int:
    """One NaN for all: ClickHouse keeps the bits, NumPy need not make the same ones twice."""
    return 0x7FF8 << 48 if bits & (0x7FF << 52) == 0x7FF << 52 and bits & ((1 << 52) - 1) else bits


def bars_of(outputs: Sequence[ShardOutput]) -> list[tuple[Any, ...]]:
    """Partition, offset, start and the six numbers of every closed bar."""
    return sorted(
        (output.partition, int(output.stretch.offsets[output.bars.event[b]]), int(output.bars.stamps[b, 0]),
         *output.bars.numbers[b].tolist())
        for output in outputs
        for b in range(len(output.bars))
    )  # fmt: skip
