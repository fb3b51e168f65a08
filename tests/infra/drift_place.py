"""A database and topics on which a drift process runs."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.clickhouse import Database, connect
from infra.drift.live import Live
from infra.drift.process import DriftProcess
from infra.embedded.services import Embedded
from infra.feature_rows import ClickHouseFeatureRows
from infra.kafka import client_config
from infra.kafka_log import READER
from infra.kafka_writer import KafkaWriter
from infra.settings import Kafka, Settings
from models.drift import NS, DriftRules
from models.drift_reference import reference_of
from models.input_drift import SCORE
from schemas.drift import DriftEvent, RetrainOrder, Verdict
from schemas.tables import MODEL_CHANGES, OUTCOME_SCORES, features_table
from schemas.topics import DRIFT, OUTCOMES
from streams.drift_watch import Watched, WatchRules
from tests.models.quiet_market import NAMES, WINDOW, Day, day
from tests.services.flows import fresh_topics
from tests.streams.drift_days import World

RULES = WatchRules(drift=DriftRules(least_labels=6))
QUIET, LOUD = day(1), day(1, day_number=1, minutes=60, loud=3.0)


class Killed(BaseException):
    """What kill -9 looks like from inside."""


@dataclass
class Trainer:
    """Remembers what it was asked for; is killed at its first order where `dies`."""

    dies: bool = False
    orders: list[RetrainOrder] = field(default_factory=list)

    def retrain(self, order: RetrainOrder) -> str:
        self.orders.append(order)
        if self.dies:
            raise Killed
        return "c1"

    def judged(self, verdict: Verdict) -> None:
        raise AssertionError("no trial is over")

    def stop(self) -> None:
        """Nothing is under way."""


@dataclass
class Place:
    """A database and topics with an hour on which volatility is three times the usual."""

    settings: Settings
    database: Database
    name: str
    url: str

    def features(self, within_s: float = 5) -> ClickHouseFeatureRows:
        return ClickHouseFeatureRows(self.database, self.name, within_s=within_s)

    def process(self, trainer: Trainer, data: Path, *, anew: bool = False) -> DriftProcess:
        watched = Watched("m1", reference_of(QUIET.dataset(), WINDOW, scores={SCORE: QUIET.score}))
        settings = self.settings.model_copy(update={"data": data})
        return DriftProcess(
            settings, watched, self.features(), KafkaWriter(settings.kafka), lambda: Live("m1", ("c1",)), trainer, RULES, anew
        )  # fmt: skip

    def said(self) -> list[DriftEvent]:
        """Everything on the topic of signals."""
        consumer, found = Consumer({**client_config(self.settings.kafka), **READER}), []
        for partition in range(self.settings.kafka.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(DRIFT.name, partition), timeout=10)
            consumer.assign([TopicPartition(DRIFT.name, partition, low)])
            for _ in range(high - low):
                message = consumer.poll(10)
                assert message is not None
                found.append(DRIFT.decode(message.value()))
        consumer.close()
        return found


def stored(database: Database, name: str, of: Day) -> None:
    """The features and outcomes of a day in ClickHouse; offsets are its rows, partitions its symbols."""
    n = len(of.ts)
    source = {
        "log_id": ["log"] * n, "src_partition": of.symbol.astype(np.uint16), "src_offset": np.arange(n),
        "ts_broker": of.ts // 1_000_000,
    }  # fmt: skip
    symbols, columns = [of.symbols[each] for each in of.symbol], dict(zip(NAMES, of.features.T, strict=True))
    made = {"symbol": symbols, "ts_event": of.ts, "kind": ["quote"] * n, **columns, **source}
    database.insert(f"{name}.features", made)
    database.insert(
        f"{name}.outcome_scores",
        {
            "symbol": symbols, "ts_event": of.ts, "ts_matured": of.ts + 10 * NS, "horizon_ns": np.full(n, 10 * NS),
            "predicted_offset": np.arange(n), "model_id": ["m1"] * n, "champion": np.ones(n, np.bool_), "score": of.score,
            "label": of.label, "log_return": np.zeros(n), **source,
        },
    )  # fmt: skip


def write_outcomes(kafka: Kafka, of: Day, model: str = "m1") -> None:
    writer = KafkaWriter(kafka)
    for partition, outcomes in World(of, model=model).polls(200):
        writer.send(OUTCOMES, partition, [(each.symbol, OUTCOMES.encode(each)) for each in outcomes])
    writer.flush()


@contextmanager
def placed(embedded: Embedded, tmp_path: Path) -> Iterator[Place]:
    """The place, gone behind the block."""
    kafka = Kafka(bootstrap=embedded.kafka, partitions=3, log_id="log")
    fresh_topics(kafka)
    remake(kafka, DRIFT.name)
    name = f"drift_{uuid.uuid4().hex[:8]}"
    database = connect(embedded.clickhouse_url)
    database.command(f"CREATE DATABASE `{name}`")
    for table in (features_table(NAMES), OUTCOME_SCORES, MODEL_CHANGES):
        database.command(table.ddl(name))
    stored(database, name, LOUD)
    write_outcomes(kafka, LOUD)
    yield Place(Settings(data=tmp_path, kafka=kafka), database, name, embedded.clickhouse_url)
    database.command(f"DROP DATABASE `{name}`")
    database.close()


def remake(kafka: Kafka, topic: str) -> None:
    admin = AdminClient(client_config(kafka))
    if topic in admin.list_topics(timeout=10).topics:
        admin.delete_topics([topic], operation_timeout=30)[topic].result(30)
        deadline = monotonic() + 30
        while topic in admin.list_topics(timeout=10).topics:
            assert monotonic() < deadline, "the broker did not delete its topic"
    admin.create_topics([NewTopic(topic, kafka.partitions, 1)])[topic].result(30)


def to_the_end(process: DriftProcess) -> None:
    """Turns until everything on the topic is read and settled."""
    deadline = monotonic() + 60
    idle = 0
    while idle < 5:
        assert monotonic() < deadline, "the topic was not read to its end"
        arrived = process.turn()
        idle = 0 if arrived or any(reader.behind for reader in process.readers) else idle + 1
        if not arrived:
            sleep(0.01)


def left(process: DriftProcess) -> None:
    """Killed: nothing is saved any more."""
    for reader in process.readers:
        reader.close()
